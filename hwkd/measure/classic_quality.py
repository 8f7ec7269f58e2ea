"""JPEG, WebP and AVIF through Pillow, at their smallest, as curves beside a model's. Nothing is timed."""

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import PIL
from PIL import Image, features

from hwkd.errors import InputError
from hwkd.images import Pixels
from hwkd.measure import classic
from hwkd.measure.quality import Evaluation, ImageQuality, compared, evaluation_of

AVIF = "avif"
LABELS = {**classic.LABELS, AVIF: "AVIF"}
"""The codecs, and their names in tables."""

QUALITIES = (5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95)
"""Pillow's settings of a curve: what libjpeg's scale covers."""

WEBP_METHOD = 6
"""The slowest and smallest."""

AVIF_SPEED = 4
"""Slower and smaller than Pillow's own 6; 0 would take minutes for an image."""

MAX_SIDE = {**classic.MAX_SIDE, AVIF: 65536}
"""Pixels, by libjpeg, libwebp and libavif."""

_SETTINGS: Mapping[str, Mapping[str, object]] = {
    "jpeg": classic.SETTINGS["jpeg"],
    "webp": {**classic.SETTINGS["webp"], "method": WEBP_METHOD},
    AVIF: {"subsampling": "4:2:0", "speed": AVIF_SPEED},
}


def check_codecs(codecs: Iterable[str]) -> None:
    """Refuse a codec that this Pillow has not.

    Raises:
        InputError: it lies without WebP or AVIF.
    """
    for codec in codecs:
        if codec != "jpeg" and not features.check(codec):
            raise InputError(
                f"this Pillow was built without {LABELS[codec]}; install Pillow 11.3 or newer from its wheel"
            )


def encode(codec: str, image: Pixels, quality: int) -> bytes:
    """The bytes of `image`, [H, W, 3] uint8, by one of LABELS at Pillow's `quality`."""
    sink = io.BytesIO()
    Image.fromarray(image).save(sink, format=codec.upper(), quality=quality, **_SETTINGS[codec])
    return sink.getvalue()


def evaluate_classic(
    codec: str,
    images: Iterable[tuple[str, Pixels]],
    qualities: Sequence[int] = QUALITIES,
    *,
    progress: Callable[[int, ImageQuality], None] | None = None,
) -> dict[int, Evaluation]:
    """By quality: what `codec` does to `images`, as hwkd.measure.quality.evaluate_bundle has it for a bundle.

    Args:
        images: read again for every quality, as hwkd.images.ImageSource allows.
        progress: called with the quality and each image's figures as they come.
    Raises:
        InputError: no images, or one that is too large for the codec.
    """

    def one(quality: int, name: str, image: Pixels) -> ImageQuality:
        height, width = image.shape[:2]
        if max(width, height) > MAX_SIDE[codec]:
            raise InputError(
                f"{name} is {width}x{height}, too large for {LABELS[codec]}: a side may have {MAX_SIDE[codec]} pixels; cut "
                "it, or leave it out"
            )
        data = encode(codec, image, quality)
        # A copy: Pillow's own memory may only be read, which torch, for MS-SSIM, warns of.
        return compared(name, image, data, classic.decode(data).copy(), None)

    def told(quality: int) -> Callable[[ImageQuality], None] | None:
        return None if progress is None else partial(progress, quality)

    return {
        quality: evaluation_of(partial(one, quality), images, told(quality))
        for quality in qualities
    }


def made(codecs: Iterable[str]) -> str:
    """What codes `codecs` here, with versions and settings, in words."""
    told = {
        "jpeg": ("libjpeg_turbo", "4:2:0, standard Huffman tables"),
        "webp": ("webp", f"lossy, method {WEBP_METHOD}"),
        AVIF: ("avif", f"4:2:0, speed {AVIF_SPEED}"),
    }
    parts = []
    for codec in codecs:
        library, settings = told[codec]
        version = features.version(library) or "of unknown version"
        parts.append(f"{LABELS[codec]} by {library} {version}, {settings}")
    return f"Pillow {PIL.__version__}: {'; '.join(parts)}"
