"""What is profiled of a bundle: facts, size, counts and quality."""

from dataclasses import dataclass, replace
from pathlib import Path

from hwkd.bits import BitPlan
from hwkd.codec.codec import Codec
from hwkd.images import ImageSource
from hwkd.measure.bundle_costs import read_costs
from hwkd.measure.profile import FLOAT_BYTES, Profiled
from hwkd.measure.quality import evaluate_bundle
from hwkd.measure.record import ModelFacts, Quality, Size
from hwkd.runtime.bundle import BUNDLE_SUFFIX, Bundle, arrays, read_bundle
from hwkd.runtime.card import Card
from hwkd.runtime.manifest import TABLES


@dataclass(frozen=True)
class BundleSubject(Profiled):
    """A bundle; its networks run in integers, and its costs are those of the float model."""

    bundle: Bundle

    @property
    def qualities(self) -> tuple[int, int] | None:
        """The lowest and the highest quality that it has; None of one rate."""
        return self.bundle.manifest.qualities


def load_bundle_subject(text: str, width: int, height: int) -> BundleSubject:
    """The bundle in the file `text`, for images of width x height.

    Raises:
        InputError: as hwkd.runtime.bundle.read_bundle and `read_costs`.
    """
    bundle = read_bundle(Path(text))
    manifest, costs = bundle.manifest, read_costs(bundle)
    facts = ModelFacts(
        name=f"{manifest.name}{BUNDLE_SUFFIX}",
        architecture=manifest.architecture,
        spec=manifest.spec,
        family=manifest.family,
        weight_bits=manifest.weight_bits,
        is_trained=True,
        lmbda=manifest.lmbda,
        sha256=bundle.sha256,
    )
    size = Size(
        parameters=costs.parameters,
        weight_bytes_fp32=FLOAT_BYTES * costs.parameters,
        weight_bytes=costs.weight_bytes,
        buffer_bytes=sum(table.nbytes for table in arrays(bundle, TABLES).values()),
    )
    macs, layers = costs.for_image(width, height)
    quality = card_quality(manifest.card)
    return BundleSubject(text, facts, bits_of(bundle), size, macs, layers, quality, bundle)


def bits_of(bundle: Bundle) -> BitPlan:
    """The bits that most weights and the activations of `bundle` have, for its plan on a target.

    Raises:
        InputError: activations of a number of bits that no quantizer takes.
    """
    return BitPlan(bundle.manifest.most_weight_bits, bundle.manifest.act_bits)


def card_quality(card: Card | None) -> Quality | None:
    """What the card says of Kodak's images, or else of its first set; None where it says nothing of either.

    Of a bundle of all rates: at the default quality, or the nearest to it, which the source names.
    """
    figures = None if card is None else card.on_kodak or card.on_first
    # Images that all came back without error have no PSNR.
    if card is None or figures is None or not figures.psnr_db or not figures.bpp:
        return None
    # A shipped teacher's card says it in these words, and figures on the same images are compared.
    name = "Kodak" if figures is card.on_kodak else figures.on
    quality = "" if figures.quality is None else f", quality {figures.quality}"
    source = f"the bundle's card (real bytes, {figures.runtime}{quality})"
    on = f"{name}, {figures.images} images"
    return Quality(figures.psnr_db, figures.bpp, on, source, figures.ms_ssim)


def evaluated_bundle(
    subject: BundleSubject, images: ImageSource, quality: int | None
) -> BundleSubject:
    """`subject` with its quality measured on `images`, from its own streams.

    Args:
        quality: of a bundle of all rates; None of one rate.
    Raises:
        InputError, HwkdError: as hwkd.codec.codec.Codec and `evaluate_bundle`.
    """
    found = evaluate_bundle(Codec.load(subject.bundle), images, quality=quality)
    return replace(subject, quality=found.recorded(str(images), quality))
