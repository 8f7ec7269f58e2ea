"""The entropy path of a bundle: h_s in whole numbers, coding tables, and the self-test."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, nn

from hwkd.codec.networks import SELFTEST_DIGESTS, SELFTEST_PREFIX, SELFTEST_QUALITIES, digest
from hwkd.codec.tables import TOTAL, Array, Tables
from hwkd.errors import HwkdError
from hwkd.export.graph_writer import FLOAT, INT32, OPENVINO, GraphWriter, as_subpixel, tensor
from hwkd.export.graphs import LatentRanges
from hwkd.models.base import HyperpriorCodec
from hwkd.qualities import DEFAULT_QUALITY, HIGHEST, LOWEST, lmbda_at
from hwkd.quantize.integer import IntegerLayer, halved
from hwkd.quantize.qat import ENTROPY_PATH
from hwkd.runtime.exact import BOUND, INDEXES, SYMBOL_LIMIT, ExactLayer, ExactPath
from hwkd.runtime.gains import Gains

# h_s in whole numbers, with its bound proven, and as the float32 graph that every runtime computes alike.
#
# Every scale of h_s is a power of two, so between two layers stands a shift: q = clip(round(acc 2^-shift)). A float32
# convolution of whole numbers is exact in any order of summation while no sum reaches 2^24; the bound kept here is 2^22,
# and a Round after each convolution takes away what a fast algorithm may leave behind the point. Related: Balle et al.
# 2019, "Integer networks for data compression with latent-variable models" (ICLR).

PLACES_PER_UNIT = 256
"""Places of the table of indexes per unit of scale: a 28th of the finest step between CompressAI's scales."""


@dataclass(frozen=True)
class EntropyPath:
    """The entropy path, proven.

    Attributes:
        shortened: channels that lost weight bits to the bound, "h_s.2: 12 of 96 channels by 1".
    """

    path: ExactPath
    shortened: tuple[str, ...]


def entropy_path(
    codec: HyperpriorCodec, layers: Mapping[str, IntegerLayer], scale_table: npt.NDArray[np.float64]
) -> EntropyPath:
    """h_s of a quantized codec.

    Args:
        scale_table: CompressAI's scales, [64], rising.
    Raises:
        HwkdError: a scale that is no power of two.
    """
    hyper = [layer for name, layer in layers.items() if name.startswith(ENTROPY_PATH)]
    gives_index = codec.family.h_s_gives_index
    found, shortened = [], []
    largest = SYMBOL_LIMIT
    for i, layer in enumerate(hyper):
        if layer.kind == "transposed":
            plain, block = as_subpixel(layer), 2
        else:
            plain, block = layer, _shuffle_after(codec.h_s, layer.name)
        plain, lost = _bounded(plain, largest)
        if lost.any():
            # A channel before the shuffle stands for one of the layer's own.
            shortened.append(
                f"{layer.name}: {np.count_nonzero(lost)} of {len(lost)} channels by {lost.max()} bits at most"
            )
        if i < len(hyper) - 1:
            after = hyper[i + 1].input
            step, low, high = after.step, max(after.low, 0), after.high
        elif gives_index:
            step, low, high = 1.0, 0, INDEXES - 1
        else:
            step, low, high = 1 / PLACES_PER_UNIT, 0, _last_place(scale_table)
        found.append(
            ExactLayer(
                weight=plain.weight.astype(np.int64),
                bias=plain.bias,
                shift=_shifts(plain, step),
                low=low,
                high=high,
                block=block,
            )
        )
        largest = high
    places = None if gives_index else _places(scale_table)
    return EntropyPath(ExactPath(tuple(found), places), tuple(shortened))


def hyper_model(path: ExactPath, Z: int, M: int, *, has_gains: bool = False) -> onnx.ModelProto:
    """The graph: z [1, Z, H/64, W/64] int32 -> index [1, M, H/16, W/16] float32, whole numbers.

    Of a codec of all rates it takes `shift` besides, whole numbers [1, M, 1, 1] float32, which are added to the last
    layer's q before it is clipped.

    OpenVINO casts to uint8 in its slow reference kernel (1.5 of 10 ms): that is left to numpy.

    Weights are int8 and become float32 in the graph; nothing is marked as quantized, so that no runtime turns to
    integer kernels, which may saturate.
    """
    graph = GraphWriter(OPENVINO)
    x = graph.cast("z", FLOAT)
    for i, layer in enumerate(path.layers):
        weight = graph.constant(f"weight_{i}", layer.weight.astype(np.int8))
        bias = graph.constant(f"bias_{i}", layer.bias.astype(np.float32))
        kernel = layer.weight.shape[2]
        acc = graph.named(
            f"h_s.layer_{i}",
            "Conv",
            [x, graph.cast(weight, FLOAT), bias],
            {"kernel_shape": [kernel] * 2, "pads": [kernel // 2] * 4},
        )
        factor = np.exp2(-layer.shift.astype(np.float32))[None, :, None, None]
        scaled = graph.node(
            "Mul", [graph.node("Round", [acc]), graph.constant(f"factor_{i}", factor)]
        )
        bounds = (graph.scalar(float(layer.low)), graph.scalar(float(layer.high)))
        q = graph.node("Round", [scaled])
        if has_gains and i == len(path.layers) - 1:
            q = graph.node("Add", [q, "shift"])
        x = graph.node("Clip", [q, *bounds])
        if layer.block > 1:
            x = graph.shuffled(x, layer.block)
    if path.places is not None:
        places = graph.constant("places", path.places.astype(np.float32))
        x = graph.node("Gather", [places, graph.cast(x, INT32)])
    return graph.model(
        "hyper",
        [
            tensor("z", INT32, [1, Z, "H/64", "W/64"]),
            *([tensor("shift", FLOAT, [1, M, 1, 1])] if has_gains else []),
        ],
        {x: tensor("index", FLOAT, [1, M, "H/16", "W/16"])},
    )


def _shuffle_after(h_s: nn.Module, name: str) -> int:
    """The factor of a PixelShuffle right after the layer `name` ("h_s.3"); 1 where there is none."""
    after = dict(h_s.named_children()).get(str(int(name.removeprefix(ENTROPY_PATH)) + 1))
    return after.upscale_factor if isinstance(after, nn.PixelShuffle) else 1


def _bounded(layer: IntegerLayer, largest: int) -> tuple[IntegerLayer, npt.NDArray[np.int64]]:
    """`layer` with weight bits removed, one by one, from the channels with sums that could reach the bound; the number removed
    from each channel."""
    lost = np.zeros(layer.channels_out, np.int64)
    while True:
        exact = ExactLayer(layer.weight.astype(np.int64), layer.bias, lost, 0, 0, 1)
        over = exact.largest(largest) >= BOUND
        if not over.any():
            return layer, lost
        lost += over
        layer = halved(layer, over)


def _shifts(layer: IntegerLayer, step: float) -> npt.NDArray[np.int64]:
    """log2(step / step of the accumulator) of each channel."""
    ratio = np.log2(step / (layer.weight_step.astype(np.float64) * layer.input.step))
    if not (ratio == np.rint(ratio)).all():
        raise HwkdError(f"{layer.name}: a scale is no power of two, so its path is not exact")
    shifts: npt.NDArray[np.int64] = ratio.astype(np.int64)
    return shifts


def _last_place(scale_table: npt.NDArray[np.float64]) -> int:
    return int(np.ceil(scale_table[-1] * PLACES_PER_UNIT))


def _places(scale_table: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """The index at each scale place / PLACES_PER_UNIT: that of the nearest scale of the table, by its logarithm.

    CompressAI takes the next larger one. On Kodak the nearest gave 0.1 to 0.6 % fewer bits for y (patch-q5, 6 images).
    """
    borders = np.sqrt(scale_table[1:] * scale_table[:-1])
    scales = np.arange(_last_place(scale_table) + 1) / PLACES_PER_UNIT
    return np.searchsorted(borders, scales).astype(np.uint8)


# Tables of y that fit what a codec's symbols do: those of a Gaussian, moved towards counts on training images.
#
# Symbols of one scale are no Gaussian: more of them are zero, and more far away, the less the codec was trained. On
# Kodak, with counts of training images, y took 1.1 % fewer bits of patch-q5 and 5 % fewer of a student of six minutes.

PRIOR_SYMBOLS = 1000
"""The Gaussian counts as much as so many symbols seen: a scale that is seldom met keeps it."""

QUALITIES = (1, 20, 40, 60, 80, 100)
"""The qualities at which the symbols of a codec of all rates are counted."""

Counts = npt.NDArray[np.int64]


@torch.no_grad()
def count_symbols(
    codec: HyperpriorCodec,
    path: ExactPath,
    latents: LatentRanges,
    images: Iterable[Tensor],
    gains: Gains | None = None,
) -> Counts:
    """How often a symbol of y had each magnitude, by its scale index, [INDEXES, latents.largest_y + 2].

    Args:
        path: h_s in integers: it gives the indexes that the decoder will have.
        images: [1, 3, H, W] in [0, 1], sides multiples of 64; none that the codec is evaluated on.
        gains: of a codec of all rates. Its symbols are counted at each of QUALITIES.
    """
    magnitudes = latents.largest_y + 2
    counts = np.zeros(INDEXES * magnitudes, np.int64)
    low, high = torch.tensor(-latents.largest_y - 1.0), torch.tensor(float(latents.largest_y))
    shift = None
    for x, quality in product(images, (None,) if gains is None else QUALITIES):
        if gains is not None and quality is not None:
            rate = gains.rate(quality)
            codec.set_lmbda(lmbda_at(quality))
            high, shift = torch.from_numpy(rate.limit), rate.shift.ravel()
            low = -high
        y = codec.g_a(x)
        z = torch.round(codec.hyper_analysis(y)).clamp(-latents.largest_z - 1, latents.largest_z)
        index = path.indexes(z.int().numpy(), shift).astype(np.int64)
        held = torch.round(codec.residual(y)).clamp(low, high)
        places = index * magnitudes + held.abs().long().numpy()
        counts += np.bincount(places.ravel(), minlength=len(counts))
    return counts.reshape(INDEXES, magnitudes)


def fitted(gaussian: Tables, counts: Counts) -> Tables:
    """`gaussian`, a table for each scale, with the frequencies moved towards `counts`; the same bins.

    Symmetric in the symbol's sign, as the prior of y is. Every bin keeps a frequency of at least 1.
    """
    frequencies = []
    for table in range(gaussian.count):
        first, last = gaussian.starts[table], gaussian.starts[table + 1]
        prior = np.diff(gaussian.cdf[first:last].astype(np.int64)) / TOTAL
        symbols = np.abs(gaussian.offsets[table] + np.arange(len(prior) - 1, dtype=np.int64))
        of_magnitude = np.pad(counts[table], (0, max(0, int(symbols.max()) + 1 - counts.shape[1])))
        # A magnitude is that of two symbols, but for 0.
        seen = of_magnitude[symbols] / np.where(symbols == 0, 1, 2)
        escaped = counts[table].sum() - seen.sum()
        weight = np.append(seen, escaped) + PRIOR_SYMBOLS * prior
        frequencies.append(_in_whole_slots(weight))
    cdf = [np.concatenate(([0], np.cumsum(f))).astype(np.uint32) for f in frequencies]
    return Tables(np.concatenate(cdf), gaussian.starts, gaussian.offsets)


def _in_whole_slots(weight: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Frequencies of at least 1 that sum to TOTAL, as `weight`; what rounding leaves goes to the most frequent."""
    spare = TOTAL - len(weight)
    frequency: npt.NDArray[np.int64] = 1 + np.floor(weight / weight.sum() * spare).astype(np.int64)
    frequency[frequency.argmax()] += TOTAL - frequency.sum()
    return frequency


# The integer tables and the self-test that a bundle carries: made once, the same numbers on every machine.

_SIZES = ((1, 1), (3, 5), (8, 12))
"""Sizes of the self-test's z: one position, an odd size, that of a 768x512 image."""

_SELFTEST_AT = (LOWEST, DEFAULT_QUALITY, HIGHEST)


@torch.no_grad()
def coding_tables(codec: HyperpriorCodec, counts: Counts | None = None) -> dict[str, Array]:
    """The tables of z, by channel, and of y, by scale index, in CompressAI's own integers.

    CompressAI codes z relative to the medians, which are whole numbers here; a bundle's z is not relative to them, so
    they go into the offsets. `codec` must have its tables (codec.update()).

    Args:
        counts: from `count_symbols`, for tables of y that fit them; None for tables of a Gaussian.
    """
    z, y = codec.entropy_bottleneck, codec.gaussian_conditional
    medians = z.quantiles[:, 0, 1].detach().round().int()
    of_z = Tables.from_padded(
        z.quantized_cdf.numpy(), z.cdf_length.numpy(), (z.offset + medians).numpy()
    )
    of_y = Tables.from_padded(y.quantized_cdf.numpy(), y.cdf_length.numpy(), y.offset.numpy())
    if counts is not None:
        of_y = fitted(of_y, counts)
    return of_z.to_arrays("z.") | of_y.to_arrays("y.")


def selftest(
    path: ExactPath,
    Z: int,
    largest_z: int,
    real: npt.NDArray[np.int32],
    seed: int = 0,
    gains: Gains | None = None,
) -> dict[str, Array]:
    """z symbols and the digests of the indexes that they must give: of a real image, small ones and the extremes.

    Args:
        real: z of an image, [Z, h, w] int32.
        gains: of a codec of all rates. Its digests have a row each for the lowest, a middle and the highest quality.
    """
    rng = np.random.default_rng(seed)
    cases = [real]
    for height, width in _SIZES:
        spread = rng.laplace(0, 4, (Z, height, width)).round()
        cases.append(np.clip(spread, -largest_z - 1, largest_z).astype(np.int32))
    low, high = -largest_z - 1, largest_z
    cases.append(rng.integers(low, high, (Z, 4, 4), dtype=np.int32, endpoint=True))
    cases += [np.full((Z, 3, 3), limit, np.int32) for limit in (low, high)]
    arrays: dict[str, Array] = {f"{SELFTEST_PREFIX}{i}": z for i, z in enumerate(cases)}
    if gains is None:
        digests = [digest(path.indexes(z[None])[0]) for z in cases]
        return {**arrays, SELFTEST_DIGESTS: np.array(digests)}
    rows = []
    for quality in _SELFTEST_AT:
        shift = gains.rate(quality).shift.ravel()
        rows.append([digest(path.indexes(z[None], shift)[0]) for z in cases])
    qualities = np.array(_SELFTEST_AT, np.uint8)
    return {**arrays, SELFTEST_QUALITIES: qualities, SELFTEST_DIGESTS: np.array(rows)}
