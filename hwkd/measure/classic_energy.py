"""What JPEG and WebP take on this machine at a model's quality, by the same meter as the model."""

from collections.abc import Iterable
from dataclasses import dataclass

from hwkd.images import Pixels
from hwkd.measure.classic import EqualQuality, encode, equal_quality
from hwkd.measure.energy.measure import measure_energy
from hwkd.measure.energy.meter import Meter
from hwkd.quantity import Quantity, not_known

SECONDS = 6.0


@dataclass(frozen=True)
class Classic:
    """A codec at the student's PSNR. encode_mj_per_mpx: its energy for a megapixel, at the next lower quality setting."""

    equal: EqualQuality
    encode_mj_per_mpx: Quantity


def measure_classic(
    codec: str, images: Iterable[tuple[str, Pixels]], psnr_db: float, meter: Meter
) -> Classic:
    """`codec` (jpeg, webp) on `images`: rate and time at `psnr_db`, and the energy to encode.

    One call of the meter's work encodes all images, at the quality setting just below the PSNR asked for.

    Raises:
        InputError, HwkdError: as `equal_quality` and `measure_energy`.
    """
    held = list(images)
    equal = equal_quality(codec, held, psnr_db)
    if not equal.between:
        return Classic(equal, not_known(equal.bpp.reason))
    quality = equal.between[0]

    def encode_all() -> None:
        for _, image in held:
            encode(codec, image, quality)

    pixels = sum(image.shape[0] * image.shape[1] for _, image in held)
    energy = measure_energy(encode_all, meter, pixels=pixels, seconds=SECONDS)
    return Classic(equal, energy.energy_mj_per_mpx)
