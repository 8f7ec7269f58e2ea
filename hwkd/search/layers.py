"""The layers of a student and the bytes of its weights, from its spec alone: no model is built.

A search weighs hundreds of candidates, and tracing a model of each takes a tenth of a second; these closed forms take
microseconds. Tests hold them to `hwkd.measure.layer_table.codec_layers` and `hwkd.quantize.layers.weight_bytes`.
"""

import math
from collections.abc import Iterator
from itertools import pairwise

from hwkd.bits import BitPlan
from hwkd.measure.layers import LayerCost
from hwkd.models.spec import PATCH_VALUES, HyperpriorSpec, Spec

BLOCK = 64
"""The stride of z: every layer works on an area that is padded to multiples of it."""
_POST_VALUES = 48
_FLOAT_BYTES = 4

_GIVEN_INPUTS = {
    "patch": ("g_a.linear", "g_a.stem", "h_s.0", "g_s.linear", "g_s.stem"),
    "gdn": ("g_a.0", "h_s.0", "g_s.0"),
    "relu": ("g_a.0", "h_s.0", "g_s.0"),
}
"""The layers whose input lies on a grid as it is (hwkd/quantize/inputs.py): all others have a learned scale."""


def student_layers(spec: Spec, width: int, height: int) -> tuple[LayerCost, ...]:
    """The layers of g_a, h_a, h_s and g_s for one image of width x height, in the order they run."""
    blocks = math.ceil(width / BLOCK) * math.ceil(height / BLOCK)
    of_family = _hyperprior(spec) if isinstance(spec, HyperpriorSpec) else _patch(spec)
    return tuple(layer.times(blocks) for layer in of_family)


def macs_per_pixel(layers: tuple[LayerCost, ...], width: int, height: int) -> float:
    """Multiply-accumulates of all four networks, each once, for a pixel of the image."""
    return sum(layer.macs for layer in layers) / (width * height)


def weight_names(spec: Spec) -> dict[str, int]:
    """The number of weights of each convolution, biases not among them, by the layer's name."""
    layers = student_layers(spec, BLOCK, BLOCK)
    return {layer.name: layer.weights for layer in layers if layer.operator != "gdn"}


def stored_bytes(spec: Spec, bits: BitPlan) -> int:
    """Bytes of the weights of the student quantized to `bits`, as `hwkd.quantize.layers.weight_bytes` counts them."""
    total = 0
    for layer in student_layers(spec, BLOCK, BLOCK):
        if layer.operator == "gdn":
            total += _FLOAT_BYTES * (layer.weights + layer.c_out)
            continue
        is_learned = layer.name not in _GIVEN_INPUTS[spec.family]
        # A scale and a bias for each output channel.
        total += math.ceil(layer.weights * bits.bits_for(layer.name)[0] / 8)
        total += _FLOAT_BYTES * (2 * layer.c_out + is_learned)
    return total


def _layer(
    name: str,
    c_in: int,
    c_out: int,
    at: int,
    kernel: int = 1,
    *,
    stride: int = 1,
    groups: int = 1,
    operator: str = "conv",
) -> LayerCost:
    """at: positions of the input. A transposed convolution's MACs count by its input, the others' by their output."""
    over = at * stride**2 if operator == "transposed" else at // stride**2
    weights = kernel**2 * c_in * c_out // groups
    return LayerCost(
        name=name,
        network=name.partition(".")[0],
        operator=operator,
        c_in=c_in,
        c_out=c_out,
        kernel=kernel,
        stride=stride,
        groups=groups,
        in_values=c_in * at,
        out_values=c_out * over,
        weights=weights,
        macs=weights * min(at, over),
    )


def _hyperprior(spec: HyperpriorSpec) -> Iterator[LayerCost]:
    """As hwkd/models/hyperprior.py, for one block."""
    has_gdn = spec.family == "gdn"
    channels = (3, *spec.widths, spec.M)
    at = BLOCK**2
    for i, (c_in, c_out) in enumerate(pairwise(channels)):
        yield _layer(f"g_a.{2 * i}", c_in, c_out, at, 5, stride=2)
        at //= 4
        if has_gdn and i < 3:
            yield _layer(f"g_a.{2 * i + 1}", c_out, c_out, at, operator="gdn")
    yield from _hyper_analysis(spec)
    for i, c_in, c_out, at_i in ((0, spec.Z, spec.H, 1), (2, spec.H, spec.H, 4)):
        yield _layer(f"h_s.{i}", c_in, c_out, at_i, 5, stride=2, operator="transposed")
    yield _layer("h_s.4", spec.H, spec.M, at, 3)
    for i, (c_in, c_out) in enumerate(pairwise(channels[::-1])):
        yield _layer(f"g_s.{2 * i}", c_in, c_out, at, 5, stride=2, operator="transposed")
        at *= 4
        if has_gdn and i < 3:
            yield _layer(f"g_s.{2 * i + 1}", c_out, c_out, at, operator="gdn")


def _patch(spec: Spec) -> Iterator[LayerCost]:
    """As hwkd/models/patch.py, for one block."""
    assert not isinstance(spec, HyperpriorSpec)
    at = 16
    yield _layer("g_a.linear", PATCH_VALUES, spec.M, at)
    yield _layer("g_a.stem", PATCH_VALUES, spec.C, at)
    yield from _trunk("g_a", spec.C, spec.widths, at)
    yield _layer("g_a.head", spec.C, spec.M, at)
    yield from _hyper_analysis(spec)
    yield _layer("h_s.0", spec.Z, 4 * spec.H, 1, 3)
    yield _layer("h_s.3", spec.H, 4 * spec.H, 4, 3)
    yield _layer("h_s.6", spec.H, spec.M, at, spec.hyper_kernel)
    if spec.context:
        channels, width = spec.context
        yield _layer("g_s.context.conv_in", channels, width, at, 3)
        yield _layer("g_s.context.conv_out", width, channels, at)
    yield _layer("g_s.linear", spec.M, PATCH_VALUES, at)
    yield _layer("g_s.stem", spec.M, spec.C, at)
    yield from _trunk("g_s", spec.C, spec.widths, at)
    yield _layer("g_s.head", spec.C, PATCH_VALUES, at)
    for i, w in enumerate(spec.post):
        yield _layer(f"g_s.post.{i}.conv_in", _POST_VALUES, w, 16 * at, 3)
        yield _layer(f"g_s.post.{i}.conv_out", w, _POST_VALUES, 16 * at, 3)


def _trunk(network: str, C: int, widths: tuple[int, ...], at: int) -> Iterator[LayerCost]:
    for i, w in enumerate(widths):
        block = f"{network}.trunk.{i}"
        yield _layer(f"{block}.mix_in", C, w, at)
        yield _layer(f"{block}.mix", w, w, at, 3, groups=w)
        yield _layer(f"{block}.mix_out", w, C, at)
        yield _layer(f"{block}.feed_in", C, 2 * w, at)
        yield _layer(f"{block}.feed_out", 2 * w, C, at)


def _hyper_analysis(spec: Spec) -> Iterator[LayerCost]:
    kernel = 3 if isinstance(spec, HyperpriorSpec) else spec.hyper_kernel
    yield _layer("h_a.0", spec.M, spec.H, 16, kernel)
    yield _layer("h_a.2", spec.H, spec.H, 16, 5, stride=2)
    yield _layer("h_a.4", spec.H, spec.Z, 4, 5, stride=2)
