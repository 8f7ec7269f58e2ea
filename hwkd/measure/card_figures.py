"""The figures of a bundle's card: quality and rate of real bytes, on each set of images."""

import math
from collections.abc import Callable, Sequence

from hwkd.codec.codec import Codec
from hwkd.codec.networks import default_runtime
from hwkd.images import ImageSource
from hwkd.measure.quality import Evaluation, ImageQuality, evaluate_bundle
from hwkd.qualities import lmbda_at
from hwkd.runtime.bundle import Bundle
from hwkd.runtime.card import SetFigures
from hwkd.runtime.session import present_runtimes, runtime_label

QUALITIES = (10, 30, 50, 70, 90)
"""At which a bundle of all rates is measured."""

EMBEDDED_SET = "embedded photographs"
"""What the set of the embedded evaluation images is called."""


def set_name(images: ImageSource) -> str:
    """What a card calls a set of images: its folder's own name, no place of the machine."""
    return EMBEDDED_SET if images.folder is None else images.folder.resolve().name


def measure_figures(
    bundle: Bundle, sets: Sequence[ImageSource], show: Callable[[str], None] = lambda _: None
) -> tuple[SetFigures, ...]:
    """The figures of `bundle` on each of `sets`, at QUALITIES where it has all rates; none where no runtime is installed.

    Figures are rounded, so that the last digits of a sum do not make another bundle.

    Args:
        show: called with what is being done, in words.
    Raises:
        InputError: an image that cannot be read.
    """
    if not present_runtimes():
        return ()
    runtime = default_runtime(bundle)
    codec = Codec.load(bundle, runtime)
    found = []
    for images in sets:
        name = set_name(images)
        for quality in _qualities(bundle):
            what = name if quality is None else f"{name} at quality {quality}"

            def tell(image: ImageQuality, what: str = what) -> None:
                show(f"measuring on {what}: {image.name} done")

            evaluation = evaluate_bundle(codec, images, quality=quality, progress=tell)
            lmbda = bundle.manifest.lmbda if quality is None else lmbda_at(quality)
            found.append(_figures(name, runtime_label(runtime), evaluation, lmbda, quality))
    return tuple(found)


def _qualities(bundle: Bundle) -> tuple[int | None, ...]:
    """Those of QUALITIES that `bundle` has, or the nearest that it has; None of a bundle of one rate."""
    if bundle.manifest.qualities is None:
        return (None,)
    low, high = bundle.manifest.qualities
    return tuple(sorted({min(max(quality, low), high) for quality in QUALITIES}))


def _figures(
    name: str, runtime: str, evaluation: Evaluation, lmbda: float | None, quality: int | None
) -> SetFigures:
    return SetFigures(
        on=name,
        images=len(evaluation.images),
        runtime=runtime,
        psnr_db=round(evaluation.psnr_db, 6) if math.isfinite(evaluation.psnr_db) else None,
        # Of equal images it may come out as 1.0000001.
        ms_ssim=None if evaluation.ms_ssim is None else min(1.0, round(evaluation.ms_ssim, 6)),
        bpp=round(evaluation.bpp, 6),
        rd_loss=None if lmbda is None else round(evaluation.rd_loss(lmbda), 6),
        quality=quality,
    )
