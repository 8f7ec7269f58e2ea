"""What ships does what its card says, through the bytes of a stream."""

import pytest

from hwkd.codec.codec import Codec
from hwkd.codec.shipped import DEFAULT, shipped
from hwkd.images import open_images
from hwkd.measure.quality import EMBEDDED_SET, evaluate_bundle
from hwkd.metrics import psnr_db
from hwkd.qualities import DEFAULT_QUALITY

QUICK = (DEFAULT, "patch-small", "gdn-16")
NAMES = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in shipped()]


def test_all_three_sizes_ship_for_all_rates_and_the_papers_students_at_one() -> None:
    sizes = ("large", "medium", "small")
    assert set(shipped()) == {
        *(f"patch-{size}" for size in sizes),
        *("gdn-16", "gdn-32", "gdn-64", "relu-32", "relu-64"),
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_bundle_does_what_its_card_says(name: str) -> None:
    codec = Codec.load(shipped()[name])
    card = codec.bundle.manifest.card
    assert card is not None
    (said,) = (
        figures
        for figures in card.figures
        if figures.on == EMBEDDED_SET and figures.quality in (None, DEFAULT_QUALITY)
    )
    found = evaluate_bundle(codec, open_images(None))
    # Another runtime, or another processor's kernels, may round a few symbols and samples the other way.
    assert found.psnr_db == pytest.approx(said.psnr_db, abs=0.05)
    assert found.bpp == pytest.approx(said.bpp, rel=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_a_small_image_goes_through_a_shipped_bundle(name: str, photo) -> None:
    codec = Codec.load(shipped()[name])
    image = photo(70, 45, 1)
    decoded = codec.decode(codec.encode(image))
    assert decoded.shape == image.shape
    assert psnr_db(decoded, image) > 15
