"""The bundle's file as `hwkd export` writes it: what is exported, what the model costs and what it does to images."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch

from hwkd.export.export import Prepared, export
from hwkd.images import ImageSource, Pixels
from hwkd.measure.bundles import COSTS, Costs
from hwkd.measure.eager.macs import codec_layers, count_macs
from hwkd.measure.quality import measure_figures
from hwkd.measure.record import Macs
from hwkd.models.base import HyperpriorCodec
from hwkd.models.build import build
from hwkd.models.spec import Spec
from hwkd.quantize.integer import weight_bytes
from hwkd.quantize.qat import with_empty_rests
from hwkd.runtime.bundle import Bundle, write_bundle


def write_bundle_file(
    path: Path,
    prepared: Prepared,
    images: Mapping[str, Pixels],
    show: Callable[[str], None] = lambda _: None,
    sets: Sequence[ImageSource] = (),
) -> Bundle:
    """Export `prepared` to `path`, whole or not at all.

    Args:
        images: by name, to compare with the trained codec on.
        show: called with what is being done, in words.
        sets: of images for the figures of the card, where the source has one.
    Raises:
        InputError, HwkdError: as hwkd.export.export.export, hwkd.measure.quality.measure_figures and
            hwkd.runtime.bundle.write_bundle.
    """
    draft = export(prepared, images, show)
    source = prepared.source
    costs = costs_of(source.spec, source.codec, prepared.weight_bits)
    manifest, card = draft.manifest, draft.manifest.card
    if card is not None:
        # The graphs are those that are written; only the card comes to them.
        figures = measure_figures(draft, sets, show)
        manifest = replace(manifest, card=replace(card, figures=figures))
    return write_bundle(path, manifest, {**draft.parts, COSTS: costs})


def costs_of(spec: Spec, codec: HyperpriorCodec, weight_bits: int) -> bytes:
    """The part COSTS of the bundle of `codec`: equal for equal arguments.

    Args:
        spec: of the codec; MACs and layers are those of a float model of it, with the layers that bits add.
        codec: quantized.
        weight_bits: that the bundle holds weights to, outside the entropy path.
    """
    with torch.random.fork_rng(devices=[]):
        model = with_empty_rests(build(spec).eval().requires_grad_(False))
    side = model.downsampling_factor
    counts = count_macs(model, side, side)
    costs = Costs(
        parameters=sum(p.numel() for p in model.parameters()),
        weight_bytes=weight_bytes(codec, weight_bits),
        macs=Macs(**counts.by_network, not_counted=dict(counts.not_counted)),
        layers=codec_layers(model, side, side),
    )
    return json.dumps(asdict(costs), indent=1).encode() + b"\n"
