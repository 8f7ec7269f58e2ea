"""One layer's work, as a prediction needs it, and the terms a layer's time is made of."""

import math
from collections.abc import Container, Mapping
from dataclasses import dataclass, replace

from hwkd.errors import InputError

NETWORKS = ("g_a", "h_a", "h_s", "g_s")
"""Of a codec, in the order they run."""

OPERATORS = ("conv", "transposed", "dense", "gdn", "nonlinear", "pool")
"""What a layer does. nonlinear: an elementwise function that is more than a comparison (sigmoid, swish); ReLU is not
listed anywhere: runtimes compute it inside the layer before."""

TERMS = (
    "pointwise",  # MACs of 1x1 convolutions
    "winograd",  # MACs of dense 3x3 convolutions of stride 1 with 16 input channels or more
    "spatial",  # MACs of every other dense or grouped convolution
    "depthwise",  # MACs
    "dense",  # weights read once for one or few outputs: fully connected layers, squeeze and excitation
    "winograd_values",  # activations read and written by the layers of term winograd, which transforms them
    "values",  # activations read and written by every other layer
    "nonlinear",  # values through a nonlinear function
    "calls",  # layers
)
"""What a layer's time is a sum of, each term at a rate of the device."""

REFERENCE_CHANNELS = 64
EXPONENTS = {"pointwise": 0.25, "winograd": 0.5, "spatial": 0.25}
"""A MAC is cheaper between many channels: its work is times (64 / sqrt(channels in x channels out)) ^ exponent, in a
group. Chosen among 0, 0.25 and 0.5 by the leave-one-network-out error over the published timings; 0 for all three gives
a median of 12 % and 37 % at the 90th percentile, these 11 % and 34 %."""

UNSEEN = ("transposed", "gdn")
"""Operators in no network with published timings: transposed convolutions are taken as `spatial`, GDN as a 1x1
convolution and one nonlinear function, and the interval widens by their share."""


@dataclass(frozen=True)
class LayerCost:
    """One layer's work for one image of the record's size; the pure input of a prediction.

    network: of NETWORKS (empty in other models). operator: of OPERATORS. kernel: its longer side; stride: 1
    for none. in_values, out_values: activations read and written. weights: parameters without biases. macs: as fvcore
    counts them.
    """

    name: str
    network: str
    operator: str
    c_in: int
    c_out: int
    kernel: int
    stride: int
    groups: int
    in_values: int
    out_values: int
    weights: int
    macs: int

    def __post_init__(self) -> None:
        if self.operator not in OPERATORS:
            raise InputError(
                f"operator of layer {self.name} must be one of {', '.join(OPERATORS)}; got {self.operator!r}"
            )
        for name in ("c_in", "c_out", "kernel", "stride", "groups", "in_values", "out_values"):
            if getattr(self, name) < 1:
                raise InputError(
                    f"{name} of layer {self.name} must be 1 or more, got {getattr(self, name)}"
                )
        if self.weights < 0 or self.macs < 0:
            raise InputError(
                f"weights and macs of layer {self.name} must be 0 or more, got {self.weights} and {self.macs}"
            )

    def times(self, blocks: int) -> "LayerCost":
        """The same layer on `blocks` times the area."""
        return replace(
            self,
            in_values=blocks * self.in_values,
            out_values=blocks * self.out_values,
            macs=blocks * self.macs,
        )


def work(layer: LayerCost) -> Mapping[str, float]:
    """The layer's work by term of TERMS; terms it has nothing of are left out."""
    values = layer.in_values + layer.out_values
    match layer.operator:
        case "nonlinear":
            return {"nonlinear": layer.out_values}
        case "pool":
            return {"values": layer.in_values}
        case "gdn":
            return {
                "pointwise": _effective(layer, "pointwise"),
                "nonlinear": layer.out_values,
                "values": values,
                "calls": 1,
            }
    term = _mac_term(layer)
    amount = layer.weights if term == "dense" else _effective(layer, term)
    memory = "winograd_values" if term == "winograd" else "values"
    return {term: amount, memory: values, "calls": 1}


def _mac_term(layer: LayerCost) -> str:
    if layer.operator == "dense" or layer.out_values == layer.c_out:
        return "dense"
    if layer.groups == layer.c_in > 1:
        return "depthwise"
    if layer.operator == "transposed":
        return "spatial"
    if layer.kernel == 1:
        return "pointwise"
    is_winograd = layer.kernel == 3 and layer.stride == 1 and layer.groups == 1 and layer.c_in >= 16
    return "winograd" if is_winograd else "spatial"


def _effective(layer: LayerCost, term: str) -> float:
    """MACs, weighed by how many channels they run between."""
    if term == "depthwise":
        return layer.macs
    channels = math.sqrt(layer.c_in * layer.c_out) / layer.groups
    return float(layer.macs * (REFERENCE_CHANNELS / channels) ** EXPONENTS[term])


# The finer terms of a machine that was profiled layer by layer: each shape of layer has rates of its own.

COLOURS = 4
"""A convolution from or to so few channels is a kernel of its own in most runtimes."""
ANY = "any"
"""The rates of all shapes together, for a layer of a shape that was not profiled."""
REST = "rest.values"
"""What runs between the layers (ReLU, additions, views), by the values that the layers write."""
AMOUNTS = ("macs", "values", "calls")


def shape(layer: LayerCost) -> str:
    """The name of the layer's shape, as in conv5s2, conv5s2_rgb, transposed5s2, conv3s1_dw, gdn."""
    if layer.operator not in ("conv", "transposed"):
        return layer.operator
    name = f"{layer.operator}{layer.kernel}s{layer.stride}"
    if layer.groups > 1:
        return name + ("_dw" if layer.groups == layer.c_in else "_grouped")
    return name + "_rgb" if min(layer.c_in, layer.c_out) <= COLOURS else name


def amounts(layer: LayerCost) -> tuple[float, float, float]:
    """The layer's work in the order of AMOUNTS: MACs, activations read and written, 1."""
    return layer.macs, layer.in_values + layer.out_values, 1.0


def shape_work(layer: LayerCost, known: Container[str]) -> tuple[Mapping[str, float], bool]:
    """(work by term, whether the layer's shape was profiled): terms SHAPE.AMOUNT and REST.

    known: the terms that have a rate. A rate of zero is left out of them, a shape that was profiled has one at least.
    """
    name = shape(layer)
    is_seen = any(f"{name}.{amount}" in known for amount in AMOUNTS)
    terms = {
        f"{name if is_seen else ANY}.{amount}": value
        for amount, value in zip(AMOUNTS, amounts(layer), strict=True)
    }
    terms[REST] = layer.out_values
    return {term: value for term, value in terms.items() if term in known}, is_seen
