"""Whether streams written by one coder decode to the same symbols in every other. Pure: coders and images in.

Each coder writes every image, and each reads every stream. Held against each other are
    y and z       as a reader finds them, with those that the writer coded
    indexes       of a reader, with those of the first coder, for the z of each stream and for z made in code
    images        of the runtimes, with that of the first of them, for the stream of the first writer
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hwkd.codec.codec import Y_PX, Z_PX, Codec, Span
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
from hwkd.errors import HwkdError, InputError
from hwkd.images import MAX_PIXELS, Pixels
from hwkd.runtime.bundle import Bundle
from hwkd.runtime.gains import Rate, chosen_quality
from hwkd.runtime.manifest import Manifest
from hwkd.runtime.session import present_runtimes, runtime_label

# The ways to run one bundle that `hwkd verify` holds against each other: runtimes, threads, whole numbers.

EXACT_LABEL = "exact integers"

NO_INDEX = 255
"""Marks a place without a computed index; 0 to 63 are indexes."""

NO_SYMBOL = np.iinfo(np.int32).min
"""Marks a place without a symbol; hwkd.codec.tables.MAX_SYMBOL bounds symbols."""


class Passed(NamedTuple):
    """The values that passed through a coder: y, z, and the scale's index of each symbol of y, all of the padded image."""

    y: Symbols
    z: Symbols
    indexes: Indexes


class WatchedCodec(Codec):
    """A codec that keeps what passed through it.

    Attributes:
        label: the coder in words, with version and threads.
        is_exact: whether its indexes come from EXACT.
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
        """Why the coder may not be used: its self-test fails, or a network does not load or run. None where it may.

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
        """The stream of `image`, and what was coded.

        Args:
            quality: as `encode`.
        """
        stream = self.encode(image, quality=quality)
        return stream, Passed(self._y, self._z, self._found)

    def read(self, stream: bytes) -> Passed:
        """What the coder reads from `stream`; y is all NO_SYMBOL where its indexes do not decode the stream."""
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
        """The index of each symbol of y, [M, 4 h, 4 w], for `z`, [Z, h, w].

        Args:
            quality: as `encode`.
        """
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
    """Networks with the entropy path of EXACT. The encoder and the decoder exist in runtimes only, so a runtime runs them."""

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
    """The qualities to compare a bundle at: `asked`, or its lowest, default and highest. A bundle of one rate has none.

    Raises:
        InputError: the bundle does not have one of `asked`.
    """
    if asked is None:
        if manifest.qualities is None:
            return ()
        low, high = manifest.qualities
        return tuple(sorted({low, chosen_quality(manifest, None) or low, high}))
    return tuple(chosen_quality(manifest, quality) or 0 for quality in dict.fromkeys(asked))


def open_coders(
    bundle: Bundle, runtimes: Sequence[str] | None, threads: Sequence[int]
) -> tuple[WatchedCodec, ...]:
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
        WatchedCodec(bundle, runtime, count, is_exact=False)
        for runtime in runtimes
        for count in threads
    ]
    return WatchedCodec(bundle, runtimes[0], 1, is_exact=True), *coders


@dataclass(frozen=True)
class Reader:
    """What one coder read.

    Attributes:
        refusal: why it was not used; the figures are then None.
        indexes: number of indexes that were compared.
        differing_indexes: how many of these differ.
        index_sha256: digest of its indexes for the z made in code, equal on every machine. Other indexes depend on the
            encoders.
        largest_step: largest difference of its images from those of the first runtime, in 8-bit steps. None for EXACT, which
            has a runtime decode its images, and where nothing was decoded.
        share_of_samples: share of the samples that differ. None where largest_step is None.
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
    """What the comparison of all coders found.

    Attributes:
        readers: every coder.
        differing: (writer, reader) -> number of symbols that differ; coders that were used only.
        images: number of images.
        symbols: number of symbols of y and z in all images, compared for each pair.
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
    coders: Sequence[WatchedCodec],
    images: Iterable[Pixels],
    made: Iterable[Symbols],
    qualities: Sequence[int] = (),
) -> Verification:
    """Compare `coders` on `images`, each [H, W, 3] uint8, and on symbols of z `made` in code, each [Z, h, w].

    A coder is not used if its self-test fails. Raises as hwkd.codec.codec.Codec.encode.

    Args:
        qualities: of a bundle of all rates. Each image is coded at one of them. The indexes of z are compared at all.
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

    def __init__(self, coders: Sequence[WatchedCodec]) -> None:
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


# What `hwkd verify` tries: photographs, cut small or whole, and images and symbols made in code.
#
# Images and symbols made in code use whole numbers and the raw output of PCG64 only: they are the same on every machine.

COUNT = 220
"""The default number of images: half of them crops, half made. At these sizes a small model takes about a minute."""

CROP_SIDES = (64, 96, 100, 128, 150, 192)
MADE_SIZES = (
    *((64, 64), (1, 1), (1, 70), (65, 3), (96, 128), (130, 66)),
    *((128, 192), (63, 65), (192, 64), (17, 200), (33, 31)),
)
"""(height, width): multiples of 64, one over, one under, thin, and single pixels. As many as share no factor with the
kinds of patterns, so that all meet."""

Z_SIZES = ((1, 1), (2, 3), (3, 3), (4, 7), (5, 6))
"""(height, width) of symbols of z: borders alone, and 3x3 kernels with and without them."""

_KINDS = 6
_STEP_DOWN, _STEP_ALONG = 37, 53
"""Pixels between crops that follow one another."""


def quality_of(number: int, qualities: Sequence[int]) -> int | None:
    """The quality to code image `number` of `mixed` at; None where there are none to choose from.

    Each in turn; after a round of all kinds of patterns one is left out, so that each kind meets each quality.
    """
    return qualities[(number + number // (2 * _KINDS)) % len(qualities)] if qualities else None


def mixed(photographs: Iterable[Pixels], images: int) -> Iterator[Pixels]:
    """`images` images: a photograph and a made one in turn; made ones only when the photographs are out."""
    photographs = iter(photographs)
    made = map(made_image, count())
    for number in range(images):
        photograph = next(photographs, None) if number % 2 == 0 else None
        yield next(made) if photograph is None else photograph


def crops(photographs: Sequence[Pixels]) -> Iterator[Pixels]:
    """Squares of CROP_SIDES, or what there is of them, at ever other places of each of `photographs`; without end."""
    for number in count():
        photograph = photographs[number % len(photographs)]
        side = CROP_SIDES[number // len(photographs) % len(CROP_SIDES)]
        top = number * _STEP_DOWN % max(photograph.shape[0] - side, 1)
        left = number * _STEP_ALONG % max(photograph.shape[1] - side, 1)
        yield photograph[top : top + side, left : left + side]


def made_image(number: int) -> Pixels:
    """Pattern `number`, 0 or more, [H, W, 3]: noise of three kinds, a ramp, a checkerboard or one colour."""
    height, width = MADE_SIZES[number % len(MADE_SIZES)]
    turn, kind = divmod(number, _KINDS)
    raw = np.random.PCG64(number).random_raw(4 * height * width).astype("<u8").view(np.uint8)
    noise = raw.reshape(8, height, width, 4)[..., :3]
    rows, columns = np.mgrid[:height, :width, :1][:2]
    image: npt.NDArray[Any]
    match kind:
        case 0:
            image = noise[0]
        case 1:  # nearly Gaussian: a mean of eight
            image = noise.sum(0, dtype=np.uint16) // 8
        case 2:  # the ends of the range and nothing between
            image = 255 * (noise[0] >> 7)
        case 3:
            image = (rows + 2 * columns) * np.array([1, 2, 3]) + number
        case 4:
            side = 1 + turn % 16
            is_light = (rows // side + columns // side) % 2 == 1
            image = np.where(is_light, noise[0, 0, 0], noise[1, 0, 0])
        case _:  # black and white first
            colour = [255 * turn] * 3 if turn < 2 else noise[0, 0, 0]
            image = np.full((height, width, 3), colour)
    return image.astype(np.uint8)


def made_symbols(channels: int, largest: int) -> Iterator[Symbols]:
    """Symbols of z, [channels, h, w], beyond those of real images: small, medium and large noise, and the two ends alone.

    Args:
        largest: the symbols lie in -largest - 1 .. largest, and reach both.
    """
    tops = (2, largest // 8, largest)
    for number, (height, width) in enumerate(Z_SIZES):
        raw = np.random.PCG64(number).random_raw(channels * height * width)
        noise = (raw >> 32).astype(np.int64).reshape(channels, height, width)
        for top in tops:
            yield (noise % (2 * top + 2) - top - 1).astype(np.int32)
        yield np.where(noise % 2 == 0, -largest - 1, largest).astype(np.int32)
