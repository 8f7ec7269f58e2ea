import json

import pytest

from hwkd.errors import InputError
from hwkd.metrics import Curve
from hwkd.report.compare.published import read_paper, read_published_curves
from hwkd.report.results import (
    ARMS,
    Arm,
    ControlArms,
    ResultFiles,
    arms_table,
    loss_changes_percent,
    models_of,
    models_table,
    quantized_table,
    read_result_files,
    results_tables,
    student_of,
)
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


def curve(name, bpp, psnr, models=(), ms_ssim=None):
    return Result(Curve(name, bpp, psnr, ms_ssim), "hwkd evaluate on Kodak", models)


def rows(table):
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


MODELS = (
    TrainedModel("q1", 0.0018, 0.5, 5.25, 800, 0.125, "one core", "int8 8/8"),
    TrainedModel("q5", 0.025, 1.5, 5.25, 4150, 1.5, "two cores", "int8 8/8"),
)
OURS = curve("ours", (0.5, 0.9), (30.0, 34.0), MODELS, (0.9, 0.98))


def models():
    plain = curve("plain", (0.7,), (31.0,))
    return models_table({"ours": OURS, "plain": plain}, read_published_curves(), read_paper())


def test_every_model_has_a_row_with_what_is_known_of_it():
    q1, q5, plain, *_ = rows(models())
    assert (q1["model"], q1["figures"], q1["lmbda"], q1["rd_loss"]) == (
        *("q1", "measured here", "0.0018", "n/a"),
    )
    assert q5 == {
        **{"model": "q5", "figures": "measured here", "kmac_per_pixel": "5.2"},
        **{"precision": "int8 8/8", "lmbda": "0.025", "steps": "4150", "hours": "1.50"},
        **{"psnr_db": "34.000", "ms_ssim": "0.98000", "bpp": "0.9000", "rd_loss": "1.5000"},
    }
    unknown = ("kmac_per_pixel", "precision", "lmbda", "steps", "hours", "ms_ssim", "rd_loss")
    assert plain["model"] == "plain"
    assert {plain[column] for column in unknown} == {"n/a"}


def test_published_rows_say_that_they_are():
    _, _, _, hyperprior, teacher, *students = rows(models())
    # 34.241 GMACs over 768x512 pixels (the paper's count) are 87.08 kMAC a pixel.
    assert (hyperprior["model"], hyperprior["kmac_per_pixel"]) == (
        "bmshj2018-hyperprior q5",
        "87.1",
    )
    assert (teacher["model"], teacher["psnr_db"], teacher["bpp"]) == (
        *("paper: teacher N=128", "34.53", "0.67"),
    )
    assert [row["model"] for row in students] == [
        f"paper: student N={n}" for n in (112, 96, 64, 32, 16)
    ]
    for row in (hyperprior, teacher, *students):
        assert (row["figures"], row["steps"], row["rd_loss"]) == ("published", "n/a", "n/a")


def test_the_published_loss_is_bounded_by_the_mean_psnr():
    # The mean of the MSEs is at least the MSE of the mean PSNR (Jensen): 0.66873 + 0.025 255^2 10^-3.45093 = 1.2443.
    assert any("by these it is 1.244 or more" in note for note in models().notes)


def test_results_that_are_not_of_kodak_are_named():
    elsewhere = Result(Curve("e", (0.7,), (31.0,)), "hwkd evaluate on 2 images of photos")
    table = models_table({"ours": OURS, "e": elsewhere}, read_published_curves(), read_paper())
    (note,) = (note for note in table.notes if note.startswith("Not said to be measured on Kodak"))
    assert note.endswith(": e. On other images they cannot be compared.")
    assert not [note for note in models().notes if note.startswith("Not said")]


def test_hardware_is_told_once():
    notes = models().notes
    assert "Trained on one core: ours." in notes
    assert "Trained on hardware that is not recorded: plain." in notes


def form(name, factor, loss, precision):
    made = tuple(
        TrainedModel(f"{name}-{q}", lmbda, loss * lmbda, precision=precision)
        for q, lmbda in (("q4", 0.013), ("q5", 0.025))
    )
    return curve(name, (factor * 1.0, factor * 10.0), (30.0, 40.0), made)


def quantized(results):
    return quantized_table(ResultFiles(results, None))


def test_quantized_forms_stand_against_the_float_student():
    table = quantized(
        {
            "a": form("a", 1.2, 44.0, "int8 8/8"),
            "a-float": form("a", 1.0, 40.0, "fp32"),
            "a-qat": form("a", 1.1, 42.0, "simulated 8/8"),
            "b-qat": form("b", 1.0, 40.0, "simulated 8/8"),
        }
    )
    qat, ships = rows(table)
    assert (qat["student"], qat["form"]) == ("a", "quantized in training, in torch")
    assert (qat["bd_rate_percent"], qat["shared_psnr_db"]) == ("+10.00", "30.00 to 40.00")
    assert (qat["rd_loss_percent"], qat["models"], qat["precision"]) == (
        *("+5.00", "2", "simulated 8/8"),
    )
    assert (ships["form"], ships["bd_rate_percent"], ships["rd_loss_percent"]) == (
        *("as it ships", "+20.00", "+10.00"),
    )


def test_single_models_have_no_bd_rate_but_a_change_of_loss():
    before, after = (
        curve("a", (1.0,), (30.0,), (TrainedModel("a", 0.025, loss),)) for loss in (2.0, 2.5)
    )
    table = quantized({"a-float": before, "a-ptq": after})
    (row,) = rows(table)
    assert (row["form"], row["bd_rate_percent"], row["shared_psnr_db"]) == (
        *("quantized after training, in torch", "n/a", "n/a"),
    )
    assert row["rd_loss_percent"] == "+25.00"
    assert any("has one point" in note for note in table.notes)


def test_losses_are_compared_at_equal_lmbda_only():
    before = curve(
        *("a", (1.0, 2.0), (30.0, 31.0)),
        (TrainedModel("a", 0.013, 1.0), TrainedModel("b", 0.025, None)),
    )
    after = curve(
        *("a", (1.0, 2.0, 3.0), (30.0, 31.0, 32.0)),
        (TrainedModel("a", 0.013, 1.1), TrainedModel("b", 0.025, 2.0), TrainedModel("c", None, 3)),
    )
    assert loss_changes_percent(before, after) == [pytest.approx(10)]
    assert loss_changes_percent(curve("x", (1.0,), (30.0,)), after) == []


def test_without_a_float_student_there_is_no_table():
    assert quantized({"a": form("a", 1.0, 40.0, "int8 8/8")}) is None


def arm(model, name, loss, note=None):
    return Arm(model, name, 800, 30.0, None, 0.5, loss, note)


def test_arms_are_compared_with_the_first_of_their_model_in_the_files_order():
    table = arms_table(
        ControlArms(
            "800 steps each",
            (
                arm("b", "none", 2.0),
                arm("a", "none", 4.0),
                arm("b", "distilled", 1.5, "stopped early."),
                arm("a", "distilled", 5.0),
            ),
        )
    )
    assert [(r["model"], r["arm"], r["rd_loss_percent"]) for r in rows(table)] == [
        ("b", "none", "+0.00"),
        ("a", "none", "+0.00"),
        ("b", "distilled", "-25.00"),
        ("a", "distilled", "+25.00"),
    ]
    assert rows(table)[0]["ms_ssim"] == "n/a"
    assert table.notes[0] == "800 steps each."
    assert table.notes[-1] == "b, distilled: stopped early."


def test_a_page_holds_the_tables_that_there_are_results_for():
    control = ControlArms("d", (arm("a", "none", 4.0),))
    single = curve("s", (0.7,), (31.0,))
    titles = [t.title for t in results_tables(ResultFiles({"s": single, "o": OURS}, control), "md")]
    assert [title.split(":")[0] for title in titles] == [
        "Models on Kodak",
        "BD-rate against published curves, in percent",
        "BD-rate in MS-SSIM against published curves, in percent",
        "Single models",
        "Control arms",
    ]
    (only,) = results_tables(ResultFiles({}, control), "md")
    assert only.title == "Control arms"


def test_of_a_student_and_its_other_forms_only_what_ships_is_among_the_models():
    forms = {"ours": OURS, "ours-float": curve("ours (float)", (0.5, 0.9), (30.1, 34.1))}
    models, *_ = results_tables(ResultFiles(forms, None), "md")
    names = [row["model"] for row in rows(models) if row["figures"] == "measured here"]
    assert names == ["q1", "q5"]


def on(images, *curves):
    """A folder's results on `images` as `hwkd evaluate` saves them."""
    return {c.curve.name: Result(c.curve, "hwkd evaluate", c.models, images) for c in curves}


def test_results_on_other_images_stand_alone():
    """Nothing is published on them, so nothing published is beside them."""
    files = ResultFiles(on("2 images of photos", OURS), None)
    (models,) = results_tables(files, "md")
    assert models.title == "Models on 2 images of photos"
    assert {row["figures"] for row in rows(models)} == {"measured here"}
    assert not [note for note in models.notes if "Kodak" in note or "paper" in note]


def test_a_folder_holds_classic_codecs_and_results_on_other_images(tmp_path):
    classic = on("24 images of kodak", curve("WebP", (0.5, 5.0), (30.0, 40.0)))["WebP"]
    ours = on("24 images of kodak", OURS)["ours"]
    other = tmp_path / "sets" / "photos"
    write_result(tmp_path / "ours.json", ours)
    write_result(tmp_path / "classic" / "webp.json", classic)
    write_result(other / "ours.json", Result(ours.curve, "", images="2 images of photos"))
    write_result(
        other / "classic" / "jpeg.json", Result(classic.curve, "", images="2 images of photos")
    )
    found = read_result_files(tmp_path)
    assert list(found.classic) == ["webp"]
    assert found.sets["photos"].images == "2 images of photos"
    titles = [table.title for table in results_tables(found, "md")]
    assert titles[0] == "Models on Kodak"
    assert titles[1] == "BD-rate against codecs measured on 24 images of kodak, in percent"
    assert titles[-2:] == [
        "BD-rate against codecs measured on 2 images of photos, in percent",
        "BD-rate in MS-SSIM against codecs measured on 2 images of photos, in percent",
    ]


def test_classic_codecs_come_in_the_order_of_every_table(tmp_path):
    write_result(tmp_path / "ours.json", OURS)
    for name in ("zip", "avif", "jxl", "jpeg"):
        write_result(tmp_path / "classic" / f"{name}.json", OURS)
    assert list(read_result_files(tmp_path).classic) == ["jpeg", "avif", "jxl", "zip"]
