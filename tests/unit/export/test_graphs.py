"""The encoder's and the decoder's graph of each family against the integers of the codec."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch

from hwkd import centroids
from hwkd.export import patch_graphs
from hwkd.export.board_graphs import board_graphs
from hwkd.export.graph_writer import (
    FLOAT,
    ONNX_RUNTIME,
    OPENVINO,
    Form,
    GraphWriter,
    tensor,
)
from hwkd.export.graphs import LatentRanges, decoder_graph, encoder_graph, latents_of
from hwkd.models.base import HyperpriorCodec, padded, to_pixels
from hwkd.models.build import build
from hwkd.models.patch import PatchCodec
from hwkd.models.spec import Spec
from hwkd.quantize.integer import IntegerLayer, integer_layers
from hwkd.quantize.qat import conv_layers
from hwkd.runtime.gains import WIDE_MAX, Gains, Rate
from hwkd.runtime.gains import WIDE_MAX as WIDE_MAX_ALL_RATES_GRAPHS
from hwkd.runtime.gains import WIDE_MAX as WIDE_MAX_LATENTS
from hwkd.runtime.session import open_session, present_runtimes
from tests.fakes.exact_codec import (
    Pass,
    assert_nearest,
    clear_pass,
    exact,
    exact_image,
    on_their_grids,
    weights_on_their_grid,
)

FAMILIES = ("gdn", "patch", "relu")
PAIRS = [
    pytest.param(runtime, form, id=name)
    for name, runtime, form in (
        ("onnxruntime", "onnxruntime", ONNX_RUNTIME),
        ("openvino", "openvino", OPENVINO),
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
    latents: LatentRanges
    passes: list[Pass]


def made(family: str, codec: HyperpriorCodec, photo, *sizes: tuple[int, int, int]) -> Made:
    """sizes: (height, width, seed) of the images."""
    codec, _ = latents_of(codec, [padded(photo(*size), 64) for size in sizes])
    reference = exact(codec)
    passes = [clear_pass(reference, photo, *size) for size in sizes]
    codec, latents = latents_of(codec, [padded(one.image, 64) for one in passes])
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


def assert_symbols(found: dict[str, np.ndarray], one: Pass, latents: LatentRanges) -> None:
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
    tiny = made(family, tiny_codec_of(family), photo, (64, 128, 10))
    codec, (one,) = tiny.codec, tiny.passes
    latents = LatentRanges(codec.M, codec.Z, largest_y=2, largest_z=0, narrow_from=0)
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


@torch.no_grad()
def z_by_roots(loud: Made, one: Pass) -> Pass:
    """`one` with the z of a graph that takes 128 sinh(ln(1 + |y|) / 128) for the logarithm: of large y they differ by a part
    of a step of h_a's input."""
    logs = 128 * np.sinh(np.log1p(np.abs(one.y)) / 128)
    return replace(one, z=exact(loud.codec).h_a(torch.from_numpy(logs)[None])[0].numpy())


@pytest.mark.parametrize(("factor", "narrow_from"), [(4, 8), (32, 12)])
@pytest.mark.parametrize(("runtime", "form"), PAIRS)
def test_symbols_beyond_8_bits_pass_through_both_graphs(
    louder, photo, factor: int, narrow_from: int, runtime: str, form: Form
) -> None:
    loud = made("patch", louder(factor), photo, (128, 192, 10))
    assert loud.latents.narrow_from == narrow_from
    (one,) = loud.passes
    assert np.abs(one.symbols).max() > 127
    model = encoder_graph(loud.codec, loud.layers, loud.latents, form)
    expected = z_by_roots(loud, one) if form.log_by_roots else one
    assert_symbols(run(model, runtime, image=one.image), expected, loud.latents)
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
    value = patch_graphs._log(graph, "x")
    named = {
        "inputs": [tensor("x", FLOAT, [1, "n"])],
        "outputs": {value: tensor("y", FLOAT, [1, "n"])},
    }
    x = np.geomspace(1, 2**15, 1000, dtype=np.float32)
    found = run(graph.model("log", **named), runtime, x=x)["y"]
    np.testing.assert_allclose(found, np.log(x), rtol=most, atol=1e-3)


@pytest.fixture
def with_peaks(tiny_codec_of, photo):
    """with_peaks({channel: peak}): the patch codec and two images on which y peaks so, other channels at `others`."""
    images = [padded(photo(64, 128, seed), 64) for seed in (1, 2)]

    def make(peaks: dict[int, float], family: str = "patch", others: float = 10):
        codec = copy.deepcopy(tiny_codec_of(family))
        with torch.no_grad():
            # y by its bias alone, but for 0.03: of one sign in the second half of the channels, the other before.
            for layer in (codec.g_a.linear, codec.g_a.head):
                layer.weight.zero_()
                layer.bias.zero_()
            codec.g_a.linear.weight[:, 0] = 0.06
            for channel in range(codec.M):
                sign = 1 if channel >= codec.M // 2 else -1
                codec.g_a.linear.bias[channel] = sign * peaks.get(channel, others)
        return codec, images

    return make


@pytest.mark.parametrize(
    ("peaks", "narrow_from"),
    [
        ({}, 0),
        ({0: 62.9}, 0),  # half of what 8 bits hold is no reason yet
        ({0: 63.1}, 8),
        ({2: 300}, 8),
        ({7: 64}, 8),
        ({0: 300, 8: 64}, 8),
        ({11: 1000}, 8),
        (dict.fromkeys(range(3, 12), 100), 12),  # 16 channels, of which there are 12
    ],
)
def test_loud_channels_are_wide_eight_at_a_time(
    with_peaks, peaks: dict[int, float], narrow_from: int
) -> None:
    codec, images = with_peaks(peaks)
    largest_y = WIDE_MAX_LATENTS if narrow_from else 127
    assert latents_of(codec, images)[1] == LatentRanges(12, 8, largest_y, 127, narrow_from)


@torch.no_grad()
def test_loud_channels_come_first_in_a_codec_that_is_the_same_otherwise(
    tiny_codec_of, photo
) -> None:
    codec = copy.deepcopy(tiny_codec_of("rates"))
    assert codec.g_s.context.channels == 4
    x = padded(photo(64, 128, 1), 64)
    codec.set_lmbda(0.18)
    peaks = torch.full((12, 1, 1, 1), 10.0)
    peaks[10] = 20
    factor = peaks / codec.g_a(x)[0].abs().amax((1, 2))[:, None, None, None]
    for layer in (codec.g_a.linear, codec.g_a.head):
        layer.weight.mul_(factor)
        layer.bias.mul_(factor[:, 0, 0, 0])
    codec.set_lmbda(0.025)
    y = codec.g_a(x)
    z = torch.round(codec.hyper_analysis(y))
    index, image = codec.scale_index(z), codec.g_s(torch.round(y))
    held = copy.deepcopy(codec.state_dict())
    codec, latents = latents_of(given := codec, [x])
    assert latents.narrow_from == 8
    assert all(torch.equal(held[name], value) for name, value in given.state_dict().items())
    codec.set_lmbda(0.025)
    order = [0, 1, 2, 3, 10, 4, 5, 6, 7, 8, 9, 11]  # those of the context stay
    torch.testing.assert_close(codec.g_a(x), y[:, order])
    torch.testing.assert_close(
        codec.hyper_analysis(codec.g_a(x)), codec.hyper_analysis(y[:, order])
    )
    torch.testing.assert_close(codec.scale_index(z), index[:, order])
    torch.testing.assert_close(codec.g_s(torch.round(y[:, order])), image)


@pytest.mark.parametrize(
    ("peak", "narrow_from"), [(15.7, 0), (15.8, 8), (100, 8)], ids=["63 steps", "64 steps", "many"]
)
def test_with_gains_what_counts_is_steps_of_g_s_at_the_highest_quality(
    with_peaks, peak: float, narrow_from: int
) -> None:
    """Four a symbol there, where the gain is sqrt(0.18 / 0.025) in every channel."""
    codec, images = with_peaks({2: peak / math.sqrt(0.18 / 0.025)}, "rates", others=1)
    codec.set_lmbda(0.0018)
    largest_y = WIDE_MAX_LATENTS if narrow_from else 127
    assert latents_of(codec, images)[1] == LatentRanges(12, 8, largest_y, 127, narrow_from, True)


def test_the_loudest_of_all_images_counts(tiny_codec_of, photo) -> None:
    codec = tiny_codec_of("patch")
    quiet = [padded(photo(64, 64, 0), 64) / 2 + 0.25]
    both = [*quiet, padded(photo(64, 64, 0), 64)]
    loud = copy.deepcopy(codec)
    with torch.no_grad():
        factor = 70 / float(codec.g_a(both[1]).abs().max())
        for layer in (loud.g_a.linear, loud.g_a.head):
            layer.weight.mul_(factor)
            layer.bias.mul_(factor)
    assert latents_of(loud, quiet)[1].narrow_from == 0
    assert latents_of(loud, both)[1].narrow_from == 8
    assert latents_of(loud, both[::-1])[1].narrow_from == 8


@pytest.mark.parametrize("family", ["gdn", "relu"])
def test_other_families_have_8_bits_as_in_training(tiny_codec_of, photo, family: str) -> None:
    _, found = latents_of(tiny_codec_of(family), [padded(photo(64, 64, 0), 64)])
    assert found == LatentRanges(12, 8, 127, 127, 12)


# The graphs of a codec of all rates against the fake-quantized codec in torch.


@dataclass(frozen=True)
class Trained:
    """A codec in torch, its integers, and what it makes of photographs, [H, W, 3]."""

    family: str
    codec: HyperpriorCodec
    layers: dict[str, IntegerLayer]
    latents: LatentRanges
    photos: list[np.ndarray]
    y: list[np.ndarray]
    z: list[np.ndarray]
    indexes: list[np.ndarray]
    rate: Rate | None = None

    def given(self, *names: str) -> dict[str, np.ndarray]:
        """What the graphs of a codec of all rates take besides."""
        return {} if self.rate is None else {name: getattr(self.rate, name)[0] for name in names}


@torch.no_grad()
def scale_indexes(codec: HyperpriorCodec, z_hat: torch.Tensor) -> np.ndarray:
    scales_hat, _ = codec.entropy_parameters(z_hat)
    place = (scales_hat[0] / 0.11).log() * (63 / math.log(256 / 0.11))
    return place.round().clamp(0, 63).to(torch.uint8).numpy()


@torch.no_grad()
def trained(
    family: str, codec: HyperpriorCodec, photos: list[np.ndarray], quality: int = 50
) -> Trained:
    tensors = [padded(image, 64) for image in photos]
    codec, latents = latents_of(codec, tensors)
    rate = None
    if isinstance(codec, PatchCodec) and codec.gains is not None:
        anchors = codec.gains.at_anchors()
        rate = Gains(anchors, latents.narrow_from, latents.largest_y).rate(quality)
        codec.set_lmbda(0.0018 * 100 ** ((quality - 1) / 99))
    y = [codec.g_a(x) for x in tensors]
    z = [torch.round(codec.hyper_analysis(one)) for one in y]
    y = [codec.residual(one) for one in y]
    return Trained(
        family,
        codec,
        integer_layers(codec),
        latents,
        photos,
        [torch.round(one)[0].int().numpy() for one in y],
        [one[0].int().numpy() for one in z],
        [scale_indexes(codec, one) for one in z],
        rate,
    )


@pytest.fixture(scope="module", params=("rates", "wide"))
def tiny_all_rates_graphs(request, tiny_codec_of, photo) -> Trained:
    photos = [photo(128, 192, 10), photo(192, 64, 11)]
    return trained(request.param, tiny_codec_of(request.param), photos)


@torch.no_grad()
def decoded(codec: HyperpriorCodec, y: np.ndarray, rate: Rate | None = None) -> np.ndarray:
    """Of the centroids y.

    rate: of a codec of all rates. Its step stands for the codec's own gain, of which it differs by what rounding to a
    256th of a step of the scales' table leaves: 0.02 %, enough to move what lies at a half to the next step of g_s."""
    if rate is not None:
        codec = copy.deepcopy(codec)
        stored = (4 * math.sqrt(0.18 / 0.025) / torch.from_numpy(rate.step)).log()
        codec.g_s.__dict__["gains"] = SimpleNamespace(log=lambda: stored)
    x_hat = codec.g_s(torch.from_numpy(y)[None].float())
    return to_pixels(x_hat, x_hat.shape[3], x_hat.shape[2])


def assert_close(
    found: np.ndarray, expected: np.ndarray, share: float, what: str, most: int = 1
) -> None:
    """Of one size, off at no more than `share` of the places, and by no more than `most`.

    A runtime sums in another order than torch, and a sum that lies at a half is then rounded the other way. Here that
    happened to at most 0.4 % of y's symbols, to one of z's 24, and to 0.006 % of samples, by 1. In between two layers of
    g_s it moves the samples around by what a step there is worth: 4 was seen, between two runtimes, with GDN.
    """
    off = np.abs(found.astype(np.int64) - expected)
    assert off.shape == expected.shape == found.shape
    assert off.max() <= most, what
    assert (off != 0).mean() <= share, what


@pytest.mark.parametrize(("runtime", "form"), PAIRS)
def test_all_rates_graphs_the_encoder_gives_the_codecs_symbols(
    tiny_all_rates_graphs: Trained, runtime: str, form: Form
) -> None:
    encode = opened(
        encoder_graph(
            tiny_all_rates_graphs.codec,
            tiny_all_rates_graphs.layers,
            tiny_all_rates_graphs.latents,
            form,
        ),
        runtime,
    )
    for image, y, z in zip(
        tiny_all_rates_graphs.photos, tiny_all_rates_graphs.y, tiny_all_rates_graphs.z, strict=True
    ):
        found = encode(image=image, **tiny_all_rates_graphs.given("gain", "limit"))
        assert found["y"].dtype == found["z"].dtype == np.int32
        assert_close(found["y"], y, 0.02, "y")
        assert_close(found["z"], z, 0.15, "z")


@pytest.mark.parametrize(("runtime", "form"), PAIRS)
def test_all_rates_graphs_the_decoder_gives_the_codecs_image(
    tiny_all_rates_graphs: Trained, runtime: str, form: Form
) -> None:
    decode = opened(
        decoder_graph(
            tiny_all_rates_graphs.codec,
            tiny_all_rates_graphs.layers,
            tiny_all_rates_graphs.latents,
            form,
        ),
        runtime,
    )
    for symbols, indexes in zip(
        tiny_all_rates_graphs.y, tiny_all_rates_graphs.indexes, strict=True
    ):
        y = centroids.decoded(symbols, indexes)
        found = decode(y=y, **tiny_all_rates_graphs.given("step"))["image"]
        assert found.dtype == np.uint8
        assert_close(
            found,
            decoded(tiny_all_rates_graphs.codec, y, tiny_all_rates_graphs.rate),
            0.01,
            "image",
            most=8,
        )


@torch.no_grad()
def with_weights_on_their_grid(codec: HyperpriorCodec, spec: Spec) -> HyperpriorCodec:
    """The float codec with the quantized one's weights: activations stay off any grid."""
    plain = build(spec).eval()
    plain.load_state_dict(codec.state_dict(), strict=False)
    for name, layer in conv_layers(plain).items():
        layer.weight.copy_(weights_on_their_grid(codec, name))
    return plain


@pytest.mark.parametrize("runtime", present_runtimes())
def test_all_rates_graphs_float_graphs_for_one_size_take_and_give_floats(
    tiny_all_rates_graphs: Trained, tiny_specs, runtime: str
) -> None:
    form = Form(keeps_transposed=True, is_float=True, size=(192, 128))
    plain = with_weights_on_their_grid(
        tiny_all_rates_graphs.codec, tiny_specs[tiny_all_rates_graphs.family]
    )
    plain.set_lmbda(0.0018 * 100 ** (49 / 99))  # of quality 50
    image = tiny_all_rates_graphs.photos[0]
    coded = centroids.decoded(tiny_all_rates_graphs.y[0], tiny_all_rates_graphs.indexes[0])
    with torch.no_grad():
        y = plain.g_a(padded(image, 64))
        z = plain.hyper_analysis(y)
        y = plain.residual(y)
        x_hat = plain.g_s(torch.from_numpy(coded)[None])
    planes = np.moveaxis(image, 2, 0).astype(np.float32) / 255
    encoder = encoder_graph(
        tiny_all_rates_graphs.codec,
        tiny_all_rates_graphs.layers,
        tiny_all_rates_graphs.latents,
        form,
    )
    found = run(encoder, runtime, image=planes, **tiny_all_rates_graphs.given("gain"))
    decoder = decoder_graph(
        tiny_all_rates_graphs.codec,
        tiny_all_rates_graphs.layers,
        tiny_all_rates_graphs.latents,
        form,
    )
    found |= run(decoder, runtime, y=coded, **tiny_all_rates_graphs.given("step"))
    for name, expected in {"y": y, "z": z, "image": x_hat}.items():
        assert found[name].dtype == np.float32
        # Biases are whole steps of the grid that the input would be on: all that is between the two.
        np.testing.assert_allclose(
            found[name],
            expected[0].numpy(),
            rtol=0,
            atol=0.01 * float(expected.std()),
            err_msg=name,
        )


@pytest.mark.parametrize("quality", [1, 100])
@pytest.mark.parametrize(("runtime", "form"), PAIRS)
def test_at_both_ends_of_the_qualities_the_graphs_are_the_codec(
    tiny_codec_of, photo, quality: int, runtime: str, form: Form
) -> None:
    tiny = trained("rates", tiny_codec_of("rates"), [photo(128, 192, 10)], quality)
    encoder = encoder_graph(tiny.codec, tiny.layers, tiny.latents, form)
    found = run(encoder, runtime, image=tiny.photos[0], **tiny.given("gain", "limit"))
    assert_close(found["y"], tiny.y[0], 0.02, "y")
    assert_close(found["z"], tiny.z[0], 0.15, "z")
    decoder = decoder_graph(tiny.codec, tiny.layers, tiny.latents, form)
    y = centroids.decoded(tiny.y[0], tiny.indexes[0])
    image = run(decoder, runtime, y=y, **tiny.given("step"))["image"]
    expected = decoded(tiny.codec, y, tiny.rate)
    assert_close(image, expected, 0.01, "image", most=8)


@pytest.mark.parametrize("quality", [1, 100])
@pytest.mark.parametrize(("runtime", "form"), PAIRS)
def test_what_is_held_to_its_limit_is_what_the_decoder_shows(
    tiny_codec_of, quality: int, runtime: str, form: Form
) -> None:
    """Of noise that is much too loud for one digit, which all channels but the first eight have."""
    noise = np.random.default_rng(1).integers(0, 2, (128, 192, 1)).repeat(3, 2) * 255
    loud = trained("rates", tiny_codec_of("rates"), [noise.astype(np.uint8)], quality)
    latents = replace(loud.latents, largest_y=WIDE_MAX_ALL_RATES_GRAPHS, narrow_from=8)
    anchors = loud.codec.gains.at_anchors()
    rate = Gains(anchors, 8, WIDE_MAX_ALL_RATES_GRAPHS).rate(quality)
    gain = rate.gain * 40
    encoder = encoder_graph(loud.codec, loud.layers, latents, form)
    found = run(encoder, runtime, image=loud.photos[0], gain=gain[0], limit=rate.limit[0])["y"]
    assert (np.abs(found) <= rate.limit[0]).all()
    for ends in (-found.min((1, 2)), found.max((1, 2))):
        np.testing.assert_array_equal(ends[8:], rate.limit.ravel()[8:])
    decoder = decoder_graph(loud.codec, loud.layers, latents, form)
    y = centroids.decoded(found, loud.indexes[0])
    image = run(decoder, runtime, y=y, step=rate.step[0])["image"]
    assert_close(image, decoded(loud.codec, y, rate), 0.01, "image", most=8)


def run_whole(graph: onnx.ModelProto, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    """`inputs` with the axis of the batch."""
    return open_session(graph.SerializeToString(), "onnxruntime", 1).run(inputs)


@pytest.mark.parametrize("arithmetic", ["int8", "fp16"])
def test_a_boards_graphs_take_the_gains_of_a_quality(tiny_codec_of, photo, arithmetic: str) -> None:
    codec = tiny_codec_of("rates")
    x = padded(photo(128, 192, 10), 64)
    codec, latents = latents_of(codec, [x])
    graphs = board_graphs(codec, integer_layers(codec), latents, arithmetic, 13, (192, 128))
    codec.set_lmbda(0.025)
    values = codec.gains.log().exp().detach().numpy()
    # y over its gain in steps of g_s, of which the largest gain has four.
    gain, step = {"gain": values}, {"step": 4 * math.sqrt(0.18 / 0.025) / values}
    found = run_whole(graphs["encoder.onnx"], image=x.numpy(), **gain)
    with torch.no_grad():
        y = codec.g_a(x)
        residual, z = codec.residual(y), codec.hyper_analysis(y)
        coded = codec.decoded(torch.round(residual), codec.entropy_parameters(torch.round(z))[0])
        expected = {"y": residual, "z": z, "image": codec.g_s(coded)}
    found |= run_whole(graphs["decoder.onnx"], y=coded.numpy(), **step)
    for name, values in expected.items():
        assert found[name].dtype == np.float32
        assert found[name].shape == tuple(values.shape)
        # int8 here has 7 bits for what cannot be negative, fp16 rounds no activation to a grid: alike, not equal.
        off = np.abs(found[name] - values.numpy()).mean()
        assert off < 0.15 * float(values.std()), name
