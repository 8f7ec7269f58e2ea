import json

import pytest

from hwkd.errors import InputError
from hwkd.metrics import Curve
from hwkd.report.result_files import ARMS, models_of, read_result_files, student_of
from hwkd.results import Result, TrainedModel, write_result

ARM = {
    **{"model": "m", "arm": "a", "steps": 8, "psnr_db": 30.0, "ms_ssim": None, "bpp": 0.5},
    **{"rd_loss": 1.5, "note": None},
}


def save(folder, stem, kmac_per_pixel):
    model = TrainedModel(stem, kmac_per_pixel=kmac_per_pixel)
    write_result(folder / f"{stem}.json", Result(Curve(stem, (0.5,), (30.0,)), "", (model,)))


def test_the_largest_student_comes_first_with_its_other_forms(tmp_path):
    save(tmp_path, "a-small", 2.0)
    save(tmp_path, "large-qat", 14.0)
    save(tmp_path, "large", None)
    save(tmp_path, "unknown", None)
    save(tmp_path, "b-medium", 5.0)
    found = read_result_files(tmp_path)
    assert list(found.results) == ["large", "large-qat", "b-medium", "a-small", "unknown"]
    assert list(found.shipped) == ["large", "b-medium", "a-small", "unknown"]


def test_a_form_whose_student_is_not_there_stands_for_itself(tmp_path):
    save(tmp_path, "large-float", 14.0)
    assert list(read_result_files(tmp_path).shipped) == ["large-float"]


@pytest.mark.parametrize(
    ("stem", "student"),
    [("a-float", "a"), ("gdn-16", "gdn-16"), ("gdn-16-ptq", "gdn-16"), ("float", "float")],
)
def test_the_last_part_of_a_name_tells_the_form(stem, student):
    assert student_of(stem) == student


def test_control_arms_are_no_curve(tmp_path):
    (tmp_path / ARMS).write_text(json.dumps({"description": "d", "arms": [ARM]}))
    found = read_result_files(tmp_path)
    assert not found.results
    assert (found.arms.description, found.arms.arms[0].rd_loss) == ("d", 1.5)
    assert found.arms.arms[0].ms_ssim is None


def test_points_without_models_are_numbered():
    assert [m.name for m in models_of(Result(Curve("c", (1.0, 2.0), (30.0, 31.0)), ""))] == [
        *("c point 1", "c point 2"),
    ]
    assert [m.name for m in models_of(Result(Curve("c", (1.0,), (30.0,)), ""))] == ["c"]


def test_folders_without_results_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"holds no results \(\.json\); make some with `hwkd eval"):
        read_result_files(tmp_path)
    with pytest.raises(InputError, match=r"none is no folder; make some with"):
        read_result_files(tmp_path / "none")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "holds no object"),
        ('{"arms": []}', "description is missing"),
        (json.dumps({"description": "", "arms": [{**ARM, "rd_loss": 0}]}), "rd_loss must be above"),
        (json.dumps({"description": "", "arms": [{**ARM, "loss": 1}]}), "unknown key 'loss'"),
    ],
)
def test_damaged_control_arms_are_explained(tmp_path, content, message):
    (tmp_path / ARMS).write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        read_result_files(tmp_path)
    assert ARMS in str(caught.value)


def test_a_damaged_result_is_named(tmp_path):
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(InputError, match=r'a\.json has no "results" object'):
        read_result_files(tmp_path)
