"""How far a bundle is from the trained codec that it was made of, on real images."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch

from hwkd.codec.codec import Codec
from hwkd.codec.stream import unpack
from hwkd.images import MAX_PIXELS, Pixels
from hwkd.metrics import psnr_db
from hwkd.models.base import HyperpriorCodec
from hwkd.models.image_tensors import padded, to_pixels
from hwkd.qualities import lmbda_at
from hwkd.runtime.bundle import Bundle
from hwkd.runtime.session import present_runtimes, runtime_label

AT_MOST_PX = 1024
"""The side of the centre that is compared of a larger image."""

QUALITIES = (10, 50, 90)
"""At which a bundle of all rates is compared."""


@dataclass(frozen=True)
class _Trained:
    """The trained codec's own pass over one image."""

    image: Pixels
    y: "np.ndarray[tuple[int, ...], np.dtype[np.int32]]"
    x_hat: Pixels
    bpp_estimated: float


def differences(
    bundle: Bundle, codec: HyperpriorCodec, images: Mapping[str, Pixels]
) -> tuple[str, ...]:
    """A sentence for each runtime present: symbols of y that differ, PSNR and rate beside the trained codec's.

    The trained codec's rate is estimated from its likelihoods, the bundle's is of its real bytes.
    """
    qualities = (None,) if bundle.manifest.qualities is None else QUALITIES
    exported = [Codec.load(bundle, runtime) for runtime in sorted(present_runtimes())]
    found = []
    for quality in qualities:
        if quality is not None:
            codec.set_lmbda(lmbda_at(quality))
        passes = [_trained(codec, centre(image)) for image in images.values()]
        found += [_compared(one, passes, quality) for one in exported]
    return tuple(found)


def _compared(exported: Codec, passes: list[_Trained], quality: int | None) -> str:
    differ, largest, bpp, psnr = [], 0, [], []
    for trained in passes:
        data = exported.encode(trained.image, quality=quality)
        y = exported.symbols(unpack(data, MAX_PIXELS))
        apart = np.abs(y.astype(np.int64) - trained.y)
        differ.append(float((apart != 0).mean()))
        largest = max(largest, int(apart.max()))
        bpp.append(8 * len(data) / (trained.image.size / 3))
        psnr.append(psnr_db(trained.image, exported.decode(data)))
    psnr_trained = fmean(psnr_db(trained.image, trained.x_hat) for trained in passes)
    bpp_trained = fmean(trained.bpp_estimated for trained in passes)
    return (
        f"{runtime_label(exported.runtime)} against the trained codec, {len(passes)} images"
        f"{'' if quality is None else f' at quality {quality}'}: "
        f"{100 * fmean(differ):.4f} % of y's symbols differ, by {largest} at most; "
        f"psnr_db {fmean(psnr):.3f} against {psnr_trained:.3f}; "
        f"bpp {fmean(bpp):.4f} (real bytes) against {bpp_trained:.4f} (estimated)"
    )


@torch.no_grad()
def _trained(codec: HyperpriorCodec, image: Pixels) -> _Trained:
    height, width = image.shape[:2]
    output = codec(padded(image, codec.downsampling_factor))
    bits = output.y_likelihoods.double().log2().sum() + output.z_likelihoods.double().log2().sum()
    return _Trained(
        image,
        torch.round(codec.residual(output.y))[0].int().numpy(),
        to_pixels(output.x_hat, width, height),
        -float(bits) / (height * width),
    )


def centre(image: Pixels) -> Pixels:
    """What is compared of `image`, [H, W, 3]: all of it, or the middle of AT_MOST_PX."""
    top, left = (max(0, side - AT_MOST_PX) // 2 for side in image.shape[:2])
    return image[top : top + AT_MOST_PX, left : left + AT_MOST_PX]
