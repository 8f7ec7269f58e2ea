"""Images by several codecs, as one HTML file that opens offline."""

import base64
import io
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from hwkd.codec.codec import Codec
from hwkd.codec.shipped import shipped_or_as_given
from hwkd.errors import HwkdError, InputError
from hwkd.images import ImageSource, Pixels
from hwkd.measure.classic import LABELS
from hwkd.measure.coder import BundleCodec, ImageCodec
from hwkd.measure.pillow_formats import (
    ALL_MAX_SIDES,
    check_codecs,
    decode,
    encode_any,
    smallest_in_words,
)
from hwkd.measure.quality import MS_SSIM_SIDE, NO_MS_SSIM, ms_ssim
from hwkd.metrics import psnr_db
from hwkd.qualities import DEFAULT_QUALITY, lmbda_at
from hwkd.report.page.templating import render_template
from hwkd.runtime.bundle import BUNDLE_SUFFIX, is_bundle
from hwkd.runtime.session import runtime_label, usable_cores

if TYPE_CHECKING:
    from hwkd.measure.eager.coding import TorchCodec

# Coding one image with a model, or with JPEG and WebP at a given rate, for eyes to compare. torch only where a model takes it.
#
# A model is coded as `hwkd evaluate` does it: into real bytes, and back from them.

QUALITY_RANGES = {"jpeg": (1, 95), "webp": (0, 100)}
"""The lowest and the highest setting at which an equal rate is looked for."""


@dataclass(frozen=True, eq=False)
class Matched:
    """An image by a classic codec at a requested rate.

    Attributes:
        quality: the codec's setting.
        side: "near" the rate; "above" where even the lowest quality takes more bytes, "below" where even the highest
            takes fewer.
    """

    stream_bytes: int
    pixels: Pixels
    quality: int
    side: str


def load_codecs(texts: Iterable[str]) -> tuple[ImageCodec[bytes], ...]:
    """The models that `texts` name, as `hwkd evaluate` takes them. If several have one name, each name also gets its text.

    Their setting is what runs them and in which precision.

    Raises:
        InputError: one is given twice; as hwkd.codec.codec.Codec.load and hwkd.distill.run_folder.load_model.
        HwkdError: as they.
    """
    given = list(texts)
    for text in given:
        if given.count(text) > 1:
            raise InputError(f"{text} is given twice: leave one out")
    codecs = [_load(shipped_or_as_given(text)) for text in given]
    names = [codec.name for codec in codecs]
    return tuple(
        codec if names.count(codec.name) == 1 else replace(codec, name=f"{codec.name} ({text})")
        for codec, text in zip(codecs, given, strict=True)
    )


def check_classic(name: str, width: int, height: int) -> None:
    """Refuse an image that JPEG or WebP cannot hold, by its `name`, before anything slow.

    Raises:
        InputError: a side over their limits, or Pillow lies without WebP.
    """
    check_codecs(LABELS)
    most = min(ALL_MAX_SIDES[codec] for codec in LABELS)
    if max(width, height) > most:
        raise InputError(
            f"{name} is {width}x{height}, and beside WebP a side may have {most} pixels: cut it, or leave it out"
        )


def matched(codec: str, image: Pixels, stream_bytes: int) -> Matched:
    """`image` by "jpeg" or "webp", at the quality with the file size nearest to `stream_bytes`; at a tie the smaller file.

    Files are taken to grow with the quality, so halving finds the two settings around the rate. `check_classic` must have
    accepted the image.
    """
    low, high = QUALITY_RANGES[codec]
    files = {quality: encode_any(codec, image, quality) for quality in (low, high)}
    while high - low > 1 and len(files[low]) < stream_bytes < len(files[high]):
        middle = (low + high) // 2
        files[middle] = encode_any(codec, image, middle)
        low, high = (middle, high) if len(files[middle]) <= stream_bytes else (low, middle)
    quality = min((low, high), key=lambda at: abs(len(files[at]) - stream_bytes))
    data = files[quality]
    side = "near"
    if len(data) > stream_bytes and quality == QUALITY_RANGES[codec][0]:
        side = "above"
    if len(data) < stream_bytes and quality == QUALITY_RANGES[codec][1]:
        side = "below"
    # A copy: Pillow's own memory may only be read, which torch, for MS-SSIM, warns of.
    return Matched(len(data), decode(data).copy(), quality, side)


def _load(text: str) -> "BundleCodec | TorchCodec":
    if is_bundle(text):
        codec = Codec.load(text)
        manifest = codec.bundle.manifest
        made = (
            f"int8 bundle (weights {manifest.weight_bits}, activations {manifest.act_bits} bits), run by "
            f"{runtime_label(codec.runtime)}{_at_default(is_all_rates=manifest.qualities is not None)}"
        )
        return BundleCodec(codec, f"{manifest.name}{BUNDLE_SUFFIX}", made)
    from hwkd.distill.run_folder import load_model
    from hwkd.measure.eager.coding import TorchCodec, make_tables

    loaded = load_model(text)
    loaded.codec.set_lmbda(lmbda_at(DEFAULT_QUALITY))
    # As for an evaluation: the tables fit the weights, whatever the file holds.
    make_tables(loaded.codec, anew=True)
    torch = f"torch {version('torch')}"
    made = f"float32, run by {torch}"
    if loaded.bits is not None:
        bits = f"{loaded.bits.weights_in_words()}/{loaded.bits.act_bits}"
        made = f"{bits} bits simulated in float32, run by {torch}"
    made += _at_default(is_all_rates=loaded.codec.serves_all_rates)
    return TorchCodec(loaded.codec, loaded.name, made, usable_cores())


def _at_default(*, is_all_rates: bool) -> str:
    """Words for what a model of all rates is shown at."""
    return f", at quality {DEFAULT_QUALITY}" if is_all_rates else ""


# Which part of an image is shown where not all of it fits, and how it is embedded without loss.

LEAST_SIDE = 192
"""Pixels: a smaller part of an image says little about a codec."""

_GRID = 16
"""Pixels between the places that are tried for a crop, and between the sides."""


@dataclass(frozen=True)
class Crop:
    """A part of an image, in pixels: its left upper corner and its size."""

    x: int
    y: int
    width: int
    height: int

    def of(self, image: Pixels) -> Pixels:
        """The part of `image`, [height, width, 3]."""
        return image[self.y : self.y + self.height, self.x : self.x + self.width]


def most_detailed(image: Pixels) -> tuple[float, float]:
    """The middle (x, y), in pixels, of the window with the largest mean gradient; the first of equal ones, row by row.

    Windows have LEAST_SIDE pixels a side, or the image's where that is smaller, and lie on a grid of 16 pixels. The
    gradient is the absolute difference of neighbours, right and below, of R + G + B.
    """
    height, width = image.shape[:2]
    grey = image.sum(axis=2, dtype=np.int16)
    gradient = np.zeros((height, width), np.int16)
    gradient[:, 1:] += np.abs(np.diff(grey, axis=1))
    gradient[1:] += np.abs(np.diff(grey, axis=0))
    rows = np.add.reduceat(gradient, np.arange(0, height, _GRID), axis=0, dtype=np.int64)
    blocks = np.add.reduceat(rows, np.arange(0, width, _GRID), axis=1)
    sums = np.pad(blocks.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    tall, wide = (min(LEAST_SIDE // _GRID, count) for count in blocks.shape)
    windows = sums[tall:, wide:] - sums[:-tall, wide:] - sums[tall:, :-wide] + sums[:-tall, :-wide]
    row, column = np.unravel_index(int(windows.argmax()), windows.shape)
    return (int(column) + wide / 2) * _GRID, (int(row) + tall / 2) * _GRID


def crop_at(width: int, height: int, middle: tuple[float, float], side: int) -> Crop:
    """The crop of at most `side` pixels a side around `middle`, moved to lie within an image of width x height.

    A crop of a smaller side lies within that of a larger one.
    """
    wide, tall = min(side, width), min(side, height)
    x = min(max(int(middle[0]) - wide // 2, 0), width - wide)
    y = min(max(int(middle[1]) - tall // 2, 0), height - tall)
    return Crop(x, y, wide, tall)


def sides(longest: int) -> list[int]:
    """The sides that may be shown of images with a longest side `longest`: that, then down to LEAST_SIDE in steps of 16."""
    return [longest, *range((longest - 1) // _GRID * _GRID, LEAST_SIDE - 1, -_GRID)]


def spread(count: int, most: int) -> list[int]:
    """At most `most` of the numbers 0..count - 1, evenly over all of them, rising."""
    kept = min(count, most)
    return [(2 * place + 1) * count // (2 * kept) for place in range(kept)]


def embedded(pixels: Pixels) -> str:
    """A data: address that holds `pixels`, [H, W, 3], as lossless WebP: every decoder gives back the same pixels."""
    sink = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(pixels))
    # quality is effort where nothing is lost; more gains 0.3 % and takes four times as long.
    image.save(sink, format="WEBP", lossless=True, quality=75, method=4, exact=True)
    return "data:image/webp;base64," + base64.b64encode(sink.getvalue()).decode()


# What codecs do to images, as data for a page: each image by each codec, with its figures, within a size.

ORIGINAL = "original"

MAX_PAGE_MB = 15
"""The largest page in MB of 10^6 bytes: such a page opens at once, and mail still takes it."""

_PAGE_BYTES, _VIEW_BYTES = 200_000, 1_000
"""Kept free for the page itself, and for the text below each view."""

_KEPT_BYTES = 400_000_000
"""Pixels held while it is sought how much fits; many times what a page holds of photographs."""

_LOSSY_SHARE = 0.4
"""A coded image takes at least about this much of its original's bytes: more images than this lets in cannot fit."""

Show = Callable[[str, int, int], None]
"""Called with the current work in words, the number of finished steps and the number of all steps."""


@dataclass(frozen=True)
class Figures:
    """Measured figures of the whole image.

    Attributes:
        psnr_db: PSNR of 8-bit RGB; inf where nothing was lost.
        ms_ssim: MS-SSIM, or None.
        ms_ssim_reason: why ms_ssim is None.
        stream_bytes: size of the file or stream, header included.
        bpp: bits of stream_bytes per pixel.
    """

    psnr_db: float
    ms_ssim: float | None
    ms_ssim_reason: str | None
    stream_bytes: int
    bpp: float


@dataclass(frozen=True)
class View:
    """One image by one codec.

    Attributes:
        made: what coded it.
        note: how its rate was chosen, or empty.
        figures: its figures; None for the original.
        address: a data: URL with exactly the decoded pixels of the part that is shown.
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
    """All of a page.

    Attributes:
        source: the images, in words.
        found: number of images found; `images` has the shown ones.
        matched_to: the model that gives the rate for JPEG and WebP.
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
    images: ImageSource,
    codecs: Sequence[ImageCodec[Any]],
    show: Show,
    max_bytes: int = MAX_PAGE_MB * 10**6,
) -> Visual:
    """Every image by every codec, and by JPEG and WebP at the last codec's rate, in a page of at most `max_bytes`.

    Where whole images do not fit, a part of each is shown, as large as fits, around the place with the most detail;
    where not even parts of LEAST_SIDE pixels a side fit, fewer images are, spread evenly over all.

    Raises:
        InputError: an image that cannot be read or coded; not even one image fits.
    """
    free = max_bytes - _PAGE_BYTES
    count = 1 + len(codecs) + len(LABELS)
    seen = _look(images, show)
    mean = sum(one.least_bytes for one in seen) / len(seen)
    most = int(free // (count * (_VIEW_BYTES + _LOSSY_SHARE * mean)))
    chosen = spread(len(seen), max(most, 1))
    kept = _code(images, [seen[place] for place in chosen], codecs, show)
    shown = _fitted(kept, free, show)
    if not shown:
        raise InputError(
            f"{count} views of {LEAST_SIDE}x{LEAST_SIDE} pixels take more than {max_bytes / 1e6:g} MB: name fewer models"
        )
    return Visual(str(images), len(seen), shown, codecs[-1].name)


@dataclass(frozen=True)
class _Seen:
    """An image at first sight.

    Attributes:
        least_bytes: bytes of its original, embedded at the least size.
    """

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
    """An image with the kept part of its views: their pixels within `crop`. Their addresses are not made yet."""

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
    images: ImageSource, chosen: Sequence[_Seen], codecs: Sequence[ImageCodec[Any]], show: Show
) -> list[_Kept]:
    """Every view of the chosen images, and as much of their pixels as may be kept."""
    count = 1 + len(codecs) + len(LABELS)
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
        for view, decoded in _views(name, pixels, codecs):
            # A copy: a part that is a view of it would keep the whole.
            views.append((view, crop.of(decoded).copy()))
        kept.append(_Kept(by_place[place], crop, tuple(views)))
    return kept


def _views(
    name: str, image: Pixels, codecs: Sequence[ImageCodec[Any]]
) -> "list[tuple[View, Pixels]]":
    made = [(View(ORIGINAL, "8-bit RGB, 24 bpp as it is", "", None, ""), image)]
    stream_bytes = 0
    for model in codecs:
        try:
            stream = model.encode(image)
            decoded = model.decode(stream)
        except InputError as error:
            raise InputError(f"{name} with {model.name}: {error}") from error
        stream_bytes = len(stream)
        figures = _figures(image, decoded, stream_bytes)
        made.append((View(model.name, model.setting, "", figures, ""), decoded))
    for codec, label in LABELS.items():
        near = matched(codec, image, stream_bytes)
        figures = _figures(image, near.pixels, near.stream_bytes)
        note = _note(near, codecs[-1].name, 8 * stream_bytes / (image.shape[0] * image.shape[1]))
        made.append((View(label, smallest_in_words(codec), note, figures, ""), near.pixels))
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


# The visual comparison as one HTML file that opens offline. Jinja2 is imported where it writes.

GAIN = 8
"""How many times the difference to the original is brightened: an error of 32 of 255 and more is white."""

_MOST_COLUMNS = 5
"""More beside each other would be too small to see anything in."""

_NO_ERROR = "no error"


def visual_html(visual: Visual, command: str) -> str:
    """The page; the same text for the same input.

    Args:
        command: the command that makes the page again, for its foot.
    Raises:
        HwkdError: Jinja2 is not installed; the page came out larger than MAX_PAGE_MB.
    """
    names = [view.name for view in visual.images[0].views]
    page = render_template(
        "visual.html.j2",
        visual=visual,
        view_names=names,
        names=names[1:],
        columns=_columns(len(names)),
        matched_to=names.index(visual.matched_to),
        is_cut=any(_is_cut(image) for image in visual.images),
        max_page_mb=MAX_PAGE_MB,
        gain=GAIN,
        command=command,
        shown=_shown_part,
        alternative=_alternative,
        psnr=_psnr,
    )
    size_mb = len(page.encode(errors="backslashreplace")) / 1e6
    if size_mb > MAX_PAGE_MB:
        raise HwkdError(
            f"the page takes {size_mb:.1f} MB and {MAX_PAGE_MB} are accepted: give fewer images"
        )
    return page


def _columns(count: int) -> int:
    """Views in a row where there is room: all, or in two rows of about equal length."""
    return count if count <= _MOST_COLUMNS else math.ceil(count / 2)


def _is_cut(image: ShownImage) -> bool:
    return (image.crop.width, image.crop.height) != (image.width, image.height)


def _shown_part(image: ShownImage) -> str:
    """Which part of the image there is to see."""
    if not _is_cut(image):
        return f"Shown: all of {image.width}x{image.height}."
    crop = image.crop
    part = f"{crop.width}x{crop.height} of {image.width}x{image.height} at ({crop.x}, {crop.y})"
    return f"Shown: {part}. The figures are of the whole image."


def _alternative(image: ShownImage, view: View) -> str:
    """The text for who cannot see the view."""
    part = f"part of {image.name}" if _is_cut(image) else image.name
    if view.figures is None:
        return f"{part}, {view.name}"
    figures = view.figures
    quality = _NO_ERROR if math.isinf(figures.psnr_db) else f"{_psnr(figures)} dB"
    return f"{part} by {view.name}: {quality} at {figures.bpp:.4f} bpp"


def _psnr(figures: Figures) -> str:
    return _NO_ERROR if math.isinf(figures.psnr_db) else f"{figures.psnr_db:.2f}"
