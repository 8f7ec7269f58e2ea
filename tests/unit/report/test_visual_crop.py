import base64
import io

import numpy as np
import pytest
from PIL import Image

from hwkd.report.visual_crop import Crop, crop_at, embedded, most_detailed, sides, spread


def test_the_window_holds_the_only_detail_there_is(photo):
    image = np.full((700, 900, 3), 90, np.uint8)
    image[400:464, 600:664] = photo(64, 64, 1)
    crop = crop_at(900, 700, most_detailed(image), 256)
    assert crop.x <= 600 and crop.x + crop.width >= 664
    assert crop.y <= 400 and crop.y + crop.height >= 464


def test_of_two_places_the_one_with_the_steeper_gradient_is_taken():
    image = np.zeros((300, 1000, 3), np.uint8)
    image[:, 100:200:2] = 50
    image[:, 800:900:2] = 200
    crop = crop_at(1000, 300, most_detailed(image), 256)
    assert crop.x <= 800 and crop.x + 256 >= 900


def test_where_there_is_no_detail_the_first_window_is_taken():
    assert most_detailed(np.zeros((512, 512, 3), np.uint8)) == (96, 96)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 900), (17, 300), (255, 257)])
def test_an_image_smaller_than_a_window_has_a_place_too(height, width, photo):
    image = photo(height, width, 2)
    crop = crop_at(width, height, most_detailed(image), 256)
    assert (crop.width, crop.height) == (min(width, 256), min(height, 256))
    assert crop.of(image).shape == (crop.height, crop.width, 3)


@pytest.mark.parametrize("middle", [(0, 0), (350, 250), (700, 499), (128.0, 420.0)])
def test_crops_lie_in_the_image_and_each_in_the_next_larger(middle):
    inner = None
    for side in reversed(sides(701)):
        crop = crop_at(701, 500, middle, side)
        assert crop.x >= 0 and crop.y >= 0
        assert crop.x + crop.width <= 701 and crop.y + crop.height <= 500
        if inner is not None:
            assert crop.x <= inner.x and crop.x + crop.width >= inner.x + inner.width
            assert crop.y <= inner.y and crop.y + crop.height >= inner.y + inner.height
        inner = crop
    assert inner == Crop(0, 0, 701, 500)


def test_sides_go_down_from_all_to_the_least():
    assert sides(300) == [300, 288, 272, 256, 240, 224, 208, 192]
    assert sides(208) == [208, 192]
    assert sides(192) == [192]
    assert sides(100) == [100]


def test_what_is_left_is_spread_evenly():
    assert spread(10, 2) == [2, 7]
    assert spread(9, 3) == [1, 4, 7]
    assert spread(4, 4) == spread(4, 9) == [0, 1, 2, 3]
    assert spread(5, 1) == [2]


@pytest.mark.parametrize("shape", [(1, 1), (33, 47), (64, 64)])
def test_an_embedded_image_decodes_to_exactly_its_pixels(shape):
    pixels = np.random.default_rng(3).integers(0, 256, (*shape, 3)).astype(np.uint8)
    head, _, data = embedded(pixels[:, ::-1]).partition(",")
    assert head == "data:image/webp;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert np.array_equal(np.asarray(image.convert("RGB")), pixels[:, ::-1])
