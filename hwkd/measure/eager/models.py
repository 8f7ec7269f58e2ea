"""What is profiled in torch: from what the user names to a float model, its counts and what is known of its quality."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from hwkd.bits import BitPlan
from hwkd.distill.run_folder import load_model
from hwkd.images import ImageSource
from hwkd.measure.eager.macs import codec_layers, count_macs
from hwkd.measure.profile import FLOAT_BYTES, SEED, Profiled
from hwkd.measure.quality import evaluate
from hwkd.measure.record import Macs, ModelFacts, Quality, Size
from hwkd.models.base import HyperpriorCodec
from hwkd.models.build import build
from hwkd.models.shipped import read_card, shipped_names
from hwkd.models.spec import Spec, is_architecture, parse_architecture, spec_to_json
from hwkd.qualities import DEFAULT_QUALITY, HIGHEST, LOWEST, lmbda_at
from hwkd.quantize.integer import weight_bytes
from hwkd.quantize.qat import quantize, with_empty_rests


@dataclass(frozen=True)
class Subject(Profiled):
    """A model in torch. codec: in float32, of a quantized student its float twin, which costs the same MACs."""

    spec: Spec
    codec: HyperpriorCodec

    @property
    def qualities(self) -> tuple[int, int] | None:
        """The lowest and the highest quality that it has; None of one rate."""
        return (LOWEST, HIGHEST) if self.codec.serves_all_rates else None


def load_subject(text: str, width: int, height: int) -> Subject:
    """The subject that `text` names: a bare architecture, or anything `hwkd.distill.run_folder.load_model` takes.

    MACs and layers are counted for an image of width x height, padded to multiples of 64.

    Raises:
        InputError: nothing of this name, or a size under 1x1.
    """
    if is_architecture(text):
        spec = parse_architecture(text)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            codec = build(spec).eval().requires_grad_(False)
        facts = ModelFacts(text, str(spec), spec_to_json(spec), spec.family, "32", False)
        return _counted(text, facts, spec, codec, None, weight_bytes(codec), None, width, height)
    loaded = load_model(text)
    codec = loaded.codec
    stored_bytes = weight_bytes(codec)
    if loaded.bits is not None:
        codec = with_empty_rests(load_model(f"{text}:float").codec)
    facts = ModelFacts(
        name=loaded.name,
        architecture=str(loaded.spec),
        spec=spec_to_json(loaded.spec),
        family=loaded.spec.family,
        weight_bits="32" if loaded.bits is None else loaded.bits.weights_in_words(),
        is_trained=True,
        lmbda=loaded.lmbda,
        sha256=loaded.sha256,
    )
    return _counted(
        text, facts, loaded.spec, codec, loaded.bits, stored_bytes, _quality(text), width, height
    )


def quantized(subject: Subject, bits: BitPlan) -> Subject:
    """A bare architecture as quantized to `bits`: its name, the bytes of its weights, and its plan on a target.

    Raises:
        InputError: as `hwkd.quantize.qat.quantize`.
    """
    codec = build(subject.spec)
    quantize(codec, bits)
    name = f"{subject.facts.name} {bits.weight_bits}/{bits.act_bits}"
    facts = replace(subject.facts, name=name, weight_bits=bits.weights_in_words())
    size = replace(subject.size, weight_bytes=weight_bytes(codec))
    return replace(subject, bits=bits, facts=facts, size=size)


def evaluated(subject: Subject, images: ImageSource, quality: int | None) -> Subject:
    """`subject` with its quality measured on `images` from real bytes, that of the quantized student where there is
    one; a bare architecture as it is.

    Args:
        quality: of a model of all rates; None of one rate.
    Raises:
        InputError, HwkdError: as `hwkd.measure.quality.evaluate`.
    """
    if not subject.facts.is_trained:
        return subject
    codec = subject.codec if subject.bits is None else load_model(subject.text).codec
    if quality is not None:
        codec.set_lmbda(lmbda_at(quality))
    return replace(subject, quality=evaluate(codec, images).recorded(images, quality))


def newest_run(folder: Path = Path("runs")) -> str | None:
    """The finished run in `folder` that was written to last; None where there is none."""
    finished = [
        p for p in folder.glob("*/student.safetensors") if (p.parent / "config.json").is_file()
    ]
    if not finished:
        return None
    return str(max(finished, key=lambda p: p.stat().st_mtime).parent)


def _counted(
    text: str,
    facts: ModelFacts,
    spec: Spec,
    codec: HyperpriorCodec,
    bits: BitPlan | None,
    stored_bytes: int,
    quality: Quality | None,
    width: int,
    height: int,
) -> Subject:
    counts = count_macs(codec, width, height)
    parameters = sum(p.numel() for p in codec.parameters())
    size = Size(
        parameters=parameters,
        weight_bytes_fp32=FLOAT_BYTES * parameters,
        weight_bytes=stored_bytes,
        buffer_bytes=sum(b.numel() * b.element_size() for b in codec.buffers()),
    )
    macs = Macs(**counts.by_network, not_counted=dict(counts.not_counted))
    layers = codec_layers(codec, width, height)
    return Subject(text, facts, bits, size, macs, layers, quality, spec, codec)


def _quality(text: str) -> Quality | None:
    """What is known without measuring: a shipped model's card, or a run's report."""
    if text in shipped_names():
        card = read_card(text)
        if card.kodak_psnr_db is None or card.kodak_bpp is None:
            return None
        on = "Kodak, 24 images"
        at = f", quality {DEFAULT_QUALITY}" if card.lmbda is None else ""
        source = f"the model's card (hwkd evaluate{at})"
        return Quality(card.kodak_psnr_db, card.kodak_bpp, on, source)
    report = Path(text) / "report.json"
    if not report.is_file():
        return None
    try:
        raw = json.loads(report.read_text(encoding="utf-8"))
        student = raw["student"]
        return Quality(
            float(student["psnr_db"]),
            float(student["bpp"]),
            str(raw["evaluation_data"]),
            "the run's report (real bytes)",
            student["ms_ssim"],
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None  # a report of another form says nothing that could be relied on
