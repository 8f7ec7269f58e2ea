import io

import numpy as np
import pytest
from PIL import Image

from hwkd.errors import InputError
from hwkd.image_formats import FORMATS, check_fits, format_of, png_bytes, write_image


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
    with Image.open(io.BytesIO(png_bytes(noise(5, 3)))) as image:
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
