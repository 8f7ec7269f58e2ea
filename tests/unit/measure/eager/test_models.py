import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hwkd.bits import BitPlan
from hwkd.distill.run_folder import LoadedModel
from hwkd.errors import InputError
from hwkd.images import open_images
from hwkd.measure.eager.models import evaluated, load_subject, newest_run, quantized
from hwkd.measure.quality import evaluate
from hwkd.models.build import build
from hwkd.models.checkpoint import save_weights
from hwkd.qualities import lmbda_at
from hwkd.quantize.qat import quantize

BARE = "hyperprior:N=8,M=12,family=relu"


@pytest.fixture(scope="module")
def trained(made_teacher):
    return load_subject(str(made_teacher), 128, 64)


@pytest.fixture
def run(monkeypatch, tiny_specs, tmp_path):
    """A run folder in place of a trained one: of "RUN" a student quantized to 4 bits, of "RUN:float" its float twin."""
    bits = BitPlan(4, 8, (("h_s.*", 8, 8), ("g_a.0", 6, 8)))
    spec = tiny_specs["relu"]
    folder = tmp_path / "student"
    folder.mkdir()

    def load_model(text):
        codec = build(spec).eval()
        is_float = text == f"{folder}:float"
        if not is_float:
            assert text == str(folder)
            quantize(codec, bits)
        name = "student (float)" if is_float else "student"
        return LoadedModel(name, codec, spec, 0.01, None if is_float else bits, "abc")

    monkeypatch.setattr("hwkd.measure.eager.models.load_model", load_model)
    return folder


def report(folder, **fields):
    student = {"psnr_db": 30.5, "bpp": 0.5, "ms_ssim": None} | fields
    content = {"student": student, "evaluation_data": "6 images of photos"}
    (folder / "report.json").write_text(json.dumps(content))


def test_a_bare_architecture_is_counted_by_hand():
    subject = load_subject(BARE, 100, 64)
    # Padded to 128x64. g_a: 5x5 kernels of stride 2, from 3 to 8, 8 to 8 twice, and 8 to 12 channels.
    pixels = 128 * 64
    g_a = 25 * (3 * 8 / 4 + 8 * 8 / 16 + 8 * 8 / 64 + 8 * 12 / 256) * pixels
    # A transposed convolution counts by its input's size.
    g_s = 25 * (12 * 8 / 256 + 8 * 8 / 64 + 8 * 8 / 16 + 8 * 3 / 4) * pixels
    assert (subject.macs.g_a, subject.macs.g_s) == (g_a, g_s)
    assert sum(layer.macs for layer in subject.layers) == subject.macs.total_macs
    assert subject.text == subject.facts.name == BARE
    assert (subject.facts.is_trained, subject.facts.weight_bits) == (False, "32")
    assert (subject.facts.lmbda, subject.facts.sha256, subject.quality) == (None, None, None)
    assert subject.bits is None


def test_float_bytes_are_four_a_parameter():
    subject = load_subject(BARE, 64, 64)
    assert subject.size.parameters == sum(p.numel() for p in subject.codec.parameters())
    assert subject.size.weight_bytes_fp32 == 4 * subject.size.parameters


def test_the_random_weights_are_the_same_every_time_and_leave_the_generator_alone():
    torch.manual_seed(5)
    first = load_subject(BARE, 64, 64).codec.state_dict()
    drawn = torch.rand(1)
    torch.manual_seed(6)
    second = load_subject(BARE, 64, 64).codec.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(1))


def test_a_trained_file_says_what_it_is(trained, made_teacher):
    facts = trained.facts
    assert (facts.name, facts.family, facts.is_trained) == ("tiny-teacher", "patch", True)
    assert facts.lmbda == 0.025
    assert facts.sha256 == hashlib.sha256(made_teacher.read_bytes()).hexdigest()
    assert trained.size.buffer_bytes > 0
    assert trained.quality is None


def test_a_shipped_model_has_the_quality_of_its_card(monkeypatch, made_teacher):
    from hwkd.models.shipped import read_card

    real = load_subject("patch-q5", 64, 64)
    card = read_card("patch-q5")
    assert (real.quality.psnr_db, real.quality.bpp) == (card.kodak_psnr_db, card.kodak_bpp)
    assert real.quality.on == "Kodak, 24 images"
    unmeasured = replace(card, kodak_psnr_db=None)
    monkeypatch.setattr("hwkd.measure.eager.models.read_card", lambda name: unmeasured)
    assert load_subject("patch-q5", 64, 64).quality is None


def test_a_quantized_run_costs_as_its_float_twin_and_is_stored_at_its_bits(run):
    subject = load_subject(str(run), 64, 64)
    twin = load_subject(f"{run}:float", 64, 64)
    assert subject.facts.weight_bits == "4 (h_s.* 8, g_a.0 6)"
    assert (twin.facts.weight_bits, twin.bits) == ("32", None)
    assert subject.bits.weight_bits == 4
    assert subject.macs == twin.macs
    assert subject.size.parameters == twin.size.parameters
    assert subject.size.weight_bytes < twin.size.weight_bytes / 4
    assert {p.dtype for p in subject.codec.parameters()} == {torch.float32}


def test_a_run_has_the_quality_of_its_report_and_its_twin_has_none(run):
    report(run)
    quality = load_subject(str(run), 64, 64).quality
    assert (quality.psnr_db, quality.bpp, quality.ms_ssim) == (30.5, 0.5, None)
    assert (quality.on, quality.source) == ("6 images of photos", "the run's report (real bytes)")
    assert load_subject(f"{run}:float", 64, 64).quality is None


@pytest.mark.parametrize("broken", ["nothing", "{}", '{"student": {"psnr_db": "n/a"}}', "[]"])
def test_a_report_of_another_form_says_nothing(run, broken):
    (run / "report.json").write_text(broken)
    assert load_subject(str(run), 64, 64).quality is None


def test_a_bare_architecture_is_quantized_for_its_bytes_and_plan():
    subject = load_subject(BARE, 64, 64)
    small = quantized(subject, BitPlan(4, 8))
    assert small.facts.name == f"{BARE} 4/8"
    assert (small.facts.weight_bits, small.bits) == ("4", BitPlan(4, 8))
    assert small.size.weight_bytes < subject.size.weight_bytes / 4
    assert replace(small.size, weight_bytes=0) == replace(subject.size, weight_bytes=0)
    assert (small.macs, small.codec, small.text) == (subject.macs, subject.codec, BARE)


def test_quality_is_measured_on_the_images_given(trained, image_folder):
    images = open_images(image_folder)
    quality = evaluated(trained, images, None).quality
    assert quality.on == "6 images of images"
    assert quality.source == "hwkd profile --evaluate (real bytes)"
    assert quality.psnr_db > 15 and quality.bpp > 0
    assert trained.quality is None


def test_the_quantized_student_is_evaluated_and_not_its_twin(run, monkeypatch, image_folder):
    def evaluate(codec, images):
        # A quantized layer has a quantizer of its weights.
        assert any(name.endswith("weight_quant") for name, _ in codec.named_modules())
        raise InputError("evaluated")

    monkeypatch.setattr("hwkd.measure.eager.models.evaluate", evaluate)
    with pytest.raises(InputError, match="evaluated"):
        evaluated(load_subject(str(run), 64, 64), open_images(image_folder), None)


def test_random_weights_are_not_evaluated(image_folder):
    subject = load_subject(BARE, 64, 64)
    assert evaluated(subject, open_images(image_folder), None) is subject


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hyperprior", "'hyperprior' does not say how wide: give hyperprior:N=64,M=192"),
        ("hyperprior:N=8,M=12,K=1", "unknown key in 'hyperprior:N=8,M=12,K=1' 'K'"),
        ("pach-q5", "pach-q5"),
    ],
)
def test_what_is_no_model_is_refused(text, message):
    with pytest.raises(InputError) as caught:
        load_subject(text, 64, 64)
    assert message in str(caught.value)


def test_a_size_of_nothing_is_refused():
    with pytest.raises(InputError, match="0x64 has no MACs to count"):
        load_subject(BARE, 0, 64)


def made_run(folder, name, *, files=("config.json", "student.safetensors"), at):
    for file in files:
        path = folder / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
        os.utime(path, (at, at))


def test_the_newest_run_is_the_finished_one_written_to_last(tmp_path):
    made_run(tmp_path, "b", at=3_000)
    made_run(tmp_path, "a", at=2_000)
    made_run(tmp_path, "c", at=1_000)
    # Later, but without a student, or without what says how it was made.
    made_run(tmp_path, "unfinished", files=("config.json", "float.safetensors"), at=9_000)
    made_run(tmp_path, "stray", files=("student.safetensors",), at=9_000)
    # The configuration may be rewritten when a run goes on; only its student counts.
    os.utime(tmp_path / "c" / "config.json", (9_000, 9_000))
    assert newest_run(tmp_path) == str(tmp_path / "b")


def test_without_a_finished_run_there_is_none(tmp_path, monkeypatch):
    made_run(tmp_path, "unfinished", files=("config.json",), at=9_000)
    assert newest_run(tmp_path) is None
    assert newest_run(tmp_path / "none") is None
    monkeypatch.chdir(tmp_path)
    assert newest_run() is None


def test_runs_are_looked_for_where_distill_puts_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made_run(Path("runs"), "student", at=1_000)
    assert newest_run() == os.path.join("runs", "student")


def test_a_model_of_all_rates_is_evaluated_at_the_quality_that_is_asked(
    tmp_path, tiny_specs, image_folder, in_one_thread
):
    codec = build(tiny_specs["rates"]).eval()
    codec.update(force=True)
    path = tmp_path / "rates.safetensors"
    save_weights(path, codec, half=False, metadata={})
    subject = load_subject(str(path), 64, 64)
    assert subject.qualities == (1, 100)
    images = open_images(image_folder)
    quality = evaluated(subject, images, 20).quality
    codec.set_lmbda(lmbda_at(20))
    assert quality.bpp == pytest.approx(evaluate(codec, images).bpp)
    assert quality.source == "hwkd profile --evaluate (real bytes, quality 20)"
