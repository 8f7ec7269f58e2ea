"""JPEG, WebP and AVIF as curves: their bytes at their smallest settings, and the means over images."""

import io
import math
from statistics import fmean

import numpy as np
import pytest
from PIL import Image

from hwkd.errors import InputError
from hwkd.measure import classic_quality
from hwkd.measure.classic_quality import check_codecs, encode, evaluate_classic, made

SETTINGS = {
    "jpeg": {"subsampling": "4:2:0"},
    "webp": {"method": 6},
    "avif": {"subsampling": "4:2:0", "speed": 4},
}


def saved(image, codec, quality):
    sink = io.BytesIO()
    Image.fromarray(image).save(sink, format=codec.upper(), quality=quality, **SETTINGS[codec])
    return sink.getvalue()


@pytest.mark.parametrize("codec", SETTINGS)
def test_a_point_is_the_mean_over_the_images_of_the_files_that_pillow_writes(photo, codec):
    images = [("a", photo(48, 64, 0)), ("b", photo(64, 80, 1))]
    said = []
    found = evaluate_classic(
        codec, images, (20, 80), progress=lambda quality, image: said.append((quality, image.name))
    )
    assert list(found) == [20, 80]
    for quality, evaluation in found.items():
        bpps, psnrs = [], []
        for _, image in images:
            data = saved(image, codec, quality)
            assert encode(codec, image, quality) == data
            decoded = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(float)
            bpps.append(8 * len(data) / image[:, :, 0].size)
            psnrs.append(10 * math.log10(255**2 / np.mean((decoded - image) ** 2)))
        assert evaluation.bpp == pytest.approx(fmean(bpps))
        assert evaluation.psnr_db == pytest.approx(fmean(psnrs))
        assert evaluation.bpp_estimated is None
    assert said == [(20, "a"), (20, "b"), (80, "a"), (80, "b")]


def test_a_curve_has_more_than_eight_points():
    assert len(set(classic_quality.QUALITIES)) > 8


def test_an_image_that_is_too_large_is_named():
    image = np.zeros((1, 16384, 3), np.uint8)
    with pytest.raises(InputError) as caught:
        evaluate_classic("webp", [("long.png", image)], (50,))
    assert str(caught.value) == (
        "long.png is 16384x1, too large for WebP: a side may have 16383 pixels; cut it, or leave it out"
    )


@pytest.mark.parametrize("codec", ["webp", "avif"])
def test_a_codec_that_pillow_lacks_is_told(monkeypatch, codec):
    monkeypatch.setattr(classic_quality.features, "check", lambda name: name != codec)
    check_codecs(name for name in SETTINGS if name != codec)
    with pytest.raises(InputError, match=f"built without {classic_quality.LABELS[codec]}; install"):
        check_codecs(SETTINGS)


def test_what_made_them_is_told_of_those_asked_for():
    assert "WebP by webp " in made(["webp"]) and ", lossy, method 6" in made(["webp"])
    assert "JPEG" not in made(["webp", "avif"])
