"""Writing one ONNX graph of quantized convolutions, in the form that one runtime turns into integer kernels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from hwkd.errors import HwkdError
from hwkd.quantize.integer import Grid, IntegerLayer

UINT8, INT32, FLOAT = TensorProto.UINT8, TensorProto.INT32, TensorProto.FLOAT

IR_VERSION = 8
"""The oldest that holds opset 17, so that older runtimes load the graphs."""

_END = np.iinfo(np.int64).max
"""Up to the end, in a Slice."""


@dataclass(frozen=True)
class Form:
    """The differences between the graphs of different runtimes.

    Attributes:
        keeps_transposed: transposed convolutions stay. If False, they become 3x3 convolutions and DepthToSpace.
        signed: values that can be negative are int8; all others use the positive half of int8 (TensorRT knows no other
            type). If False, everything is uint8, with signed values around 128: kernels of CPUs take these.
        channels_last: convolutions with an output that stays in float are matrix products, whose channels stand last;
            so do those of the image's patches, from the 8-bit image to them and back.
        is_float: weights on their grid, as floats, and activations on none.
        log_by_roots: a logarithm is taken by square roots (graphs.py).
        size: (width, height) of the image, multiples of 64, for a graph of one size. Such a graph has float32 planes and
            unrounded latents at its ends. None: any size, 8-bit images and whole symbols.
        opset: version of the ONNX operator set.
    """

    keeps_transposed: bool = False
    signed: bool = False
    channels_last: bool = False
    is_float: bool = False
    log_by_roots: bool = False
    size: tuple[int, int] | None = None
    opset: int = 17


ONNX_RUNTIME = Form(channels_last=True)
"""It never runs ConvTranspose in int8, nor a convolution out of which floats come, and its signed kernels took 3 to 4
times as long as the unsigned ones. As matrix products the patch encoder took half the time. SpaceToDepth and DepthToSpace
move one value at a time: channels last, where a row of a patch is one piece, the graphs of the small patch codec took 0.78 of
the processor time. OpenVINO orders channels itself, and took twice as long so (small patch decoder)."""

OPENVINO = Form(log_by_roots=True)
"""On AVX2 it runs transposed convolution in float32: as 3x3 convolutions in int8 the decoder took 0.6 of the time (N=64,
relu). Matrix products took half as long again as convolutions. It has a slow reference kernel for Log alone, which keeps
its neighbours from being fused besides: seven square roots took 2 of 8 ms (patch, M=320). With VNNI it has transposed
convolution in int8, which was 8 % faster; but on AVX2 alone (2026.4.1, AMD EPYC) it computes it wrong (images of relu off by
up to 75 of 255), and a bundle made for the one may be opened on the other."""


class GraphWriter:
    """Nodes in order of writing; every method takes and returns names of tensors."""

    def __init__(self, form: Form) -> None:
        self.form = form
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._on_grid: dict[tuple[str, Grid], str] = {}
        self._stored: dict[str, str] = {}
        self._unshuffled: dict[str, tuple[str, int, str]] = {}

    def node(self, operator: str, inputs: Sequence[str], **attributes: Any) -> str:
        """One node with one output."""
        return self.named(f"{operator}_{len(self._nodes)}", operator, inputs, attributes)

    def named(
        self, name: str, operator: str, inputs: Sequence[str], attributes: dict[str, Any]
    ) -> str:
        """As `node`, with a name that a runtime's own report can be read by."""
        self._nodes.append(
            helper.make_node(operator, list(inputs), [name], name=name, **attributes)
        )
        return name

    def constant(self, name: str, values: npt.NDArray[Any]) -> str:
        """An initializer; the same name twice must mean the same values."""
        self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(values), name)
        return name

    def scalar(self, value: float, dtype: type[np.generic] = np.float32) -> str:
        """A constant without dimensions."""
        return self.constant(f"{np.dtype(dtype).name}_{value!r}", np.array(value, dtype))

    def cast(self, x: str, to: int) -> str:
        """`x` in another type, one of TensorProto's."""
        return self.node("Cast", [x], to=to)

    def quantized(self, x: str, grid: Grid) -> str:
        """`x` rounded to `grid` and back: a QuantizeLinear and a DequantizeLinear, shared by all that ask for it."""
        if self.form.is_float:
            return x
        if (x, grid) in self._on_grid:
            return self._on_grid[x, grid]
        kind, zero, step = self._storage(grid)
        source = x
        if grid.high - grid.low < 255:
            # QuantizeLinear saturates at 8 bits only.
            bounds = (self.scalar(grid.step * grid.low), self.scalar(grid.step * grid.high))
            source = self.each("Clip", x, *bounds)
        if source in self._unshuffled:
            before, block, mode = self._unshuffled[source]
            source = self.shuffled(self._round_trip(before, step, zero, kind), block, mode)
            if not self.form.channels_last:
                self._on_grid[x, grid] = source
                return source
            # Below again, changing nothing: ONNX Runtime looks for the pair right before a convolution. OpenVINO does not,
            # and would run it: 0.6 of 15 ms (small patch decoder).
        self._on_grid[x, grid] = self._round_trip(source, step, zero, kind)
        return self._on_grid[x, grid]

    def _storage(self, grid: Grid) -> tuple[type[np.generic], int, float]:
        """(type, zero point, step) that hold `grid`."""
        if not self.form.signed:
            return np.uint8, 128 if grid.low < 0 else 0, grid.step
        # A grid of 0..255 has twice the values that the positive half of int8 has.
        return np.int8, 0, grid.step * (2 if grid.high > 127 else 1)

    def shuffled(self, x: str, block: int, mode: str = "CRD") -> str:
        """Depth to space, [1, C block^2, h, w] to [1, C, h block, w block].

        Args:
            mode: of DepthToSpace: "CRD", channels (C, row, column), as torch's pixel_shuffle; "DCR", (row, column, C).
        """
        if self.form.channels_last and mode == "DCR":
            output = self._moved_to_space(x, block)
        else:
            output = self.node("DepthToSpace", [x], blocksize=block, mode=mode)
        self._unshuffled[output] = (x, block, mode)
        return output

    def _moved_to_space(self, x: str, block: int) -> str:
        """Depth to space as one move of rows of blocks, channels last."""
        last = self.node("Transpose", [x], perm=[0, 2, 3, 1])
        rows = self._reshaped(last, [0, 0, 0, block, -1])
        moved = self.node("Transpose", [rows], perm=[0, 1, 3, 2, 4])
        sides = self.node("Mul", [self._sides(last, 1), self._whole("block", block)])
        shape = self.node("Concat", [self._whole("one", 1), sides, self._whole("rest", -1)], axis=0)
        return self.node("Transpose", [self.node("Reshape", [moved, shape])], perm=[0, 3, 1, 2])

    def pixels(self, image: str, block: int, grid: Grid) -> str:
        """The 8-bit `image` [1, H, W, 3] as patches [1, 3 block^2, H / block, W / block], channels (row, column, colour).

        As values of `grid`, that of layers that take samples as they are: nothing is left to be rounded.
        """
        if not self.form.channels_last:
            # In steps of one sample: OpenVINO left a layer in float32 whose input is dequantized 8-bit values, and a product
            # with 1 / 255 before the rounding took 0.8 of 8 ms (small patch encoder).
            planes = self.node("Transpose", [image], perm=[0, 3, 1, 2])
            patches = self.cast(self.node("SpaceToDepth", [planes], blocksize=block), FLOAT)
            arguments = [self.scalar(1.0), self.scalar(0, np.uint8)]
            stored = self.node("QuantizeLinear", [patches, *arguments])
            x = self._values(stored, grid.step, 0, np.uint8)
            self._on_grid[x, grid] = x
            return x
        columns = self.node("Div", [self._sides(image, 2), self._whole("block", block)])
        shape = self.node(
            "Concat",
            [
                self.constant("rows_of_blocks", np.array([1, -1, block])),
                columns,
                self._whole("row", 3 * block),
            ],
            axis=0,
        )
        rows = self.node("Reshape", [image, shape])
        moved = self.node("Transpose", [rows], perm=[0, 1, 3, 2, 4])
        patches = self._reshaped(moved, [0, 0, 0, -1])
        x = self._values(
            self.node("Transpose", [patches], perm=[0, 3, 1, 2]), grid.step, 0, np.uint8
        )
        self._on_grid[x, grid] = x
        return x

    def _sides(self, x: str, first: int) -> str:
        """The dimensions of `x` from `first` up to the third, as whole numbers."""
        shape = self.node("Shape", [x])
        return self.node("Slice", [shape, self._whole("first", first), self._whole("third", 3)])

    def _whole(self, name: str, *values: int) -> str:
        return self.constant(f"{name}_{'_'.join(map(str, values))}", np.array(values, np.int64))

    def _reshaped(self, x: str, shape: list[int]) -> str:
        return self.node("Reshape", [x, self._whole("shape", *shape)])

    def each(self, operator: str, x: str, *constants: str) -> str:
        """An operator on each value by itself. Of a shuffled tensor it is written before the shuffle, which then moves
        what the operator gives: a quarter of the bytes once that is 8 bits, and fused with the convolution before."""
        if x in self._unshuffled:
            before, block, mode = self._unshuffled[x]
            return self.shuffled(self.node(operator, [before, *constants]), block, mode)
        return self.node(operator, [x, *constants])

    def _round_trip(self, x: str, step: float, zero: int, kind: type[np.generic]) -> str:
        stored = self.node("QuantizeLinear", [x, self.scalar(step), self.scalar(zero, kind)])
        return self._values(stored, step, zero, kind)

    def _values(self, stored: str, step: float, zero: int, kind: type[np.generic]) -> str:
        values = self.node("DequantizeLinear", [stored, self.scalar(step), self.scalar(zero, kind)])
        self._stored[values] = stored
        return values

    def convolution(self, x: str, layer: IntegerLayer) -> str:
        """The layer in integers: `x` is rounded to its input grid; float32 comes out."""
        return self._convolution(self.quantized(x, layer.input), layer)

    def _convolution(self, x: str, layer: IntegerLayer) -> str:
        transposed = layer.kind == "transposed"
        if transposed and not self.form.keeps_transposed:
            plain = as_subpixel(layer)
            return self.shuffled(self._convolution(x, plain), STRIDE)
        weight = self._weight(layer)
        attributes: dict[str, Any] = {
            "kernel_shape": layer.weight.shape[2:],
            "strides": [layer.stride] * 2,
            "pads": [layer.padding] * 4,
            "group": layer.groups,
        }
        if transposed:
            attributes["output_padding"] = [layer.output_padding] * 2
        operator = "ConvTranspose" if transposed else "Conv"
        # Named as the layer, so that the runtime's own report shows what the runtime makes of it.
        return self.named(layer.name, operator, [x, weight, self._bias(layer)], attributes)

    def in_floats(self, *terms: tuple[str, IntegerLayer]) -> str:
        """The sum of convolutions, `terms` (x, layer), for an output that no integer kernel takes.

        ONNX Runtime runs a convolution in integers only where 8 bits come out of it. A matrix product in integers may give
        floats.
        """
        if not self.form.channels_last:
            return self._sum([self.convolution(x, layer) for x, layer in terms])
        total = self._sum(
            [self._product(self.quantized(x, layer.input), layer) for x, layer in terms]
        )
        biases = [
            layer.bias * (layer.weight_step * np.float32(layer.input.step)) for _, layer in terms
        ]
        bias = self.constant(f"{terms[0][1].name}.bias", np.sum(biases, axis=0).astype(np.float32))
        return self.node("Transpose", [self.node("Add", [total, bias])], perm=[0, 3, 1, 2])

    def _sum(self, terms: list[str]) -> str:
        total = terms[0]
        for term in terms[1:]:
            total = self.node("Add", [total, term])
        return total

    def _product(self, x: str, layer: IntegerLayer) -> str:
        """The layer without its bias as a matrix product; [1, h, w, C_out] float32."""
        # Turned here rather than in the file, where so the bytes are those of the convolution in the other form, which
        # a bundle then holds once. Runtimes turn constants when they load.
        if layer.weight.shape[2:] == (1, 1):
            kind, zero, step = self._storage(layer.input)
            last = self._values(
                self.node("Transpose", [self._stored[x]], perm=[0, 2, 3, 1]), step, zero, kind
            )
            stored = self.constant(f"{layer.name}.weight", layer.weight[:, :, 0, 0])
            turned = self.node("Transpose", [stored], perm=[1, 0])
        else:
            last = self._neighbours(x, layer)
            stored = self.constant(f"{layer.name}.weight", layer.weight)
            turned = self._reshaped(
                self.node("Transpose", [stored], perm=[2, 3, 1, 0]), [-1, layer.channels_out]
            )
        weight = self.node(
            "DequantizeLinear",
            [
                turned,
                self.constant(f"{layer.name}.weight_step", layer.weight_step),
                self.constant(f"{layer.name}.weight_zero", np.zeros(layer.channels_out, np.int8)),
            ],
            axis=1,
        )
        return self.named(layer.name, "MatMul", [last, weight], {})

    def _neighbours(self, x: str, layer: IntegerLayer) -> str:
        """`x`, on the layer's grid, as [1, h, w, kernel^2 C]: what each position reads, (row, column, C); moved as 8 bits."""
        kind, zero, step = self._storage(layer.input)
        rows, columns = layer.weight.shape[2:]
        around = self._whole(
            "around", 0, layer.padding, layer.padding, 0, 0, layer.padding, layer.padding, 0
        )
        last = self.node("Transpose", [self._stored[x]], perm=[0, 2, 3, 1])
        wide = self.node("Pad", [last, around, self.scalar(zero, kind)])
        axes = self._whole("axes", 1, 2)
        parts = [
            self.node(
                "Slice",
                [
                    wide,
                    self._whole("from", row, column),
                    self._whole("to", row + 1 - rows or _END, column + 1 - columns or _END),
                    axes,
                ],
            )
            for row in range(rows)
            for column in range(columns)
        ]
        return self._values(self.node("Concat", parts, axis=3), step, zero, kind)

    def relu(self, x: str) -> str:
        """max(x, 0)."""
        return self.each("Relu", x)

    def model(
        self, name: str, inputs: list[onnx.ValueInfoProto], outputs: dict[str, onnx.ValueInfoProto]
    ) -> onnx.ModelProto:
        """The graph; `outputs`: the tensor that each declared output takes."""
        for tensor, declared in outputs.items():
            self._nodes.append(
                helper.make_node("Identity", [tensor], [declared.name], name=declared.name)
            )
        graph = helper.make_graph(
            _needed(self._nodes, {declared.name for declared in outputs.values()}),
            name,
            inputs,
            list(outputs.values()),
            list(self._constants.values()),
        )
        model = helper.make_model(
            graph,
            producer_name="hwkd",
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", self.form.opset)],
        )
        onnx.checker.check_model(model, full_check=True)
        return model

    def _weight(self, layer: IntegerLayer) -> str:
        axis = 1 if layer.kind == "transposed" else 0
        if self.form.is_float:
            shape = [1, 1, 1, 1]
            shape[axis] = -1
            return self.constant(
                f"{layer.name}.weight", layer.weight * layer.weight_step.reshape(shape)
            )
        return self.node(
            "DequantizeLinear",
            [
                self.constant(f"{layer.name}.weight", layer.weight),
                self.constant(f"{layer.name}.weight_step", layer.weight_step),
                self.constant(f"{layer.name}.weight_zero", np.zeros(layer.channels_out, np.int8)),
            ],
            axis=axis,
        )

    def _bias(self, layer: IntegerLayer) -> str:
        step = self._storage(layer.input)[2]
        # On a grid of twice the step the same bias is half as many steps.
        bias = np.rint(layer.bias * (layer.input.step / step))
        steps = (layer.weight_step * np.float32(step)).astype(np.float32)
        if self.form.is_float or self.form.signed:  # TensorRT takes biases in float only
            return self.constant(f"{layer.name}.bias", (bias * steps).astype(np.float32))
        return self.node(
            "DequantizeLinear",
            [
                self.constant(f"{layer.name}.bias", bias.astype(np.int32)),
                self.constant(f"{layer.name}.bias_step", steps),
            ],
            axis=0,
        )


def _needed(nodes: list[onnx.NodeProto], wanted: set[str]) -> list[onnx.NodeProto]:
    """The nodes that the outputs `wanted` depend on, in their order."""
    kept = []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(node.input)
    return kept[::-1]


def tensor(name: str, kind: int, shape: Sequence[int | str]) -> onnx.ValueInfoProto:
    """The declaration of an input or output; a dimension that is a word is free."""
    return helper.make_tensor_value_info(name, kind, list(shape))


# A transposed convolution as an ordinary one: the same function, for kernels that know no transposed one.

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
