"""The entropy coder beside compressai's, on the symbols of one 768x512 image, in one run on one core.

    python tests/bench/bench_entropy.py [--repetitions 30] [--format md]

y has 192 channels, 294,912 symbols: half of them silent, the scale indexes of the others geometric, so that the image
takes about 0.7 bits per pixel; z has 64 channels, 6,144 symbols, whose index is the channel. The symbols are drawn from
the tables, each on its own, which makes a processor guess wrong more often than an image does. compressai's side is its
own compress and decompress, given the indexes; the lists it makes of tensors count.
"""

import argparse
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hwkd.cli.tables import TableOptions, emit
from hwkd.codec.entropy import decode, encode, use_compiled
from hwkd.codec.tables import Tables
from hwkd.measure.machine import host_facts
from hwkd.measure.timing import measure_in_turn, pinned
from hwkd.models.compat import EntropyBottleneck, GaussianConditional
from hwkd.qualities import LOG_SCALE_STEP, SCALE_LEVELS, SCALE_MIN
from hwkd.report.table import Table

PIXELS = 768 * 512
Y_SHAPE, Z_SHAPE = (192, 32, 48), (64, 8, 12)
GEOMETRIC = 0.072
"""Of the scale indexes: the smaller, the wider the tables and the more bits."""


@dataclass(frozen=True)
class Part:
    """What one call codes. symbols, indexes: [C, H, W]. silent: as `encode` takes it."""

    model: EntropyBottleneck | GaussianConditional
    tables: Tables
    symbols: npt.NDArray[np.int32]
    indexes: npt.NDArray[np.uint8]
    silent: int | None

    def encode(self) -> bytes:
        """By hwkd."""
        return encode(self.symbols.ravel(), self.indexes.ravel(), self.tables, self.silent)

    def decode(self, data: bytes) -> npt.NDArray[np.int32]:
        """By hwkd."""
        return decode(data, self.indexes.ravel(), self.tables, self.silent)

    def compressai_arguments(self) -> tuple[Tensor, tuple[Any, ...], tuple[Any, ...]]:
        """The symbols as it takes them, and what its compress and its decompress want beside them."""
        values = torch.from_numpy(self.symbols)[None].float()
        if isinstance(self.model, EntropyBottleneck):
            return values, (), (self.symbols.shape[1:],)
        indexes = torch.from_numpy(self.indexes)[None].int()
        return values, (indexes,), (indexes,)

    def ideal_bits(self) -> float:
        """-log2 of the tables' frequencies, summed over the symbols that are not silent."""
        coded = self.indexes != (-1 if self.silent is None else self.silent)
        tables = self.tables
        indexes = self.indexes[coded]
        found = tables.starts[indexes] + self.symbols[coded] - tables.offsets[indexes]
        return float(-np.log2((tables.packed[found] & 0xFFFF) / 65536).sum())


def main() -> None:
    """Draw, code both ways in turn, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=30)
    TableOptions.add_to(parser)
    args = parser.parse_args()
    parts = draw_parts()
    use_compiled()
    started = time.perf_counter()
    parts["z"].decode(parts["z"].encode())
    first_call_s = time.perf_counter() - started
    with pinned(1) as pinning:
        measured = {name: measure(part, args.repetitions) for name, part in parts.items()}
    measured["both"] = {key: sum(m[key] for m in measured.values()) for key in measured["y"]}
    rows = [(name, *cells(figures)) for name, figures in measured.items()]
    columns = (
        *(
            "part",
            "symbols",
            "encode_ms",
            "decode_ms",
            "compressai_encode_ms",
            "compressai_decode_ms",
        ),
        *("encode_ratio", "decode_ratio", "bytes", "compressai_bytes", "ideal_bytes"),
        *("bits_per_symbol", "ideal_bits_per_symbol", "over_ideal_percent"),
    )
    notes = [
        f"Medians of {args.repetitions} repetitions, every call in turn, {pinning}. The ratios are compressai's time "
        "over this one.",
        f"The image takes {8 * measured['both']['bytes'] / PIXELS:.3f} bits per pixel. The ideal counts the symbols "
        "that are not silent, by the integer tables; compressai codes the silent ones too.",
        f"The first call of the process, llvmlite's import included, torch's not: {first_call_s:.2f} s.",
        f"Host: {host_facts()}.",
    ]
    emit(
        Table("Entropy coding of one 768x512 image", columns, tuple(rows), tuple(notes)),
        TableOptions.of(args),
    )


def draw_parts() -> dict[str, Part]:
    """y and z with symbols drawn from their own tables."""
    torch.manual_seed(0)  # the bottleneck starts at random
    rng = np.random.default_rng(0)
    scales = SCALE_MIN * np.exp(LOG_SCALE_STEP * np.arange(SCALE_LEVELS))
    gaussian = GaussianConditional(None)
    gaussian.update_scale_table(torch.from_numpy(scales).float())
    bottleneck = EntropyBottleneck(Z_SHAPE[0])
    bottleneck.update()
    is_silent = rng.random(Y_SHAPE) < 0.5
    spread = np.minimum(rng.geometric(GEOMETRIC, Y_SHAPE), SCALE_LEVELS - 1)
    y_indexes = np.where(is_silent, 0, spread).astype(np.uint8)
    z_indexes = np.arange(Z_SHAPE[0], dtype=np.uint8)[:, None, None].repeat(8, 1).repeat(12, 2)
    parts = {}
    for name, model, indexes, silent in (
        ("y", gaussian, y_indexes, 0),
        ("z", bottleneck, z_indexes, None),
    ):
        padded = (model._quantized_cdf, model._cdf_length, model._offset)
        tables = Tables.from_padded(*(array.numpy() for array in padded))
        symbols = np.zeros(indexes.shape, np.int32)
        for t in range(tables.count):
            cdf = tables.cdf[tables.starts[t] : tables.starts[t + 1]]
            at = (indexes == t) & (t != silent)
            found = np.searchsorted(cdf, rng.integers(0, cdf[-2], at.sum()), side="right") - 1
            symbols[at] = found + tables.offsets[t]
        parts[name] = Part(model, tables, symbols, indexes, silent)
    return parts


def measure(part: Part, repetitions: int) -> dict[str, float]:
    """Sizes in bytes, medians in milliseconds. Ends the program where a coder does not give the symbols back."""
    values, compress_with, decompress_with = part.compressai_arguments()
    data, theirs = part.encode(), part.model.compress(values, *compress_with)
    is_same = (part.decode(data) == part.symbols.ravel()).all()
    if not is_same or not torch.equal(part.model.decompress(theirs, *decompress_with), values):
        sys.exit("the symbols did not come back")
    runs = {
        "encode": part.encode,
        "decode": lambda: part.decode(data),
        "compressai_encode": lambda: part.model.compress(values, *compress_with),
        "compressai_decode": lambda: part.model.decompress(theirs, *decompress_with),
    }
    times = measure_in_turn(runs, repeats=repetitions)
    return {
        "symbols": part.symbols.size,
        **{name: latency.median_ms for name, latency in times.items()},
        "bytes": len(data),
        "compressai_bytes": len(theirs[0]),
        "ideal_bytes": part.ideal_bits() / 8,
    }


def cells(figures: dict[str, float]) -> tuple[str, ...]:
    """A row, its name apart."""
    n, size, ideal = figures["symbols"], figures["bytes"], figures["ideal_bytes"]
    sides = ("encode", "decode")
    return (
        f"{n}",
        *(f"{figures[s]:.2f}" for s in sides),
        *(f"{figures[f'compressai_{s}']:.1f}" for s in sides),
        *(f"{figures[f'compressai_{s}'] / figures[s]:.1f}" for s in sides),
        f"{size}",
        f"{figures['compressai_bytes']}",
        f"{ideal:.1f}",
        f"{8 * size / n:.4f}",
        f"{8 * ideal / n:.4f}",
        f"{100 * (size / ideal - 1):.3f}",
    )


if __name__ == "__main__":
    main()
