"""The ways to run one bundle that `hwkd verify` holds against each other: runtimes, threads, whole numbers."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from hwkd.codec.codec import Y_PX, Z_PX, Codec
from hwkd.codec.networks import (
    EXACT,
    Hyper,
    Indexes,
    Networks,
    SelfTestFailed,
    Symbols,
    default_runtime,
    failures,
    open_hyper,
)
from hwkd.codec.stream import unpack
from hwkd.codec.tiles import Span
from hwkd.errors import HwkdError, InputError
from hwkd.images import MAX_PIXELS, Pixels
from hwkd.runtime.bundle import Bundle
from hwkd.runtime.gains import Rate, chosen_quality
from hwkd.runtime.manifest import Manifest
from hwkd.runtime.session import present_runtimes, runtime_label

EXACT_LABEL = "exact integers"

NO_INDEX = 255
"""Where no index was computed; 0 to 63 are indexes."""

NO_SYMBOL = np.iinfo(np.int32).min
"""Where no symbol was found; hwkd.codec.tables.MAX_SYMBOL bounds symbols."""


class Passed(NamedTuple):
    """What a coder had in hand: y, z, and the index of the scale of each symbol of y, all of the padded image."""

    y: Symbols
    z: Symbols
    indexes: Indexes


class Coder(Codec):
    """A codec that tells what passed through it.

    label: in words, with version and threads. is_exact: its indexes come from EXACT.
    """

    def __init__(self, bundle: Bundle, runtime: str, threads: int, *, is_exact: bool) -> None:
        super().__init__(bundle, runtime, threads)
        self.is_exact = is_exact
        if is_exact:
            self._networks = _ExactNetworks(bundle, runtime, threads)
            self.label = EXACT_LABEL
        else:
            plural = "s" * (threads > 1)
            self.label = f"{runtime_label(runtime)}, {threads} thread{plural}"

    @cached_property
    def refusal(self) -> str | None:
        """Why it may not be used: its self-test fails, or a network does not load or run; None where it may.

        Raises:
            InputError: the bundle has no graph for its runtime, or one that does not fit.
        """
        try:
            self.decode(self.encode(np.zeros((1, 1, 3), np.uint8)))
        except HwkdError as error:
            if isinstance(error, InputError) and not isinstance(error, SelfTestFailed):
                raise
            return str(error)
        return None

    def write(self, image: Pixels, quality: int | None = None) -> tuple[bytes, Passed]:
        """The stream of `image`, and what was coded. quality: as `encode`."""
        stream = self.encode(image, quality=quality)
        return stream, Passed(self._y, self._z, self._found)

    def read(self, stream: bytes) -> Passed:
        """What it finds in `stream`; NO_SYMBOL all over y where its indexes do not lead through."""
        try:
            y = self.symbols(unpack(stream, MAX_PIXELS))
        except InputError:
            y = np.full(self._found.shape, NO_SYMBOL, np.int32)
        return Passed(y, self._z, self._found)

    def image(self, stream: bytes) -> Pixels | None:
        """The image in `stream`; None where it does not decode."""
        try:
            return self.decode(stream)
        except InputError:
            return None

    def indexes(self, z: Symbols, quality: int | None = None) -> Indexes:
        """The index of each symbol of y, [M, 4 h, 4 w], for `z`, [Z, h, w]. quality: as `encode`."""
        return self._networks.indexes(z, self._rate_of(quality))

    def _latents(
        self, image: Pixels, rows: int, columns: int, tile_px: int, rate: Rate | None
    ) -> tuple[Symbols, Symbols]:
        self._y, z = super()._latents(image, rows, columns, tile_px, rate)
        return self._y, z

    def _indexes(
        self, z: Symbols, tile_px: int, rate: Rate | None
    ) -> Iterator[tuple[Span, Span, Indexes]]:
        factor = Z_PX // Y_PX
        shape = (self.bundle.manifest.M, factor * z.shape[1], factor * z.shape[2])
        self._z, self._found = z, np.full(shape, NO_INDEX, np.uint8)
        for rows, columns, index in super()._indexes(z, tile_px, rate):
            self._found[:, rows.kept, columns.kept] = index
            yield rows, columns, index


class _ExactNetworks(Networks):
    """Networks whose entropy path is EXACT; encoder and decoder, which exist in runtimes only, are a runtime's."""

    def indexes(self, z: Symbols, rate: Rate | None = None) -> Indexes:
        return self._exact(z, rate)

    @cached_property
    def _exact(self) -> Hyper:
        hyper = open_hyper(self.bundle, EXACT, self.threads)
        wrong = failures(self.bundle, hyper)
        if wrong:
            raise SelfTestFailed(
                f"{EXACT_LABEL} fail the self-test of {self.bundle.manifest.name} ({', '.join(wrong)}): the bundle "
                "contradicts itself; export it again"
            )
        return hyper


def qualities_to_try(manifest: Manifest, asked: Sequence[int] | None) -> tuple[int, ...]:
    """The qualities to compare a bundle at: those `asked` for, or its lowest, default and highest; none of one rate.

    Raises:
        InputError: one that the bundle has not.
    """
    if asked is None:
        if manifest.qualities is None:
            return ()
        low, high = manifest.qualities
        return tuple(sorted({low, chosen_quality(manifest, None) or low, high}))
    return tuple(chosen_quality(manifest, quality) or 0 for quality in dict.fromkeys(asked))


def open_coders(
    bundle: Bundle, runtimes: Sequence[str] | None, threads: Sequence[int]
) -> tuple[Coder, ...]:
    """EXACT, with the networks of the first runtime, then each of `runtimes` with each of `threads`.

    Args:
        runtimes: None for all that are installed and that the bundle has graphs for.
    Raises:
        InputError: a runtime that is none, that is not installed or that the bundle has no graph for; or none at all.
    """
    if runtimes is None:
        graphs = bundle.manifest.graphs.values()
        runtimes = [name for name in present_runtimes() if all(name in of for of in graphs)]
    if not runtimes:
        runtimes = [default_runtime(bundle)]  # raises, and says what to install
    coders = [
        Coder(bundle, runtime, count, is_exact=False) for runtime in runtimes for count in threads
    ]
    return Coder(bundle, runtimes[0], 1, is_exact=True), *coders
