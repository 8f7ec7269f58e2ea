import json
from dataclasses import replace
from functools import cache

import pytest
import torch

from hwkd.bits import BitPlan
from hwkd.errors import InputError
from hwkd.measure.bundle_costs import COSTS, read_costs
from hwkd.measure.eager.bundle_file import costs_of
from hwkd.measure.eager.macs import count_macs
from hwkd.measure.layer_table import codec_layers
from hwkd.models.build import build
from hwkd.quantize.brevitas_qat import quantize
from hwkd.quantize.layers import weight_bytes
from hwkd.runtime.bundle import read_bundle


@pytest.fixture(scope="module")
def bundle(tiny_bundle):
    return read_bundle(tiny_bundle)


@pytest.fixture(scope="module")
def holding(bundle):
    """holding(content): the tiny bundle with this in place of its costs."""
    return lambda content: replace(bundle, parts={**bundle.parts, COSTS: content})


@pytest.fixture(scope="module")
def quantized(tiny_specs):
    """quantized(family): (spec, a tiny codec of it at 6 bits with h_s at 4)."""

    @cache
    def make(family):
        codec = build(tiny_specs[family])
        quantize(codec, BitPlan(6, 8, (("h_s.*", 4, 8),)))
        return tiny_specs[family], codec

    return make


def test_an_image_is_counted_by_hand(quantized, holding):
    spec, codec = quantized("relu")
    macs, layers = read_costs(holding(costs_of(spec, codec, 6))).for_image(100, 64)
    # Padded to 128x64. g_a: 5x5 kernels of stride 2, from 3 to 8, 8 to 8 twice, and 8 to 12 channels; a transposed
    # convolution counts by its input's size.
    pixels = 128 * 64
    assert macs.g_a == 25 * (3 * 8 / 4 + 8 * 8 / 16 + 8 * 8 / 64 + 8 * 12 / 256) * pixels
    assert macs.g_s == 25 * (12 * 8 / 256 + 8 * 8 / 64 + 8 * 8 / 16 + 8 * 3 / 4) * pixels
    first = layers[0]
    assert (first.name, first.in_values, first.out_values) == (
        "g_a.0",
        3 * pixels,
        8 * pixels / 4,
    )
    assert (first.kernel, first.stride, first.weights) == (5, 2, 25 * 3 * 8)


@pytest.mark.parametrize("family", ["gdn", "relu", "patch"])
def test_a_bundle_counts_as_its_float_model_does(quantized, holding, family):
    spec, codec = quantized(family)
    costs = read_costs(holding(costs_of(spec, codec, 6)))
    model, size = build(spec), (200, 130)
    counts, (macs, layers) = count_macs(model, *size), costs.for_image(*size)
    assert {name: getattr(macs, name) for name in counts.by_network} == counts.by_network
    # In the same order too: tables tell models apart by it.
    assert list(macs.not_counted.items()) == list(counts.not_counted.items())
    assert layers == codec_layers(model, *size)
    assert costs.parameters == sum(p.numel() for p in model.parameters())


def test_weights_are_counted_at_the_bits_that_the_bundle_holds(quantized, holding):
    spec, codec = quantized("relu")
    at_6, at_5 = (read_costs(holding(costs_of(spec, codec, n))).weight_bytes for n in (6, 5))
    assert at_6 == weight_bytes(codec)
    # One bit of each weight outside the entropy path less; every layer's weights fill whole bytes.
    g = 25 * (3 * 8 + 8 * 8 + 8 * 8 + 8 * 12)
    h_a = 9 * 12 * 8 + 2 * 25 * 8 * 8
    assert at_6 - at_5 == (2 * g + h_a) / 8


def test_the_tiny_bundle_holds_its_own_costs(bundle, tiny_codec_of, tiny_specs):
    assert bundle.parts[COSTS] == costs_of(tiny_specs["patch"], tiny_codec_of("patch"), 7)


def test_counting_leaves_the_random_numbers_alone(quantized):
    spec, codec = quantized("relu")
    before = torch.get_rng_state()
    costs_of(spec, codec, 6)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_bundle_without_costs_is_to_be_exported_again(bundle):
    parts = {name: content for name, content in bundle.parts.items() if name != COSTS}
    with pytest.raises(InputError) as caught:
        read_costs(replace(bundle, parts=parts))
    assert str(caught.value) == (
        "the bundle tiny-patch does not say what its model costs (it has no costs.json): export it again with this hwkd"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda costs: costs.pop("macs"), "macs is missing; this table needs it"),
        (lambda costs: costs.update(flops=1), "unknown key 'flops'"),
        (lambda costs: costs.update(parameters="many"), "parameters: got 'many'; a whole number"),
        (lambda costs: costs.update(parameters=-1), "counts must be 0 to 9007199254740992, got -1"),
        (
            lambda costs: costs.update(weight_bytes=2**53 + 1),
            "counts must be 0 to 9007199254740992",
        ),
        (lambda costs: costs.update(weight_bytes=10**400), "counts must be 0 to 9007199254740992"),
        (lambda costs: costs["macs"].update(g_s=-2), "MACs of g_s must be 0 or more, got -2"),
        (lambda costs: costs["macs"].update(h_a=2**60), "counts must be 0 to 9007199254740992"),
        (
            lambda costs: costs["macs"]["not_counted"].update(exp=True),
            "not_counted.exp: got True; a whole number is accepted",
        ),
        (
            lambda costs: costs["macs"]["not_counted"].update({"a\x1b[31m": 1}),
            r"'a\x1b[31m' is not one line of printable text",
        ),
        (
            lambda costs: costs["macs"]["not_counted"].update({"a\nb": "1"}),
            "macs: not_counted.a?b: got '1'; a whole number is accepted",
        ),
        (
            lambda costs: costs["layers"][0].update(network="g_x"),
            "network of layer 'g_a.linear' must be one of g_a, h_a, h_s, g_s; got 'g_x'",
        ),
        (lambda costs: costs["layers"][1].update(operator="sort"), "operator of layer g_a.stem"),
        (lambda costs: costs["layers"][0].update(stride=0), "stride of layer g_a.linear must be 1"),
        (lambda costs: costs["layers"][0].update(macs=2**60), "counts must be 0 to"),
        (lambda costs: costs["layers"][0].update(name="a\nb"), r"'a\nb' is not one line"),
        (lambda costs: costs.update(layers={}), "layers: got {}; an array is accepted"),
        (lambda costs: costs.update(parameters="x" * 10_000), "parameters: got 'xxx"),
    ],
)
def test_a_forged_count_is_named(bundle, holding, change, message):
    costs = json.loads(bundle.parts[COSTS])
    change(costs)
    with pytest.raises(InputError) as caught:
        read_costs(holding(json.dumps(costs).encode()))
    said = str(caught.value)
    assert said.startswith("the part costs.json: ")
    assert message in said
    assert said.endswith("; export the bundle again")
    assert said.isprintable() and len(said) < 400


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not JSON"),
        (b'{"parameters": ', "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[1]", "got list; an object is accepted"),
        (b" " * (4 * 2**20 + 1), "4194305 bytes, and 4194304 are accepted"),
    ],
)
def test_what_holds_no_costs_is_refused(holding, content, message):
    with pytest.raises(InputError, match=f"^the part costs.json: {message}"):
        read_costs(holding(content))


@pytest.mark.parametrize("size", [(0, 64), (64, -1)])
def test_an_image_has_a_pixel_at_least(bundle, size):
    with pytest.raises(InputError, match="give 1x1 or more"):
        read_costs(bundle).for_image(*size)
