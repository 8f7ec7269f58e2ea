import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from hwkd.images import rgb as module
from hwkd.images.rgb import UnusableSamples, to_rgb

HIGH_BYTE = "16-bit samples kept their high byte"
GREY = "grey became three channels"
ALPHA = "alpha was dropped"


def stored(image, form="PNG", **options):
    """`image` as it comes back from a file."""
    sink = io.BytesIO()
    image.save(sink, form, **options)
    return Image.open(sink)


def png(colour_type, samples):
    """A 16-bit PNG of [H, W, C] uint16, which Pillow cannot write."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    height, width = samples.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    return Image.open(
        io.BytesIO(
            b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows))
            + chunk(b"IEND", b"")
        )
    )


def srgb_profile():
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def swapped_profile():
    """sRGB, but what it calls red is blue: its colorants change places."""
    profile = srgb_profile()
    table = profile[:400].replace(b"rXYZ", b"????").replace(b"bXYZ", b"rXYZ")
    return table.replace(b"????", b"bXYZ") + profile[400:]


def linear_grey_profile():
    """An ICC profile for grey whose samples are proportional to the light."""
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 7) + b"linear\0" + bytes(79),
        b"wtpt": b"XYZ \0\0\0\0" + struct.pack(">iii", 63190, 65536, 54061),
        b"kTRC": b"curv\0\0\0\0" + struct.pack(">I", 0),
        b"cprt": b"text\0\0\0\0none\0",
    }
    table, content = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(content), len(data))
        content += data + bytes(-len(data) % 4)
    size = start + len(content)
    header = struct.pack(">II", size, 0) + b"\x02\x10\0\0" + b"mntrGRAYXYZ "
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    header += struct.pack(">iii", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + table + content


def test_rgb_comes_back_as_it_is_and_nothing_is_said():
    pixels = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    found, dropped = to_rgb(stored(Image.fromarray(pixels)))
    assert found.dtype == np.uint8 and found.flags.c_contiguous
    assert np.array_equal(found, pixels)
    assert dropped == ()


@pytest.mark.parametrize(
    ("mode", "pixel", "rgb", "dropped"),
    [
        ("1", 1, [255, 255, 255], (GREY,)),
        ("L", 7, [7, 7, 7], (GREY,)),
        ("LA", (7, 100), [7, 7, 7], (ALPHA, GREY)),
        ("LA", (7, 255), [7, 7, 7], (GREY,)),
        ("RGBA", (1, 2, 3, 0), [1, 2, 3], (ALPHA,)),
        ("RGBA", (1, 2, 3, 255), [1, 2, 3], ()),
    ],
)
def test_what_a_mode_holds_beyond_rgb_is_said(mode, pixel, rgb, dropped):
    found, said = to_rgb(stored(Image.new(mode, (2, 1), pixel)))
    assert found.tolist() == [[rgb, rgb]]
    assert said == dropped


def test_a_palette_with_transparency_loses_it_without_a_warning(recwarn):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    found, said = to_rgb(stored(image, transparency=b"\x00\x80"))
    assert found.tolist() == [[[10, 20, 30], [40, 50, 60]]]
    assert said == (ALPHA,)
    assert not recwarn.list


def test_cmyk_without_a_profile_is_said():
    # No ink is white, and all of black is black.
    image = Image.new("CMYK", (2, 1), (0, 0, 0, 0))
    image.putpixel((1, 0), (0, 0, 0, 255))
    found, said = to_rgb(stored(image, "TIFF"))
    assert found.tolist() == [[[255] * 3, [0] * 3]]
    assert said == ("CMYK became RGB without a colour profile",)


def test_16_bit_colour_keeps_the_high_byte_and_it_is_said():
    samples = np.array([[[0, 0x1FF, 0xFFFF]]], np.uint16)
    found, said = to_rgb(png(2, samples))
    assert found.tolist() == [[[0, 1, 255]]]
    assert said == (HIGH_BYTE,)


def test_16_bit_colour_with_alpha_says_both():
    found, said = to_rgb(png(6, np.array([[[0x100, 0x200, 0x300, 0x400]]], np.uint16)))
    assert found.tolist() == [[[1, 2, 3]]]
    assert said == (HIGH_BYTE, ALPHA)


def test_16_bit_grey_keeps_the_high_byte_and_it_is_said():
    found, said = to_rgb(png(0, np.array([[[0xFF], [0x100], [0xFFFF]]], np.uint16)))
    assert found.tolist() == [[[0] * 3, [1] * 3, [255] * 3]]
    assert said == (HIGH_BYTE, GREY)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_image_is_turned_as_its_exif_says(orientation):
    pixels = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    found, said = to_rgb(stored(Image.fromarray(pixels), exif=exif))
    # EXIF 2.32, 4.6.4: where row 0 and column 0 of what is stored lie on what is shown.
    upright = {
        1: pixels,  # top, left
        2: pixels[:, ::-1],  # top, right
        3: pixels[::-1, ::-1],  # bottom, right
        4: pixels[::-1],  # bottom, left
        5: pixels.swapaxes(0, 1),  # left, top
        6: pixels.swapaxes(0, 1)[:, ::-1],  # right, top
        7: pixels.swapaxes(0, 1)[::-1, ::-1],  # right, bottom
        8: pixels.swapaxes(0, 1)[::-1],  # left, bottom
    }[orientation]
    assert np.array_equal(found, upright)
    assert said == ()


def test_an_srgb_profile_changes_nothing_and_is_not_mentioned():
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    found, said = to_rgb(stored(Image.fromarray(pixels), icc_profile=srgb_profile()))
    assert np.array_equal(found, pixels)
    assert said == ()


def test_colours_of_another_profile_become_srgb_and_it_is_said():
    image = Image.new("RGB", (2, 1), (255, 0, 0))
    image.putpixel((1, 0), (40, 90, 200))
    found, said = to_rgb(stored(image, icc_profile=swapped_profile()))
    # What the profile calls red is blue.
    expected = [[[0, 0, 255], [200, 90, 40]]]
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert said == ("colours were converted from sRGB built-in to sRGB",)


def test_a_profile_for_grey_is_applied_to_grey():
    found, said = to_rgb(stored(Image.new("L", (1, 1), 55), icc_profile=linear_grey_profile()))
    # sRGB's curve of 55 / 255: 1.055 * 0.21569 ** (1 / 2.4) - 0.055 = 0.5017, of 255: 127.9
    assert np.abs(found.astype(int) - 128).max() <= 1
    assert said == (GREY, "colours were converted from linear to sRGB")


@pytest.mark.parametrize(
    ("mode", "profile"), [("RGB", b"no profile"), ("RGB", linear_grey_profile())], ids=len
)
def test_a_profile_that_does_not_fit_is_left_out_and_it_is_said(mode, profile):
    found, said = to_rgb(stored(Image.new(mode, (1, 1), (1, 2, 3)), icc_profile=profile))
    assert found.tolist() == [[[1, 2, 3]]]
    assert said == ("its colour profile cannot be used and was dropped",)


def test_frames_after_the_first_are_said():
    first, second = Image.new("RGB", (2, 2), (9, 9, 9)), Image.new("RGB", (2, 2), (200, 0, 0))
    found, said = to_rgb(stored(first, "TIFF", save_all=True, append_images=[second]))
    assert (found == 9).all()
    assert said == ("only the first of its 2 frames was taken",)


@pytest.mark.parametrize("mode", ["RGB", "I;16", "L"])
def test_bands_of_rows_make_the_same_image_as_one(monkeypatch, mode):
    image = Image.fromarray(np.arange(77, dtype=np.uint16).reshape(11, 7) * 800)
    whole, _ = to_rgb(stored(image.convert(mode) if mode != "I;16" else image))
    monkeypatch.setattr(module, "BAND_PIXELS", 14)
    banded, _ = to_rgb(stored(image.convert(mode) if mode != "I;16" else image))
    assert whole.shape == (11, 7, 3)
    assert np.array_equal(whole, banded)


def test_float_samples_are_refused():
    with pytest.raises(UnusableSamples) as error:
        to_rgb(stored(Image.new("F", (2, 2), 0.5), "TIFF"))
    assert str(error.value) == (
        "float samples, whose range is not known; store it with 8 or 16 bits"
    )


@pytest.mark.parametrize("value", [-1, 65536])
def test_integers_beyond_16_bits_are_refused(value):
    with pytest.raises(UnusableSamples) as error:
        to_rgb(stored(Image.new("I", (2, 2), value), "TIFF"))
    assert str(error.value) == "integer samples outside 0..65535; store it with 8 or 16 bits"
