import json

import pytest

from hwkd.errors import InputError
from hwkd.metrics import Curve
from hwkd.results import read_curve, write_curve


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
    write_curve(tmp_path / "c.json", curve, "how")
    assert read_curve(tmp_path / "c.json") == curve
    assert json.loads((tmp_path / "c.json").read_text()) == {
        "name": "c",
        "description": "how",
        "results": {"psnr-rgb": [27.5, 30.0], "bpp": [0.1, 0.2]},
    }


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
