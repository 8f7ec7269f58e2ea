import base64
import io
import math

import numpy as np
import pytest
from PIL import Image

from hwkd.errors import InputError
from hwkd.images import open_images, write_png
from hwkd.measure.visual_codecs import Coder
from hwkd.report.page.visual import visual

NOTHING_ELSE = 200_000
"""What is kept free for the page around the images."""


def decoded(address):
    with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as image:
        return np.asarray(image.convert("RGB"))


def noise(height, width, seed):
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3)).astype(np.uint8)


@pytest.fixture
def folder_of(tmp_path):
    """folder_of(images): an ImageSource of a folder that holds them as 0.png, 1.png, ..."""

    def make(images):
        for n, image in enumerate(images):
            write_png(tmp_path / "images" / f"{n}.png", image)
        return open_images(tmp_path / "images")

    return make


def one_up(image):
    return image + np.uint8(1)


BRIGHTER = Coder("brighter", "made here", lambda image: (600, one_up(image)))
EXACT = Coder("exact", "made here", lambda image: (1200, image))


def silent(doing, done, count):
    assert 0 <= done <= count


def addresses_bytes(made):
    return sum(len(view.address) for image in made.images for view in image.views)


def test_every_view_is_there_in_order_with_the_figures_of_its_bytes(folder_of):
    made = visual(folder_of([noise(40, 60, 1)]), [EXACT, BRIGHTER], silent)
    (image,) = made.images
    assert [view.name for view in image.views] == ["original", "exact", "brighter", "JPEG", "WebP"]
    original, exact, brighter, *_ = image.views
    assert original.figures is None
    assert math.isinf(exact.figures.psnr_db)
    # Every sample is off by one: the MSE is 1.
    assert brighter.figures.psnr_db == pytest.approx(20 * math.log10(255))
    assert brighter.figures.stream_bytes == 600
    assert brighter.figures.bpp == pytest.approx(8 * 600 / (40 * 60))
    assert (made.found, made.left_out, made.matched_to) == (1, 0, "brighter")


def test_a_view_holds_exactly_the_pixels_of_its_codec(folder_of):
    pixels = noise(40, 60, 2)
    (image,) = visual(folder_of([pixels]), [BRIGHTER], silent).images
    assert np.array_equal(decoded(image.views[0].address), pixels)
    assert np.array_equal(decoded(image.views[1].address), one_up(pixels))


def test_jpeg_and_webp_stand_at_the_rate_of_the_last_model(folder_of, photo):
    (image,) = visual(folder_of([photo(96, 128, 3)]), [BRIGHTER, EXACT], silent).images
    for view in image.views[-2:]:
        assert view.figures.stream_bytes == pytest.approx(1200, rel=0.1)
        assert view.note.endswith(f", the nearest to the {8 * 1200 / (96 * 128):.4f} bpp of exact")


@pytest.mark.parametrize(
    ("stream_bytes", "words"), [(1, "its lowest, is still larger"), (10**6, "its highest here, is")]
)
def test_a_rate_that_jpeg_does_not_reach_is_told(folder_of, stream_bytes, words):
    coder = Coder("model", "made here", lambda image: (stream_bytes, image))
    (image,) = visual(folder_of([noise(40, 60, 4)]), [coder], silent).images
    assert words in image.views[2].note
    assert f"{8 * stream_bytes / 2400:.4f} bpp of model" in image.views[2].note


def test_ms_ssim_of_a_small_image_is_not_known_and_the_reason_is(folder_of):
    (image,) = visual(folder_of([noise(160, 200, 5)]), [BRIGHTER], silent).images
    assert image.views[1].figures.ms_ssim is None
    assert image.views[1].figures.ms_ssim_reason == "a side is under 161 pixels"


def test_ms_ssim_is_that_of_the_whole_image(folder_of, photo):
    from hwkd.measure.quality import ms_ssim

    pixels = photo(200, 300, 6)
    (image,) = visual(folder_of([pixels]), [BRIGHTER], silent).images
    assert image.views[1].figures.ms_ssim == ms_ssim(pixels, one_up(pixels))


def test_where_all_fits_all_is_shown(folder_of):
    (image,) = visual(folder_of([noise(300, 400, 7)]), [BRIGHTER], silent).images
    crop = image.crop
    assert (crop.x, crop.y, crop.width, crop.height) == (0, 0, 400, 300)


def test_where_not_all_fits_a_part_is_shown_whose_figures_are_of_the_whole(folder_of):
    pixels = noise(300, 420, 8)
    # Noise is not compressed: in base64 a view of it takes 4 bytes a pixel, and two whole ones over 1 MB.
    limit = 800_000
    made = visual(folder_of([pixels]), [BRIGHTER], silent, NOTHING_ELSE + limit)
    (image,) = made.images
    crop = image.crop
    assert 192 <= crop.width < 420 and 192 <= crop.height <= 300
    assert addresses_bytes(made) <= limit
    # The next larger side would not have fitted.
    larger = (crop.width + 16) * min(crop.height + 16, 300) / (crop.width * crop.height)
    assert addresses_bytes(made) * larger > 0.99 * limit
    assert np.array_equal(decoded(image.views[0].address), crop.of(pixels))
    assert np.array_equal(decoded(image.views[1].address), crop.of(one_up(pixels)))
    assert image.views[1].figures.bpp == pytest.approx(8 * 600 / (300 * 420))
    assert (image.width, image.height) == (420, 300)


def test_where_not_even_parts_fit_fewer_images_are_shown_spread_over_all(folder_of):
    # Two views of noise take 295 kB at 192x192, and those of JPEG and WebP less.
    limit = 850_000
    made = visual(
        folder_of([noise(256, 256, n) for n in range(6)]), [BRIGHTER], silent, NOTHING_ELSE + limit
    )
    assert addresses_bytes(made) <= limit
    assert 1 <= len(made.images) < 6
    assert (made.found, made.left_out) == (6, 6 - len(made.images))
    names = [int(image.name.removesuffix(".png")) for image in made.images]
    assert names == sorted(names)
    assert names[0] < 3 <= names[-1] or len(names) == 1


def test_where_not_one_image_fits_the_user_is_told(folder_of):
    with pytest.raises(InputError, match=r"4 views of 192x192 .* name fewer models"):
        visual(folder_of([noise(256, 256, 9)]), [BRIGHTER], silent, NOTHING_ELSE + 100_000)


def test_an_error_of_a_coder_names_the_image_and_the_model(folder_of):
    def refuse(image):
        raise InputError("too large; cut it")

    with pytest.raises(InputError, match=r"^0\.png with picky: too large; cut it$"):
        visual(folder_of([noise(20, 20, 10)]), [Coder("picky", "made here", refuse)], silent)
