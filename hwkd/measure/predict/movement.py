"""Data movement: what a quantized graph does between its layers. No benchmark of whole networks shows it.

Measured in OpenVINO's performance counts and ONNX Runtime's profile of the shipped bundles (tests/bench/bench_movement.py):
a quarter to over a half of a patch codec's time lies outside of its products. What the constants of a device predict is about the
products' share.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hwkd.measure.layers import LayerCost
from hwkd.measure.predict.fit import Prediction
from hwkd.target import Constants, ExecutionUnit

KINDS = (
    "shuffle",  # values through the pixel shuffle behind a transposed convolution
    "blocks",  # values through the pixel shuffles of patches, which move whole rows of values
    "convert",  # values of the image, to or from bytes in another layout, padded or cut
    "elementwise",  # values that branches are added or concatenated in, and latents that are scaled, rounded and limited
    "requantize",  # values that a layer with a window writes, brought to 8 bits
    "pointwise",  # values that a 1x1 layer writes: ONNX Runtime adds bias and branch to them in float, in steps of their own
)


WRITTEN = ("requantize", "pointwise")
"""Kinds of values that a layer writes. A GPU's runtime finishes them inside the layer: there they are no movement."""


@dataclass(frozen=True)
class Rates:
    """Nanoseconds for a value of each of KINDS on one thread of the machine that was measured.

    Attributes:
        ns: nanoseconds by kind.
        ln_sd: standard deviation of ln of predicted over measured movement of a graph, the rates fitted without its model.
        source: what was measured.
    """

    ns: Mapping[str, float]
    ln_sd: float
    source: str


_MACHINE = "profiles of the 8 bundles that ship at 768x512, 1 thread, AMD EPYC with AVX512-VNNI (2 shared cores, no training beside it)"
RATES: Mapping[str, Rates] = {
    "openvino": Rates(
        {
            "shuffle": 1.03,
            "blocks": 0.39,
            "convert": 0.0,
            "elementwise": 4.21,
            "requantize": 0.0,
            "pointwise": 0.0,
        },
        0.21,
        f"OpenVINO 2026.4.1's performance counts, {_MACHINE}",
    ),
    "onnxruntime": Rates(
        {
            "shuffle": 1.73,
            "blocks": 0.64,
            "convert": 0.49,
            "elementwise": 0.0,
            "requantize": 0.09,
            "pointwise": 0.81,
        },
        0.33,
        f"ONNX Runtime 1.32.0's profile, {_MACHINE}",
    ),
}
"""The rates by runtime; the names are those of targets. A rate of 0: the other kinds explain what the runtime spends there."""

REFERENCE_NS = 0.0197
"""A float MAC of a 1x1 convolution on one thread of the machine that was measured, by the same benchmark."""

GPU_BYTES = 4.0
"""Read and written for a value in fp16."""
GPU_SHARE = 0.5
GPU_WIDTH = math.log(4)
"""Width of the range of the peak bandwidth's share that movement reaches on a GPU: a quarter to all of it, uniform on a
logarithmic scale."""


def movement(layers: Sequence[LayerCost]) -> dict[str, dict[str, float]]:
    """The number of moved values by kind, for each layer with a moved input or output.

    A shuffle shows as values that stay while the channels change, or as a transposed convolution (exported as a convolution
    with a shuffle behind). A branch shows as a layer that does not read what the one before wrote.

    Args:
        layers: the layers of one network, in their order.
    """
    found: dict[str, dict[str, float]] = {layer.name: {} for layer in layers}

    def add(layer: LayerCost, kind: str, values: float) -> None:
        of_layer = found[layer.name]
        of_layer[kind] = of_layer.get(kind, 0.0) + values

    for before, layer in zip([None, *layers], layers, strict=False):
        add(layer, "pointwise" if layer.kernel == 1 else "requantize", layer.out_values)
        if layer.operator == "transposed":
            add(layer, "shuffle", layer.out_values)
        if before is None or before.network != layer.network:
            continue
        if before.out_values != layer.in_values:
            add(before, "elementwise", before.out_values)
        elif before.c_out != layer.c_in:
            add(layer, "blocks", layer.in_values)
    analysis = [layer for layer in layers if layer.network == "g_a"]
    synthesis = [layer for layer in layers if layer.network == "g_s"]
    if analysis:
        first, last = analysis[0], analysis[-1]
        add(first, "convert", first.in_values)
        if first.c_in != COLOURS:
            add(first, "blocks", first.in_values)
        add(last, "elementwise", last.out_values)
    if synthesis:
        first, last = synthesis[0], synthesis[-1]
        add(first, "elementwise", first.in_values)
        add(last, "convert", last.out_values)
        if last.c_out != COLOURS:
            add(last, "blocks", last.out_values)
    return found


COLOURS = 3


CODING_NS = {"encode": 12.0, "decode": 11.5}
CODING_SD = 0.25
"""Entropy coding of one latent value, in nanoseconds, and how its logarithm varies between models: profiles/amd-epyc-2-cores,
five bundles at 0.55 to 1.85 bpp, one thread."""


SCALING = 0.87
SCALING_SD = 0.15
"""The power of the number of threads by which a float MAC's time falls, and how that varies: from one thread to the most of
a target's constants, over the targets that ship."""


def coded(
    side: str, latents: float, unit: ExecutionUnit, constants: Sequence[Constants]
) -> Prediction | None:
    """How long entropy coding of `latents` values takes on the processor `unit`; None where nothing is known to predict it from.

    Entropy coding is scalar code in one thread, and carried over as data movement is (`moved`).

    Args:
        side: "encode" or "decode".
    """
    return carried(CODING_NS[side] * latents / 1e6, unit, constants) if latents else None


def carried(ms: float, unit: ExecutionUnit, constants: Sequence[Constants]) -> Prediction | None:
    """How long code outside of networks takes in one thread of `unit`, a CPU, that takes `ms` on the machine of
    profiles/amd-epyc-2-cores: hwkd's coder, JPEG and the like. None where nothing is known to predict it from.
    """
    slower = _ln_slower(unit, constants)
    if slower is None:
        return None
    spread = math.sqrt(CODING_SD**2 + slower.half_variance)
    return Prediction(ms * math.exp(slower.ln / 2), spread, 0.0)


def moved(
    amounts: Mapping[str, float],
    unit: ExecutionUnit,
    constants: Sequence[Constants],
    threads: int,
) -> Prediction | None:
    """How long `amounts` (values by kind) take on `unit`; None where nothing is known to predict it from.

    On a CPU: the measured rates times the square root of how much slower a float MAC is in one thread, since copies gain about
    half (in logarithms) of what vector units do; on more threads the square root of their number less. Both are uncertain by
    their other half. Of a class of machines: as far as a MAC is slower on any of them, with their spread. On a GPU: by its
    memory's bandwidth.

    Args:
        constants: constants of the target's units.
    """
    total = sum(amounts.values())
    if not total:
        return None
    if unit.kind != "cpu":
        bandwidth = unit.bandwidth_gbs.value
        if bandwidth is None:
            return None
        moved_values = sum(v for kind, v in amounts.items() if kind not in WRITTEN)
        ms = moved_values * GPU_BYTES / (GPU_SHARE * bandwidth * 1e6)
        return Prediction(ms, GPU_WIDTH / math.sqrt(12), 0.0) if ms else None
    rates = RATES.get(unit.runtime.name)
    slower = _ln_slower(unit, constants)
    if rates is None or slower is None:
        return None
    ns = sum(rates.ns[kind] * value for kind, value in amounts.items())
    ms = ns / 1e6 * math.exp(slower.ln / 2) / math.sqrt(threads)
    variance = rates.ln_sd**2 + slower.half_variance + math.log(threads) ** 2 / 12
    return Prediction(ms, math.sqrt(variance), 0.0)


@dataclass(frozen=True)
class Slower:
    """How much slower a float MAC is than on the machine that was measured: ln of the ratio, and its standard deviation."""

    ln: float
    sd: float

    @property
    def half_variance(self) -> float:
        """The variance of a share of `ln` that lies anywhere between none and all of it, about its middle, `ln` / 2."""
        return self.ln**2 / 12 + self.sd**2 / 3


def _ln_slower(unit: ExecutionUnit, constants: Sequence[Constants]) -> Slower | None:
    """The ratio of a float MAC's time in one thread to REFERENCE_NS; None without published timings of the unit.

    Where only several threads were timed, SCALING gives the time of one. For a class of machines it holds for any of them,
    with their spread.
    """
    floats = [
        c
        for c in constants
        if c.unit == unit.name and c.precision != "int8" and c.scheme == "kinds"
    ]
    if not floats:
        return None
    slowest = min(floats, key=lambda c: c.threads)
    ln_threads = math.log(slowest.threads)
    ln = slowest.ln_ns["pointwise"] + SCALING * ln_threads - math.log(REFERENCE_NS)
    of_class = slowest.class_step
    if of_class is None:
        return Slower(ln, SCALING_SD * ln_threads)
    return Slower(ln + of_class.ln_factor, math.hypot(of_class.sd, SCALING_SD * ln_threads))
