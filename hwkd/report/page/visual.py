"""What codecs do to images, as data for a page: each image by each codec, with its figures, within a size."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hwkd.errors import InputError
from hwkd.images import ImageSource, Pixels
from hwkd.measure.classic import LABELS
from hwkd.measure.quality import MS_SSIM_SIDE, NO_MS_SSIM, ms_ssim
from hwkd.measure.visual_codecs import Coder, Matched, check_classic, classic_made, matched
from hwkd.metrics import psnr_db
from hwkd.report.visual_crop import (
    LEAST_SIDE,
    Crop,
    crop_at,
    embedded,
    most_detailed,
    sides,
    spread,
)

ORIGINAL = "original"

MAX_PAGE_MB = 15
"""Of 10^6 bytes: what opens at once, and what mail still takes."""

_PAGE_BYTES, _VIEW_BYTES = 200_000, 1_000
"""Kept free for the page itself, and for the text below each view."""

_KEPT_BYTES = 400_000_000
"""Pixels held while it is sought how much fits; many times what a page holds of photographs."""

_LOSSY_SHARE = 0.4
"""A coded image takes at least about this much of its original's bytes: more images than this lets in cannot fit."""

Show = Callable[[str, int, int], None]
"""Called with what is being done, and how many of how many steps are done."""


@dataclass(frozen=True)
class Figures:
    """Of the whole image, measured. psnr_db: of 8-bit RGB, inf where nothing was lost. ms_ssim: or why there is none.

    stream_bytes: of the file or stream, header included; bpp: theirs.
    """

    psnr_db: float
    ms_ssim: float | None
    ms_ssim_reason: str | None
    stream_bytes: int
    bpp: float


@dataclass(frozen=True)
class View:
    """One image by one codec. made: what coded it. note: how its rate came about, or empty. figures: None for the original.

    address: data: of exactly the pixels that were decoded, of the part that is shown.
    """

    name: str
    made: str
    note: str
    figures: Figures | None
    address: str


@dataclass(frozen=True)
class ShownImage:
    """An image of width x height pixels, the part of it that is shown, and its views: the original first."""

    name: str
    width: int
    height: int
    crop: Crop
    views: tuple[View, ...]


@dataclass(frozen=True)
class Visual:
    """All of a page. source: the images, in words. found: how many there are, of which `images` are shown.

    matched_to: the model whose rate JPEG and WebP were brought to.
    """

    source: str
    found: int
    images: tuple[ShownImage, ...]
    matched_to: str

    @property
    def left_out(self) -> int:
        """Images that did not fit."""
        return self.found - len(self.images)


def visual(
    images: ImageSource, coders: Sequence[Coder], show: Show, max_bytes: int = MAX_PAGE_MB * 10**6
) -> Visual:
    """Every image by every coder, and by JPEG and WebP at the last coder's rate, in a page of at most `max_bytes`.

    Where whole images do not fit, a part of each is shown, as large as fits, around the place with the most detail;
    where not even parts of LEAST_SIDE pixels a side fit, fewer images are, spread evenly over all.

    Raises:
        InputError: an image that cannot be read or coded; not even one image fits.
    """
    free = max_bytes - _PAGE_BYTES
    count = 1 + len(coders) + len(LABELS)
    seen = _look(images, show)
    mean = sum(one.least_bytes for one in seen) / len(seen)
    most = int(free // (count * (_VIEW_BYTES + _LOSSY_SHARE * mean)))
    chosen = spread(len(seen), max(most, 1))
    kept = _code(images, [seen[place] for place in chosen], coders, show)
    shown = _fitted(kept, free, show)
    if not shown:
        raise InputError(
            f"{count} views of {LEAST_SIDE}x{LEAST_SIDE} pixels take more than {max_bytes / 1e6:g} MB: name fewer models"
        )
    return Visual(str(images), len(seen), shown, coders[-1].name)


@dataclass(frozen=True)
class _Seen:
    """An image at first sight. least_bytes: of its original, embedded at the least size."""

    place: int
    name: str
    width: int
    height: int
    middle: tuple[float, float]
    least_bytes: int

    def crop(self, side: int) -> Crop:
        return crop_at(self.width, self.height, self.middle, side)


@dataclass(frozen=True, eq=False)
class _Kept:
    """An image with what is kept of its views: their pixels within `crop`, whose addresses are not made yet."""

    seen: _Seen
    crop: Crop
    views: tuple[tuple[View, Pixels], ...]

    def shown(self, side: int) -> ShownImage:
        part = self.seen.crop(side)
        inner = Crop(part.x - self.crop.x, part.y - self.crop.y, part.width, part.height)
        views = tuple(
            View(view.name, view.made, view.note, view.figures, embedded(inner.of(pixels)))
            for view, pixels in self.views
        )
        return ShownImage(self.seen.name, self.seen.width, self.seen.height, part, views)


def _look(images: ImageSource, show: Show) -> list[_Seen]:
    seen = []
    for place, (name, pixels) in enumerate(images):
        show("looking", place, len(images.paths))
        height, width = pixels.shape[:2]
        check_classic(name, width, height)
        middle = most_detailed(pixels)
        least = embedded(crop_at(width, height, middle, LEAST_SIDE).of(pixels))
        seen.append(_Seen(place, name, width, height, middle, len(least)))
    return seen


def _code(
    images: ImageSource, chosen: Sequence[_Seen], coders: Sequence[Coder], show: Show
) -> list[_Kept]:
    """Every view of the chosen images, and as much of their pixels as may be kept."""
    count = 1 + len(coders) + len(LABELS)
    longest = max(max(one.width, one.height) for one in chosen)

    def kept_bytes(side: int) -> int:
        crops = (one.crop(side) for one in chosen)
        return sum(3 * count * crop.width * crop.height for crop in crops)

    side = next((s for s in sides(longest) if kept_bytes(s) <= _KEPT_BYTES), LEAST_SIDE)
    by_place = {one.place: one for one in chosen}
    if images.folder is not None:
        images = ImageSource(images.folder, tuple(images.paths[one.place] for one in chosen))
        by_place = dict(enumerate(chosen))
    kept: list[_Kept] = []
    for place, (name, pixels) in enumerate(images):
        if place not in by_place:
            continue
        show("coding", len(kept), len(chosen))
        crop = by_place[place].crop(side)
        views = []
        for view, decoded in _views(name, pixels, coders):
            # A copy: a part that is a view of it would keep the whole.
            views.append((view, crop.of(decoded).copy()))
        kept.append(_Kept(by_place[place], crop, tuple(views)))
    return kept


def _views(name: str, image: Pixels, coders: Sequence[Coder]) -> "list[tuple[View, Pixels]]":
    made = [(View(ORIGINAL, "8-bit RGB, 24 bpp as it is", "", None, ""), image)]
    stream_bytes = 0
    for coder in coders:
        try:
            stream_bytes, decoded = coder.code(image)
        except InputError as error:
            raise InputError(f"{name} with {coder.name}: {error}") from error
        figures = _figures(image, decoded, stream_bytes)
        made.append((View(coder.name, coder.made, "", figures, ""), decoded))
    for codec, label in LABELS.items():
        near = matched(codec, image, stream_bytes)
        figures = _figures(image, near.pixels, near.stream_bytes)
        note = _note(near, coders[-1].name, 8 * stream_bytes / (image.shape[0] * image.shape[1]))
        made.append((View(label, classic_made(codec), note, figures, ""), near.pixels))
    return made


def _note(near: Matched, name: str, bpp: float) -> str:
    to = f"{bpp:.4f} bpp of {name}"
    if near.side == "above":
        return f"quality {near.quality}, its lowest, is still larger than the {to}"
    if near.side == "below":
        return f"quality {near.quality}, its highest here, is still smaller than the {to}"
    return f"quality {near.quality}, the nearest to the {to}"


def _figures(image: Pixels, decoded: Pixels, stream_bytes: int) -> Figures:
    similarity = reason = None
    try:
        similarity = ms_ssim(image, decoded)
    except ValueError:
        reason = f"a side is under {MS_SSIM_SIDE} pixels"
    except ImportError:
        reason = NO_MS_SSIM
    bpp = 8 * stream_bytes / (image.shape[0] * image.shape[1])
    return Figures(psnr_db(image, decoded), similarity, reason, stream_bytes, bpp)


def _fitted(kept: Sequence[_Kept], free: int, show: Show) -> tuple[ShownImage, ...]:
    """As many of `kept` as fit, and of each as much; none where not even one fits."""
    most = max(max(one.crop.width, one.crop.height) for one in kept)
    tried = sides(most)
    show("fitting", 0, len(tried))
    whole = _shown(kept, tried[0], free)
    if whole:
        return whole
    least = [one.shown(LEAST_SIDE) for one in kept]
    for count in range(len(kept), 0, -1):
        places = spread(len(kept), count)
        best = tuple(least[place] for place in places)
        if sum(map(_size, best)) <= free:
            break
    else:
        return ()
    # tried[low] is too large, and tried[high] fits.
    low, high = 0, len(tried) - 1
    fewer = [kept[place] for place in places]
    while high - low > 1:
        middle = (low + high) // 2
        show("fitting", high - low, len(tried))
        found = _shown(fewer, tried[middle], free)
        if found:
            best, high = found, middle
        else:
            low = middle
    return best


def _shown(kept: Sequence[_Kept], side: int, free: int) -> tuple[ShownImage, ...]:
    """`kept` at `side`, or nothing where that takes more than `free` bytes."""
    shown: list[ShownImage] = []
    for one in kept:
        shown.append(one.shown(side))
        free -= _size(shown[-1])
        if free < 0:
            return ()
    return tuple(shown)


def _size(image: ShownImage) -> int:
    """Bytes of `image` in a page."""
    return sum(_VIEW_BYTES + len(view.address) for view in image.views)
