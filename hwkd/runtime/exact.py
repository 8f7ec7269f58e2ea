"""The entropy path in whole numbers: z -> index of the scale, as int64 in numpy, the reference for every runtime.

Each layer: acc = conv(x, weight) + bias, 3x3 (or any odd kernel), stride 1, zero padding; then
q = clip(round_half_even(acc 2^-shift), low, high), and depth to space by 2 where the layer says so. The last layer's q
is the index, or a place in a table of indexes; in a codec of all rates a whole number for each channel, which depends on the
quality, is added to it before it is clipped.

`ExactPath` is the reference. `CheckedPath` gives the same from numpy's products of float32 matrices, an order of magnitude sooner.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from hwkd.errors import HwkdError, InputError

BOUND = 2**22
"""No accumulator reaches it: float32 holds whole numbers to 2^24, and the transforms of the smallest fast convolution
(Winograd's F(2x2, 3x3) halves and quarters) need two bits more. Larger transforms are not covered: runtimes that use them
are not used for this path (hwkd.runtime.session.sums_exactly)."""

SYMBOL_LIMIT = 128
"""The largest |z|: of 8 bits, signed."""

INDEXES = 64
_FIELDS = ("weight", "bias", "shift", "low", "high", "block")
_MOST_LAYERS = 16
_MOST_CHANNELS = 4 * 4096
_MOST_PLACES = 2**20

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ExactLayer:
    """weight: [C_out, C_in, k, k], k odd. bias, shift: [C_out]. low, high: of q. block: 1, or 2 for depth to space."""

    weight: Integers
    bias: Integers
    shift: Integers
    low: int
    high: int
    block: int

    def largest(self, largest_input: int) -> Integers:
        """The largest |acc| of each channel, [C_out], for inputs of at most `largest_input`: no order of summing its
        terms exceeds it either."""
        taps = np.abs(self.weight).reshape(len(self.weight), -1).sum(1)
        largest: Integers = taps * largest_input + np.abs(self.bias)
        return largest


@dataclass(frozen=True)
class ExactPath:
    """The layers in order; `places`: [P] uint8, the index at each place of the last layer's q, or None."""

    layers: tuple[ExactLayer, ...]
    places: npt.NDArray[np.uint8] | None

    def indexes(
        self, z: npt.NDArray[Any], shift: npt.NDArray[Any] | None = None
    ) -> npt.NDArray[np.uint8]:
        """The index of each symbol of y, [1, M, 4 h, 4 w] uint8, from the symbols `z`, [1, Z, h, w].

        Args:
            shift: whole numbers, [M], added to the last layer's q before it is clipped.
        """
        x = z[0].astype(np.int64)
        *before, last = self.layers
        for layer in before:
            x = _applied(layer, x)
        x = _applied(last, x, 0 if shift is None else shift.astype(np.int64)[:, None])
        index: npt.NDArray[np.uint8] = x.astype(np.uint8) if self.places is None else self.places[x]
        return index[None]

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Plain arrays for an npz; weights as int8, the rest as int32."""
        arrays: dict[str, npt.NDArray[Any]] = {}
        for i, layer in enumerate(self.layers):
            for field in _FIELDS:
                kind = np.int8 if field == "weight" else np.int32
                arrays[f"{i}.{field}"] = np.asarray(getattr(layer, field)).astype(kind)
        if self.places is not None:
            arrays["places"] = self.places
        return arrays


class WrongProduct(HwkdError):
    """A product of matrices that is not the sum of its products in whole numbers."""


class CheckedPath:
    """An ExactPath that `exact_path` made, in float32, with every product of matrices checked when it is used.

    No sum of a layer reaches BOUND in any order, so float32 holds every part of it, and the product that numpy's library
    gives is exact if it adds up products at all. That it does is not assumed: each product's sums over the
    channels are held against whole numbers that no such library computes, for every position of every image.
    """

    def __init__(self, path: ExactPath) -> None:
        self._layers = tuple(map(_CheckedLayer, path.layers))
        self._places = path.places

    def indexes(
        self, z: npt.NDArray[Any], shift: npt.NDArray[Any] | None = None
    ) -> npt.NDArray[np.uint8]:
        """As `ExactPath.indexes`.

        Raises:
            WrongProduct: the products of this machine's numpy are not exact.
        """
        x = z[0].astype(np.float32)
        *before, last = self._layers
        for layer in before:
            x = layer(x)
        x = last(x, None if shift is None else shift.astype(np.float32)[:, None])
        if self._places is None:
            return x.astype(np.uint8)[None]
        index: npt.NDArray[np.uint8] = self._places[x.astype(np.intp)][None]
        return index


class _CheckedLayer:
    def __init__(self, layer: ExactLayer) -> None:
        self._layer = layer
        weight = layer.weight.transpose(0, 2, 3, 1).reshape(len(layer.weight), -1)
        self._weight, self._weight_sum = weight.astype(np.float32), weight.sum(0)
        self._bias = layer.bias[:, None].astype(np.float32)
        self._factor = np.ldexp(np.float32(1), -layer.shift.astype(np.int32))[:, None]

    def __call__(
        self, x: npt.NDArray[np.float32], added: npt.NDArray[np.float32] | None = None
    ) -> npt.NDArray[np.float32]:
        height, width = x.shape[1:]
        seen = _seen(x, self._layer.weight.shape[2])
        acc = self._weight @ seen
        if (acc.sum(0, dtype=np.float64) != self._weight_sum @ seen.astype(np.int64)).any():
            raise WrongProduct("numpy's products of matrices are not exact on this machine")
        acc += self._bias
        acc *= self._factor  # powers of two, so exact
        np.rint(acc, out=acc)
        if added is not None:
            acc += added
        np.clip(acc, self._layer.low, self._layer.high, out=acc)
        acc = acc.reshape(-1, height, width)
        return acc if self._layer.block == 1 else _depth_to_space(acc, self._layer.block)


def _seen(x: npt.NDArray[np.float32], kernel: int) -> npt.NDArray[np.float32]:
    """What a kernel sees at each position, [kernel^2 C, height width]: rows and columns of the kernel first."""
    channels, height, width = x.shape
    margin = kernel // 2
    padded = np.pad(x, ((0, 0), (margin, margin), (margin, margin))) if margin else x
    seen = np.empty((kernel, kernel, channels, height, width), np.float32)
    for row in range(kernel):
        for column in range(kernel):
            seen[row, column] = padded[:, row : row + height, column : column + width]
    return seen.reshape(-1, height * width)


def exact_path(arrays: Mapping[str, npt.NDArray[Any]]) -> ExactPath:
    """The path that `to_arrays` described.

    Raises:
        InputError: arrays of another form, or a path that could leave its bound.
    """
    count = len({name.partition(".")[0] for name in arrays if "." in name})
    names = {f"{i}.{field}" for i in range(count) for field in _FIELDS}
    if not 1 <= count <= _MOST_LAYERS or set(arrays) - {"places"} != names:
        raise _damaged(f"its arrays are {', '.join(sorted(arrays)[:8])}")
    layers = tuple(
        _layer(*(arrays[f"{i}.{field}"] for field in _FIELDS), name=f"layer {i}")
        for i in range(count)
    )
    for i, (before, after) in enumerate(pairwise(layers)):
        if len(before.weight) // before.block**2 != after.weight.shape[1]:
            raise _damaged(
                f"layer {i} gives {len(before.weight)} channels, of which the next reads others"
            )
    limits = [SYMBOL_LIMIT, *(max(-layer.low, layer.high) for layer in layers[:-1])]
    for i, (limit, layer) in enumerate(zip(limits, layers, strict=True)):
        if layer.largest(limit).max() >= BOUND:
            raise _damaged(f"layer {i} can reach {BOUND}")
    places = arrays.get("places")
    last = layers[-1]
    limit = INDEXES if places is None else len(places)
    if last.low < 0 or last.high >= limit:
        raise _damaged(f"its last values reach from {last.low} to {last.high}")
    if places is not None and (
        places.dtype != np.uint8
        or places.ndim != 1
        or len(places) > _MOST_PLACES
        or places.max() >= INDEXES
    ):
        raise _damaged("its table of indexes is none")
    return ExactPath(layers, places)


def _layer(*given: npt.NDArray[Any], name: str) -> ExactLayer:
    weight, bias, shift, low, high, block = given
    channels = weight.shape[0] if weight.ndim == 4 else 0
    is_right = (
        weight.dtype == np.int8
        and all(a.dtype == np.int32 for a in given[1:])
        and 1 <= channels <= _MOST_CHANNELS
        and weight.shape[1] >= 1
        and weight.shape[2] == weight.shape[3]
        and weight.shape[2] % 2 == 1
        and bias.shape == shift.shape == (channels,)
        and low.shape == high.shape == block.shape == ()
        and int(block) in (1, 2)
        and channels % int(block) ** 2 == 0
        and -31 <= shift.min() <= shift.max() <= 31
        and int(low) <= int(high)
        and max(abs(int(low)), abs(int(high))) < _MOST_PLACES
    )
    if not is_right:
        raise _damaged(f"{name} is not one")
    return ExactLayer(
        weight.astype(np.int64),
        bias.astype(np.int64),
        shift.astype(np.int64),
        int(low),
        int(high),
        int(block),
    )


def _damaged(cause: str) -> InputError:
    return InputError(f"the bundle's entropy path is damaged ({cause}): get the bundle again")


def _applied(layer: ExactLayer, x: Integers, added: Integers | int = 0) -> Integers:
    kernel = layer.weight.shape[2]
    margin = kernel // 2
    height, width = x.shape[1:]
    padded = np.pad(x, ((0, 0), (margin, margin), (margin, margin)))
    acc = np.repeat(layer.bias, height * width).reshape(-1, height * width)
    for row in range(kernel):
        for column in range(kernel):
            seen = padded[:, row : row + height, column : column + width].reshape(len(x), -1)
            acc += layer.weight[:, :, row, column] @ seen
    q = np.clip(_shifted(acc, layer.shift[:, None]) + added, layer.low, layer.high)
    q = q.reshape(-1, height, width)
    return q if layer.block == 1 else _depth_to_space(q, layer.block)


def _shifted(acc: Integers, shift: Integers) -> Integers:
    """round_half_even(acc 2^-shift)."""
    right = np.maximum(shift, 0)
    floor = acc >> right
    rest = acc - (floor << right)
    half = (1 << right) >> 1
    # Where nothing is shifted out, rest and half are both 0 and nothing is to be rounded.
    up = (right > 0) & ((rest > half) | ((rest == half) & (floor & 1 == 1)))
    shifted: Integers = (floor + up) << np.maximum(-shift, 0)
    return shifted


def _depth_to_space(x: npt.NDArray[Any], block: int) -> npt.NDArray[Any]:
    channels, height, width = x.shape
    split = x.reshape(channels // block**2, block, block, height, width)
    return split.transpose(0, 3, 1, 4, 2).reshape(-1, height * block, width * block)
