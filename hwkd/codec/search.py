"""Find the quality that gives a stream of a wanted size or an image of a wanted PSNR.

    max_bytes, bpp: the highest quality with a stream of at most this size
    min_psnr_db: the lowest quality with a decoded image of at least this PSNR

The search halves the range of whole qualities: at most 7 encodes for 100 qualities. It takes sizes and PSNRs to grow with
the quality. Nobody has proven that, so the returned stream was itself measured and meets the request.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwkd.codec.stream import unpack
from hwkd.errors import InputError
from hwkd.images import MAX_PIXELS, Pixels
from hwkd.metrics import psnr_db
from hwkd.qualities import HIGHEST
from hwkd.runtime.gains import chosen_quality
from hwkd.runtime.manifest import Manifest

if TYPE_CHECKING:
    from hwkd.codec.codec import Codec

_SEARCHED = {"max_bytes": "size", "bpp": "rate", "min_psnr_db": "PSNR"}
"""The fields that need a search, and their names in messages."""


class OutOfReach(InputError):
    """No quality of the bundle gives this image the requested size, rate or PSNR."""


@dataclass(frozen=True)
class RateTarget:
    """The rate or quality that a stream must have: at most one field is set. With none, the bundle's default quality holds.

    Attributes:
        quality: the quality itself, 1 to 100.
        max_bytes: the stream's largest size, header included.
        bpp: the stream's largest size in bits per pixel of the image, header included.
        min_psnr_db: the lowest PSNR of the decoded 8-bit RGB image.

    Raises:
        InputError: two of them, or a number that is not above 0.
    """

    quality: int | None = None
    max_bytes: int | None = None
    bpp: float | None = None
    min_psnr_db: float | None = None

    def __post_init__(self) -> None:
        given = [name for name, value in vars(self).items() if value is not None]
        if len(given) > 1:
            raise InputError(
                f"{' and '.join(given)} are given: one of {', '.join(vars(self))} is accepted"
            )
        for name in _SEARCHED:
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"{name} must be a number above 0, got {value}")

    @property
    def most_trials(self) -> int:
        """The largest number of encodes of one image until the quality is found."""
        return HIGHEST.bit_length() if self.is_searched else 1

    @property
    def is_searched(self) -> bool:
        """Whether the quality must be searched for."""
        return any(getattr(self, name) is not None for name in _SEARCHED)

    def check(self, manifest: Manifest) -> None:
        """Raise InputError if a bundle with this manifest cannot meet the request for any image."""
        chosen_quality(manifest, self.quality)
        for name, word in _SEARCHED.items():
            if getattr(self, name) is not None and manifest.qualities is None:
                raise InputError(
                    f"{manifest.name} codes at one rate, and no {word} can be asked of it; leave it out, or give a model "
                    "of all rates"
                )


@dataclass(frozen=True)
class Encoded:
    """A stream and how it was coded.

    Attributes:
        quality: None where the bundle has one rate.
        psnr_db: None where no PSNR was requested.
    """

    stream: bytes
    quality: int | None
    psnr_db: float | None = None


def encode_to(
    codec: "Codec",
    image: Pixels,
    asked: RateTarget,
    tile_px: int | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Encoded:
    """Encode `image`, [H, W, 3] uint8, into a stream that meets the request `asked`.

    Args:
        tile_px, max_pixels: as hwkd.codec.codec.Codec.encode.
    Raises:
        OutOfReach: no quality meets it. The message names the nearest possible value.
        InputError, HwkdError: as `RateTarget.check`; as Codec.encode and Codec.decode.
    """
    manifest = codec.bundle.manifest
    asked.check(manifest)

    def at(quality: int | None) -> bytes:
        return codec.encode(image, tile_px, max_pixels, quality=quality)

    if manifest.qualities is None:
        return Encoded(at(None), None)
    if not asked.is_searched:
        stream = at(asked.quality)
        return Encoded(stream, unpack(stream, max_pixels).quality)
    low, high = manifest.qualities
    if asked.min_psnr_db is not None:

        def with_psnr(quality: int) -> Encoded:
            stream = at(quality)
            return Encoded(stream, quality, psnr_db(image, codec.decode(stream, max_pixels)))

        return _good(range(low, high + 1), with_psnr, asked.min_psnr_db)
    best_first = range(high, low - 1, -1)
    return _small(best_first, lambda q: Encoded(at(q), q), asked, math.prod(image.shape[:2]))


def _good(qualities: Sequence[int], encoded: Callable[[int], Encoded], least_db: float) -> Encoded:
    """The first of `qualities`, the lowest first, that gives an image of at least `least_db`."""

    def holds(one: Encoded) -> bool:
        return one.psnr_db is not None and one.psnr_db >= least_db

    found = _first(qualities, encoded, holds)
    if not holds(found):
        raise OutOfReach(_too_good(least_db, found))
    return found


def _small(
    qualities: Sequence[int], encoded: Callable[[int], Encoded], asked: RateTarget, pixels: int
) -> Encoded:
    """The first of `qualities`, the highest first, that gives a stream no larger than the request allows."""
    most_bytes = math.inf if asked.max_bytes is None else asked.max_bytes
    if asked.bpp is not None:
        most_bytes = math.floor(asked.bpp * pixels / 8)

    def holds(one: Encoded) -> bool:
        return len(one.stream) <= most_bytes

    found = _first(qualities, encoded, holds)
    if not holds(found):
        raise OutOfReach(_too_small(asked, found, pixels))
    return found


def _first(
    qualities: Sequence[int], encoded: Callable[[int], Encoded], holds: Callable[[Encoded], bool]
) -> Encoded:
    """The first of `qualities` that holds, if all after it hold as well; the last one if none holds."""
    begin, end = 0, len(qualities)
    found = None
    while begin < end:
        middle = (begin + end) // 2
        one = encoded(qualities[middle])
        if holds(one):
            found, end = one, middle
        else:
            last, begin = one, middle + 1
    return last if found is None else found


def _too_small(asked: RateTarget, smallest: Encoded, pixels: int) -> str:
    size = len(smallest.stream)
    # Rounded up, so that a request for the named rate succeeds.
    bpp = math.ceil(1e4 * 8 * size / pixels) / 1e4
    wanted = f"{asked.max_bytes:,} bytes" if asked.bpp is None else f"{asked.bpp:g} bpp"
    return (
        f"{wanted} cannot be had of this image: the smallest stream, of quality {smallest.quality}, has {size:,} bytes, "
        f"{bpp:.4f} bpp; ask for so many or more, or make the image smaller"
    )


def _too_good(least_db: float, best: Encoded) -> str:
    assert best.psnr_db is not None
    psnr = math.floor(100 * best.psnr_db) / 100
    return (
        f"{least_db:g} dB cannot be had of this image: the highest quality, {best.quality}, has {psnr:.2f} dB; ask for so "
        "many or fewer"
    )
