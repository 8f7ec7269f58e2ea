import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from hwkd.codec.codec import Codec
from hwkd.codec.stream import unpack
from hwkd.export import checks as differences_module
from hwkd.export.checks import differences, executed, reach
from hwkd.export.graph_writer import FLOAT, ONNX_RUNTIME, Form, GraphWriter, tensor
from hwkd.models.base import HyperpriorCodec, padded
from hwkd.models.build import build
from hwkd.models.spec import PatchSpec, Spec
from hwkd.quantize.integer import Grid, IntegerLayer
from hwkd.runtime.bundle import read_bundle
from hwkd.runtime.session import present_runtimes, runtime_label
from tests.fakes.exact_codec import exact


def layer(name: str) -> IntegerLayer:
    rng = np.random.default_rng(0)
    return IntegerLayer(
        name=name,
        kind="conv",
        input_kind="activation",
        input=Grid(0.25, 0, 255),
        weight=rng.integers(-60, 61, (8, 8, 3, 3)).astype(np.int8),
        weight_step=np.full(8, 0.01, np.float32),
        bias=np.zeros(8, np.int64),
        stride=1,
        padding=1,
        output_padding=0,
        groups=1,
    )


def two_convolutions(form: Form) -> bytes:
    """x -> g.0 -> absolute value -> g.2 -> square root of the square."""
    graph = GraphWriter(form)
    inside = graph.node("Abs", [graph.convolution("x", layer("g.0"))])
    outside = graph.convolution(inside, layer("g.2"))
    root = graph.node("Sqrt", [graph.node("Mul", [outside, outside])])
    declared = {root: tensor("out", FLOAT, [1, 8, "h", "w"])}
    return graph.model("test", [tensor("x", FLOAT, [1, 8, "h", "w"])], declared).SerializeToString()


@pytest.mark.parametrize("runtime", present_runtimes())
def test_float_convolutions_are_named(runtime: str) -> None:
    found = executed(two_convolutions(Form(is_float=True)), "decoder", runtime)
    assert (found.network, found.runtime) == ("decoder", runtime_label(runtime))
    assert found.in_float == ("g.0", "g.2")
    assert found.counts["fp32"] == 2
    assert "int8" not in found.counts


@pytest.mark.skipif("onnxruntime" not in present_runtimes(), reason="needs ONNX Runtime")
def test_onnx_runtime_runs_what_8_bits_come_out_of_in_integers() -> None:
    graph = GraphWriter(Form())
    outside = graph.convolution(graph.relu(graph.convolution("x", layer("g.0"))), layer("g.2"))
    root = graph.node("Sqrt", [graph.node("Mul", [outside, outside])])
    declared = {root: tensor("out", FLOAT, [1, 8, "h", "w"])}
    model = graph.model("test", [tensor("x", FLOAT, [1, 8, "h", "w"])], declared)
    found = executed(model.SerializeToString(), "encoder", "onnxruntime")
    assert found.counts["int8"] == 1
    assert found.in_float == ("g.2",)
    # At least: x is quantized, what comes out of g.0 is dequantized, then the product and the root.
    assert found.counts["elementwise"] >= 4


@pytest.mark.skipif("onnxruntime" not in present_runtimes(), reason="needs ONNX Runtime")
def test_onnx_runtime_runs_a_matrix_product_in_integers_though_its_weight_is_stored_turned() -> (
    None
):
    graph = GraphWriter(ONNX_RUNTIME)
    one_by_one = replace(layer("g.0"), weight=layer("g.0").weight[:, :, :1, :1], padding=0)
    root = graph.node("Sqrt", [graph.in_floats(("x", one_by_one))])
    declared = {root: tensor("out", FLOAT, [1, 8, "h", "w"])}
    model = graph.model("test", [tensor("x", FLOAT, [1, 8, "h", "w"])], declared)
    found = executed(model.SerializeToString(), "encoder", "onnxruntime")
    assert found.counts["int8"] == 1
    assert found.in_float == ()


@pytest.mark.skipif("openvino" not in present_runtimes(), reason="needs OpenVINO")
def test_openvino_tells_of_every_convolution() -> None:
    found = executed(two_convolutions(Form()), "encoder", "openvino")
    # Which of them have integer kernels is the processor's business.
    assert found.counts.get("int8", 0) + len(found.in_float) == 2
    assert set(found.in_float) <= {"g.0", "g.2"}
    assert found.counts["elementwise"] >= 1


@pytest.mark.parametrize("family", ["gdn", "patch", "relu"])
@pytest.mark.parametrize("runtime", present_runtimes())
def test_a_bundle_says_what_became_of_every_layer(
    tiny_bundle_of, tiny_codec_of, family: str, runtime: str
) -> None:
    from hwkd.quantize.qat import conv_layers

    said = {
        one.network: one
        for one in read_bundle(tiny_bundle_of(family)).manifest.executed
        if one.runtime == runtime_label(runtime)
    }
    names = list(conv_layers(tiny_codec_of(family)))
    layers = {
        "encoder": [n for n in names if n.startswith(("g_a.", "h_a."))],
        "hyper": [n for n in names if n.startswith("h_s.")],
        "decoder": [n for n in names if n.startswith("g_s.")],
    }
    # The 1x1 convolutions inside GDN are no quantized layers.
    gdns = {"encoder": 3, "hyper": 0, "decoder": 3} if family == "gdn" else dict.fromkeys(layers, 0)
    assert said.keys() == layers.keys()
    for network, own in layers.items():
        products = sum(n for kind, n in said[network].counts.items() if kind != "elementwise")
        assert products == len(own) + gdns[network]
        assert len(said[network].in_float) == products - said[network].counts.get("int8", 0)
        if network != "hyper":  # whose nodes are not named after layers
            named = [name for name in said[network].in_float if name in own]
            assert len(said[network].in_float) == len(named) + gdns[network]
    assert said["hyper"].counts["fp32"] == len(layers["hyper"])


SENTENCE = re.compile(
    r"(?P<runtime>\S+ \S+) against the trained codec, (?P<images>\d+) images: "
    r"(?P<share>[0-9.]+) % of y's symbols differ, by (?P<most>\d+) at most; "
    r"psnr_db (?P<psnr>[0-9.]+) against (?P<psnr_trained>[0-9.]+); "
    r"bpp (?P<bpp>[0-9.]+) \(real bytes\) against (?P<bpp_trained>[0-9.]+) \(estimated\)"
)


def figures(sentence: str) -> dict[str, float]:
    found = SENTENCE.fullmatch(sentence)
    assert found, sentence
    return {name: float(text) for name, text in found.groupdict().items() if name != "runtime"}


def psnr_db(image: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((image.astype(float) - other) ** 2)))


@torch.no_grad()
def trained_figures(codec, image: np.ndarray) -> tuple[np.ndarray, float, float]:
    """y, PSNR and estimated bits of the codec's own pass."""
    height, width = image.shape[:2]
    out = codec(padded(image, 64))
    x_hat = out.x_hat[0, :, :height, :width].permute(1, 2, 0).numpy()
    bits = -sum(float(p.double().log2().sum()) for p in (out.y_likelihoods, out.z_likelihoods))
    return (
        out.y_hat[0].round().numpy(),
        psnr_db(image, np.rint(np.clip(x_hat, 0, 1) * 255)),
        bits / (height * width),
    )


@pytest.fixture
def images(photo):
    return {"a": photo(70, 90, 1), "b": photo(64, 128, 2)}


@pytest.mark.usefixtures("in_one_thread")
@pytest.mark.parametrize(
    ("exported_family", "family", "order"),
    [("patch", "patch", 1), ("relu", "gdn", 1), ("relu", "gdn", -1)],
)
def test_every_figure_is_what_it_says(
    tiny_bundles, tiny_codec_of, images, exported_family: str, family: str, order: int
) -> None:
    """Of a codec and its own bundle, and of one and another's, whose symbols are far away."""
    bundle, codec = read_bundle(tiny_bundles[exported_family]), tiny_codec_of(family)
    images = dict(list(images.items())[::order])
    found = differences(bundle, codec, images)
    assert len(found) == len(present_runtimes())
    passes = {name: trained_figures(codec, image) for name, image in images.items()}
    for sentence, runtime in zip(found, sorted(present_runtimes()), strict=True):
        assert sentence.startswith(f"{runtime_label(runtime)} against ")
        exported = Codec.load(bundle, runtime)
        share, most, psnr, bpp = [], 0.0, [], []
        for name, image in images.items():
            data = exported.encode(image)
            apart = np.abs(exported.symbols(unpack(data, image.size)) - passes[name][0])
            share.append((apart > 0).mean())
            most = max(most, apart.max())
            psnr.append(psnr_db(image, exported.decode(data)))
            bpp.append(len(data) * 8 / (image.shape[0] * image.shape[1]))
        assert figures(sentence) == {
            "images": 2,
            "share": pytest.approx(100 * np.mean(share), abs=1e-4),
            "most": most,
            "psnr": pytest.approx(np.mean(psnr), abs=1e-3),
            "psnr_trained": pytest.approx(np.mean([p[1] for p in passes.values()]), abs=1e-3),
            "bpp": pytest.approx(np.mean(bpp), abs=1e-4),
            "bpp_trained": pytest.approx(np.mean([p[2] for p in passes.values()]), abs=1e-3),
        }


@pytest.mark.usefixtures("in_one_thread")
def test_a_bundle_of_this_codec_is_near_it_and_that_of_another_is_not(
    tiny_bundles, tiny_codec_of, images
) -> None:
    bundle = read_bundle(tiny_bundles["relu"])
    # On powers of two the codec's integers and every runtime give the same, so that near is equal.
    near = [figures(s) for s in differences(bundle, exact(tiny_codec_of("relu")), images)]
    far = [figures(s) for s in differences(bundle, exact(tiny_codec_of("gdn")), images)]
    for one, other in zip(near, far, strict=True):
        assert (one["share"], one["most"]) == (0, 0)
        # A sample on a half may be rounded to either side. Images a level apart have root mean squares a level apart.
        level = 20 * np.log10(1 + 10 ** (one["psnr_trained"] / 20) / 255)
        assert one["psnr"] == pytest.approx(one["psnr_trained"], abs=level)
        assert other["share"] > 10 and other["most"] > 1


@pytest.mark.usefixtures("in_one_thread")
def test_of_a_large_image_the_centre_is_compared(
    tiny_bundle, tiny_codec_of, photo, monkeypatch
) -> None:
    monkeypatch.setattr(differences_module, "AT_MOST_PX", 64)
    bundle, codec, large = read_bundle(tiny_bundle), tiny_codec_of("patch"), photo(100, 129, 5)
    found = differences(bundle, codec, {"large": large})
    assert found == differences(bundle, codec, {"centre": large[18:82, 32:96]})


@pytest.mark.usefixtures("in_one_thread")
def test_a_bundle_of_all_rates_is_compared_at_three_qualities(
    tiny_bundles, tiny_codec_of, images
) -> None:
    codec = tiny_codec_of("rates")
    found = differences(read_bundle(tiny_bundles["rates"]), codec, images)
    assert len(found) == 3 * len(present_runtimes())
    bpp = []
    for quality in (10, 50, 90):
        said = [s for s in found if f"2 images at quality {quality}: " in s]
        assert len(said) == len(present_runtimes())
        one = figures(said[0].replace(f" at quality {quality}", ""))
        codec.set_lmbda(0.0018 * 100 ** ((quality - 1) / 99))
        passes = [trained_figures(codec, image) for image in images.values()]
        assert one["psnr_trained"] == pytest.approx(np.mean([p[1] for p in passes]), abs=1e-3)
        assert one["share"] < 2 and one["most"] <= 1
        assert abs(one["psnr"] - one["psnr_trained"]) < 0.1
        bpp.append(one["bpp"])
    assert bpp == sorted(bpp)


# The reach against the networks themselves: where a tile's gradient is not zero, there it depends on.

PATCH = PatchSpec(M=4, H=4, Z=4, C=4, widths=(4,), post=(4,))


@pytest.fixture(params=["gdn", "relu", "patch", "no blocks", "three blocks, two pairs"])
def spec(request, tiny_specs) -> Spec:
    shapes = {
        "no blocks": replace(PATCH, widths=(), post=()),
        "three blocks, two pairs": replace(PATCH, widths=(4, 4, 4), post=(4, 4)),
    }
    return shapes.get(request.param) or tiny_specs[request.param]


def all_passing(spec: Spec) -> HyperpriorCodec:
    """A codec of positive weights in float64: no ReLU stops anything, no sum cancels."""
    codec = build(spec).double().eval()
    with torch.no_grad():
        for transform in (codec.g_a, codec.h_a, codec.h_s, codec.g_s):
            for name, parameter in transform.named_parameters():
                if name.endswith(("weight", "bias")):
                    parameter.uniform_(0.01, 0.02)
    return codec


def extent(gradient: Tensor, first: int, last: int) -> tuple[int, int]:
    """How far [first, last), on the last axis, the gradient goes to the left and to the right."""
    touched = torch.nonzero(gradient.abs().amax((0, 1, 2))).flatten()
    return first - int(touched.min()), int(touched.max()) + 1 - last


def of_axis(x: Tensor, transposed: bool) -> Tensor:
    return x.transpose(2, 3) if transposed else x


@pytest.mark.usefixtures("in_one_thread")
@pytest.mark.parametrize("transposed", [False, True], ids=["columns", "rows"])
def test_the_encoders_reach_is_the_networks_up_to_64_pixels(spec: Spec, transposed: bool) -> None:
    codec = all_passing(spec)
    # A strip wide enough that the reach ends within it, around the tile of pixels 320 to 384.
    x = torch.rand((1, 3, 64, 704), dtype=torch.float64, requires_grad=True)
    y = of_axis(codec.g_a(of_axis(x, transposed)), transposed)
    z = of_axis(codec.hyper_analysis(of_axis(y, transposed)), transposed)
    (y[..., 20:24].sum() + z[..., 5:6].sum()).backward()
    before, after = extent(x.grad, 320, 384)
    # None of it lies outside, and 64 pixels less would be too little.
    found = reach(codec).encoder_px
    assert found == (-(-before // 64) * 64, -(-after // 64) * 64)
    assert before > 64 or after > 0


@pytest.mark.usefixtures("in_one_thread")
@pytest.mark.parametrize("transposed", [False, True], ids=["columns", "rows"])
def test_the_hyper_reach_is_the_networks(spec: Spec, transposed: bool) -> None:
    codec = all_passing(spec)
    z = torch.rand((1, codec.Z, 2, 21), dtype=torch.float64, requires_grad=True)
    scales = of_axis(codec.h_s(of_axis(z, transposed)), transposed)
    scales[..., 40:44].sum().backward()
    assert reach(codec).hyper_z == max(extent(z.grad, 10, 11))


@pytest.mark.usefixtures("in_one_thread")
@pytest.mark.parametrize("transposed", [False, True], ids=["columns", "rows"])
def test_the_decoders_reach_is_the_networks(spec: Spec, transposed: bool) -> None:
    codec = all_passing(spec)
    y = torch.rand((1, codec.M, 4, 41), dtype=torch.float64, requires_grad=True)
    x_hat = of_axis(codec.g_s(of_axis(y, transposed)), transposed)
    x_hat[..., 320:336].sum().backward()
    assert reach(codec).decoder_y == max(extent(y.grad, 20, 21))


@pytest.mark.usefixtures("in_one_thread")
def test_the_reach_by_hand(tiny_specs) -> None:
    """gdn: four 5x5 of stride 2, then 3x3 and two 5x5 of stride 2 at 1/16: 2 (1 + 2 + 4 + 8) + 16 + 2 (16 + 32)
    = 142 pixels before a tile; 2 (1 + 2 + 4 + 8) + 16 + 2 (16 + 32) - 63 = 79 after it, for a stride moves its
    kernel to the left. h_s: two transposed 5x5 and a 3x3 at 1/4 of a position: 1 + 1/2 + 1/4, over 1, so 2."""
    found = reach(build(tiny_specs["gdn"]))
    assert found.encoder_px == (192, 128)
    assert found.hyper_z == 2
