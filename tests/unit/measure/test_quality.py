import hashlib
import math
import sys
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
import torch

from hwkd.codec.codec import Codec
from hwkd.errors import InputError
from hwkd.images import ImageSource, open_images, write_png
from hwkd.measure import quality
from hwkd.measure.eager.coding import decode, encode
from hwkd.measure.quality import (
    Evaluation,
    ImageQuality,
    evaluate,
    evaluate_bundle,
    measure_figures,
    ms_ssim,
    set_name,
)
from hwkd.metrics import psnr_db
from hwkd.models.build import build
from hwkd.models.spec import HyperpriorSpec
from hwkd.runtime.bundle import read_bundle
from hwkd.runtime.session import preferred_runtimes, runtime_label


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


def test_averages_are_recorded_with_their_images(tmp_path):
    images = ImageSource(tmp_path, (tmp_path / "a",))
    (tmp_path / "a").write_bytes(b"abc")
    found = Evaluation((figures("a", mse=0.1, psnr=30, bpp=1),)).recorded(images, None)
    assert (found.psnr_db, found.bpp, found.ms_ssim) == (30, 1, 0.9)
    assert found.on == f"1 image of {tmp_path.name}"
    assert found.source == "hwkd profile --evaluate (real bytes)"
    once = hashlib.sha256(b"abc").digest()
    assert found.images_sha256 == hashlib.sha256(once).hexdigest()


def test_an_exact_image_is_named_and_the_mean_error_has_a_psnr():
    found = Evaluation(
        (figures("a", mse=0.01, psnr=20, bpp=1), figures("dot", mse=0.0, psnr=math.inf, bpp=1))
    )
    assert found.exact == ("dot",)
    # Of an error of 0.005: 10 log10(1 / 0.005).
    assert found.psnr_db_of_mean_error == pytest.approx(23.0103, abs=1e-4)
    with pytest.raises(InputError, match="not finite, as dot came back without error: leave it"):
        found.recorded(ImageSource(None, ()), None)


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


@pytest.fixture
def bundle(tiny_bundle):
    return read_bundle(tiny_bundle)


@pytest.fixture
def folder(tmp_path, photo) -> Path:
    for seed, (height, width) in enumerate(((200, 170), (180, 250))):
        write_png(tmp_path / f"Kodak/{seed}.png", photo(height, width, seed))
    write_png(tmp_path / "small/a.png", photo(50, 60, 0))
    return tmp_path


def test_a_set_is_called_by_its_folders_own_name(folder, monkeypatch):
    monkeypatch.chdir(folder / "small")
    assert set_name(open_images(folder / "Kodak")) == "Kodak"
    assert set_name(open_images(Path("../small"))) == "small"
    assert set_name(open_images(Path())) == "small"
    assert set_name(open_images(None)) == "embedded photographs"


def test_figures_are_means_over_real_bytes(bundle, folder):
    said: list[str] = []
    images = open_images(folder / "Kodak")
    (found,) = measure_figures(bundle, [images], said.append)
    codec = Codec.load(bundle)
    psnr, bpp, loss = [], [], []
    for _, image in images:
        data = codec.encode(image)
        decoded = codec.decode(data)
        difference = image.astype(float) - decoded
        psnr.append(psnr_db(image, decoded))
        bpp.append(8 * len(data) / (image.shape[0] * image.shape[1]))
        loss.append(bpp[-1] + bundle.manifest.lmbda * np.mean(difference**2))
    assert (found.on, found.images) == ("Kodak", 2)
    assert found.runtime == runtime_label(preferred_runtimes()[0])
    assert found.psnr_db == pytest.approx(fmean(psnr), abs=1e-5)
    assert found.bpp == pytest.approx(fmean(bpp), abs=1e-5)
    assert found.rd_loss == pytest.approx(fmean(loss), abs=1e-5)
    assert 0 < found.ms_ssim < 1
    assert said == ["measuring on Kodak: 0.png done", "measuring on Kodak: 1.png done"]


def test_each_set_is_measured_and_small_images_have_no_ms_ssim(bundle, folder):
    sets = [open_images(folder / "small"), open_images(folder / "Kodak")]
    found = measure_figures(bundle, sets)
    assert [(one.on, one.images, one.ms_ssim is None) for one in found] == [
        ("small", 1, True),
        ("Kodak", 2, False),
    ]


def test_without_lmbda_there_is_no_loss(bundle, folder):
    bare = replace(bundle, manifest=replace(bundle.manifest, lmbda=None))
    (found,) = measure_figures(bare, [open_images(folder / "small")])
    assert found.rd_loss is None and found.bpp > 0


def test_where_no_runtime_is_installed_nothing_is_measured(bundle, folder, monkeypatch):
    monkeypatch.setattr(quality, "present_runtimes", tuple)
    assert measure_figures(bundle, [open_images(folder / "small")]) == ()


def test_a_bundle_of_all_rates_is_measured_at_several_qualities(rates_bundle, folder):
    said: list[str] = []
    images = open_images(folder / "small")
    found = measure_figures(read_bundle(rates_bundle), [images], said.append)
    assert [one.quality for one in found] == [10, 30, 50, 70, 90]
    assert {(one.on, one.images) for one in found} == {("small", 1)}
    codec = Codec.load(rates_bundle)
    ((_, image),) = images
    for one in found:
        data = codec.encode(image, quality=one.quality)
        difference = image.astype(float) - codec.decode(data)
        # 0.0018 times 100 to the power of (quality - 1) / 99.
        lmbda = 0.0018 * 100 ** ((one.quality - 1) / 99)
        bpp = 8 * len(data) / (50 * 60)
        assert one.bpp == pytest.approx(bpp, abs=1e-5)
        assert one.rd_loss == pytest.approx(bpp + lmbda * np.mean(difference**2), abs=1e-5)
    assert said[0] == "measuring on small at quality 10: a.png done"


def test_a_bundle_of_few_qualities_is_measured_at_those(rates_bundle, folder, monkeypatch):
    bundle = read_bundle(rates_bundle)
    # Its self-test has others, so that it would not code.
    few = replace(bundle, manifest=replace(bundle.manifest, qualities=(20, 60)))
    images = open_images(folder / "small")
    one = evaluate_bundle(Codec.load(bundle), images)
    monkeypatch.setattr(quality, "evaluate_bundle", lambda *_, **__: one)
    found = measure_figures(few, [images])
    assert [one.quality for one in found] == [20, 30, 50, 60]
