"""The encoder's and the decoder's graph of each family against the integers of the codec."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import onnx
import pytest
import torch

from hwkd.export import graphs
from hwkd.export.coder_ends import Latents
from hwkd.export.coder_graphs import decoder_graph, encoder_graph
from hwkd.export.graph_writer import (
    FLOAT,
    ONNX_RUNTIME,
    OPENVINO,
    OPENVINO_VNNI,
    Form,
    GraphWriter,
    tensor,
)
from hwkd.export.latents import WIDE_MAX, latents_of
from hwkd.models.base import HyperpriorCodec
from hwkd.models.image_tensors import padded
from hwkd.quantize.integer import IntegerLayer, integer_layers
from hwkd.runtime.session import open_session, present_runtimes
from tests.fakes.exact_codec import (
    Pass,
    assert_nearest,
    clear_pass,
    exact,
    exact_image,
    on_their_grids,
)

FAMILIES = ("gdn", "patch", "relu")
PAIRS = [
    pytest.param(runtime, form, id=name)
    for name, runtime, form in (
        ("onnxruntime", "onnxruntime", ONNX_RUNTIME),
        ("openvino", "openvino", OPENVINO),
        ("openvino-vnni", "openvino", OPENVINO_VNNI),
    )
    if runtime in present_runtimes()
]
"""Each runtime with the forms that are made for it."""

pytestmark = pytest.mark.usefixtures("in_one_thread")


@dataclass(frozen=True)
class Made:
    """A codec in torch, its integers, and what they make of some images."""

    family: str
    codec: HyperpriorCodec
    layers: dict[str, IntegerLayer]
    latents: Latents
    passes: list[Pass]


def made(family: str, codec: HyperpriorCodec, photo, *sizes: tuple[int, int, int]) -> Made:
    """sizes: (height, width, seed) of the images."""
    reference = exact(codec)
    passes = [clear_pass(reference, photo, *size) for size in sizes]
    latents = latents_of(codec, [padded(one.image, 64) for one in passes])
    return Made(family, codec, integer_layers(codec), latents, passes)


@pytest.fixture(scope="module", params=FAMILIES)
def tiny(request, tiny_codec_of, photo) -> Made:
    return made(request.param, tiny_codec_of(request.param), photo, (64, 128, 10), (128, 64, 11))


def opened(model: onnx.ModelProto, runtime: str) -> Callable[..., dict[str, np.ndarray]]:
    """opened(..)(name=value): what the graph gives for one image or its symbols."""
    session = open_session(model.SerializeToString(), runtime, 1)

    def run(**inputs: np.ndarray) -> dict[str, np.ndarray]:
        found = session.run({name: value[None] for name, value in inputs.items()})
        return {name: value[0] for name, value in found.items()}

    return run


def run(model: onnx.ModelProto, runtime: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    return opened(model, runtime)(**inputs)


def assert_symbols(found: dict[str, np.ndarray], one: Pass, latents: Latents) -> None:
    """y and z are the whole numbers next to what the codec's integers give.

    Equal, and not about equal: the codec's steps are powers of two, and no value inside lies near a half.
    """
    assert found["y"].dtype == found["z"].dtype == np.int32
    for name, real, largest in (
        ("y", one.y, latents.largest_y),
        ("z", one.z, latents.largest_z),
    ):
        assert_nearest(found[name], real, -largest - 1, largest, name)


@pytest.mark.parametrize(("runtime", "form"), PAIRS)
def test_the_encoder_gives_the_codecs_symbols(tiny: Made, runtime: str, form: Form) -> None:
    encode = opened(encoder_graph(tiny.codec, tiny.layers, tiny.latents, form), runtime)
    for one in tiny.passes:
        assert_symbols(encode(image=one.image), one, tiny.latents)


@pytest.mark.parametrize(("runtime", "form"), PAIRS)
def test_the_decoder_gives_the_codecs_image(tiny: Made, runtime: str, form: Form) -> None:
    decode = opened(decoder_graph(tiny.codec, tiny.layers, tiny.latents, form), runtime)
    for one in tiny.passes:
        found = decode(y=one.symbols)["image"]
        assert found.dtype == np.uint8
        assert_nearest(found, one.x_hat, 0, 255, "image")


@pytest.mark.parametrize("runtime", present_runtimes())
def test_float_graphs_for_one_size_take_and_give_floats(
    tiny: Made, tiny_specs, runtime: str
) -> None:
    form = Form(keeps_transposed=True, is_float=True, size=(128, 64))
    plain = on_their_grids(tiny.codec, tiny_specs[tiny.family])
    image, symbols = tiny.passes[0].image, tiny.passes[0].symbols.astype(np.float32)
    with torch.no_grad():
        y = plain.g_a(padded(image, 64).double())
        z = plain.hyper_analysis(y)
        x_hat = plain.g_s(torch.from_numpy(symbols)[None].double())
    planes = np.moveaxis(image, 2, 0).astype(np.float32) / 255
    found = run(encoder_graph(tiny.codec, tiny.layers, tiny.latents, form), runtime, image=planes)
    decoder = decoder_graph(tiny.codec, tiny.layers, tiny.latents, form)
    found |= run(decoder, runtime, y=symbols)
    for name, expected in {"y": y, "z": z, "image": x_hat}.items():
        assert found[name].dtype == np.float32
        # Nothing is rounded on the way, so that nothing tips over. Each of at most 14 layers sums up to 768 products, and
        # float32 loses up to 768 / 2^24 of them: 14 times that, of terms that are some ten times what is left of them.
        np.testing.assert_allclose(
            found[name],
            expected[0].numpy(),
            rtol=0,
            atol=0.01 * float(expected.std()),
            err_msg=name,
        )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("runtime", present_runtimes())
def test_latents_are_held_to_their_symbols(tiny_codec_of, photo, family: str, runtime: str) -> None:
    """All of y and z beyond what a bundle says that there is."""
    codec = tiny_codec_of(family)
    latents = Latents(codec.M, codec.Z, largest_y=2, largest_z=0, narrow_from=0)
    (one,) = made(family, codec, photo, (64, 128, 10)).passes
    model = encoder_graph(codec, integer_layers(codec), latents, ONNX_RUNTIME)
    found = run(model, runtime, image=one.image)
    assert (one.y < -3.5).any() and (one.y > 2.5).any()
    assert (one.z < -1.5).any() and (one.z > 0.5).any()
    assert_symbols(found, one, latents)


@pytest.fixture(scope="module")
def louder(tiny_codec_of):
    """louder(factor): the patch codec with y on a finer step, the same images."""

    def make(factor: int) -> HyperpriorCodec:
        codec = copy.deepcopy(tiny_codec_of("patch"))
        with torch.no_grad():
            for layer in (codec.g_a.linear, codec.g_a.head):
                layer.weight.mul_(factor)
                layer.bias.mul_(factor)
            for layer in (codec.g_s.linear, codec.g_s.stem):
                layer.weight.div_(factor)
        return codec

    return make


@pytest.mark.parametrize(("factor", "narrow_from"), [(4, 8), (16, 12)])
@pytest.mark.parametrize(("runtime", "form"), PAIRS)
def test_symbols_beyond_8_bits_pass_through_both_graphs(
    louder, photo, factor: int, narrow_from: int, runtime: str, form: Form
) -> None:
    loud = made("patch", louder(factor), photo, (128, 192, 10))
    assert loud.latents.narrow_from == narrow_from
    (one,) = loud.passes
    assert np.abs(one.symbols).max() > 127
    model = encoder_graph(loud.codec, loud.layers, loud.latents, form)
    assert_symbols(run(model, runtime, image=one.image), one, loud.latents)
    model = decoder_graph(loud.codec, loud.layers, loud.latents, form)
    assert_nearest(run(model, runtime, y=one.symbols)["image"], one.x_hat, 0, 255, "image")


@pytest.mark.parametrize(("runtime", "form"), PAIRS[:2])
def test_only_the_wide_channels_hold_more_than_8_bits(
    louder, photo, runtime: str, form: Form
) -> None:
    loud = made("patch", louder(64), photo, (128, 192, 10))
    (one,), latents = loud.passes, replace(loud.latents, narrow_from=8)
    y = one.symbols
    assert np.abs(y[:8]).max() > 1000 and y[8:].min() < -128 and y[8:].max() > 127
    model = encoder_graph(loud.codec, loud.layers, latents, form)
    found = run(model, runtime, image=one.image)["y"]
    assert_nearest(found[:8], one.y[:8], -WIDE_MAX - 1, WIDE_MAX, "wide")
    assert_nearest(found[8:], one.y[8:], -128, 127, "narrow")
    held = np.concatenate([y[:8], y[8:].clip(-128, 127)])
    decoder = decoder_graph(loud.codec, loud.layers, latents, form)
    image = run(decoder, runtime, y=held)["image"]
    assert_nearest(image, exact_image(exact(loud.codec), held), 0, 255, "image")


def showing_one_symbol(tiny: Made, symbol: int) -> dict[str, IntegerLayer]:
    """Layers of a patch decoder whose image is 128 + (channel 0 of y) - symbol: one grey level a step."""
    layers = dict(tiny.layers)
    for name, layer in tiny.layers.items():
        if name in ("g_s.head", "g_s.linear") or name.endswith("conv_out"):
            nothing = np.zeros_like(layer.weight), np.zeros_like(layer.bias)
            layers[name] = replace(layer, weight=nothing[0], bias=nothing[1])
    linear = layers["g_s.linear"]
    weight = linear.weight.copy()
    weight[:, 0] = 2
    # 127.5 / 255 is added at the end; half a level more makes whole ones.
    layers["g_s.linear"] = replace(
        linear,
        weight=weight,
        weight_step=np.full_like(linear.weight_step, 1 / 510),
        bias=np.full_like(linear.bias, 1 - 2 * symbol),
    )
    return layers


DIGITS = (127, 128, 129, 384, 640, WIDE_MAX, -128, -129, -384, -WIDE_MAX - 1)


@pytest.mark.parametrize(("runtime", "form"), PAIRS[:2])
def test_every_symbol_is_held_by_its_two_digits(
    tiny_codec_of, photo, runtime: str, form: Form
) -> None:
    tiny = made("patch", tiny_codec_of("patch"), photo, (64, 64, 0))
    latents = replace(tiny.latents, largest_y=WIDE_MAX, narrow_from=8)
    for symbol in DIGITS:
        model = decoder_graph(tiny.codec, showing_one_symbol(tiny, symbol), latents, form)
        y = np.zeros((tiny.codec.M, 4, 4), np.int32)
        y[0] = symbol
        y[0, 1, 2] = np.clip(symbol + 1, -WIDE_MAX - 1, WIDE_MAX)
        image = run(model, runtime, y=y)["image"]
        expected = np.full((64, 64, 3), 128)
        expected[16:32, 32:48] += y[0, 1, 2] - symbol
        np.testing.assert_array_equal(image, expected, err_msg=str(symbol))


@pytest.mark.parametrize("runtime", present_runtimes())
@pytest.mark.parametrize(("by_roots", "most"), [(False, 1e-6), (True, 1.1e-3)])
def test_a_logarithm_is_one_by_roots_as_well(by_roots: bool, most: float, runtime: str) -> None:
    """ln(x)^2 / 98304 of it too large: 0.11 % at 2^15, and less below."""
    graph = GraphWriter(Form(log_by_roots=by_roots))
    value = graphs._log(graph, "x")
    named = {
        "inputs": [tensor("x", FLOAT, [1, "n"])],
        "outputs": {value: tensor("y", FLOAT, [1, "n"])},
    }
    x = np.geomspace(1, 2**15, 1000, dtype=np.float32)
    found = run(graph.model("log", **named), runtime, x=x)["y"]
    np.testing.assert_allclose(found, np.log(x), rtol=most, atol=1e-3)
