"""Quality and rate of a codec on images, from real bytes: PSNR, MS-SSIM, bits per pixel; the figures of a bundle's card."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from hwkd.codec.codec import Codec
from hwkd.codec.networks import default_runtime
from hwkd.errors import InputError
from hwkd.images import ImageSource, Pixels
from hwkd.measure.record import Quality
from hwkd.metrics import Curve, mse, psnr_db
from hwkd.qualities import lmbda_at, nearest
from hwkd.runtime.bundle import Bundle
from hwkd.runtime.manifest import SetFigures
from hwkd.runtime.session import present_runtimes, runtime_label

if TYPE_CHECKING:
    from hwkd.models.base import HyperpriorCodec


# What a codec does to images, measured on real bytes: PSNR, MS-SSIM, bits per pixel.

MS_SSIM_SIDE = 161
"""MS-SSIM halves the image four times and then needs its 11 pixel window: (11 - 1) * 2^4 + 1."""

NO_MS_SSIM = 'pytorch-msssim is not installed: pip install "hwkd[train]"'


@dataclass(frozen=True)
class ImageQuality:
    """One image through one codec.

    Attributes:
        mse: error of the 8-bit output against the image, on the [0, 1] scale.
        psnr_db: PSNR of the same (inf where identical).
        ms_ssim: 0..1, or None where ms_ssim_reason has the reason.
        stream_bytes: size of the container, header included.
        bpp: bits of stream_bytes per pixel of the image as given, not padded.
        bpp_estimated: bits from the likelihoods, per pixel of the image as given; None for a bundle, which has no likelihoods.
    """

    name: str
    width: int
    height: int
    mse: float
    psnr_db: float
    ms_ssim: float | None
    ms_ssim_reason: str | None
    stream_bytes: int
    bpp: float
    bpp_estimated: float | None

    def rd_loss(self, lmbda: float) -> float:
        """bpp + lmbda * 255^2 * mse, with the bpp of the real bytes."""
        return self.bpp + lmbda * 255**2 * self.mse


@dataclass(frozen=True)
class Evaluation:
    """A codec over a set of images; every average is the mean over the images, each counting once."""

    images: tuple[ImageQuality, ...]

    def __post_init__(self) -> None:
        if not self.images:
            raise InputError("no images to evaluate on: got none, give at least one")

    @property
    def psnr_db(self) -> float:
        """Mean of the images' PSNRs in dB (CompressAI's convention; not the PSNR of the mean MSE)."""
        return fmean(image.psnr_db for image in self.images)

    @property
    def psnr_db_of_mean_error(self) -> float:
        """PSNR of the mean MSE in dB; inf only where no image has an error."""
        error = fmean(image.mse for image in self.images)
        return -10 * math.log10(error) if error > 0 else math.inf

    @property
    def exact(self) -> tuple[str, ...]:
        """The names of the images that came back without error. Their PSNR is infinite, and so is the mean."""
        return tuple(image.name for image in self.images if math.isinf(image.psnr_db))

    @property
    def bpp(self) -> float:
        """Mean bits per pixel of the real bytes."""
        return fmean(image.bpp for image in self.images)

    @property
    def bpp_estimated(self) -> float | None:
        """Mean bits per pixel by the likelihoods, or None for a bundle."""
        values = [i.bpp_estimated for i in self.images if i.bpp_estimated is not None]
        return fmean(values) if values else None

    @property
    def ms_ssim(self) -> float | None:
        """Mean MS-SSIM, or None (`ms_ssim_reason`) unless every image has one."""
        values = [image.ms_ssim for image in self.images if image.ms_ssim is not None]
        return fmean(values) if len(values) == len(self.images) else None

    @property
    def ms_ssim_reason(self) -> str | None:
        """Why `ms_ssim` is None."""
        without = [image for image in self.images if image.ms_ssim is None]
        if not without:
            return None
        if NO_MS_SSIM in (image.ms_ssim_reason for image in without):
            return NO_MS_SSIM
        return (
            f"{len(without)} of {len(self.images)} images have a side under {MS_SSIM_SIDE} pixels"
        )

    def recorded(self, on: ImageSource, quality: int | None) -> Quality:
        """The averages for a profile's record.

        Args:
            on: name of the images.
            quality: the quality of a model of all rates; None for a model of one rate.
        Raises:
            InputError: an image came back without error, so that the mean PSNR is not finite.
        """
        if self.exact:
            raise InputError(
                f"the mean PSNR on {on} is not finite, as {self.exact[0]} came back without error: leave it out"
            )
        at = "" if quality is None else f", quality {quality}"
        source = f"hwkd profile --evaluate (real bytes{at})"
        return Quality(self.psnr_db, self.bpp, str(on), source, self.ms_ssim, on.sha256())

    def rd_loss(self, lmbda: float) -> float:
        """Mean over the images of bpp + lmbda * 255^2 * mse."""
        return fmean(image.rd_loss(lmbda) for image in self.images)


def curve_of(name: str, evaluations: Sequence[Evaluation]) -> Curve:
    """`evaluations` as a curve; with MS-SSIM only if every one has it. Raises InputError as Curve."""
    ms_ssim = [e.ms_ssim for e in evaluations if e.ms_ssim is not None]
    return Curve(
        name,
        tuple(e.bpp for e in evaluations),
        tuple(e.psnr_db for e in evaluations),
        tuple(ms_ssim) if len(ms_ssim) == len(evaluations) else None,
    )


def evaluate(
    codec: "HyperpriorCodec",
    images: Iterable[tuple[str, Pixels]],
    *,
    progress: Callable[[ImageQuality], None] | None = None,
) -> Evaluation:
    """Encode every image to bytes, decode those, and compare.

    The coding tables are made anew from the weights first, so that they fit a codec that was trained meanwhile.

    Args:
        images: names and uint8 arrays [H, W, 3]; read one at a time.
        progress: called with each image's figures as they come.

    Raises:
        InputError: no images, or one that `encode` refuses.
        HwkdError: the networks gave values that are not finite.
    """
    from hwkd.measure.eager.coding import analyse, bits_estimated, decode, make_tables, write

    make_tables(codec, anew=True)

    def one(name: str, image: Pixels) -> ImageQuality:
        latents = analyse(codec, image)
        stream = write(codec, latents)
        return compared(name, image, stream, decode(codec, stream), bits_estimated(codec, latents))

    return evaluation_of(one, images, progress)


def evaluate_bundle(
    codec: Codec,
    images: Iterable[tuple[str, Pixels]],
    *,
    quality: int | None = None,
    progress: Callable[[ImageQuality], None] | None = None,
) -> Evaluation:
    """As `evaluate`, for the codec of a bundle and its own streams.

    Args:
        quality: as hwkd.codec.codec.Codec.encode.
    Raises:
        InputError: no images, or one that the codec refuses; a quality that it has not.
    """

    def one(name: str, image: Pixels) -> ImageQuality:
        stream = codec.encode(image, quality=quality)
        return compared(name, image, stream, codec.decode(stream), None)

    return evaluation_of(one, images, progress)


def ms_ssim(a: Pixels, b: Pixels) -> float:
    """MS-SSIM of two uint8 images [H, W, 3], 0..1, mean over the channels (Wang et al. 2003; pytorch_msssim).

    Raises ValueError where a side is under MS_SSIM_SIDE, ImportError where its package or torch is not installed.
    """
    if min(a.shape[:2]) < MS_SSIM_SIDE:
        raise ValueError(f"MS-SSIM needs {MS_SSIM_SIDE} pixels a side, got {a.shape}")
    import torch
    from pytorch_msssim import ms_ssim as of_tensors

    x, y = (
        torch.from_numpy(np.ascontiguousarray(i)).permute(2, 0, 1)[None].float() for i in (a, b)
    )
    return float(of_tensors(x, y, data_range=255))


def evaluation_of(
    one: Callable[[str, Pixels], ImageQuality],
    images: Iterable[tuple[str, Pixels]],
    progress: Callable[[ImageQuality], None] | None,
) -> Evaluation:
    """The result of `one` for each of `images`. Raises InputError where there are none."""
    results = []
    for name, image in images:
        results.append(one(name, image))
        if progress is not None:
            progress(results[-1])
    return Evaluation(tuple(results))


def compared(
    name: str, image: Pixels, stream: bytes, decoded: Pixels, bits: float | None
) -> ImageQuality:
    """The figures of `decoded`, which came out of `stream`, beside `image`.

    Args:
        bits: estimated bits; None where there are none.
    """
    height, width = image.shape[:2]
    similarity, reason = _ms_ssim(image, decoded)
    pixels = width * height
    return ImageQuality(
        name=name,
        width=width,
        height=height,
        mse=mse(image, decoded) / 255**2,
        psnr_db=psnr_db(image, decoded),
        ms_ssim=similarity,
        ms_ssim_reason=reason,
        stream_bytes=len(stream),
        bpp=8 * len(stream) / pixels,
        bpp_estimated=None if bits is None else bits / pixels,
    )


def _ms_ssim(image: Pixels, decoded: Pixels) -> tuple[float | None, str | None]:
    """MS-SSIM, or why there is none."""
    if min(image.shape[:2]) < MS_SSIM_SIDE:
        return None, f"a side is under {MS_SSIM_SIDE} pixels"
    try:
        return ms_ssim(image, decoded), None
    except ImportError:
        return None, NO_MS_SSIM


# The figures of a bundle's card: quality and rate of real bytes, on each set of images.

QUALITIES = (10, 30, 50, 70, 90)
"""The qualities at which a bundle of all rates is measured."""

EMBEDDED_SET = "embedded photographs"
"""The name of the set of the embedded evaluation images."""


def set_name(images: ImageSource) -> str:
    """The name of a set of images in a card: the folder's own name, without a path of this machine."""
    return EMBEDDED_SET if images.folder is None else images.folder.resolve().name


def measure_figures(
    bundle: Bundle, sets: Sequence[ImageSource], show: Callable[[str], None] = lambda _: None
) -> tuple[SetFigures, ...]:
    """The figures of `bundle` on each of `sets`, at QUALITIES where it has all rates; none where no runtime is installed.

    Figures are rounded, so that the last digits of a sum do not make another bundle.

    Args:
        show: receives the current step, in words.
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
    """The qualities of QUALITIES that `bundle` has, or the nearest that it has; None for a bundle of one rate."""
    if bundle.manifest.qualities is None:
        return (None,)
    return nearest(QUALITIES, bundle.manifest.qualities)


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
