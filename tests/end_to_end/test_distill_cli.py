"""From a teacher to a student and its report, and everything else that then works on the run."""

import json
import shlex

import pytest
from safetensors.torch import load_file

from hwkd.bits import BitPlan
from hwkd.distill.run_folder import load_run, read_config
from hwkd.measure.eager.macs import count_macs
from hwkd.models.build import build
from hwkd.models.teacher import load_teacher
from tests.tables import table_of

TINY = ("--width", "16", "--hyper", "8", "--hyper-latent", "8")


@pytest.fixture(scope="module")
def run(place, hwkd):
    """The folder of a run of a few steps."""
    folder = place.folder / "run"
    assert hwkd([*place.argv, *TINY, "--steps", "6", "--qat-steps", "3", "-o", folder]) == 0
    return folder


@pytest.fixture
def report(run):
    return json.loads((run / "report.json").read_text())


def test_the_run_folder_holds_what_it_should(run):
    held = {p.relative_to(run).as_posix() for p in run.rglob("*") if p.is_file()}
    assert held == {
        "config.json",
        "events.jsonl",
        "float.safetensors",
        "student.safetensors",
        "report.md",
        "report.json",
        "checkpoint/state.pt",
    }


def test_validated_steps_are_logged(place, hwkd, monkeypatch):
    monkeypatch.setattr("hwkd.distill.train.EPOCH_STEPS", 2)
    folder = place.folder / "logged"
    words = ("--family", "relu", "--width", "8", "--checkpoint-every", "2")
    assert hwkd([*place.argv, *words, "--steps", "4", "--qat-steps", "2", "-o", folder]) == 0
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [(row["phase"], row["step"]) for row in rows] == [("float", 2), ("float", 4), ("qat", 2)]
    for row in rows:
        # R + lmbda D of the batch is what its parts say.
        assert row["rd"] == pytest.approx(row["bpp"] + 0.025 * 255**2 * row["mse"], rel=1e-2)
        assert row["validation_rd"] > 0


def test_the_report_names_the_teacher_and_the_student(run, place):
    text = (run / "report.md").read_text()
    assert text.startswith(
        "# run\n\n"
        f"- Teacher: tiny-teacher (patch M=12 H=8 Z=8 C=16 widths=16-16 post=8), from {place.teacher}\n"
        "- Student: run (patch M=12 H=8 Z=8 C=16 widths=16-16-16 post=4), from this run, 6 float, 3 qat steps; "
        "the student inherits g_a, g_s, h_a, h_s from teacher tiny-teacher\n"
    )
    assert "- 9 steps, seed 0, lmbda 0.025\n" in text


def test_the_precision_plan_says_fp16_on_the_gpu_and_int8_on_the_cpu(run):
    text = (run / "report.md").read_text()
    assert "- encoder on gpu: fp16, weights stored in 8 bits; no int8 arithmetic: " in text
    assert "- encoder on cpu, if asked for: int8, weights stored in 8 bits; " in text
    assert "int8 arithmetic is offered on the cpu (4x Cortex-A57)" in text


def test_the_students_macs_are_those_of_its_architecture(run, report):
    counts = count_macs(build(read_config(run).spec), 768, 512)
    student = report["student"]
    assert student["encode_macs"] == counts.encode_macs > 0
    assert student["decode_macs"] == counts.decode_macs > 0
    figures = {figure["figure"]: figure for figure in report["figures"]}
    assert figures["encode_gmacs"]["student"] == counts.encode_macs / 1e9
    assert figures["kmac_per_pixel"]["student"] == counts.total_macs / (768 * 512) / 1e3


def test_the_figures_agree_with_each_other(run, report):
    teacher, student = report["teacher"], report["student"]
    assert student["parameters"] == sum(
        p.numel() for p in build(read_config(run).spec).parameters()
    )
    assert teacher["weight_bytes"] == pytest.approx(4 * teacher["parameters"], rel=0.05)
    # 8 bits for the convolutions; biases and the entropy models stay wider.
    assert student["parameters"] < student["weight_bytes"] < 2 * student["parameters"]
    for codec in (teacher, student):
        assert codec["bpp"] == pytest.approx(codec["bpp_estimated"], rel=0.3)
        assert 20 < codec["psnr_db"] < 50
        assert codec["ms_ssim"] is None
        assert codec["missing"] == {"ms_ssim": "2 of 2 images have a side under 161 pixels"}
        assert codec["encode_latency"]["median_ms"] > 0


def test_the_report_tells_the_images_that_were_trained_on(place, hwkd):
    folder = place.folder / "seen"
    words = ("--evaluate", place.folder / "images", "--family", "relu", "--width", "8")
    assert hwkd([*place.argv, *words, "--steps", "0", "--qat-steps", "0", "-o", folder]) == 0
    assert "3 of the 4 images of --evaluate were trained on" in (folder / "report.md").read_text()


@pytest.mark.slow
def test_the_command_of_the_report_makes_the_same_weights(run, hwkd, same_weights):
    line = (run / "report.md").read_text().split("```")[1].strip()
    program, *argv = shlex.split(line)
    assert program == "hwkd"
    assert hwkd(argv) == 0
    assert same_weights(run, run.with_name("run-again"))
    again = (run.with_name("run-again") / "report.md").read_text().split("```")[1]
    assert again.strip() == f"{line}-again"


@pytest.mark.slow
def test_a_run_by_minutes_is_repeated_by_its_command(place, hwkd, same_weights):
    # The length is measured: it differs from run to run, the command has what came out.
    folder = place.folder / "timed"
    words = ("--family", "relu", "--width", "8", "--minutes", "0.0001", "--ptq", "-o", folder)
    assert hwkd([*place.argv, *words]) == 0
    line = json.loads((folder / "report.json").read_text())["command"]
    assert "--minutes" not in line and " --qat-steps 0 " in line
    assert hwkd(shlex.split(line)[1:]) == 0
    assert same_weights(folder, folder.with_name("timed-again"))


def test_evaluate_agrees_with_the_report(run, report, place, hwkd, capsys):
    words = ("--data", place.folder / "others", "--format", "json")
    assert hwkd(["evaluate", run, f"{run}:float", *words]) == 0
    student, float_student = table_of(capsys.readouterr().out)["rows"]
    assert (student["model"], float_student["model"]) == ("run", "run (float)")
    assert student["psnr_db"] == pytest.approx(report["student"]["psnr_db"])
    assert student["bpp"] == pytest.approx(report["student"]["bpp"])
    assert float_student["psnr_db"] != student["psnr_db"]


def test_quantize_takes_the_float_student(run, place, hwkd, capsys):
    words = ("--evaluate", place.folder / "others", "--format", "json")
    assert hwkd(["quantize", f"{run}:float", "--bits", "4/8", *words]) == 0
    table = table_of(capsys.readouterr().out)
    assert [row["model"] for row in table["rows"]] == ["float", "brevitas 4/8"]
    before, after = (row["weight_mib"] for row in table["rows"])
    assert before / 8 < after < before / 2


def test_quantize_refuses_the_quantized_student(run, hwkd, capsys):
    assert hwkd(["quantize", run]) == 2
    assert capsys.readouterr().err == (
        f"hwkd: error: run is quantized already: name its float student, {run}:float\n"
    )


def test_a_run_starts_another_that_only_quantizes(run, place, hwkd):
    folder = place.folder / "ptq"
    words = ("--start", run, "--steps", "0", "--ptq", "--bits", "6/8", "-o", folder)
    assert hwkd([*place.argv, *TINY, *words]) == 0
    first, second = load_file(run / "float.safetensors"), load_file(folder / "float.safetensors")
    assert all(first[name].equal(second[name]) for name in first)
    assert load_run(folder).bits == BitPlan(6, 8)
    assert "the student starts as a copy of run run (float)" in (folder / "report.md").read_text()


def test_a_run_starts_from_a_shipped_model(place, hwkd):
    folder = place.folder / "shipped"
    words = ("--start", "patch-small-float", "--all-rates", "--steps", "0", "--ptq", "--kd", "none")
    assert hwkd([*place.argv, *words, "-o", folder]) == 0
    shipped, own = load_teacher("patch-small-float"), load_run(folder, as_float=True)
    assert own.spec == shipped.spec
    assert own.lmbda is None
    held = own.codec.state_dict()
    assert all(held[name].equal(value) for name, value in shipped.model.named_parameters())
    assert (
        "the student starts as a copy of shipped patch-small-float"
        in (folder / "report.md").read_text()
    )


def test_the_float_students_tables_are_its_own_not_its_teachers(run, place):
    """Decoding needs the tables of the trained weights; an inherited copy would be the teacher's."""
    codec = load_run(run, as_float=True).codec
    name = "entropy_bottleneck._quantized_cdf"
    held = codec.state_dict()[name].clone()
    codec.update(force=True)
    assert held.equal(codec.state_dict()[name])
    assert not held.equal(load_file(place.teacher)[name])


def test_a_float_student_has_no_precision_plan(place, hwkd):
    folder = place.folder / "float"
    words = ("--bits", "none", "--family", "gdn", "--width", "8", "--kd", "none", "--steps", "2")
    assert hwkd([*place.argv, *words, "-o", folder]) == 0
    text = (folder / "report.md").read_text()
    assert "- The student stays in float32 (--bits none): no plan for jetson-nano.\n" in text
    assert "fp16" not in text
    assert json.loads((folder / "report.json").read_text())["student"]["weight_bits"] == "32"


def test_a_target_that_saturates_gets_the_bits_it_can_hold(place, hwkd):
    words = ("--target", "x86-avx2", "--family", "relu", "--width", "8", "--steps", "0")
    folder = place.folder / "avx2"
    assert hwkd([*place.argv, *words, "-o", folder]) == 0
    assert read_config(folder).bits == BitPlan(7, 8)
    assert "they are held to that" in (folder / "report.md").read_text()
