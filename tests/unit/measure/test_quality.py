import math
import sys

import numpy as np
import pytest
import torch

from hwkd.errors import InputError
from hwkd.measure.eager.coding import decode, encode
from hwkd.measure.quality import Evaluation, ImageQuality, evaluate, ms_ssim
from hwkd.models.build import build
from hwkd.models.spec import HyperpriorSpec


@pytest.fixture(scope="module")
def codec():
    torch.manual_seed(0)
    return build(HyperpriorSpec("gdn", (8, 8, 8), 12, 8, 8))


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def figures(name, *, mse, psnr, bpp, ssim=0.9):
    reason = None if ssim is not None else "small"
    return ImageQuality(name, 8, 4, mse, psnr, ssim, reason, 99, bpp, bpp - 0.1)


def test_figures_of_an_image_follow_from_its_bytes(codec):
    image = noise(70, 90)
    (result,) = evaluate(codec, [("a", image)]).images
    stream = encode(codec, image)
    error = np.mean((decode(codec, stream).astype(float) - image) ** 2)
    assert (result.name, result.width, result.height) == ("a", 90, 70)
    assert result.stream_bytes == len(stream)
    assert result.bpp == 8 * len(stream) / (70 * 90)
    assert result.mse == pytest.approx(error / 255**2)
    assert result.psnr_db == pytest.approx(10 * math.log10(255**2 / error))
    assert 0 < result.bpp_estimated < result.bpp
    assert result.rd_loss(0.01) == pytest.approx(result.bpp + 0.01 * error)


def test_ms_ssim_needs_161_pixels_a_side_and_says_so(codec):
    small, large = evaluate(codec, [("s", noise(160, 200)), ("l", noise(161, 161))]).images
    assert small.ms_ssim is None
    assert small.ms_ssim_reason == "a side is under 161 pixels"
    assert 0 < large.ms_ssim < 1
    assert large.ms_ssim_reason is None


def test_ms_ssim_of_an_image_with_itself_is_one():
    assert ms_ssim(noise(161, 161), noise(161, 161)) == pytest.approx(1)


def test_averages_are_means_over_the_images():
    both = Evaluation(
        (figures("a", mse=0.1, psnr=10, bpp=1.0), figures("b", mse=0.3, psnr=20, bpp=2.0, ssim=0.7))
    )
    assert both.psnr_db == 15
    assert both.bpp == 1.5
    assert both.bpp_estimated == pytest.approx(1.4)
    assert both.ms_ssim == pytest.approx(0.8)
    assert both.ms_ssim_reason is None
    assert both.rd_loss(0.01) == pytest.approx(1.5 + 0.01 * 65025 * 0.2)


def test_average_ms_ssim_is_unknown_where_one_image_has_none():
    both = Evaluation(
        (figures("a", mse=0.1, psnr=10, bpp=1), figures("b", mse=0.1, psnr=10, bpp=1, ssim=None))
    )
    assert both.ms_ssim is None
    assert both.ms_ssim_reason == "1 of 2 images have a side under 161 pixels"


def test_a_missing_package_is_the_reason_for_no_ms_ssim(codec, monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_msssim", None)  # importing it fails
    found = evaluate(codec, [("large", noise(161, 161)), ("small", noise(8, 8))])
    assert [image.ms_ssim for image in found.images] == [None, None]
    assert found.images[1].ms_ssim_reason == "a side is under 161 pixels"
    assert found.ms_ssim_reason == 'pytorch-msssim is not installed: pip install "hwkd[train]"'


def test_averages_are_recorded_with_their_images():
    found = Evaluation((figures("a", mse=0.1, psnr=30, bpp=1),)).recorded("one image", None)
    assert (found.psnr_db, found.bpp, found.ms_ssim) == (30, 1, 0.9)
    assert (found.on, found.source) == ("one image", "hwkd profile --evaluate (real bytes)")


def test_evaluating_nothing_is_the_users_error(codec):
    with pytest.raises(InputError, match="no images to evaluate on"):
        evaluate(codec, [])


def test_progress_hears_of_every_image_in_order(codec):
    heard = []
    images = [("a", noise(8, 8)), ("b", noise(9, 9))]
    evaluate(codec, images, progress=lambda image: heard.append(image.name))
    assert heard == ["a", "b"]


def test_tables_are_made_anew_after_the_weights_have_changed():
    torch.manual_seed(0)
    codec = build(HyperpriorSpec("gdn", (8, 8, 8), 12, 8, 8))
    evaluate(codec, [("a", noise(64, 64))])
    before = codec.entropy_bottleneck._quantized_cdf.clone()
    for parameter in codec.entropy_bottleneck.matrices:
        parameter.data.add_(1)
    evaluate(codec, [("a", noise(64, 64))])
    assert not torch.equal(before, codec.entropy_bottleneck._quantized_cdf)
