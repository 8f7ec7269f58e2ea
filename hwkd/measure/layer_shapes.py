"""The finer terms of a machine that was profiled layer by layer: each shape of layer has rates of its own."""

from collections.abc import Container, Mapping

from hwkd.measure.layers import LayerCost

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
