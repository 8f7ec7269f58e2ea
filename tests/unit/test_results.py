import json

import pytest

from hwkd.errors import InputError
from hwkd.metrics import Curve
from hwkd.results import Result, TrainedModel, read_curve, read_result, write_result


def test_reads_compressais_form(tmp_path):
    file = tmp_path / "a.json"
    file.write_text(
        '{"name": "hyper", "description": "d", "results": {"psnr-rgb": [27.5, 30], '
        '"ms-ssim-rgb": [0.9, 0.95], "bpp": [0.1, 0.2], "encoding_time": [0.03, 0.02]}}'
    )
    assert read_curve(file) == Curve("hyper", (0.1, 0.2), (27.5, 30.0), (0.9, 0.95))


def test_reads_older_files_single_numbers_and_files_without_a_name(tmp_path):
    file = tmp_path / "jpeg.json"
    file.write_text('{"results": {"psnr": 27.5, "bpp": 0.1}}')
    assert read_curve(file) == Curve("jpeg", (0.1,), (27.5,), None)


def test_what_is_written_reads_back_and_unknown_ms_ssim_is_left_out(tmp_path):
    curve = Curve("c", (0.1, 0.2), (27.5, 30.0))
    write_result(tmp_path / "c.json", Result(curve, "how"))
    assert read_curve(tmp_path / "c.json") == curve
    assert json.loads((tmp_path / "c.json").read_text()) == {
        "name": "c",
        "description": "how",
        "results": {"psnr-rgb": [27.5, 30.0], "bpp": [0.1, 0.2]},
    }


def test_models_read_back_and_what_is_not_known_is_null(tmp_path):
    known = TrainedModel("a", 0.025, 1.5, 87.1, 4150, 0.5, "one core", "int8 8/8")
    result = Result(Curve("c", (0.1, 0.2), (27.5, 30.0)), "how", (known, TrainedModel("b")))
    write_result(tmp_path / "c.json", result)
    assert read_result(tmp_path / "c.json") == result
    assert json.loads((tmp_path / "c.json").read_text())["models"][1] == {
        "name": "b",
        **dict.fromkeys(
            (
                *("lmbda", "rd_loss", "kmac_per_pixel", "steps", "hours", "hardware", "precision"),
                "quality",
            )
        ),
    }


def test_a_file_without_models_or_description_has_none(tmp_path):
    file = tmp_path / "jpeg.json"
    file.write_text('{"results": {"psnr": 27.5, "bpp": 0.1}}')
    assert read_result(file) == Result(Curve("jpeg", (0.1,), (27.5,)), "", ())


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ("{}", '"models" must be a list of objects'),
        ("[1]", '"models" must be a list of objects'),
        ('[{"name": "a"}, {"name": "b"}]', "has 1 points and 2 models; give one for each point"),
        ("[{}]", r'"models"\[0\]: name is missing'),
        ('[{"name": ""}]', "name is empty"),
        ('[{"name": "a", "step": 1}]', "unknown key 'step'; accepted are name, lmbda"),
        ('[{"name": "a", "steps": 1.5}]', "steps: got 1.5; a whole number is accepted"),
        ('[{"name": "a", "steps": -1}]', "steps must be a finite number, 0 or more, got -1"),
        ('[{"name": "a", "lmbda": 0}]', "lmbda must be a finite number above 0, got 0"),
    ],
)
def test_explains_models_of_another_form(tmp_path, models, message):
    file = tmp_path / "a.json"
    file.write_text(f'{{"results": {{"bpp": [1], "psnr": [2]}}, "models": {models}}}')
    with pytest.raises(InputError, match=message) as caught:
        read_result(file)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[]", 'has no "results" object'),
        ('{"results": []}', 'has no "results" object'),
        ('{"results": {"bpp": [1]}}', 'lacks "bpp" or "psnr-rgb"; its results hold bpp'),
        ('{"results": {"bpp": ["1"], "psnr": [2]}}', "must be a list of numbers"),
        ('{"results": {"bpp": [1], "psnr": [NaN]}}', "not finite"),
    ],
)
def test_explains_files_of_another_form(tmp_path, content, message):
    file = tmp_path / "a.json"
    file.write_text(content)
    with pytest.raises(InputError, match=message):
        read_curve(file)


def test_names_a_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"cannot read the curve .*none\.json: No such file"):
        read_curve(tmp_path / "none.json")


def test_a_point_of_a_model_of_all_rates_is_named_with_its_quality():
    assert TrainedModel("a").label == "a"
    assert TrainedModel("a", quality=50).label == "a quality 50"


@pytest.mark.parametrize("quality", [0, 101])
def test_a_quality_that_there_is_not_is_refused(quality):
    with pytest.raises(InputError, match=f"a quality must be a whole number .*, got {quality}"):
        TrainedModel("a", quality=quality)
