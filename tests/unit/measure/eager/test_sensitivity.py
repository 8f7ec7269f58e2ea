from copy import deepcopy

import numpy as np
import pytest
import torch

from hwkd.bits import BitPlan
from hwkd.distill.run_folder import LoadedModel
from hwkd.errors import InputError
from hwkd.images import write_png
from hwkd.measure.eager.sensitivity import CROPS, fingerprint, load_base, measured_crops
from hwkd.models.build import build
from hwkd.qualities import lmbda_at
from hwkd.quantize.integer import layer_bits
from hwkd.quantize.ptq import post_training_quantize
from hwkd.target import load_target

pytestmark = pytest.mark.usefixtures("in_one_thread")
PLAN = BitPlan(8, 8, (("g_s.*", 5, 6),))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from tests.conftest import make_photo

    folder = tmp_path_factory.mktemp("data")
    for seed in range(2):
        write_png(folder / f"{seed}.png", make_photo(64, 96, seed))
    return folder


@pytest.fixture
def named(monkeypatch, tiny_specs, folder):
    """ "float", "run" in PLAN and "silent" about its lmbda are what `load_model` finds."""
    torch.manual_seed(0)
    spec = tiny_specs["relu"]
    codec = build(spec).eval()
    crops = [torch.rand(1, 3, 64, 64)]
    models = {
        "float": LoadedModel("float", codec, spec, 0.01, None, "a"),
        "run": LoadedModel(
            "run",
            post_training_quantize(codec, PLAN, crops, keeps_weights=True),
            spec,
            0.01,
            PLAN,
            "b",
        ),
        "silent": LoadedModel("silent", codec, spec, None, None, None),
    }
    monkeypatch.setattr("hwkd.measure.eager.sensitivity.load_model", lambda t: deepcopy(models[t]))


def bits_of(base):
    held = {layer.name: layer.weight_bits for layer in base.layers}
    assert held == {layer.name: layer.weight_bits for layer in layer_bits(base.codec)}
    return held


def test_a_float_model_is_quantized_to_what_the_target_takes(named, folder):
    base = load_base("float", folder, 64, None, None)
    assert set(bits_of(base).values()) == {8}
    assert base.how == "quantized after training to 8/8 bits"
    assert (base.lmbda, base.name) == (0.01, "float")
    # x86 without VNNI takes weights of 7 bits.
    held = load_base("float", folder, 64, 0.5, load_target("x86-avx2"))
    assert set(bits_of(held).values()) == {7}
    assert held.lmbda == 0.5


def test_a_run_is_its_own_base_and_is_held_to_the_target_but_for_the_entropy_path(named, folder):
    base = load_base("run", folder, 64, None, None)
    expected = {name: 5 if name.startswith("g_s.") else 8 for name in bits_of(base)}
    assert bits_of(base) == expected
    assert {layer.act_bits for layer in base.layers if layer.name.startswith("g_s.")} == {6}
    assert base.how == "a quantized run as it is, 8 (g_s.* 5)/8 bits"
    held = load_base("run", folder, 64, None, load_target("x86-avx2"))
    assert bits_of(held) == {
        name: min(bits, 7) if not name.startswith("h_s.") else bits
        for name, bits in expected.items()
    }
    assert held.how.endswith(", its weights held to 7")


def test_a_model_that_does_not_say_its_lmbda_needs_one(named, folder):
    with pytest.raises(InputError, match=r"silent does not say its lmbda, .* give it with --lmbda"):
        load_base("silent", folder, 64, None, None)
    assert load_base("silent", folder, 64, 0.02, None).lmbda == 0.02


def test_the_crops_are_pieces_of_the_images_and_the_same_each_time(folder):
    from hwkd.images import read_rgb

    crops, words = measured_crops(folder, 64)
    again, _ = measured_crops(folder, 64)
    assert [crop.shape for crop in crops] == [(64, 64, 3)] * CROPS
    assert all(np.array_equal(a, b) for a, b in zip(crops, again, strict=True))
    assert words == f"{CROPS} crops of 64x64 of {folder}"
    # Turned and flipped, a piece still has its pixels: those of some window of one of the images.
    sums = {
        image[:, left : left + 64].sum()
        for image in (read_rgb(folder / f"{i}.png").astype(int) for i in range(2))
        for left in range(33)
    }
    assert all(int(crop.astype(int).sum()) in sums for crop in crops)


def test_the_fingerprint_knows_model_loss_and_images(named, folder):
    base = load_base("float", folder, 64, None, None)
    crops, _ = measured_crops(folder, 64)
    first = fingerprint(base, crops)
    assert first == fingerprint(load_base("float", folder, 64, None, None), crops)
    others = [
        fingerprint(load_base("float", folder, 64, 0.5, None), crops),
        fingerprint(load_base("run", folder, 64, None, None), crops),
        fingerprint(base, crops[::-1]),
    ]
    assert len({first, *others}) == 4


def test_a_model_of_all_rates_codes_at_the_lmbda_of_the_loss(monkeypatch, tiny_specs, folder):
    spec = tiny_specs["rates"]
    codec = build(spec).eval()
    held = LoadedModel("rates", codec, spec, None, None, None)
    monkeypatch.setattr("hwkd.measure.eager.sensitivity.load_model", lambda _: deepcopy(held))
    base = load_base("rates", folder, 64, 0.05, None)
    assert base.lmbda == 0.05
    assert base.codec.gains.lmbda.tolist() == pytest.approx([0.05])
    assert load_base("rates", folder, 64, None, None).lmbda == lmbda_at(50)
    with pytest.raises(InputError) as caught:
        load_base("rates", folder, 64, 0.5, None)
    assert str(caught.value) == (
        "rates serves lmbdas from 0.0018 to 0.18, got 0.5: give one of these with --lmbda"
    )
