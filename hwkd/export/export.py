"""A quantized codec as a bundle: graphs, exact entropy path, tables, self-test, manifest."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx
import torch

from hwkd.bits import BitPlan
from hwkd.errors import InputError
from hwkd.export.checks import reach
from hwkd.export.coder_ends import Latents
from hwkd.export.coder_graphs import decoder_graph, encoder_graph
from hwkd.export.coding_tables import coding_tables, selftest
from hwkd.export.differences import centre, differences
from hwkd.export.entropy_path import EntropyPath, entropy_path, hyper_model
from hwkd.export.executed import executed
from hwkd.export.fitted_tables import count_symbols
from hwkd.export.graph_writer import ONNX_RUNTIME, OPENVINO, OPENVINO_VNNI, Form
from hwkd.export.latents import latents_of
from hwkd.images import Pixels
from hwkd.models.base import HyperpriorCodec
from hwkd.models.image_tensors import padded
from hwkd.models.patch import PatchCodec
from hwkd.models.spec import Spec, spec_to_json
from hwkd.qualities import HIGHEST, LMBDA_OF_UNIT_GAIN, LOWEST
from hwkd.quantize.inputs import ENTROPY_PATH
from hwkd.quantize.integer import IntegerLayer, held_to_bits, integer_layers
from hwkd.quantize.precision import plan_precision
from hwkd.runtime.array_part import pack_arrays
from hwkd.runtime.bundle import Bundle
from hwkd.runtime.card import Card
from hwkd.runtime.gains import Gains
from hwkd.runtime.manifest import GAINS, HYPER_LAYERS, NETWORKS, SELFTEST, TABLES, Manifest
from hwkd.runtime.session import RUNTIMES, present_runtimes
from hwkd.target import Target

SILENT_INDEX = 0
"""The floor of CompressAI's scales, 0.11: a symbol there differs from zero once in 180,000."""


@dataclass(frozen=True)
class Source:
    """What is exported.

    codec: quantized, in evaluation mode. lmbda: None where it is not known; not read of a codec of all rates.
    provenance, card: as hwkd.runtime.manifest.Manifest.
    fit_on: [1, 3, H, W] in [0, 1], sides multiples of 64, images to fit the tables of y on; none: a Gaussian's tables.
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

    layers: by name, weights held to weight_bits. path: h_s, its bound proven.
    """

    source: Source
    target: Target
    weight_bits: int
    layers: Mapping[str, IntegerLayer]
    path: EntropyPath
    latents: Latents


def prepare(source: Source, target: Target, images: Mapping[str, Pixels]) -> Prepared:
    """The integers of `source` for `target`.

    Weights beyond what the target's kernels take lose their last bits; those of h_s as the bound of its sums asks.

    Args:
        images: by name, to find the range of the latents.
    Raises:
        InputError: a codec that is not quantized or not calibrated; no image.
    """
    if not images:
        raise InputError("no images to check the export on: got none, give at least one")
    codec = source.codec
    codec.update(force=True)
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
    seen = (padded(centre(image), codec.downsampling_factor) for image in images.values())
    return Prepared(
        source,
        target,
        weight_bits,
        held,
        entropy_path(codec, layers, scales),
        latents_of(codec, seen),
    )


def export(prepared: Prepared, images: Mapping[str, Pixels], show: Callable[[str], None]) -> Bundle:
    """The bundle, checked against the trained codec on `images`, by name.

    Args:
        show: called with what is being done, in words.
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
        target, source.bits.weight_bits, source.bits.act_bits, family=source.spec.family
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


def _gains(codec: HyperpriorCodec, latents: Latents) -> Gains | None:
    if not isinstance(codec, PatchCodec) or codec.gains is None:
        return None
    return Gains(codec.gains.at_anchors(), latents.narrow_from, latents.largest_y)


def _held(bits: BitPlan, weight_bits: int) -> BitPlan:
    """`bits` with no layer outside h_s above `weight_bits`."""
    exceptions = [
        (pattern, own if pattern.startswith(ENTROPY_PATH) else min(own, weight_bits), act_bits)
        for pattern, own, act_bits in bits.layers
    ]
    told = tuple(one for one in exceptions if one[1] != weight_bits)
    return BitPlan(weight_bits, bits.act_bits, told)


def _graphs(prepared: Prepared) -> tuple[dict[str, bytes], dict[str, dict[str, str]]]:
    """The graphs as parts, and which runtime takes which: its own where its form makes another graph."""
    codec, layers, latents = prepared.source.codec, prepared.layers, prepared.latents
    hyper = hyper_model(prepared.path.path, codec.Z, codec.M, has_gains=latents.has_gains)
    parts = {"hyper.onnx": _packed(hyper)}
    graphs = {network: dict.fromkeys(sorted(RUNTIMES), f"{network}.onnx") for network in NETWORKS}
    for runtime, form in _forms(prepared.target).items():
        for network, graph in (("encoder", encoder_graph), ("decoder", decoder_graph)):
            content = _packed(graph(codec, layers, latents, form))
            if parts.setdefault(f"{network}.onnx", content) != content:
                graphs[network][runtime] = f"{network}-{runtime}.onnx"
                parts[graphs[network][runtime]] = content
    return parts, graphs


def _forms(target: Target) -> dict[str, Form]:
    has_vnni = any("VNNI" in unit.instruction_set for unit in target.units)
    return {
        "openvino": OPENVINO_VNNI if has_vnni else OPENVINO,
        "onnxruntime": ONNX_RUNTIME,
    }


def _packed(model: onnx.ModelProto) -> bytes:
    return bytes(model.SerializeToString(deterministic=True))


@torch.no_grad()
def _symbols_of_z(
    codec: HyperpriorCodec, x: torch.Tensor, latents: Latents
) -> "np.ndarray[tuple[int, ...], np.dtype[np.int32]]":
    z = torch.round(codec.hyper_analysis(codec.g_a(x)))
    symbols: np.ndarray[tuple[int, ...], np.dtype[np.int32]] = (
        z.clamp(-latents.largest_z - 1, latents.largest_z)[0].int().numpy()
    )
    return symbols
