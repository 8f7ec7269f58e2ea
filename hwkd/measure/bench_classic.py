"""JPEG, WebP and AVIF in a bench, at the quality that comes nearest to a learned codec's."""

import io
from collections.abc import Callable
from functools import partial

import PIL
from PIL import Image, features

from hwkd.errors import InputError
from hwkd.images import Pixels
from hwkd.measure import classic
from hwkd.measure.bench_coder import Coder, quality_of
from hwkd.measure.classic import MAX_QUALITY, MIN_QUALITY
from hwkd.measure.classic_quality import AVIF, LABELS
from hwkd.metrics import psnr_db as psnr_of

SETTINGS_TEXT = f"{classic.SETTINGS_TEXT}, AVIF with 4:2:0 and speed 6"

SETTING = f"Pillow {PIL.__version__}"


def classic_coder(
    codec: str, image: Pixels, psnr_db: float, quality: int | None, threads: int
) -> Coder:
    """One of LABELS as a coder of `image`, [H, W, 3] uint8.

    Args:
        psnr_db: to come near to.
        quality: Pillow's, in place of the one that `nearest_quality` finds.
        threads: for AVIF; the others have one.
    Raises:
        InputError: as hwkd.measure.classic.encode; this Pillow lies without AVIF.
    """
    write = _avif(threads) if codec == AVIF else partial(classic.encode, codec)
    if quality is None:
        quality = nearest_quality(lambda at: write(image, at), image, psnr_db)
    at = quality
    data = write(image, at)
    return Coder(
        f"{LABELS[codec]} quality {at}",
        SETTING,
        threads if codec == AVIF else 1,
        lambda: write(image, at),
        lambda: classic.decode(data),
        len(data),
        quality_of(image, classic.decode(data)),
    )


def nearest_quality(encode: Callable[[int], bytes], image: Pixels, psnr_db: float) -> int:
    """The quality, MIN_QUALITY to MAX_QUALITY, whose PSNR on `image` is nearest to `psnr_db`.

    encode: `image` at a quality; PSNR is taken to rise with it, so that halving finds the two around `psnr_db`.
    """

    def reached(quality: int) -> float:
        return psnr_of(image, classic.decode(encode(quality)))

    low, high = MIN_QUALITY, MAX_QUALITY
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if reached(middle) <= psnr_db else (low, middle)
    return min((low, high), key=lambda quality: abs(reached(quality) - psnr_db))


def _avif(threads: int) -> Callable[[Pixels, int], bytes]:
    if not features.check(AVIF):
        raise InputError("this Pillow was built without AVIF; install Pillow 11.3 or newer")

    def write(image: Pixels, quality: int) -> bytes:
        sink = io.BytesIO()
        Image.fromarray(image).save(
            sink,
            format="AVIF",
            quality=quality,
            speed=6,
            subsampling="4:2:0",
            max_threads=threads,
        )
        return sink.getvalue()

    return write
