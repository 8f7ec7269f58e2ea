"""A report assembled from a tiny run: its figures against counts by hand."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hwkd.bits import BitPlan
from hwkd.distill.config import RunConfig
from hwkd.distill.run import Outcome
from hwkd.errors import InputError
from hwkd.images import open_images, write_png
from hwkd.measure.timing import Latency
from hwkd.models.build import build
from hwkd.models.teacher import load_teacher
from hwkd.quantize.qat import calibrate, quantize
from hwkd.report import run as module
from hwkd.report.run import (
    Assembled,
    CodecFigures,
    RunReport,
    assemble,
    report_json,
    report_markdown,
    report_screen,
    report_table,
    report_terminal,
)

BITS = BitPlan(8, 8, (("g_a.stem", 4, 8),))

# PatchSpec(M=12, H=8, Z=8, C=16, widths=(16,), post=(8,)) at 768x512: 48x32 places at 1/16, a quarter of them a level.
PLACES = 48 * 32
BLOCK = 16 * 16 + 9 * 16 + 16 * 16 + 16 * 32 + 32 * 16
G_A = PLACES * (768 * 12 + 768 * 16 + BLOCK + 16 * 12)
H_A = PLACES * 9 * 12 * 8 + (PLACES // 4 + PLACES // 16) * 25 * 8 * 8
H_S = (PLACES // 16 + PLACES // 4) * 9 * 8 * 32 + PLACES * 9 * 8 * 12
G_S = PLACES * (12 * 768 + 12 * 16 + BLOCK + 16 * 768) + PLACES * 16 * 2 * 9 * 48 * 8


@pytest.fixture(scope="module")
def assembled(tmp_path_factory, made_teacher, tiny_specs, photo) -> Assembled:
    folder = tmp_path_factory.mktemp("images")
    for seed in range(2):
        write_png(folder / f"{seed}.png", photo(80, 100, seed))
    torch.manual_seed(0)
    x = torch.from_numpy(photo(128, 128, 8)).permute(2, 0, 1)[None].float() / 255
    twin = build(tiny_specs["patch"]).eval()
    twin.start_from_pca(torch.rand(13, 3, 128, 128), 0.025)
    student = build(tiny_specs["patch"]).eval()
    student.load_state_dict(twin.state_dict())
    quantize(student, BITS)
    calibrate(student, [x])
    for codec in (twin, student):
        codec.update(force=True)
    config = RunConfig(
        spec=tiny_specs["patch"],
        lmbda=0.025,
        target="jetson-nano",
        bits=BITS,
        teacher="tiny-teacher",
        teacher_sha256="",
        second_teacher="",
        second_teacher_sha256="",
        start="random",
        start_sha256="",
        data="photos: 5 images",
        float_steps=8,
        qat_steps=4,
        minutes=None,
        seed=3,
    )
    outcome = Outcome(student, twin, {"float": 8, "qat": 4}, 1.5, ("a note",))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "LATENCY_SECONDS", 0.01)
        patched.setattr(module, "LATENCY_SIZE", (64, 64))
        return assemble(
            config,
            outcome,
            load_teacher(str(made_teacher)),
            ["A sentence of the plan."],
            open_images(folder),
            "tiny-student",
            "hwkd distill --again",
        )


def test_the_students_macs_are_the_hand_count(assembled: Assembled) -> None:
    student = assembled.report.student
    assert assembled.report.mac_size == (768, 512)
    assert student.encode_macs == G_A + H_A + H_S
    assert student.decode_macs == H_S + G_S
    assert student.total_macs == G_A + H_A + H_S + G_S


def test_the_students_weights_are_counted_at_their_stored_bits(
    assembled: Assembled, tiny_specs
) -> None:
    student, teacher = assembled.report.student, assembled.report.teacher
    assert student.weight_bits == "8 (g_a.stem 4)"
    assert teacher.weight_bits == "32"
    assert student.parameters == sum(p.numel() for p in build(tiny_specs["patch"]).parameters())
    # Weights of g_a, h_a, h_s, g_s; channels that layers put out, each with a scale and a bias of 4 bytes; 19 learned
    # activation scales. The 4-bit weights of g_a.stem take half a byte each.
    weights = (23376 + 4064 + 5472 + 30288) - 768 * 16 // 2
    channels = (12 + 16 + 96 + 12) + 3 * 8 + (32 + 32 + 12) + (768 + 16 + 96 + 768 + 8 + 48)
    assert student.weight_bytes == weights + 8 * channels + 4 * 19
    # Not the entropy model: 61 parameters a channel of z.
    assert teacher.weight_bytes == 4 * (teacher.parameters - 61 * 8)


def test_quality_is_of_real_bytes_on_the_images_named(assembled: Assembled) -> None:
    report = assembled.report
    assert report.evaluation_data.startswith("2 images of images")
    for codec in (report.teacher, report.student):
        assert codec.bpp is not None and codec.bpp_estimated is not None
        assert codec.bpp > codec.bpp_estimated > 0  # header and padding of a tiny image
        assert codec.psnr_db is not None and 5 < codec.psnr_db < 60
        assert codec.ms_ssim is None and "ms_ssim" in codec.missing


def test_the_report_says_where_everything_came_from(assembled: Assembled) -> None:
    report = assembled.report
    assert report.student.source == "this run, 8 float, 4 qat steps; a note"
    assert (report.steps, report.seed, report.lmbda) == (12, 3, 0.025)
    assert set(report.versions) == {"hwkd", "torch", "compressai", "brevitas", "fvcore"}
    assert report.versions["torch"] == torch.__version__
    assert report.latency_size == (64, 64)
    # All convolutions are quantized; the entropy model's and the residual sums' arithmetic is not.
    assert not any("it was not quantized" in line for line in report.float_layers)


def test_the_report_is_written_for_people_and_for_programs(
    assembled: Assembled, tmp_path: Path
) -> None:
    assembled.write(tmp_path)
    text = (tmp_path / "report.md").read_text()
    for part in ("# tiny-student", "A sentence of the plan.", "hwkd distill --again"):
        assert part in text
    held = json.loads((tmp_path / "report.json").read_text())
    assert held["student"]["total_macs"] == G_A + H_A + H_S + G_S
    assert held["student"]["missing"].keys() == {"ms_ssim"}
    shown = assembled.terminal(None)
    assert "\nteacher: tiny-teacher (patch M=12 H=8 Z=8 C=16 widths=16-16 post=8; " in shown


def test_what_a_model_of_all_rates_is_evaluated_at_is_said(tiny_specs) -> None:
    assert module._at_default(build(tiny_specs["rates"])) == "; at quality 50"
    assert module._at_default(build(tiny_specs["patch"])) == ""


TEACHER = CodecFigures(
    name="teacher-q5",
    source="weights/teacher.safetensors",
    architecture="gdn N=128 M=192 H=128 Z=128",
    parameters=4_000_000,
    weight_bits="32",
    weight_bytes=16 * 2**20,
    encode_macs=20_000_000_000,
    decode_macs=16_000_000_000,
    total_macs=39_321_600_000,
    not_counted={"pow": 12},
    psnr_db=34.5,
    ms_ssim=0.98,
    bpp=0.7,
    bpp_estimated=0.69,
    encode_latency=Latency(100.0, 120.0, (95.0, 105.0), 20),
    decode_latency=Latency(80.0, 90.0, (70.0, 85.0), 20),
)
STUDENT = replace(
    TEACHER,
    name="student-8bit",
    source="this run",
    architecture="relu N=64 M=192 H=64 Z=64",
    parameters=1_000_000,
    weight_bits="8",
    weight_bytes=2**20,
    encode_macs=5_000_000_000,
    decode_macs=4_000_000_000,
    total_macs=3_932_160_000,
    not_counted={"abs": 1, "rsqrt": 3},
    psnr_db=34.0,
    ms_ssim=None,
    encode_latency=Latency(25.0, 27.0, (24.0, 26.0), 20),
    decode_latency=Latency(78.0, 90.0, (70.0, 88.0), 20),
    missing={"ms_ssim": "one image is small"},
)
REPORT = RunReport(
    teacher=TEACHER,
    student=STUDENT,
    mac_size=(768, 512),
    latency_size=(768, 512),
    latency_method="torch eager, float32",
    host="some CPU, 2 threads",
    evaluation_data="2 embedded images",
    precision_plan=("The encoder runs in int8.", "The Nano's GPU has no int8 arithmetic."),
    float_layers=("h_s",),
    training_data="4 embedded images",
    steps=500,
    lmbda=0.025,
    seed=7,
    versions={"hwkd": "0.1.0", "torch": "2.13.0"},
    command="hwkd distill --target jetson-nano --bits 8 --seed 7",
)


def cells(report=REPORT):
    return {row[0]: row[1:] for row in report_table(report).rows}


def test_table_sets_the_student_beside_the_teacher():
    table = cells()
    assert table["parameters"][:3] == ("4,000,000", "1,000,000", "-75.0 %")
    assert table["weight_mib"][:3] == ("16.000", "1.000", "-93.8 %")
    assert table["encode_gmacs"][:3] == ("20.000", "5.000", "-75.0 %")
    assert table["decode_gmacs"][:3] == ("16.000", "4.000", "-75.0 %")
    assert table["kmac_per_pixel"][:3] == ("100.00", "10.00", "-90.0 %")
    assert table["psnr_db"][:3] == ("34.500", "34.000", "-0.500")
    assert table["bpp"][:3] == ("0.7000", "0.7000", "+0.0 %")


def test_latency_carries_its_spread_to_three_digits():
    table = cells()
    assert table["encode_latency_ms"][:2] == ("100 [95, 105]", "25.0 [24.0, 26.0]")


def test_latency_below_the_runs_of_an_interval_says_so():
    few = replace(STUDENT, encode_latency=Latency(1.5, 1.6, None, 3))
    assert cells(replace(REPORT, student=few))["encode_latency_ms"][1:3] == (
        "1.50 [n/a]",
        "-98.5 % =",
    )


def test_percentiles_and_runs_stand_in_the_note():
    note = next(n for n in report_table(REPORT).notes if "95th percentiles" in n)
    assert note.endswith(
        "95th percentiles and runs: teacher encode 120.00 ms, n=20; teacher decode 90.00 ms, n=20; "
        "student encode 27.00 ms, n=20; student decode 90.00 ms, n=20."
    )


def test_a_latency_change_within_the_spread_is_marked():
    assert cells()["decode_latency_ms"][2] == "-2.5 % ="
    assert cells()["encode_latency_ms"][2] == "-75.0 %"
    assert any("=: the intervals overlap" in note for note in report_table(REPORT).notes)


def test_an_unknown_figure_is_na_with_its_reason():
    assert cells()["ms_ssim"][:3] == ("0.98000", "n/a", "n/a")
    assert "ms_ssim of the student is n/a: one image is small." in report_table(REPORT).notes


def test_a_reason_that_both_share_is_told_once():
    teacher = replace(TEACHER, ms_ssim=None, missing=STUDENT.missing)
    notes = report_table(replace(REPORT, teacher=teacher)).notes
    assert notes[0] == "ms_ssim of the teacher and the student is n/a: one image is small."


def test_an_unknown_figure_without_a_reason_is_refused():
    with pytest.raises(InputError, match="bpp of 'teacher-q5' is unknown: say why"):
        replace(TEACHER, bpp=None)


def test_every_figure_says_how_it_was_found_and_points_to_a_note():
    notes = report_table(REPORT).notes
    for name, (*_, found) in cells().items():
        word, mark = found.split(" ")
        assert word in ("measured", "counted", "computed", "estimated"), name
        assert sum(note.startswith(f"{mark} ") for note in notes) == 1, name


def test_each_way_of_finding_is_told_once():
    table = cells()
    assert table["psnr_db"][-1] == table["ms_ssim"][-1] == table["bpp"][-1]
    assert table["encode_gmacs"][-1] == table["kmac_per_pixel"][-1]
    assert table["bpp_estimated"][-1] != table["bpp"][-1]
    numbered = [note for note in report_table(REPORT).notes if note.startswith("[")]
    assert len({note.split("] ")[1] for note in numbered}) == len(numbered) == 6


def test_what_was_not_counted_is_told_of_each_codec():
    (note,) = (n for n in report_table(REPORT).notes if "Not counted" in n)
    assert "Not counted: teacher: pow x12; student: abs x1, rsqrt x3; ReLU, " in note


def test_the_table_fits_100_columns():
    slow = Latency(12345.0, 14000.0, (12000.0, 13000.0), 20)
    large = replace(TEACHER, parameters=123_456_789, encode_latency=slow, decode_latency=slow)
    report = replace(REPORT, teacher=large)
    wide = report_terminal(report, 100).splitlines()
    assert max(map(len, wide)) <= 100
    grid = [line for line in wide if line.startswith("│")]
    assert len(grid) == len(cells())  # no cell is folded


@pytest.mark.parametrize("width", [60, 80])
def test_a_narrow_terminal_folds_cells_but_no_name(width):
    lines = report_terminal(REPORT, width).splitlines()
    assert max(map(len, lines)) <= width
    assert any("encode_latency_ms" in line for line in lines)


def test_what_the_student_saves_and_costs_stands_first_on_a_screen():
    verdict = (
        "student-8bit against teacher-q5: psnr_db -0.500, bpp +0.0 %, weight_mib -93.8 %, kmac_per_pixel -90.0 %, "
        "encode_latency_ms -75.0 %, decode_latency_ms -2.5 % (within the spread)."
    )
    assert report_terminal(REPORT).startswith(f"{verdict}\nteacher: teacher-q5 (gdn")
    long = replace(REPORT, precision_plan=REPORT.precision_plan * 9)
    lines = report_screen(long, 80, "runs/a/report.md holds all").splitlines()
    assert len(lines) <= 41 and max(map(len, lines)) <= 80
    text = " ".join(" ".join(lines).split())
    assert text.startswith(verdict) and "│ psnr_db │ 34.500 │ 34.000 │" in text
    assert "Left out: teacher, student and host; the precision plan; " in text
    assert text.endswith("runs/a/report.md holds all.")
    # What fits is whole.
    assert report_screen(REPORT, None, "x") == report_terminal(REPORT)


def test_the_terminal_form_has_the_plan_after_the_table():
    text = report_terminal(REPORT)
    assert "\nteacher: teacher-q5 (gdn N=128 M=192 H=128 Z=128; weights/teacher" in text
    assert text.endswith(
        "precision plan:\n- The encoder runs in int8.\n- The Nano's GPU has no int8 arithmetic."
    )


def test_what_happened_to_the_run_stands_with_its_training():
    events = ("started by 2 processes", "a process was lost", "finished training")
    text = report_markdown(replace(REPORT, history=events))
    assert "- started by 2 processes\n- a process was lost\n- finished training\n\nThe same" in text
    assert report_json(replace(REPORT, history=events))["history"] == list(events)


def test_markdown_holds_all_that_is_needed_to_judge_and_repeat_the_run():
    text = report_markdown(REPORT)
    for part in (
        "# student-8bit\n",
        "- Teacher: teacher-q5 (gdn N=128 M=192 H=128 Z=128), from weights/teacher.safetensors\n",
        "- Latency host: some CPU, 2 threads\n",
        "- The encoder runs in int8.\n- The Nano's GPU has no int8 arithmetic.\n",
        "- Layers left in float: h_s.\n",
        "- Data: 4 embedded images\n- 500 steps, seed 7, lmbda 0.025\n",
        "- Versions: hwkd 0.1.0, torch 2.13.0\n",
        "```\nhwkd distill --target jetson-nano --bits 8 --seed 7\n```\n",
        "student: abs x1, rsqrt x3; ",
        "\n[1] Parameters of the float models",
        "| computed [2] |",
    ):
        assert part in text


def test_json_holds_numbers_and_their_provenance():
    content = json.loads(json.dumps(report_json(REPORT), allow_nan=False))
    figures = {figure["figure"]: figure for figure in content["figures"]}
    assert figures["weight_mib"]["student"] == 1.0
    assert figures["ms_ssim"]["student"] is None
    assert figures["encode_latency_ms"]["teacher"] == {
        "median_ms": 100.0,
        "p95_ms": 120.0,
        "interval95_ms": [95.0, 105.0],
        "runs": 20,
    }
    assert figures["psnr_db"]["found"] == "measured"
    assert content["notes"][figures["psnr_db"]["note"] - 1].startswith("On 2 embedded images, ")
    assert content["student"]["missing"] == {"ms_ssim": "one image is small"}
    assert content["command"] == REPORT.command


def test_json_is_strict_even_for_an_infinite_psnr():
    perfect = replace(REPORT, teacher=replace(TEACHER, psnr_db=math.inf))
    content = json.loads(json.dumps(report_json(perfect), allow_nan=False))
    assert content["teacher"]["psnr_db"] == "inf"


def test_a_report_needs_no_torch():
    code = "import sys, hwkd.report.run; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
