import copy
import io
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from hwkd.bits import BitPlan
from hwkd.codec.codec import Codec
from hwkd.codec.networks import EXACT, failures, open_hyper
from hwkd.codec.stream import unpack
from hwkd.errors import InputError
from hwkd.export.checks import reach
from hwkd.export.export import Source, export, prepare
from hwkd.models.build import build
from hwkd.models.spec import spec_from_json
from hwkd.quantize.integer import integer_layers
from hwkd.runtime.bundle import Bundle, arrays, read_bundle, write_bundle
from hwkd.runtime.exact import exact_path
from hwkd.runtime.session import present_runtimes, runtime_label, sums_exactly
from hwkd.target import load_target
from tests.fakes.exact_codec import assert_nearest, exact, exact_image

pytestmark = pytest.mark.usefixtures("in_one_thread")


@pytest.fixture(scope="module")
def source(tiny_codec_of, tiny_specs) -> Callable[..., Source]:
    """source(family): as `hwkd.export.source` makes one."""

    def make(family: str, bits: BitPlan = BitPlan(7, 8)) -> Source:  # noqa: B008
        return Source(
            f"tiny {family}", tiny_codec_of(family), tiny_specs[family], 0.0067, bits, {"seed": "7"}
        )

    return make


@pytest.fixture(scope="module")
def images(photo) -> dict[str, np.ndarray]:
    return {"a": photo(60, 100, 1)}


def export_now(source: Source, target: str, images) -> tuple[Bundle, list[str]]:
    """The bundle and what was shown on the way."""
    said: list[str] = []
    return export(prepare(source, load_target(target), images), images, said.append), said


@pytest.fixture(scope="module")
def exported(source, images) -> Callable[[str, str], tuple[Bundle, list[str]]]:
    """exported(family, target): as `export_now`, made once."""
    return cache(lambda family, target: export_now(source(family), target, images))


def initializers(graph: bytes) -> dict[str, np.ndarray]:
    model = onnx.load(io.BytesIO(graph))
    return {c.name: numpy_helper.to_array(c) for c in model.graph.initializer}


def test_the_manifest_says_what_was_exported(source, exported) -> None:
    made = source("relu")
    bundle, said = exported("relu", "x86-avx2")
    manifest = bundle.manifest
    assert said == [
        "writing the graphs",
        "fitting the tables",
        "asking the runtimes what they run",
        "comparing with the trained codec",
    ]
    assert (manifest.name, manifest.family, manifest.target) == ("tiny relu", "relu", "x86-avx2")
    assert (manifest.M, manifest.Z, manifest.lmbda) == (12, 8, 0.0067)
    assert (manifest.weight_bits, manifest.act_bits) == ("7", 8)
    assert (manifest.largest_y, manifest.largest_z, manifest.silent_index) == (127, 127, 0)
    assert spec_from_json(manifest.spec) == made.spec
    assert manifest.architecture == "relu N=8 M=12 H=8 Z=8"
    assert manifest.reach == reach(made.codec)
    assert (manifest.provenance, manifest.card) == ({"seed": "7"}, None)
    assert any("x86-avx2" in sentence or "openvino" in sentence for sentence in manifest.plan)
    expected = [
        (n, runtime_label(r)) for n in ("encoder", "hyper", "decoder") for r in present_runtimes()
    ]
    assert [(one.network, one.runtime) for one in manifest.executed] == expected
    assert len(manifest.differences) == len(present_runtimes())
    for runtime in present_runtimes():
        assert any(s.startswith(f"{runtime_label(runtime)} against") for s in manifest.differences)


@pytest.mark.parametrize(
    ("family", "target"),
    [
        ("gdn", "x86-avx2"),
        ("relu", "x86-vnni"),
        ("patch", "x86-avx2"),
        ("patch", "raspberry-pi-4"),
        ("rates", "x86-avx2"),
    ],
)
def test_each_runtime_finds_its_graphs_and_every_part_has_its_use(
    exported, family: str, target: str
) -> None:
    bundle, _ = exported(family, target)
    graphs = bundle.manifest.graphs
    named = {part for network in graphs.values() for part in network.values()}
    gains = {"gains.npz"} if family == "rates" else set()
    assert named | {"tables.npz", "selftest.npz", "hyper.npz"} | gains == set(bundle.parts)
    assert all(set(network) == {"onnxruntime", "openvino"} for network in graphs.values())
    # One graph for all, so that every machine computes the same indexes.
    assert set(graphs["hyper"].values()) == {"hyper.onnx"}


@pytest.mark.parametrize(("target", "expected"), [("x86-avx2", 0), ("x86-vnni", 4)])
def test_only_openvino_with_vnni_keeps_transposed_convolutions(
    exported, target: str, expected: int
) -> None:
    bundle, _ = exported("relu", target)
    for runtime, count in (("openvino", expected), ("onnxruntime", 0)):
        part = bundle.manifest.graphs["decoder"][runtime]
        nodes = [node.op_type for node in onnx.load(io.BytesIO(bundle.parts[part])).graph.node]
        assert nodes.count("ConvTranspose") == count
        assert nodes.count("Conv") == 4 - count


def test_weights_are_held_to_what_the_targets_kernels_take(source, images) -> None:
    """The codec has 7 bits; as one of 8 it would be held to 7 for AVX2 and to 8 with VNNI."""
    wide = source("relu", BitPlan(8, 8))
    for target, bits in (("x86-avx2", 7), ("x86-vnni", 8), ("raspberry-pi-4", 8)):
        assert prepare(wide, load_target(target), images).weight_bits == bits
    held = prepare(source("relu", BitPlan(5, 8)), load_target("x86-avx2"), images)
    assert held.weight_bits == 5
    for name, layer in held.layers.items():
        limit = 63 if name.startswith("h_s.") else 15  # h_s as its own bound asks
        assert np.abs(layer.weight.astype(int)).max() <= limit
    shown = {
        name: layer.weight
        for name, layer in integer_layers(held.source.codec).items()
        if name.startswith("h_s.")
    }
    for name, weight in shown.items():
        np.testing.assert_array_equal(held.layers[name].weight, weight)


def test_exceptions_are_told_as_the_target_holds_them(source, images) -> None:
    bits = BitPlan(8, 8, (("g_a.*", 8, 8), ("g_s.0", 4, 8), ("h_s.*", 8, 8)))
    bundle, _ = export_now(source("relu", bits), "x86-avx2", images)
    assert bundle.manifest.weight_bits == "7 (g_s.0 4, h_s.* 8)"


def test_a_target_without_integer_arithmetic_keeps_the_bits(source, images) -> None:
    assert prepare(source("relu"), load_target("jetson-nano"), images).weight_bits == 7


def test_the_graphs_hold_the_codecs_integers(source, exported) -> None:
    made = source("relu")
    bundle, _ = exported("relu", "x86-vnni")
    held = initializers(bundle.parts["encoder.onnx"])
    held |= initializers(bundle.parts[bundle.manifest.graphs["decoder"]["openvino"]])
    for name, layer in integer_layers(made.codec).items():
        if not name.startswith("h_s."):
            np.testing.assert_array_equal(held[f"{name}.weight"], layer.weight)
            np.testing.assert_array_equal(held[f"{name}.bias"], layer.bias)


@pytest.mark.parametrize("family", ["gdn", "patch", "relu"])
def test_the_bundle_passes_its_own_self_test(tiny_bundles, family: str) -> None:
    bundle = read_bundle(tiny_bundles[family])
    for runtime in (*filter(sums_exactly, present_runtimes()), EXACT):
        assert failures(bundle, open_hyper(bundle, runtime, 1)) == []


def test_equal_exports_are_equal_files(source, exported, images, tmp_path) -> None:
    again = export_now(source("patch"), "x86-avx2", images)
    for name, (bundle, _) in {"a": exported("patch", "x86-avx2"), "b": again}.items():
        write_bundle(tmp_path / name, bundle.manifest, bundle.parts)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_exact_path_in_the_bundle_can_be_read(exported) -> None:
    bundle, _ = exported("gdn", "x86-avx2")
    path = exact_path(arrays(bundle, "hyper.npz"))
    assert path.layers[0].weight.shape[1] == 8
    assert path.indexes(np.zeros((1, 8, 2, 3), np.int32)).shape == (1, 12, 8, 12)


def test_loud_latents_get_the_symbols_that_they_need(source, tiny_codec_of, images) -> None:
    codec = copy.deepcopy(tiny_codec_of("patch"))
    for layer in (codec.g_a.linear, codec.g_a.head):
        layer.weight.data.mul_(16)
        layer.bias.data.mul_(16)
    for layer in (codec.g_s.linear, codec.g_s.stem):
        layer.weight.data.div_(16)
    bundle, _ = export_now(replace(source("patch"), codec=codec), "x86-avx2", images)
    assert bundle.manifest.largest_y == 127 * 256 + 127
    image, same = images["a"], exact(codec)
    height, width = image.shape[:2]
    for runtime in present_runtimes():
        loaded = Codec.load(bundle, runtime)
        data = loaded.encode(image)
        y = loaded.symbols(unpack(data, image.size))
        assert np.abs(y).max() > 127
        expected = exact_image(same, y)[:height, :width]
        assert_nearest(loaded.decode(data), expected, 0, 255, runtime)


def test_a_codec_of_all_rates_is_exported_with_its_gains(source, exported, images) -> None:
    codec = source("rates").codec
    bundle, _ = exported("rates", "x86-avx2")
    manifest = bundle.manifest
    assert (manifest.qualities, manifest.lmbda) == ((1, 100), None)
    held = arrays(bundle, "gains.npz")
    # ln gain by definition: half of ln(lmbda / 0.025) and the deviation, which the last anchor has not.
    deviations = np.vstack([codec.gains.deviations.detach().numpy(), np.zeros(12)])
    base = np.log(np.array([0.0018, 0.018, 0.18]) / 0.025)[:, None] / 2
    parts_of_a_step = 256 * 63 / np.log(256 / 0.11)
    expected = (base + deviations) * parts_of_a_step
    assert np.abs(held["anchors"] - expected).max() < 0.51
    prepared = prepare(source("rates"), load_target("x86-avx2"), images)
    assert held["narrow_from"] == prepared.latents.narrow_from
    # The others have one rate.
    assert exported("patch", "x86-avx2")[0].manifest.qualities is None


def test_no_images_no_export(source) -> None:
    with pytest.raises(InputError) as caught:
        prepare(source("relu"), load_target("x86-avx2"), {})
    assert str(caught.value) == "no images to check the export on: got none, give at least one"


def test_a_float_codec_is_not_exported(source, images, tiny_specs) -> None:
    with pytest.raises(InputError, match="this model is in float"):
        prepare(
            replace(source("relu"), codec=build(tiny_specs["relu"]).eval()),
            load_target("x86-avx2"),
            images,
        )


def test_images_below_64_pixels_do(source, photo) -> None:
    small = {"one pixel": photo(1, 1, 0), "a strip": photo(40, 130, 0)}
    bundle, _ = export_now(source("patch"), "x86-avx2", small)
    assert "2 images" in bundle.manifest.differences[0]
