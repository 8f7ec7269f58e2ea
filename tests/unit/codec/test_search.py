"""What is asked of a stream: sizes, rates and PSNRs found among the qualities."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from hwkd.codec.codec import Codec
from hwkd.codec.search import OutOfReach, RateTarget, encode_to
from hwkd.codec.stream import unpack
from hwkd.errors import InputError
from hwkd.images import MAX_PIXELS
from hwkd.metrics import psnr_db

IMAGE = np.zeros((100, 80, 3), np.uint8)


class FakeCodec:
    """Streams of `size(quality)` bytes that decode to the image with every sample off by `error(quality)`."""

    def __init__(self, size=lambda q: 100 * q, error=lambda q: 201 - 2 * q, qualities=(1, 100)):
        manifest = SimpleNamespace(name="fake", qualities=qualities)
        self.bundle = SimpleNamespace(manifest=manifest)
        self.size, self.error = size, error
        self.encoded = []

    def encode(self, image, tile_px, max_pixels, *, quality):
        self.encoded.append(quality)
        self.options = tile_px, max_pixels
        return bytes([quality or 0]) * self.size(quality)

    def decode(self, data, max_pixels):
        return np.full_like(IMAGE, self.error(data[0]))


def psnr(error):
    """Of an image whose every sample is off by so much."""
    return 20 * math.log10(255 / error)


@pytest.mark.parametrize("quality", range(1, 101))
def test_the_best_quality_that_fits_is_found_in_seven_encodes(quality):
    for limit in (100 * quality, 100 * quality + 99):
        codec = FakeCodec()
        found = encode_to(codec, IMAGE, RateTarget(max_bytes=limit), 64, 9000)
        assert (found.quality, len(found.stream), found.psnr_db) == (quality, 100 * quality, None)
        assert len(codec.encoded) <= 7
        assert len(set(codec.encoded)) == len(codec.encoded)
        assert codec.options == (64, 9000)


def test_any_limit_above_the_largest_gives_the_highest_quality():
    assert encode_to(FakeCodec(), IMAGE, RateTarget(max_bytes=10**9)).quality == 100


@pytest.mark.parametrize("quality", range(1, 101))
def test_the_lowest_quality_that_is_good_enough_is_found_in_seven_encodes(quality):
    # Of quality q the error is 201 - 2 q, and of the one below 2 more.
    for error in (201.000001 - 2 * quality, 202.9 - 2 * quality):
        codec = FakeCodec()
        found = encode_to(codec, IMAGE, RateTarget(min_psnr_db=psnr(error)))
        assert found.quality == quality
        assert found.psnr_db == pytest.approx(psnr(201 - 2 * quality))
        assert len(codec.encoded) <= 7


def test_an_image_that_comes_back_whole_has_any_psnr():
    codec = FakeCodec(error=lambda q: 0 if q >= 30 else 1)
    assert encode_to(codec, IMAGE, RateTarget(min_psnr_db=500.0)).quality == 30


def test_bpp_is_a_size_over_the_pixels_of_the_image():
    # 100 x 80 pixels at 3.5 bits are 3500 bytes; just under them 34 hundred are left.
    assert encode_to(FakeCodec(), IMAGE, RateTarget(bpp=3.5)).quality == 35
    assert encode_to(FakeCodec(), IMAGE, RateTarget(bpp=3.4999)).quality == 34


@pytest.mark.parametrize("limit", [300, 4800, 5100, 7000])
def test_where_sizes_do_not_rise_the_limit_still_holds(limit):
    codec = FakeCodec(size=lambda q: 100 * (q + 7 + 7 * (-1) ** q))
    found = encode_to(codec, IMAGE, RateTarget(max_bytes=limit))
    assert len(found.stream) == codec.size(found.quality) <= limit


def test_where_psnrs_do_not_rise_the_limit_still_holds():
    codec = FakeCodec(error=lambda q: 201 - 2 * q + 20 * (q % 3 == 0))
    least = psnr(101)
    found = encode_to(codec, IMAGE, RateTarget(min_psnr_db=least))
    assert found.psnr_db == pytest.approx(psnr(codec.error(found.quality)))
    assert found.psnr_db >= least


def test_only_the_qualities_of_the_bundle_are_tried():
    codec = FakeCodec(qualities=(20, 30))
    assert encode_to(codec, IMAGE, RateTarget(max_bytes=10**6)).quality == 30
    assert encode_to(codec, IMAGE, RateTarget(min_psnr_db=1.0)).quality == 20
    with pytest.raises(OutOfReach, match="of quality 20, has 2,000 bytes"):
        encode_to(codec, IMAGE, RateTarget(max_bytes=1999))
    assert set(codec.encoded) <= set(range(20, 31))


def test_one_quality_is_no_search():
    codec = FakeCodec(qualities=(42, 42))
    assert encode_to(codec, IMAGE, RateTarget(max_bytes=4200)).quality == 42
    assert codec.encoded == [42]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            # 8 * 100 / 8000 bits a pixel.
            RateTarget(max_bytes=99),
            "99 bytes cannot be had of this image: the smallest stream, of quality 1, has 100 bytes, 0.1000 bpp; ask for "
            "so many or more, or make the image smaller",
        ),
        (
            RateTarget(bpp=0.099),
            "0.099 bpp cannot be had of this image: the smallest stream, of quality 1, has 100 bytes, 0.1000 bpp; ask for "
            "so many or more, or make the image smaller",
        ),
        (
            # 20 log10(255 / 1) is 48.1308.
            RateTarget(min_psnr_db=48.2),
            "48.2 dB cannot be had of this image: the highest quality, 100, has 48.13 dB; ask for so many or fewer",
        ),
    ],
)
def test_what_cannot_be_had_names_the_nearest_that_can(asked, message):
    codec = FakeCodec()
    with pytest.raises(OutOfReach) as caught:
        encode_to(codec, IMAGE, asked)
    assert str(caught.value) == message
    assert len(codec.encoded) <= 7


def test_the_bpp_that_is_named_can_be_had():
    image = np.zeros((70, 43, 3), np.uint8)
    with pytest.raises(OutOfReach) as caught:
        encode_to(FakeCodec(), image, RateTarget(bpp=0.01))
    # 800 bits over 3010 pixels are 0.26578: rounded up.
    assert "0.2658 bpp" in str(caught.value)
    assert encode_to(FakeCodec(), image, RateTarget(bpp=0.2658)).quality == 1


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (RateTarget(quality=50), " and takes no quality, got 50"),
        (RateTarget(max_bytes=10), ", and no size can be asked of it"),
        (RateTarget(bpp=1.0), ", and no rate can be asked of it"),
        (RateTarget(min_psnr_db=30.0), ", and no PSNR can be asked of it"),
    ],
)
def test_of_a_bundle_of_one_rate_nothing_can_be_asked(asked, told):
    codec = FakeCodec(qualities=None)
    with pytest.raises(InputError) as caught:
        encode_to(codec, IMAGE, asked)
    assert str(caught.value) == (
        f"fake codes at one rate{told}; leave it out, or give a model of all rates"
    )
    assert codec.encoded == []


def test_a_bundle_of_one_rate_encodes_where_nothing_is_asked():
    codec = FakeCodec(size=lambda _: 7, qualities=None)
    found = encode_to(codec, IMAGE, RateTarget())
    assert (len(found.stream), found.quality, codec.encoded) == (7, None, [None])


@pytest.mark.parametrize("quality", [0, 19, 31, 101, 25.0])
def test_a_quality_that_the_bundle_lacks_is_told(quality):
    codec = FakeCodec(qualities=(20, 30))
    with pytest.raises(InputError) as caught:
        encode_to(codec, IMAGE, RateTarget(quality=quality))
    assert str(caught.value) == (
        f"a quality of fake must be a whole number from 20 to 30, got {quality}"
    )
    assert codec.encoded == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_bytes": 0}, "max_bytes must be a number above 0, got 0"),
        ({"bpp": -1.0}, "bpp must be a number above 0, got -1.0"),
        ({"bpp": math.inf}, "bpp must be a number above 0, got inf"),
        ({"min_psnr_db": math.nan}, "min_psnr_db must be a number above 0, got nan"),
        (
            {"quality": 5, "bpp": 0.5},
            "quality and bpp are given: one of quality, max_bytes, bpp, min_psnr_db is accepted",
        ),
    ],
)
def test_numbers_that_cannot_be_asked_are_refused(fields, message):
    with pytest.raises(InputError) as caught:
        RateTarget(**fields)
    assert str(caught.value) == message


def test_the_codec_itself_takes_what_is_asked(photo):
    # A trained one: PSNRs of an untrained codec do not rise with the quality.
    codec, image = Codec.load("patch-small", "onnxruntime", threads=1), photo(70, 100, 0)
    limit = len(codec.encode(image, quality=40))
    by_size = codec.encode(image, max_bytes=limit)
    assert len(by_size) <= limit
    assert codec.encode(image, bpp=8 * limit / 7000 + 1e-9) == by_size
    least = psnr_db(image, codec.decode(codec.encode(image, quality=40)))
    good = codec.encode(image, min_psnr_db=least)
    assert psnr_db(image, codec.decode(good)) >= least
    larger = codec.encode(image, quality=unpack(by_size, MAX_PIXELS).quality + 1)
    worse = codec.encode(image, quality=unpack(good, MAX_PIXELS).quality - 1)
    assert len(larger) > limit and psnr_db(image, codec.decode(worse)) < least
    with pytest.raises(InputError, match=r"^quality and max_bytes are given: "):
        codec.encode(image, quality=40, max_bytes=limit)
    with pytest.raises(OutOfReach, match=" of quality 1, has "):
        codec.encode(image, max_bytes=10)
