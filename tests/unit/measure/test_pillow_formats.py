import importlib.util
import subprocess
import sys

import numpy as np
import pytest
from PIL import features

from hwkd.errors import InputError
from hwkd.measure import pillow_formats
from hwkd.measure.pillow_formats import (
    ALL_LABELS,
    JXL,
    check_codecs,
    check_side,
    decode,
    encode_any,
    jpeg_library,
    lacking,
    made,
    reader,
    smallest_in_words,
    writer,
)
from hwkd.metrics import psnr_db


@pytest.mark.parametrize("codec", ["webp", "avif"])
def test_a_codec_that_pillow_lacks_is_told(monkeypatch, codec):
    monkeypatch.setattr(pillow_formats.features, "check", lambda name: name != codec)
    check_codecs(name for name in ("jpeg", "webp", "avif") if name != codec)
    with pytest.raises(InputError, match=f"built without {ALL_LABELS[codec]}; install"):
        check_codecs(("jpeg", "webp", "avif"))


def test_without_its_plugin_jpeg_xl_says_what_to_install():
    assert lacking(JXL) == 'pillow-jxl-plugin is not installed: pip install "hwkd[jxl]"'
    with pytest.raises(InputError, match="JPEG XL cannot be coded: pillow-jxl-plugin is not inst"):
        check_codecs((JXL,))
    with pytest.raises(InputError, match="JPEG XL cannot be coded"):
        writer(JXL, 1)


def test_what_made_them_is_told_of_those_asked_for():
    assert "WebP by libwebp " in made(["webp"]) and ", lossy, method 6" in made(["webp"])
    assert "JPEG" not in made(["webp", "avif"])
    assert "4:2:0" in smallest_in_words("jpeg")
    for codec in ("jpeg", "webp"):
        assert any(c.isdigit() for c in smallest_in_words(codec).split(",")[0])


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        (("mozjpeg", "libjpeg_turbo"), "mozjpeg 4.1"),
        (("libjpeg_turbo",), "libjpeg-turbo 4.1"),
        ((), "libjpeg 9.0"),
    ],
)
def test_the_encoder_of_jpeg_is_told(monkeypatch, there, expected):
    """Pillow tells mozjpeg as libjpeg-turbo too, from which it comes."""
    monkeypatch.setattr(features, "check_feature", lambda name: name in there)
    monkeypatch.setattr(features, "version_feature", lambda name: "4.1")
    monkeypatch.setattr(features, "version", lambda name: "9.0")
    monkeypatch.setitem(features.features, "mozjpeg", ("", "", ""))
    assert jpeg_library() == expected


def test_a_pillow_that_knows_of_no_mozjpeg_is_none(monkeypatch):
    monkeypatch.delitem(features.features, "mozjpeg", raising=False)
    assert not jpeg_library().startswith("mozjpeg")


def test_an_image_that_is_too_large_is_named():
    with pytest.raises(InputError, match=r"a\.png is 16384x1, too large for WebP: .* 16383 pixels"):
        check_side("webp", "a.png", np.zeros((1, 16384, 3), np.uint8))
    check_side("webp", "a.png", np.zeros((1, 16383, 3), np.uint8))


def test_the_smallest_jpeg_is_smaller_than_pillows_own(photo):
    image = photo(64, 96, 1)
    assert len(encode_any("jpeg", image, 75)) < len(writer("jpeg", 1)(image, 75))
    assert np.array_equal(
        decode(encode_any("jpeg", image, 75)), decode(writer("jpeg", 1)(image, 75))
    )


def test_formats_need_no_torch():
    code = "import sys, hwkd.measure.pillow_formats; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_jpeg_xl_is_coded_where_its_plugin_is(photo, monkeypatch):
    pytest.importorskip("pillow_jxl")
    monkeypatch.setattr(pillow_formats, "find_spec", importlib.util.find_spec)
    assert not lacking(JXL)
    image = photo(64, 96, 2)
    sizes, quality = [], []
    for at in (20, 60, 95):
        data = encode_any(JXL, image, at)
        assert data[:2] == b"\xff\x0a"
        sizes.append(len(data))
        quality.append(psnr_db(image, decode(data)))
    assert sizes == sorted(sizes) and quality == sorted(quality)
    alone, two = (writer(JXL, threads)(image, 60) for threads in (1, 2))
    assert alone == two
    assert np.array_equal(reader(JXL, 1)(alone), reader(JXL, 2)(two))
    assert "libjxl in pillow-jxl-plugin " in made((JXL,))
