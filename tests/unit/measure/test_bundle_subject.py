import hashlib
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from hwkd.bits import BitPlan
from hwkd.codec.codec import Codec
from hwkd.errors import InputError
from hwkd.images import open_images
from hwkd.measure.bundle_costs import COSTS
from hwkd.measure.bundle_subject import (
    bits_of,
    card_quality,
    evaluated_bundle,
    load_bundle_subject,
)
from hwkd.measure.eager.macs import count_macs
from hwkd.measure.quality import ms_ssim
from hwkd.measure.record import Quality
from hwkd.models.build import build
from hwkd.models.spec import spec_to_json
from hwkd.runtime.array_part import unpack_arrays
from hwkd.runtime.bundle import read_bundle, write_bundle
from hwkd.runtime.card import Card, SetFigures


@pytest.fixture(scope="module")
def subject(tiny_bundle):
    return load_bundle_subject(str(tiny_bundle), 130, 64)


def test_the_facts_are_the_manifests(subject, tiny_specs, tiny_bundle):
    facts = subject.facts
    assert (facts.name, facts.family) == ("tiny-patch.hwkd", "patch")
    assert (facts.weight_bits, facts.lmbda, facts.is_trained) == ("7", 0.025, True)
    assert facts.spec == spec_to_json(tiny_specs["patch"])
    assert facts.architecture == str(tiny_specs["patch"])
    assert (subject.text, subject.quality) == (str(tiny_bundle), None)


def test_its_sha256_is_that_of_the_manifest_and_begins_with_the_models_id(subject, tiny_bundle):
    with zipfile.ZipFile(tiny_bundle) as held:
        content = held.read("manifest.json")
    assert subject.facts.sha256 == hashlib.sha256(content).hexdigest()
    assert subject.facts.sha256.startswith(subject.bundle.id_hex)


def test_sizes_are_those_of_the_float_model_and_the_tables(subject, tiny_specs):
    model = build(tiny_specs["patch"])
    parameters = sum(p.numel() for p in model.parameters())
    assert subject.size.parameters == parameters
    assert subject.size.weight_bytes_fp32 == 4 * parameters
    tables = unpack_arrays(subject.bundle.parts["tables.npz"])
    assert subject.size.buffer_bytes == sum(a.size * a.itemsize for a in tables.values())
    counts = count_macs(model, 130, 64)
    assert subject.macs.total_macs == counts.total_macs
    assert sum(layer.macs for layer in subject.layers) == counts.total_macs


@pytest.mark.parametrize(
    ("words", "bits"),
    [("7", 7), ("8 (h_s.* 6)", 8), ("4 (g_a.0 8, h_s.* 6)", 4)],
)
def test_the_bits_for_a_plan_are_the_first_number(subject, words, bits):
    manifest = replace(subject.bundle.manifest, weight_bits=words, act_bits=6)
    assert bits_of(replace(subject.bundle, manifest=manifest)) == BitPlan(bits, 6)


def test_activation_bits_that_no_quantizer_takes_are_refused(subject):
    manifest = replace(subject.bundle.manifest, act_bits=16)
    with pytest.raises(InputError, match="is out of range"):
        bits_of(replace(subject.bundle, manifest=manifest))


def test_an_older_bundle_is_refused(tiny_bundle, tmp_path):
    bundle = read_bundle(tiny_bundle)
    parts = {name: content for name, content in bundle.parts.items() if name != COSTS}
    write_bundle(tmp_path / "old.hwkd", bundle.manifest, parts)
    with pytest.raises(InputError, match=r"it has no costs\.json\): export it again"):
        load_bundle_subject(str(tmp_path / "old.hwkd"), 64, 64)


@pytest.fixture
def photos(tmp_path, photo):
    """Two images with a side of 161 pixels or more, which MS-SSIM needs."""
    folder = tmp_path / "photos"
    folder.mkdir()
    images = [photo(161, 170, seed) for seed in range(2)]
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number}.png")
    return folder, images


def test_quality_comes_from_its_own_streams(subject, photos):
    folder, images = photos
    codec = Codec.load(subject.bundle)
    streams = [codec.encode(image) for image in images]
    pairs = list(zip(images, map(codec.decode, streams), strict=True))
    mse = [np.mean((image.astype(float) - decoded) ** 2) for image, decoded in pairs]
    quality = evaluated_bundle(subject, open_images(folder), None).quality
    assert quality.psnr_db == pytest.approx(np.mean(10 * np.log10(255**2 / np.array(mse))))
    assert quality.bpp == pytest.approx(np.mean([8 * len(s) for s in streams]) / (161 * 170))
    assert quality.ms_ssim == pytest.approx(np.mean([ms_ssim(*pair) for pair in pairs]))
    assert quality.on == "2 images of photos"
    assert "real bytes" in quality.source


def test_without_its_package_there_is_no_ms_ssim(subject, photos, monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_msssim", None)  # importing it fails
    quality = evaluated_bundle(subject, open_images(photos[0]), None).quality
    assert quality.ms_ssim is None
    assert quality.psnr_db > 15


ON_PHOTOS = SetFigures("photos", 2, "openvino 2026", 32.5, None, 0.6, 1.6)
ON_KODAK = SetFigures("kodak", 24, "openvino 2026", 33.8, 0.97, 0.8, 1.5)


def card_with(*figures):
    return Card("photos", "CC0", None, None, 0, 4, 2, 0.5, "2 cores", None, (), figures)


def test_the_cards_quality_says_on_which_images_and_by_what():
    source = "the bundle's card (real bytes, openvino 2026)"
    on_kodak = Quality(33.8, 0.8, "Kodak, 24 images", source, 0.97)
    assert card_quality(card_with(ON_PHOTOS, ON_KODAK)) == on_kodak
    assert card_quality(card_with(ON_PHOTOS)) == Quality(32.5, 0.6, "photos, 2 images", source)


@pytest.mark.parametrize(
    "card", [None, card_with(), card_with(replace(ON_KODAK, psnr_db=None), ON_PHOTOS)]
)
def test_a_card_without_figures_has_no_quality(card):
    assert card_quality(card) is None


def test_a_bundle_has_its_cards_quality_until_it_is_evaluated(tiny_bundle, tmp_path, photos):
    bundle = read_bundle(tiny_bundle)
    path = tmp_path / "carded.hwkd"
    write_bundle(path, replace(bundle.manifest, card=card_with(ON_KODAK)), bundle.parts)
    subject = load_bundle_subject(str(path), 64, 64)
    assert subject.quality is not None and subject.quality.on == "Kodak, 24 images"
    assert (
        evaluated_bundle(subject, open_images(photos[0]), None).quality.on == "2 images of photos"
    )


def test_of_all_rates_the_cards_quality_is_the_defaults_and_says_so():
    figures = [replace(ON_KODAK, quality=q, bpp=q / 50) for q in (10, 50, 90)]
    source = "the bundle's card (real bytes, openvino 2026, quality 50)"
    assert card_quality(card_with(*figures)) == Quality(33.8, 1.0, "Kodak, 24 images", source, 0.97)


def test_a_bundle_of_all_rates_is_evaluated_at_the_quality_that_is_asked(rates_bundle, photos):
    folder, images = photos
    subject = load_bundle_subject(str(rates_bundle), 64, 64)
    assert subject.qualities == (1, 100)
    codec = Codec.load(rates_bundle)
    quality = evaluated_bundle(subject, open_images(folder), 20).quality
    sizes = [len(codec.encode(image, quality=20)) for image in images]
    assert quality.bpp == pytest.approx(np.mean([8 * size for size in sizes]) / (161 * 170))
    assert quality.on == "2 images of photos"
    assert quality.source == "hwkd profile --evaluate (real bytes, quality 20)"
