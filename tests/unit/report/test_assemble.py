"""A report assembled from a tiny run: its figures against counts by hand."""

import json
from pathlib import Path

import pytest
import torch

from hwkd.bits import BitPlan
from hwkd.distill.config import RunConfig
from hwkd.distill.run import Outcome
from hwkd.images import open_images, write_png
from hwkd.models.build import build
from hwkd.models.teacher import load_teacher
from hwkd.quantize.brevitas_qat import quantize
from hwkd.quantize.qat import calibrate
from hwkd.report import assemble as module
from hwkd.report.assemble import Assembled, assemble

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
    assert shown.startswith("teacher: tiny-teacher (patch M=12 H=8 Z=8 C=16 widths=16-16 post=8; ")


def test_what_a_model_of_all_rates_is_evaluated_at_is_said(tiny_specs) -> None:
    assert module._at_default(build(tiny_specs["rates"])) == "; at quality 50"
    assert module._at_default(build(tiny_specs["patch"])) == ""
