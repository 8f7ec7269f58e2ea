from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest

from hwkd.errors import InputError
from hwkd.images import ImageSource, write_png
from hwkd.measure.quality import evaluate
from hwkd.measure.sensitivity import (
    BaseLayer,
    BitsPoint,
    Coded,
    Sensitivity,
    allocated,
    base_allocation,
    check,
    measure_sensitivity,
    offered_bits,
    uniform,
    unmeasured,
)
from hwkd.quantize.integer import layer_bits, weight_bytes
from hwkd.quantize.qat import set_weight_bits

pytestmark = pytest.mark.usefixtures("in_one_thread")
LMBDA = 0.01
K = LMBDA * 255**2


def layers_of(codec):
    return tuple(BaseLayer(x.name, x.weight_count, x.weight_bits, 8) for x in layer_bits(codec))


def some_layers_of(codec):
    """The first of the encoder, one of the entropy path, the last of the decoder."""
    layers = layers_of(codec)
    return (layers[0], next(x for x in layers if x.name == "h_s.0"), layers[-1])


@pytest.fixture(scope="module", params=["gdn", "patch"])
def codec(request, tiny_codec_of):
    """A tiny codec of 7/8 bits."""
    return deepcopy(tiny_codec_of(request.param))


@pytest.fixture
def images(photo):
    return [photo(64, 64, 1)]


def measured(codec, images, bits, known=None, found=lambda _: None):
    layers = some_layers_of(codec)
    return measure_sensitivity(codec, layers, LMBDA, images, bits, known=known or {}, found=found)


def test_every_point_is_what_the_codec_in_these_bits_does_and_its_own_come_back(codec, images):
    before = layer_bits(codec)
    found = measured(codec, images, (3,))
    assert layer_bits(codec) == before
    named = [(f"{i}", image) for i, image in enumerate(images)]
    assert found.base.bpp == evaluate(codec, named).bpp
    assert {(p.layer, p.bits) for p in found.points} == {(layer.name, 3) for layer in found.layers}
    for name in (layer.name for layer in found.layers):
        (point,) = [p for p in found.points if (p.layer, p.bits) == (name, 3)]
        set_weight_bits(codec, {name: 3})
        expected = evaluate(codec, named)
        set_weight_bits(codec, {name: 7})
        assert point.coded.bpp == expected.bpp
        assert point.coded.psnr_db == pytest.approx(expected.psnr_db)
        assert point.coded.rd_loss(LMBDA) == pytest.approx(expected.rd_loss(LMBDA))


def test_what_is_known_is_not_measured_again(codec, images):
    calls = []
    known = {(layer.name, 4): Coded(9.0, 0.5, 3.0) for layer in some_layers_of(codec)[:-1]}
    found = measured(codec, images, (4,), known, calls.append)
    assert [p.coded for p in found.points[:-1]] == list(known.values())
    assert found.points[-1].coded != Coded(9.0, 0.5, 3.0)
    assert [len(call.points) for call in calls] == list(range(1, len(found.layers) + 1))
    assert calls[-1] == found


def test_changes_are_of_the_loss_in_percent():
    layer = BaseLayer("g_a.0", 10, 6, 8)
    base = Coded(bpp=1.0, mse=1 / K, psnr_db=30.0)  # a loss of 1 + 1
    points = (
        BitsPoint("g_a.0", 4, Coded(1.0, 2 / K, 27.0)),  # 1 + 2
        BitsPoint("g_a.0", 5, Coded(0.9, 1 / K, 30.0)),
    )
    found = Sensitivity(LMBDA, 100, base, (layer,), points)
    changes = found.changes_percent(layer)
    assert list(changes) == [6, 5, 4]
    assert changes == pytest.approx({6: 0.0, 5: -5.0, 4: 50.0})


def test_only_fewer_bits_than_a_layer_has_are_offered():
    layers = (BaseLayer("a", 1, 8, 8), BaseLayer("b", 1, 4, 8))
    assert offered_bits(layers, (3, 6, 4)) == {"a": (6, 4, 3), "b": (3,)}
    with pytest.raises(InputError, match=r"--bits 7,5 holds nothing to try: .* have 4 bits"):
        offered_bits(layers[1:], (7, 5))


def test_bytes_of_an_allocation_are_those_of_the_codec_in_its_bits(codec):
    blank = unmeasured(layers_of(codec), LMBDA, weight_bytes(codec), (6, 5, 4, 3, 2))
    # Layers that differ in what they mind, so that the bits do.
    mind = {layer.name: i for i, layer in enumerate(blank.layers)}
    points = tuple(
        replace(p, coded=Coded(1 + mind[p.layer] * 4.0**-p.bits, 0.0, 50.0)) for p in blank.points
    )
    found = replace(blank, points=points)
    start, four = base_allocation(found), uniform(found, 4)
    mixed = allocated(found, "mixed", four.weight_bytes)
    assert len(set(mixed.bits.values())) > 1
    assert mixed.weight_bytes <= four.weight_bytes < start.weight_bytes
    assert mixed.added_percent < four.added_percent
    for allocation in (start, four, mixed):
        set_weight_bits(codec, allocation.bits)
        assert weight_bytes(codec) == allocation.weight_bytes
    set_weight_bits(codec, start.bits)


def test_uniform_bits_leave_layers_of_fewer_alone():
    layers = (BaseLayer("a", 80, 8, 8), BaseLayer("b", 160, 3, 8))
    found = unmeasured(layers, LMBDA, 200, (5, 2))
    five = uniform(found, 5)
    assert five.bits == {"a": 5, "b": 3}
    # 80 and 60 bytes of weights, so 60 of others: 50 + 60 + 60.
    assert five.weight_bytes == 170
    assert five.mean_bits == pytest.approx((5 * 80 + 3 * 160) / 240)


def test_allocations_are_checked_on_real_bytes_of_other_images(codec, photo, tmp_path):
    image = photo(64, 96, 5)
    write_png(tmp_path / "one.png", image)
    source = ImageSource(tmp_path, (tmp_path / "one.png",))
    found = unmeasured(layers_of(codec), LMBDA, weight_bytes(codec), (4, 2))
    base, two = base_allocation(found), uniform(found, 2)
    seen = []
    at_base, at_two = check(codec, base, [base, two], source, seen.append)
    assert len(seen) == 2
    expected = evaluate(codec, [("one.png", image)])
    assert at_base.coded.bpp == expected.bpp
    assert at_base.coded.mse == pytest.approx(expected.images[0].mse)
    set_weight_bits(codec, two.bits)
    assert at_two.coded.psnr_db == pytest.approx(evaluate(codec, [("one.png", image)]).psnr_db)
    set_weight_bits(codec, base.bits)
    assert np.isfinite(at_two.coded.rd_loss(LMBDA))
