"""A transposed convolution as an ordinary one: the same function, for kernels that know no transposed one."""

from dataclasses import replace

import numpy as np

from hwkd.errors import HwkdError
from hwkd.quantize.integer import IntegerLayer

STRIDE = 2
_KERNEL, _PADDING, _OUTPUT_PADDING = 5, 2, 1


def as_subpixel(layer: IntegerLayer) -> IntegerLayer:
    """The 3x3 convolution to 4 C_out channels that gives `layer`'s output after DepthToSpace(2, CRD).

    With kernel 5, stride 2, padding 2, output padding 1 the output at 2 j + a takes x[j + d] with the weight's tap
    a + 2 - 2 d, d in -1, 0, 1; where that lies outside the kernel (a = 1, d = -1) the tap is zero. Exact, at 36 / 25
    of the MACs.

    Raises:
        HwkdError: a transposed convolution of another shape.
    """
    shape = (layer.weight.shape[2], layer.stride, layer.padding, layer.output_padding, layer.groups)
    if layer.kind != "transposed" or shape != (_KERNEL, STRIDE, _PADDING, _OUTPUT_PADDING, 1):
        raise HwkdError(
            f"{layer.name}: no sub-pixel form is known for a {layer.kind} convolution with kernel, stride, padding, "
            f"output padding and groups {shape}; known is {(_KERNEL, STRIDE, _PADDING, _OUTPUT_PADDING, 1)}"
        )
    C_in, C_out = layer.weight.shape[:2]
    weight = np.zeros((C_out, STRIDE, STRIDE, C_in, 3, 3), np.int8)
    for a in range(STRIDE):
        for b in range(STRIDE):
            for d in range(-1, 2):
                for e in range(-1, 2):
                    row, column = a + 2 - 2 * d, b + 2 - 2 * e
                    if row < _KERNEL and column < _KERNEL:
                        weight[:, a, b, :, d + 1, e + 1] = layer.weight[:, :, row, column].T
    return replace(
        layer,
        kind="conv",
        weight=weight.reshape(-1, C_in, 3, 3),
        weight_step=layer.weight_step.repeat(STRIDE**2),
        bias=layer.bias.repeat(STRIDE**2),
        stride=1,
        padding=1,
        output_padding=0,
    )
