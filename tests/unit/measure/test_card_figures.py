from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest

from hwkd.codec.codec import Codec
from hwkd.images import open_images, write_png
from hwkd.measure import card_figures
from hwkd.measure.card_figures import measure_figures, set_name
from hwkd.metrics import psnr_db
from hwkd.runtime.bundle import read_bundle
from hwkd.runtime.session import preferred_runtimes, runtime_label


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
    monkeypatch.setattr(card_figures, "present_runtimes", tuple)
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


def test_a_bundle_of_few_qualities_is_measured_at_those(rates_bundle, folder):
    bundle = read_bundle(rates_bundle)
    few = replace(bundle, manifest=replace(bundle.manifest, qualities=(20, 60)))
    found = measure_figures(few, [open_images(folder / "small")])
    assert [one.quality for one in found] == [20, 30, 50, 60]
