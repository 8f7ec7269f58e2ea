import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from hwkd.errors import InputError
from hwkd.images import (
    FORMATS,
    BrokenImage,
    check_fits,
    format_of,
    read_image,
    read_rgb,
    write_image,
    write_png,
)
from hwkd.images import png_bytes as png_bytes_image_formats


def noise(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("suffix", [s for s in FORMATS if s not in (".jpg", ".jpeg")])
def test_all_but_jpeg_keep_every_sample(tmp_path, suffix):
    path = tmp_path / f"new/a{suffix.upper()}"
    write_image(path, noise(9, 17))
    with Image.open(path) as image:
        assert image.format == FORMATS[suffix].name
        assert np.array_equal(np.array(image.convert("RGB")), noise(9, 17))
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg"])
def test_jpeg_is_written_in_high_quality(tmp_path, suffix):
    flat = np.full((16, 16, 3), (30, 60, 90), np.uint8)
    write_image(tmp_path / f"a{suffix}", flat)
    with Image.open(tmp_path / f"a{suffix}") as image:
        assert image.format == "JPEG"
        assert np.abs(np.array(image).astype(int) - flat).max() <= 3


def test_png_bytes_are_a_png_of_the_pixels():
    with Image.open(io.BytesIO(png_bytes_image_formats(noise(5, 3)))) as image:
        assert image.format == "PNG"
        assert np.array_equal(np.array(image), noise(5, 3))


@pytest.mark.parametrize("name", ["a.gif", "a.hwk", "a", "a.png.txt"])
def test_another_ending_is_refused(tmp_path, name):
    with pytest.raises(InputError) as error:
        format_of(tmp_path / name)
    assert str(error.value) == (
        f"{tmp_path / name} does not end in the name of an image format; accepted are "
        ".png .jpg .jpeg .webp .tif .tiff .bmp .ppm"
    )


def test_a_format_that_this_pillow_lacks_is_refused(tmp_path, monkeypatch):
    Image.init()
    monkeypatch.delitem(Image.SAVE, "WEBP")
    with pytest.raises(InputError) as error:
        format_of(tmp_path / "a.webp")
    assert str(error.value) == (
        f"this Pillow cannot write WEBP, for {tmp_path / 'a.webp'}; write a .png"
    )


@pytest.mark.parametrize(
    ("suffix", "most"),
    [(".webp", 16383), (".jpg", 65535)],
)
def test_an_image_over_what_the_format_holds_is_refused(tmp_path, suffix, most):
    path = tmp_path / f"a{suffix}"
    check_fits(path, most, 1)
    for size in ((most + 1, 1), (1, most + 1)):
        with pytest.raises(InputError) as error:
            check_fits(path, *size)
        assert str(error.value) == (
            f"{path}: the image has {size[0]}x{size[1]} pixels, and {FORMATS[suffix].name} holds {most} a side; "
            "write a .png"
        )
    check_fits(tmp_path / "a.png", most + 1, 1)


def gradient(height, width):
    return np.arange(height * width * 3, dtype=np.uint32).reshape(height, width, 3).astype(np.uint8)


def test_write_png_then_read_rgb_gives_the_same_pixels(tmp_path):
    write_png(tmp_path / "new" / "a.png", gradient(5, 7))
    assert np.array_equal(read_rgb(tmp_path / "new" / "a.png"), gradient(5, 7))
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.png"]


def test_read_rgb_turns_the_image_upright(tmp_path):
    image = Image.fromarray(gradient(2, 3))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to show
    image.save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_rgb(tmp_path / "a.png"), np.rot90(gradient(2, 3), -1))


def test_read_rgb_of_16_bit_grey_keeps_the_high_byte(tmp_path):
    values = np.array([[0, 255, 256, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    assert read_rgb(tmp_path / "a.png").tolist() == [[[0] * 3, [0] * 3, [1] * 3, [255] * 3]]


@pytest.mark.parametrize(
    ("mode", "pixel", "rgb"),
    [
        ("L", 7, [7, 7, 7]),
        ("LA", (7, 100), [7, 7, 7]),
        ("RGBA", (1, 2, 3, 0), [1, 2, 3]),
        ("1", 1, [255, 255, 255]),
    ],
)
def test_read_rgb_makes_three_channels_and_drops_alpha(tmp_path, mode, pixel, rgb):
    Image.new(mode, (2, 1), pixel).save(tmp_path / "a.png")
    result = read_rgb(tmp_path / "a.png")
    assert result.dtype == np.uint8
    assert result.tolist() == [[rgb, rgb]]


def png_bytes():
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    sink = io.BytesIO()
    Image.fromarray(noise).save(sink, format="PNG")
    return sink.getvalue()


@pytest.mark.parametrize(
    "content", [b"", b"not an image", png_bytes()[:20], png_bytes()[:3000]], ids=len
)
def test_read_rgb_says_in_one_line_that_a_file_is_broken(tmp_path, content):
    file = tmp_path / "a.png"
    file.write_bytes(content)
    with pytest.raises(BrokenImage) as error:
        read_rgb(file)
    assert str(error.value).startswith(f"{file} is not a readable image (")
    assert "\n" not in str(error.value)


def test_read_rgb_refuses_float_samples(tmp_path):
    Image.new("F", (2, 2), 0.5).save(tmp_path / "a.tif")
    with pytest.raises(BrokenImage, match="float samples"):
        read_rgb(tmp_path / "a.tif")


def test_read_rgb_of_a_missing_file_is_the_users_error(tmp_path):
    with pytest.raises(InputError, match="give an existing image file"):
        read_rgb(tmp_path / "none.png")


class Pipe(io.RawIOBase):
    """Bytes that can be read once, from the front."""

    def __init__(self, content):
        self._left = io.BytesIO(content)

    def readable(self):
        return True

    def readinto(self, target):
        return self._left.readinto(target)


@pytest.mark.parametrize("source", [io.BytesIO, Pipe])
def test_read_image_takes_bytes_that_can_be_sought_in_or_not(source):
    image = read_image(source(png_bytes()))
    assert image.pixels.shape == (64, 64, 3)
    assert image.dropped == ()


def test_read_image_says_what_was_lost(tmp_path):
    Image.new("RGBA", (2, 1), (1, 2, 3, 4)).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert image.pixels.tolist() == [[[1, 2, 3]] * 2]
    assert image.dropped == ("alpha was dropped",)


@pytest.mark.parametrize(
    ("content", "cause"), [(b"", "it is empty"), (b"no image", "of no kind that is read here")]
)
def test_read_image_names_the_source_as_it_is_told(content, cause):
    with pytest.raises(BrokenImage) as error:
        read_image(io.BytesIO(content), name="standard input")
    assert str(error.value) == (
        f"standard input is not a readable image ({cause}); replace it or leave it out"
    )


def test_read_image_refuses_more_pixels_than_it_is_told_before_it_reads_them(tmp_path):
    path = tmp_path / "a.png"
    # Of the pixels nothing is there.
    path.write_bytes(png_bytes()[:60])
    with pytest.raises(BrokenImage) as error:
        read_image(path, max_pixels=4095)
    assert str(error.value) == (
        f"{path} is an image of 64x64, 4096 pixels, and 4095 are accepted; make it smaller, or encode it with "
        "--max-pixels 4096"
    )
    path.write_bytes(png_bytes())
    assert read_image(path, max_pixels=4096).pixels.shape == (64, 64, 3)


def test_read_image_goes_beyond_pillows_limit_where_it_is_told_to(tmp_path, monkeypatch, recwarn):
    path = tmp_path / "a.png"
    path.write_bytes(png_bytes())
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    # As small beside the limit as it really is.
    monkeypatch.setattr("hwkd.images.rgb.BAND_PIXELS", 64)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(path)
    assert read_image(path, max_pixels=4096).pixels.shape == (64, 64, 3)
    assert not recwarn.list
    assert Image.MAX_IMAGE_PIXELS == 100


def test_read_rgb_refuses_where_pillow_does(tmp_path):
    path = tmp_path / "a.png"
    header = b"IHDR" + struct.pack(">IIBBBBB", 18919, 18919, 1, 0, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header
    data = struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    path.write_bytes(start + struct.pack(">I", zlib.crc32(header)) + data)
    # Twice 178,956,970, at which it warns.
    with pytest.raises(BrokenImage, match="357928561 pixels, and 357913940 are accepted"):
        read_rgb(path)
