"""Whether streams written by one coder decode to the same symbols in every other. Pure: coders and images in.

Each coder writes every image, and each reads every stream. Held against each other are
    y and z       as a reader finds them, with those that the writer coded
    indexes       of a reader, with those of the first coder, for the z of each stream and for z made in code
    images        of the runtimes, with that of the first of them, for the stream of the first writer
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hwkd.codec.networks import Indexes, Symbols
from hwkd.codec.verify_coders import Coder
from hwkd.codec.verify_images import quality_of
from hwkd.images import Pixels


@dataclass(frozen=True)
class Reader:
    """What one coder read.

    refusal: why it was not used; the figures are then None. indexes: compared, of which differing_indexes differ.
    index_sha256: of its indexes for the z made in code, equal on every machine; others depend on the encoders.
    largest_step: between its images and those of the first runtime, in 8-bit steps; share_of_samples: of the samples
    that differ. Both are None for whole numbers, whose images are a runtime's, and where nothing was decoded.
    """

    label: str
    refusal: str | None
    indexes: int | None = None
    differing_indexes: int | None = None
    index_sha256: str | None = None
    largest_step: int | None = None
    share_of_samples: float | None = None


@dataclass(frozen=True)
class Verification:
    """readers: every coder. differing: (writer, reader) -> symbols that differ, of those that were used.

    images: how many. symbols: of y and z in all of them, compared for each pair.
    """

    readers: tuple[Reader, ...]
    differing: Mapping[tuple[str, str], int]
    images: int
    symbols: int

    @property
    def holds(self) -> bool:
        """Whether every coder was used, and nothing differs where nothing may."""
        return not any(
            reader.refusal or reader.differing_indexes for reader in self.readers
        ) and not any(self.differing.values())


def verify(
    coders: Sequence[Coder],
    images: Iterable[Pixels],
    made: Iterable[Symbols],
    qualities: Sequence[int] = (),
) -> Verification:
    """Compare `coders` on `images`, each [H, W, 3] uint8, and on symbols of z `made` in code, each [Z, h, w].

    qualities: of a bundle of all rates; images are coded at one of them each, and the indexes of z compared at all.

    A coder that its self-test refuses is not used. Raises as hwkd.codec.codec.Codec.encode.
    """
    used = [coder for coder in coders if coder.refusal is None]
    tally = _Tally(used)
    if used:
        for z in made:
            for quality in qualities or (None,):
                tally.add_symbols(z, quality)
        for number, image in enumerate(images):
            tally.add(image, quality_of(number, qualities))
    figures = {coder.label: tally.reader(i) for i, coder in enumerate(used)}
    return Verification(
        readers=tuple(figures.get(c.label) or Reader(c.label, c.refusal) for c in coders),
        differing={
            (writer.label, reader.label): int(tally.differing[i, j])
            for i, writer in enumerate(used)
            for j, reader in enumerate(used)
        },
        images=tally.images,
        symbols=tally.symbols,
    )


class _Tally:
    """Sums over the images. differing: [writers, readers]."""

    def __init__(self, coders: Sequence[Coder]) -> None:
        count = len(coders)
        self._coders = coders
        self._runtimes = [i for i, coder in enumerate(coders) if not coder.is_exact]
        self.images = self.symbols = self._indexes = 0
        self.differing = np.zeros((count, count), np.int64)
        self._differing_indexes = np.zeros(count, np.int64)
        self._index_hashes = [hashlib.sha256() for _ in coders]
        self._samples = np.zeros(count, np.int64)
        self._differing_samples = np.zeros(count, np.int64)
        self._largest_steps = np.zeros(count, np.int64)

    def add_symbols(self, z: Symbols, quality: int | None) -> None:
        found = [coder.indexes(z, quality) for coder in self._coders]
        self._compare_indexes(found)
        for hashed, one in zip(self._index_hashes, found, strict=True):
            hashed.update(np.ascontiguousarray(one).tobytes())

    def add(self, image: Pixels, quality: int | None) -> None:
        self.images += 1
        for i, writer in enumerate(self._coders):
            stream, own = writer.write(image, quality)
            found = [reader.read(stream) for reader in self._coders]
            self.differing[i] += [
                _differing(own.y, one.y) + _differing(own.z, one.z) for one in found
            ]
            self._compare_indexes([one.indexes for one in found])
            if i == 0:
                self.symbols += own.y.size + own.z.size
                self._compare_images(stream)

    def _compare_indexes(self, found: Sequence[Indexes]) -> None:
        self._indexes += found[0].size
        self._differing_indexes += [_differing(found[0], one) for one in found]

    def _compare_images(self, stream: bytes) -> None:
        decoded = {i: self._coders[i].image(stream) for i in self._runtimes}
        first = decoded[self._runtimes[0]] if decoded else None
        for i, image in decoded.items():
            if first is not None and image is not None:
                steps = np.abs(image.astype(np.int16) - first)
                self._samples[i] += steps.size
                self._differing_samples[i] += np.count_nonzero(steps)
                self._largest_steps[i] = max(self._largest_steps[i], steps.max())

    def reader(self, i: int) -> Reader:
        """The figures of coder `i`."""
        samples = int(self._samples[i])
        return Reader(
            label=self._coders[i].label,
            refusal=None,
            indexes=self._indexes,
            differing_indexes=int(self._differing_indexes[i]),
            index_sha256=self._index_hashes[i].hexdigest(),
            largest_step=int(self._largest_steps[i]) if samples else None,
            share_of_samples=int(self._differing_samples[i]) / samples if samples else None,
        )


def _differing(expected: npt.NDArray[Any], found: npt.NDArray[Any]) -> int:
    return int(np.count_nonzero(expected != found))
