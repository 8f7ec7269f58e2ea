"""A quantized codec as a bundle: from what the user names to graphs, entropy path, tables, self-test, manifest and card."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor

from hwkd.bits import BitPlan
from hwkd.distill.config import RunConfig
from hwkd.distill.data import calibration_crops
from hwkd.distill.run_folder import LoadedModel, TrainState, load_model, read_config, read_state
from hwkd.errors import InputError
from hwkd.export.card import CardFields
from hwkd.export.checks import centre, differences, executed, reach
from hwkd.export.entropy_path import (
    EntropyPath,
    coding_tables,
    count_symbols,
    entropy_path,
    hyper_model,
    selftest,
)
from hwkd.export.graph_writer import ONNX_RUNTIME, OPENVINO
from hwkd.export.graphs import LatentRanges, decoder_graph, encoder_graph, latents_of
from hwkd.images import Pixels
from hwkd.models.base import HyperpriorCodec, padded
from hwkd.models.shipped import SHIPPED_START, WeightsCard, read_card, shipped_names
from hwkd.models.spec import Spec, spec_to_json
from hwkd.qualities import HIGHEST, LMBDA_OF_UNIT_GAIN, LOWEST
from hwkd.quantize.integer import IntegerLayer, held_to_bits, integer_layers
from hwkd.quantize.precision import board_prefix, plan_precision
from hwkd.quantize.ptq import post_training_quantize
from hwkd.quantize.qat import ENTROPY_PATH
from hwkd.runtime.bundle import Bundle, pack_arrays
from hwkd.runtime.gains import Gains
from hwkd.runtime.manifest import (
    GAINS,
    HYPER_LAYERS,
    NETWORKS,
    NOT_RECORDED,
    SELFTEST,
    TABLES,
    Card,
    Manifest,
)
from hwkd.runtime.session import RUNTIMES, present_runtimes
from hwkd.target import Target

# A quantized codec as a bundle: graphs, exact entropy path, tables, self-test, manifest.

SILENT_INDEX = 0
"""The floor of CompressAI's scales, 0.11: a symbol there differs from zero once in 180,000."""


@dataclass(frozen=True)
class Source:
    """A codec to export.

    Attributes:
        codec: the quantized codec, in evaluation mode.
        lmbda: None where it is not known. Not read for a codec of all rates.
        provenance, card: as hwkd.runtime.manifest.Manifest.
        fit_on: images to fit the tables of y on, [1, 3, H, W] in [0, 1], sides multiples of 64. With none, the tables are
            a Gaussian's.
    """

    name: str
    codec: HyperpriorCodec
    spec: Spec
    lmbda: float | None
    bits: BitPlan
    provenance: Mapping[str, str]
    card: Card | None = None
    fit_on: tuple[torch.Tensor, ...] = ()


@dataclass(frozen=True)
class Prepared:
    """A source in integers, ready for any form of graph.

    Attributes:
        layers: layer by name, with weights limited to weight_bits.
        path: h_s, with its bound proven.
    """

    source: Source
    target: Target
    weight_bits: int
    layers: Mapping[str, IntegerLayer]
    path: EntropyPath
    latents: LatentRanges


def prepare(source: Source, target: Target, images: Mapping[str, Pixels]) -> Prepared:
    """The integers of `source` for `target`.

    Weights of more bits than the target's kernels take lose their last bits. Those of h_s lose what the bound of its sums
    requires. The codec of what is returned may have its channels of y in another order.

    Args:
        images: images by name, to find the range of the latents.
    Raises:
        InputError: a codec that is not quantized or not calibrated; no image.
    """
    if not images:
        raise InputError("no images to check the export on: got none, give at least one")
    codec = source.codec
    codec.update(force=True)
    seen = (padded(centre(image), codec.downsampling_factor) for image in images.values())
    codec, latents = latents_of(codec, seen)
    layers = integer_layers(codec)
    quantization = target.preferred.quantization
    weight_bits = source.bits.weight_bits
    if quantization is not None:
        weight_bits = min(weight_bits, quantization.weight_bits)
    held = {
        name: layer if name.startswith(ENTROPY_PATH) else held_to_bits(layer, weight_bits)
        for name, layer in layers.items()
    }
    scales = codec.gaussian_conditional.scale_table.double().numpy()
    return Prepared(
        replace(source, codec=codec),
        target,
        weight_bits,
        held,
        entropy_path(codec, layers, scales),
        latents,
    )


def export(prepared: Prepared, images: Mapping[str, Pixels], show: Callable[[str], None]) -> Bundle:
    """The bundle, checked against the trained codec on `images`, by name.

    Args:
        show: receives the current step, in words.
    """
    source, target = prepared.source, prepared.target
    codec, path, latents = source.codec, prepared.path, prepared.latents
    show("writing the graphs")
    parts, graphs = _graphs(prepared)
    gains = _gains(codec, latents)
    if gains is not None:
        parts[GAINS] = pack_arrays(gains.to_arrays())
    codec.set_lmbda(LMBDA_OF_UNIT_GAIN)
    first = padded(centre(next(iter(images.values()))), codec.downsampling_factor)
    real = _symbols_of_z(codec, first, latents)
    parts[HYPER_LAYERS] = pack_arrays(path.path.to_arrays())
    show("fitting the tables")
    counts = (
        count_symbols(codec, path.path, latents, source.fit_on, gains) if source.fit_on else None
    )
    parts[TABLES] = pack_arrays(coding_tables(codec, counts))
    parts[SELFTEST] = pack_arrays(
        selftest(path.path, codec.Z, latents.largest_z, real, gains=gains)
    )
    plan = plan_precision(
        target,
        source.bits.weight_bits,
        source.bits.act_bits,
        family=source.spec.family,
        prefix=board_prefix(source.name, target),
    )
    manifest = Manifest(
        name=source.name,
        family=source.spec.family,
        architecture=str(source.spec),
        spec=spec_to_json(source.spec),
        M=codec.M,
        Z=codec.Z,
        lmbda=source.lmbda if gains is None else None,
        qualities=None if gains is None else (LOWEST, HIGHEST),
        weight_bits=_held(source.bits, prepared.weight_bits).weights_in_words(),
        act_bits=source.bits.act_bits,
        target=target.name,
        plan=tuple(plan.sentences()),
        graphs=graphs,
        reach=reach(codec),
        largest_y=latents.largest_y,
        largest_z=latents.largest_z,
        silent_index=SILENT_INDEX,
        executed=(),
        differences=tuple(f"weights shortened for the bound: {text}" for text in path.shortened),
        provenance=source.provenance,
        card=source.card,
    )
    show("asking the runtimes what they run")
    manifest = replace(
        manifest,
        executed=tuple(
            executed(parts[graphs[network][runtime]], network, runtime)
            for network in NETWORKS
            for runtime in present_runtimes()
        ),
    )
    show("comparing with the trained codec")
    draft = Bundle(manifest, parts, "00" * 32)
    found = differences(draft, codec, images)
    return replace(
        draft, manifest=replace(manifest, differences=manifest.differences + tuple(found))
    )


def _gains(codec: HyperpriorCodec, latents: LatentRanges) -> Gains | None:
    anchors = codec.gains_at_anchors()
    return None if anchors is None else Gains(anchors, latents.narrow_from, latents.largest_y)


def _held(bits: BitPlan, weight_bits: int) -> BitPlan:
    """`bits` with no layer outside h_s above `weight_bits`."""
    exceptions = [
        (pattern, own if pattern.startswith(ENTROPY_PATH) else min(own, weight_bits), act_bits)
        for pattern, own, act_bits in bits.layers
    ]
    told = tuple(one for one in exceptions if one[1] != weight_bits)
    return BitPlan(weight_bits, bits.act_bits, told)


FORMS = {"openvino": OPENVINO, "onnxruntime": ONNX_RUNTIME}
"""The form that each runtime gets, on every target: a bundle may be opened on another machine than it was made for."""


def _graphs(prepared: Prepared) -> tuple[dict[str, bytes], dict[str, dict[str, str]]]:
    """The graphs as parts, and which runtime takes which: its own where its form makes another graph."""
    codec, layers, latents = prepared.source.codec, prepared.layers, prepared.latents
    hyper = hyper_model(prepared.path.path, codec.Z, codec.M, has_gains=latents.has_gains)
    parts = {"hyper.onnx": _packed(hyper)}
    graphs = {network: dict.fromkeys(sorted(RUNTIMES), f"{network}.onnx") for network in NETWORKS}
    for runtime, form in FORMS.items():
        for network, graph in (("encoder", encoder_graph), ("decoder", decoder_graph)):
            content = _packed(graph(codec, layers, latents, form))
            if parts.setdefault(f"{network}.onnx", content) != content:
                graphs[network][runtime] = f"{network}-{runtime}.onnx"
                parts[graphs[network][runtime]] = content
    return parts, graphs


def _packed(model: onnx.ModelProto) -> bytes:
    return bytes(model.SerializeToString(deterministic=True))


@torch.no_grad()
def _symbols_of_z(
    codec: HyperpriorCodec, x: torch.Tensor, latents: LatentRanges
) -> "np.ndarray[tuple[int, ...], np.dtype[np.int32]]":
    z = torch.round(codec.hyper_analysis(codec.g_a(x)))
    symbols: np.ndarray[tuple[int, ...], np.dtype[np.int32]] = (
        z.clamp(-latents.largest_z - 1, latents.largest_z)[0].int().numpy()
    )
    return symbols


# From what the user names to a quantized codec to export, with where it comes from.

CALIBRATION_SIDE = 256
LARGER_IMAGES = "give larger ones with --data, or leave it out for the embedded photographs"
FITTED_CROPS = 64
"""Three million symbols of y: of the scales that carry the bits, tens of thousands each."""
VERSIONS = ("torch", "brevitas", "compressai", "onnx")


def load_source(
    text: str,
    bits: BitPlan | None,
    target: Target,
    data: Path | None,
    show: Callable[[str], None],
    told: CardFields = CardFields(),  # noqa: B008 (frozen)
) -> Source:
    """The quantized codec that `text` names, or a float one quantized after training.

    Args:
        text: as `hwkd.distill.run_folder.load_model`.
        bits: bits to quantize a float model to; None for a quantized model.
        target: the device. If its kernels take fewer bits of weights, a float model is quantized to these bits. Weights
            that are quantized to 8 bits and then limited to 7 lose more.
        data: images to calibrate and to fit the tables of y on; None for the embedded training photographs.
        show: receives the current step, in words.
        told: the user's entries on the training; in the card they replace those of the files.
    Raises:
        InputError: no such model; a float one without `bits`, a quantized one with them.
    """
    loaded = load_model(text)
    provenance = _provenance(text, loaded)
    on = "the embedded photographs" if data is None else "images given with --data"
    if loaded.bits is not None:
        if bits is not None:
            raise InputError(
                f"{text} is quantized already, to {loaded.bits.weights_in_words()} bits: leave --bits out, or name "
                f"its float student, {text}:float"
            )
        codec, plan = loaded.codec, loaded.bits
    elif bits is None:
        raise InputError(
            f"{text} is in float: give --bits (8, or 4/8) to quantize it after training, or a run of `hwkd distill`"
        )
    else:
        fitting = plan_precision(
            target, bits.weight_bits, bits.act_bits, family=loaded.spec.family
        ).preferred("encoder")
        bits = replace(bits, weight_bits=min(bits.weight_bits, fitting.weight_storage_bits))
        show(f"quantizing after training, to {bits.weights_in_words()} bits")
        codec = post_training_quantize(
            loaded.codec, bits, calibration_crops(data, CALIBRATION_SIDE, instead=LARGER_IMAGES)
        )
        plan = bits
        provenance["quantized"] = f"after training, activations calibrated on crops of {on}"
    crops, provenance["tables of y"] = _to_fit_on(data, on)
    return Source(
        loaded.name,
        codec,
        loaded.spec,
        loaded.lmbda,
        plan,
        provenance,
        told.over(training_card(text)),
        crops,
    )


def _to_fit_on(data: Path | None, on: str) -> tuple[tuple[Tensor, ...], str]:
    """The crops to fit the tables of y on, and in words what they are; none where the images do not give any."""
    try:
        crops = calibration_crops(data, CALIBRATION_SIDE, FITTED_CROPS, LARGER_IMAGES)
    except InputError:
        # Images too few or too small for crops can still be compared on.
        return (), f"those of a Gaussian, as {on} are too few or too small to fit others on"
    return tuple(crops), f"fitted to the symbols of {FITTED_CROPS} crops of {on}"


def _provenance(text: str, loaded: LoadedModel) -> dict[str, str]:
    found = {f"version of {name}": version(name) for name in VERSIONS}
    if loaded.sha256 is not None:
        found["sha256 of the weights"] = loaded.sha256
    folder = Path(text.partition(":")[0])
    if folder.is_dir():
        found["quantized"] = "after training" if read_config(folder).ptq else "in training"
    return found


# What is known of a model's training where it is exported: by its run folder, or by the card of a shipped teacher.

HASH_DIGITS = 16
"""Digits of a sha256 that a card shows."""


def training_card(text: str) -> Card:
    """The card of the model that `text` names, as `hwkd.distill.run_folder.load_model` takes it, without figures.

    What no file says is None or NOT_RECORDED.

    Raises:
        InputError: a folder that is no run's.
    """
    folder, _, which = text.partition(":")
    if Path(folder).is_dir():
        return _of_run(Path(folder), is_float=which == "float")
    if text in shipped_names():
        return _of_shipped(text)
    return Card(
        data=NOT_RECORDED,
        licence=NOT_RECORDED,
        teacher=None,
        start=None,
        seed=None,
        float_steps=None,
        quantized_steps=None,
        hours=None,
        hardware=NOT_RECORDED,
        recipe=None,
        limits=(),
    )


def _of_run(folder: Path, *, is_float: bool) -> Card:
    config = read_config(folder)
    try:
        state = read_state(folder)
    except InputError:
        state = None  # deleted, or damaged: the weights are there, and only steps and hours are not known
    steps = {"float": config.float_steps, "qat": config.qat_steps}
    if state is not None:
        steps |= state.steps
    is_trained_in_bits = not (is_float or config.ptq or config.bits is None)
    begun = _continued(config)
    hours = _hours(state, is_trained_in_bits)
    if begun is not None:
        steps["float"] = None if steps["float"] is None else steps["float"] + begun.steps
        hours = None if hours is None or begun.hours is None else round(hours + begun.hours, 6)
    return Card(
        # A user's folder is nobody else's business; its last part says enough.
        data=Path(config.data).name,
        licence=NOT_RECORDED,
        teacher=_teachers(config),
        start=_named(config.start, config.start_sha256),
        seed=config.seed,
        float_steps=steps["float"],
        quantized_steps=steps["qat"] if is_trained_in_bits else 0,
        hours=hours,
        hardware=NOT_RECORDED,
        recipe=None,
        limits=(),
    )


def _continued(config: RunConfig) -> WeightsCard | None:
    """The card of the shipped model that the run went on from; None where it began otherwise."""
    if not config.start.startswith(SHIPPED_START):
        return None
    cards = (read_card(name) for name in shipped_names())
    return next((card for card in cards if card.sha256 == config.start_sha256), None)


def _hours(state: TrainState | None, is_trained_in_bits: bool) -> float | None:
    """Hours of the phases that made the exported weights. The state has only the sum of both phases."""
    if state is None or (state.steps.get("qat") and not is_trained_in_bits):
        return None
    return round(state.seconds / 3600, 6)


def _of_shipped(name: str) -> Card:
    card = read_card(name)
    return Card(
        data=card.data,
        licence=card.licence,
        teacher=None,
        start=None,
        seed=None,
        float_steps=card.steps,
        quantized_steps=0,
        hours=card.hours,
        hardware=card.hardware,
        recipe=None,
        limits=card.limits,
    )


def _teachers(config: RunConfig) -> str:
    if not config.loss.needs_teacher:
        return "none"
    told = _named(config.teacher, config.teacher_sha256)
    if not config.second_teacher:
        return told
    return f"{told}, for z_hat {_named(config.second_teacher, config.second_teacher_sha256)}"


def _named(name: str, sha256: str) -> str:
    return f"{name} (sha256 {sha256[:HASH_DIGITS]})" if sha256 else name
