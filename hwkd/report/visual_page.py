"""The visual comparison as one HTML file that opens offline. Jinja2 is imported where it writes."""

import math

from hwkd.errors import HwkdError
from hwkd.report.page.templating import render_template
from hwkd.report.page.visual import MAX_PAGE_MB, Figures, ShownImage, View, Visual

GAIN = 8
"""How many times the difference to the original is brightened: an error of 32 of 255 and more is white."""

_MOST_COLUMNS = 5
"""More beside each other would be too small to see anything in."""

_NO_ERROR = "no error"


def visual_html(visual: Visual, command: str) -> str:
    """The page; the same text for the same input.

    command: what makes it again, for its foot.
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
        shown=_shown,
        alternative=_alternative,
        psnr=_psnr,
    )
    size_mb = len(page.encode()) / 1e6
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


def _shown(image: ShownImage) -> str:
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
