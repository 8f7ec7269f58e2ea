"""Pillow opens and saves streams once hwkd.pillow is imported."""

import io
import shutil

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

import hwkd
import hwkd.pillow
from hwkd.codec.stream import LEAST_BYTES, unpack
from hwkd.images import MAX_PIXELS


@pytest.fixture
def image(photo):
    return Image.fromarray(photo(70, 100, 3))


def test_an_image_is_saved_as_the_codec_encodes_it_and_comes_back(image, tmp_path):
    path = tmp_path / "a.hwk"
    image.save(path, quality=75)
    codec = hwkd.Codec.load("patch-medium")
    assert path.read_bytes() == codec.encode(image, quality=75)
    with Image.open(path) as opened:
        assert (opened.format, opened.mode, opened.size) == ("HWK", "RGB", (100, 70))
        assert opened.get_format_mimetype() == "image/x-hwk"
        np.testing.assert_array_equal(np.asarray(opened), codec.decode(path.read_bytes()))


def test_a_model_and_a_size_can_be_asked_for(image, tmp_path, rates_bundle):
    path = tmp_path / "a.hwk"
    image.save(path, model="patch-small", max_bytes=900)
    assert path.stat().st_size <= 900
    assert (
        unpack(path.read_bytes(), MAX_PIXELS).model_id == hwkd.Codec.load("patch-small").bundle.id
    )
    # A bundle that does not ship is found beside the stream.
    shutil.copy(rates_bundle, tmp_path / "mine.hwkd")
    image.save(path, model=tmp_path / "mine.hwkd")
    assert Image.open(path).convert("L").size == image.size


def test_a_stream_in_memory_is_saved_and_opened(image):
    held = io.BytesIO()
    image.convert("L").save(held, "HWK", quality=30)
    held.seek(0)
    opened = Image.open(held)
    opened.load()
    assert opened.mode == "RGB"
    assert abs(np.asarray(opened.convert("L")).mean() - np.asarray(image.convert("L")).mean()) < 5


def test_opening_reads_the_header_and_decodes_nothing(image, tmp_path, monkeypatch):
    path = tmp_path / "a.hwk"
    image.save(path)
    monkeypatch.setattr("hwkd.pillow._codec", None)
    assert Image.open(path).size == (100, 70)
    # Nothing after the header is looked at: a cut stream opens, and does not load.
    path.write_bytes(path.read_bytes()[:LEAST_BYTES])
    opened = Image.open(path)
    with pytest.raises(OSError, match=f"the stream is cut short: it has {LEAST_BYTES} of"):
        opened.load()


def test_what_cannot_be_opened_is_not_identified(image, tmp_path):
    path = tmp_path / "a.hwk"
    image.save(path)
    data = path.read_bytes()
    path.write_bytes(data[:4] + b"\x63" + data[5:])
    with pytest.raises(UnidentifiedImageError, match=r"a stream of version 99; .* update hwkd"):
        Image.open(path)
    path.write_bytes(b"hello")
    with pytest.raises(UnidentifiedImageError, match="cannot identify image file"):
        Image.open(path)


def test_a_stream_whose_bundle_is_nowhere_is_an_os_error(image, tmp_path, rates_bundle):
    path = tmp_path / "a.hwk"
    image.save(path, model=rates_bundle)
    with pytest.raises(OSError, match=r"written with the model [0-9a-f]{16}, which does not ship"):
        Image.open(path).load()


@pytest.mark.parametrize(
    ("mode", "options", "said"),
    [
        ("RGB", {"quality": 101}, "must be a whole number from 1 to 100, got 101"),
        ("RGB", {"quality": 10, "bpp": 1.0}, "quality and bpp are given: one of"),
        ("RGB", {"max_bytes": 40}, "40 bytes cannot be had of this image"),
        ("RGB", {"model": "patch-smal"}, "unknown model 'patch-smal': did you mean patch-small"),
        ("RGBA", {}, "an image of mode RGBA has alpha, which is not stored"),
        ("F", {}, "an image of mode F has no 8-bit RGB"),
    ],
)
def test_what_hwkd_refuses_is_an_os_error_and_leaves_no_file(image, tmp_path, mode, options, said):
    wrong = image.convert(mode)
    if mode == "RGBA":
        wrong.putalpha(7)
    with pytest.raises(OSError, match=said):
        wrong.save(tmp_path / "a.hwk", **options)
    assert not list(tmp_path.iterdir())
