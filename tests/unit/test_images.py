import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from hwkd import images
from hwkd.errors import InputError
from hwkd.images import (
    FORMATS,
    BrokenImage,
    UnusableSamples,
    also_among,
    check_fits,
    content_sha256,
    embedded_images,
    find_images,
    format_of,
    open_images,
    read_image,
    read_rgb,
    to_rgb,
    write_image,
    write_png,
)
from hwkd.images import png_bytes as png_bytes_image_formats

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
    monkeypatch.setattr(images, "BAND_PIXELS", 14)
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


def test_find_images_goes_down_sorts_and_takes_every_suffix_in_any_case(tmp_path):
    wanted = ["a.PNG", "b/c.jpg", "b/d/e.JPEG", "f.webp", "g.tif", "h.Tiff"]
    for name in [*wanted, "notes.txt", "b/x.npy"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    assert find_images(tmp_path) == tuple(tmp_path / name for name in sorted(wanted))


def test_find_images_goes_by_the_end_of_a_name(tmp_path):
    """Neither a name that is a suffix alone, nor one with a blank behind it, is dropped without a word."""
    for name in (".png", "a.png ", "._b.png", "png", "c.png.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in find_images(tmp_path)] == [".png", "a.png "]


def test_find_images_names_a_missing_folder(tmp_path):
    with pytest.raises(InputError) as error:
        find_images(tmp_path / "none")
    assert str(error.value) == (
        f"no such folder: {tmp_path / 'none'}; give an existing folder with images "
        "(.png .jpg .jpeg .webp .tif .tiff)"
    )


def test_find_images_wants_a_folder_not_a_file(tmp_path):
    file = tmp_path / "a.png"
    file.write_bytes(b"")
    with pytest.raises(InputError) as error:
        find_images(file)
    assert str(error.value) == (
        f"{file} is a file, not a folder; give the folder that holds the images: {tmp_path}"
    )


def test_find_images_refuses_an_empty_folder(tmp_path):
    with pytest.raises(InputError) as error:
        find_images(tmp_path)
    assert str(error.value) == (
        f"no images in {tmp_path} or below; accepted are files ending in "
        ".png .jpg .jpeg .webp .tif .tiff"
    )


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
    monkeypatch.setattr("hwkd.images.BAND_PIXELS", 64)
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


def test_embedded_images_to_train_and_to_evaluate_on_are_never_the_same():
    train, evaluation = embedded_images("train"), embedded_images("eval")
    assert {name: image.shape for name, image in evaluation.items()} == {
        "chelsea.png": (300, 451, 3),
        "rocket.jpg": (427, 640, 3),
    }
    assert list(train) == [
        "astronaut.png",
        "coffee.png",
        "motorcycle_left.png",
        "motorcycle_right.png",
    ]
    assert train["astronaut.png"].shape == (512, 512, 3)


def test_embedded_images_knows_two_sets():
    with pytest.raises(InputError, match="unknown set of embedded images 'test'"):
        embedded_images("test")


def test_what_a_folder_passes_over_is_said_and_why(tmp_path, caplog):
    folder, other = tmp_path / "in", tmp_path / "other"
    (other / "deep").mkdir(parents=True)
    folder.mkdir()
    for name in ("a.png", "._a.png", "x.bmp", "y.JFIF", "notes.txt"):
        (folder / name).write_bytes(b"")
    (folder / "linked").symlink_to(other)
    (folder / "nowhere.png").symlink_to("none.png")
    os.mkfifo(folder / "pipe.png")
    assert find_images(folder) == (folder / "a.png",)
    endings = ".png .jpg .jpeg .webp .tif .tiff"
    assert sorted(record.message for record in caplog.records) == [
        f"{folder}: passed over linked: is a link to a folder, which is not followed",
        f"{folder}: passed over nowhere.png: is a link that leads nowhere",
        f"{folder}: passed over pipe.png: is no regular file",
        f"{folder}: passed over x.bmp, y.JFIF: each does not end in one of {endings}",
    ]


def test_a_folder_that_may_not_be_read_is_said(tmp_path, caplog, monkeypatch):
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "closed").mkdir()
    scan = os.scandir

    def closed(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", closed)
    assert find_images(tmp_path) == (tmp_path / "a.png",)
    assert caplog.messages == [
        f"{tmp_path}: passed over closed: cannot be read (Permission denied)"
    ]


def test_images_that_cannot_be_read_are_left_out_and_noted(tmp_path, caplog):
    write_png(tmp_path / "a.png", gradient(8, 8))
    (tmp_path / "z.png").write_bytes(b"junk")
    found = open_images(tmp_path).readable()
    assert found.paths == (tmp_path / "a.png",)
    assert caplog.messages == [
        f"left out: {tmp_path}/z.png is not a readable image (of no kind that is read here); replace it or leave it out"
    ]
    (tmp_path / "a.png").unlink()
    with pytest.raises(BrokenImage, match=r"z\.png is not a readable image"):
        open_images(tmp_path).readable()


def test_a_copy_under_another_name_is_the_same_image(tmp_path):
    for name, content in (
        ("a", b"one"),
        ("copy", b"one"),
        ("same-size", b"two"),
        ("other", b"abcd"),
    ):
        (tmp_path / name).write_bytes(content)
    a, copy, same_size, other = (tmp_path / n for n in ("a", "copy", "same-size", "other"))
    assert also_among([a, other], [copy, same_size, tmp_path / "missing"]) == (a,)
    assert content_sha256([a, other]) == content_sha256([other, copy])
    assert content_sha256([a]) != content_sha256([same_size])
