import copy
import hashlib
import io
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from PIL import Image

from hwkd.bits import BitPlan
from hwkd.codec.codec import Codec
from hwkd.codec.networks import EXACT, failures, open_hyper
from hwkd.codec.stream import unpack
from hwkd.distill.config import RunConfig
from hwkd.distill.losses import LossWeights
from hwkd.distill.run_folder import TrainState, write_state
from hwkd.errors import InputError
from hwkd.export.card import CardFields
from hwkd.export.checks import reach
from hwkd.export.export import Source, export, load_source, prepare, training_card
from hwkd.export.graph_writer import as_subpixel
from hwkd.images import write_png
from hwkd.models.build import build
from hwkd.models.checkpoint import save_weights
from hwkd.models.shipped import read_card
from hwkd.models.spec import spec_from_json
from hwkd.quantize.integer import integer_layers
from hwkd.quantize.qat import is_calibrated, quantize, quantized_layers
from hwkd.runtime.bundle import Bundle, arrays, read_bundle, write_bundle
from hwkd.runtime.exact import exact_path
from hwkd.runtime.manifest import NOT_RECORDED
from hwkd.runtime.session import present_runtimes, runtime_label, sums_exactly
from hwkd.target import load_target
from tests.fakes.exact_codec import assert_nearest, exact, exact_image


@pytest.fixture(scope="module")
def source(tiny_codec_of, tiny_specs) -> Callable[..., Source]:
    """source(family): as `hwkd.export.export` makes one."""

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


@pytest.mark.usefixtures("in_one_thread")
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


@pytest.mark.usefixtures("in_one_thread")
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


@pytest.mark.usefixtures("in_one_thread")
@pytest.mark.parametrize("target", ["x86-avx2", "x86-vnni"])
def test_no_runtime_gets_transposed_convolutions(exported, target: str) -> None:
    """OpenVINO computes them wrong on AVX2 alone, where a bundle for VNNI may be opened as well."""
    bundle, _ = exported("relu", target)
    for runtime in ("openvino", "onnxruntime"):
        part = bundle.manifest.graphs["decoder"][runtime]
        nodes = [node.op_type for node in onnx.load(io.BytesIO(bundle.parts[part])).graph.node]
        assert nodes.count("ConvTranspose") == 0
        assert nodes.count("Conv") == 4


@pytest.mark.usefixtures("in_one_thread")
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


@pytest.mark.usefixtures("in_one_thread")
def test_exceptions_are_told_as_the_target_holds_them(source, images) -> None:
    bits = BitPlan(8, 8, (("g_a.*", 8, 8), ("g_s.0", 4, 8), ("h_s.*", 8, 8)))
    bundle, _ = export_now(source("relu", bits), "x86-avx2", images)
    assert bundle.manifest.weight_bits == "7 (g_s.0 4, h_s.* 8)"


@pytest.mark.usefixtures("in_one_thread")
def test_a_target_without_integer_arithmetic_keeps_the_bits(source, images) -> None:
    assert prepare(source("relu"), load_target("jetson-nano"), images).weight_bits == 7


@pytest.mark.usefixtures("in_one_thread")
def test_the_graphs_hold_the_codecs_integers(source, exported) -> None:
    made = source("relu")
    bundle, _ = exported("relu", "x86-vnni")
    held = initializers(bundle.parts["encoder.onnx"])
    held |= initializers(bundle.parts[bundle.manifest.graphs["decoder"]["openvino"]])
    for name, layer in integer_layers(made.codec).items():
        if name.startswith("h_s."):
            continue
        written = as_subpixel(layer) if layer.kind == "transposed" else layer
        np.testing.assert_array_equal(held[f"{name}.weight"], written.weight)
        np.testing.assert_array_equal(held[f"{name}.bias"], written.bias)


@pytest.mark.usefixtures("in_one_thread")
@pytest.mark.parametrize("family", ["gdn", "patch", "relu"])
def test_the_bundle_passes_its_own_self_test(tiny_bundles, family: str) -> None:
    bundle = read_bundle(tiny_bundles[family])
    for runtime in (*filter(sums_exactly, present_runtimes()), EXACT):
        assert failures(bundle, open_hyper(bundle, runtime, 1)) == []


@pytest.mark.usefixtures("in_one_thread")
def test_equal_exports_are_equal_files(source, exported, images, tmp_path) -> None:
    again = export_now(source("patch"), "x86-avx2", images)
    for name, (bundle, _) in {"a": exported("patch", "x86-avx2"), "b": again}.items():
        write_bundle(tmp_path / name, bundle.manifest, bundle.parts)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.usefixtures("in_one_thread")
def test_the_exact_path_in_the_bundle_can_be_read(exported) -> None:
    bundle, _ = exported("gdn", "x86-avx2")
    path = exact_path(arrays(bundle, "hyper.npz"))
    assert path.layers[0].weight.shape[1] == 8
    assert path.indexes(np.zeros((1, 8, 2, 3), np.int32)).shape == (1, 12, 8, 12)


@pytest.mark.usefixtures("in_one_thread")
def test_loud_latents_get_the_symbols_that_they_need(source, tiny_codec_of, images) -> None:
    codec = copy.deepcopy(tiny_codec_of("patch"))
    for layer in (codec.g_a.linear, codec.g_a.head):
        layer.weight.data.mul_(16)
        layer.bias.data.mul_(16)
    for layer in (codec.g_s.linear, codec.g_s.stem):
        layer.weight.data.div_(16)
    prepared = prepare(replace(source("patch"), codec=codec), load_target("x86-avx2"), images)
    bundle = export(prepared, images, lambda _: None)
    assert bundle.manifest.largest_y == 127 * 256 + 127
    image, same = images["a"], exact(prepared.source.codec)
    height, width = image.shape[:2]
    for runtime in present_runtimes():
        loaded = Codec.load(bundle, runtime)
        data = loaded.encode(image)
        y = loaded.symbols(unpack(data, image.size))
        assert np.abs(y).max() > 127
        expected = exact_image(same, y)[:height, :width]
        assert_nearest(loaded.decode(data), expected, 0, 255, runtime)


@pytest.mark.usefixtures("in_one_thread")
def test_a_codec_of_all_rates_is_exported_with_its_gains(source, exported, images) -> None:
    bundle, _ = exported("rates", "x86-avx2")
    prepared = prepare(source("rates"), load_target("x86-avx2"), images)
    codec = prepared.source.codec
    manifest = bundle.manifest
    assert (manifest.qualities, manifest.lmbda) == ((1, 100), None)
    held = arrays(bundle, "gains.npz")
    # ln gain by definition: half of ln(lmbda / 0.025) and the deviation, which the last anchor has not.
    deviations = np.vstack([codec.gains.deviations.detach().numpy(), np.zeros(12)])
    base = np.log(np.array([0.0018, 0.018, 0.18]) / 0.025)[:, None] / 2
    parts_of_a_step = 256 * 63 / np.log(256 / 0.11)
    expected = (base + deviations) * parts_of_a_step
    assert np.abs(held["anchors"] - expected).max() < 0.51
    assert held["narrow_from"] == prepared.latents.narrow_from
    # The others have one rate.
    assert exported("patch", "x86-avx2")[0].manifest.qualities is None


@pytest.mark.usefixtures("in_one_thread")
def test_no_images_no_export(source) -> None:
    with pytest.raises(InputError) as caught:
        prepare(source("relu"), load_target("x86-avx2"), {})
    assert str(caught.value) == "no images to check the export on: got none, give at least one"


@pytest.mark.usefixtures("in_one_thread")
def test_a_float_codec_is_not_exported(source, images, tiny_specs) -> None:
    with pytest.raises(InputError, match="this model is in float"):
        prepare(
            replace(source("relu"), codec=build(tiny_specs["relu"]).eval()),
            load_target("x86-avx2"),
            images,
        )


@pytest.mark.usefixtures("in_one_thread")
def test_images_below_64_pixels_do(source, photo) -> None:
    small = {"one pixel": photo(1, 1, 0), "a strip": photo(40, 130, 0)}
    bundle, _ = export_now(source("patch"), "x86-avx2", small)
    assert "2 images" in bundle.manifest.differences[0]


TARGET = load_target("raspberry-pi-4")


@pytest.fixture
def config(tiny_specs) -> RunConfig:
    return RunConfig(
        spec=tiny_specs["relu"],
        lmbda=0.0483,
        target="jetson-nano",
        bits=BitPlan(7, 8),
        teacher="patch-q5",
        teacher_sha256="0123456789abcdef0123",
        second_teacher="",
        second_teacher_sha256="",
        start="random",
        start_sha256="",
        data="/home/somebody/holiday photos",
        float_steps=3,
        qat_steps=2,
        minutes=None,
        seed=11,
    )


@pytest.fixture
def run(tmp_path, config, tiny_codec_of, tiny_specs):
    """run(...): a finished run's folder; names change the configuration."""

    def make(codec=None, **changes) -> Path:
        folder = tmp_path / "demo"
        folder.mkdir()
        (folder / "config.json").write_text(replace(config, **changes).to_json())
        metadata = {"lmbda": "0.0483"}
        student = codec or tiny_codec_of("relu")
        save_weights(folder / "student.safetensors", student, half=False, metadata=metadata)
        plain = build(tiny_specs["relu"]).eval()
        plain.update(force=True)
        save_weights(folder / "float.safetensors", plain, half=False, metadata=metadata)
        return folder

    return make


@pytest.fixture
def photos(tmp_path, photo) -> Path:
    for seed in range(2):
        write_png(tmp_path / f"photos/{seed}.png", photo(256, 256, seed))
    return tmp_path / "photos"


def silent(_said: str) -> None:
    pass


@pytest.mark.usefixtures("in_one_thread")
def test_a_run_is_exported_as_it_was_quantized(run, tiny_codec_of, tiny_specs) -> None:
    folder = run()
    found = load_source(str(folder), None, TARGET, None, silent)
    assert (found.name, found.lmbda, found.bits) == ("demo", 0.0483, BitPlan(7, 8))
    assert found.spec == tiny_specs["relu"]
    assert not found.codec.training and is_calibrated(found.codec)
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(found.codec(x).x_hat, tiny_codec_of("relu")(x).x_hat)


@pytest.mark.usefixtures("in_one_thread")
def test_a_runs_provenance_says_what_was_exported(run) -> None:
    folder = run()
    weights = (folder / "student.safetensors").read_bytes()
    assert load_source(str(folder), None, TARGET, None, silent).provenance == {
        **{f"version of {n}": version(n) for n in ("torch", "brevitas", "compressai", "onnx")},
        "sha256 of the weights": hashlib.sha256(weights).hexdigest(),
        "quantized": "in training",
        "tables of y": "fitted to the symbols of 64 crops of the embedded photographs",
    }


@pytest.mark.usefixtures("in_one_thread")
def test_where_images_give_no_crops_the_tables_stay_a_gaussians(run, tmp_path, photo) -> None:
    Image.fromarray(photo(100, 80, 1)).save(tmp_path / "small.png")
    found = load_source(str(run()), None, TARGET, tmp_path, silent)
    assert found.fit_on == ()
    assert found.provenance["tables of y"].startswith("those of a Gaussian, as images given")


@pytest.mark.usefixtures("in_one_thread")
def test_the_card_says_what_the_run_knows_and_over_it_what_the_user_says(run) -> None:
    told = CardFields(licence="CC0", limits=("Photographs only.",))
    card = load_source(str(run()), None, TARGET, None, silent, told).card
    assert card is not None
    assert (card.seed, card.data) == (11, "holiday photos")
    assert (card.licence, card.limits) == ("CC0", ("Photographs only.",))


@pytest.mark.usefixtures("in_one_thread")
def test_a_run_that_was_only_calibrated(run) -> None:
    found = load_source(str(run(ptq=True)), None, TARGET, None, silent).provenance
    assert found["quantized"] == "after training"


@pytest.mark.usefixtures("in_one_thread")
def test_a_float_model_is_quantized_after_training(tiny_teacher_file: Path, photos: Path) -> None:
    said: list[str] = []
    found = load_source(str(tiny_teacher_file), BitPlan(6, 8), TARGET, photos, said.append)
    assert said == ["quantizing after training, to 6 bits"]
    assert found.bits == BitPlan(6, 8)
    assert (found.name, found.lmbda) == ("tiny-teacher", 0.025)
    assert quantized_layers(found.codec) and is_calibrated(found.codec)
    assert found.provenance["quantized"] == (
        "after training, activations calibrated on crops of images given with --data"
    )
    assert found.card is not None
    assert found.card.teacher is None  # no run, so nothing is known of its training


@pytest.mark.usefixtures("in_one_thread")
def test_a_float_model_is_quantized_to_the_bits_that_the_target_takes(
    tiny_teacher_file: Path, photos: Path
) -> None:
    """Rounded to 8 bits and then held to 7, patch-small lost 19 % of RD at quality 90 in place of 1."""
    found = load_source(
        str(tiny_teacher_file), BitPlan(8, 8), load_target("x86-avx2"), photos, silent
    )
    assert found.bits == BitPlan(7, 8)


@pytest.mark.usefixtures("in_one_thread")
def test_without_images_the_embedded_photographs_calibrate(tiny_teacher_file: Path) -> None:
    found = load_source(str(tiny_teacher_file), BitPlan(8, 8), TARGET, None, silent)
    assert found.provenance["quantized"].endswith("on crops of the embedded photographs")


@pytest.mark.usefixtures("in_one_thread")
def test_a_runs_float_student_can_be_quantized_anew(run, photos: Path) -> None:
    folder = run()
    found = load_source(f"{folder}:float", BitPlan(4, 8), TARGET, photos, silent)
    assert (found.name, found.bits) == ("demo (float)", BitPlan(4, 8))
    assert found.provenance["quantized"].startswith("after training, ")
    assert found.card is not None
    assert (found.card.seed, found.card.quantized_steps) == (11, 0)


@pytest.mark.usefixtures("in_one_thread")
def test_a_float_model_without_bits_is_refused(tiny_teacher_file: Path) -> None:
    with pytest.raises(InputError) as caught:
        load_source(str(tiny_teacher_file), None, TARGET, None, silent)
    assert str(caught.value) == (
        f"{tiny_teacher_file} is in float: give --bits (8, or 4/8) to quantize it after training, "
        "or a run of `hwkd distill`"
    )


@pytest.mark.usefixtures("in_one_thread")
def test_a_quantized_run_with_bits_is_refused(run) -> None:
    folder = run()
    with pytest.raises(InputError) as caught:
        load_source(str(folder), BitPlan(4, 8), TARGET, None, silent)
    assert str(caught.value) == (
        f"{folder} is quantized already, to 7 bits: leave --bits out, or name its float student, {folder}:float"
    )


@pytest.mark.usefixtures("in_one_thread")
def test_scales_that_were_never_set_are_refused(run, tiny_specs) -> None:
    codec = build(tiny_specs["relu"]).eval()
    quantize(codec, BitPlan(7, 8))
    folder = run(codec)
    with pytest.raises(
        InputError, match=r"student.safetensors does not fit .* it lacks \S+scaling"
    ):
        load_source(str(folder), None, TARGET, None, silent)


@pytest.mark.usefixtures("in_one_thread")
def test_no_such_model() -> None:
    with pytest.raises(InputError, match="patch-q5"):
        load_source("patch-q6", None, TARGET, None, silent)


@pytest.fixture
def run_training_card(tmp_path, tiny_specs):
    """run(state={...}, ...): a run's folder without weights; other names change the configuration."""

    def make(state=None, **changes):
        config = RunConfig(
            spec=tiny_specs["relu"],
            lmbda=0.025,
            target="jetson-nano",
            bits=BitPlan(7, 8),
            teacher="patch-q5",
            teacher_sha256="0123456789abcdef0123",
            second_teacher="",
            second_teacher_sha256="",
            start="run before (float)",
            start_sha256="fedcba9876543210fedc",
            data="/home/somebody/holiday photos: 9 images, 1.0 Mpx, 1 held out",
            float_steps=30,
            qat_steps=20,
            minutes=None,
            seed=11,
        )
        folder = tmp_path / "demo"
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(replace(config, **changes).to_json())
        if state is not None:
            names = ("student", "projections", "average", "aux_optimizer", "batches")
            empty: dict = {name: {} for name in names}
            write_state(folder, TrainState(**state, **empty, optimizers=[], plateaus=[]))
        return str(folder)

    return make


FINISHED = {"phase": "qat", "step": 21, "steps": {"float": 31, "qat": 21}, "seconds": 5400.0}


def test_a_finished_run_says_what_it_was(run_training_card):
    card = training_card(run_training_card(FINISHED, float_steps=None, qat_steps=None, minutes=5.0))
    assert card.teacher == "patch-q5 (sha256 0123456789abcdef)"
    assert card.start == "run before (float) (sha256 fedcba9876543210)"
    assert card.data == "holiday photos: 9 images, 1.0 Mpx, 1 held out"
    assert card.seed == 11
    assert (card.float_steps, card.quantized_steps, card.hours) == (31, 21, 1.5)
    assert (card.licence, card.hardware, card.recipe) == (NOT_RECORDED, NOT_RECORDED, None)
    assert (card.limits, card.figures) == ((), ())


def test_a_run_that_goes_on_from_a_shipped_model_counts_its_steps(run_training_card):
    begun = read_card("patch-small-float")
    start = {"start": "shipped patch-small-float", "start_sha256": begun.sha256}
    card = training_card(run_training_card(FINISHED, **start))
    assert card.start == f"shipped patch-small-float (sha256 {begun.sha256[:16]})"
    assert (card.float_steps, card.quantized_steps) == (begun.steps + 31, 21)
    assert card.hours == pytest.approx(begun.hours + 1.5)
    # Other weights under its name: what they had is not known. As a teacher's they are another model's.
    for other in ({"start_sha256": "0" * 64}, {"start": "teacher patch-small-float"}):
        card = training_card(run_training_card(FINISHED, **(start | other)))
        assert (card.float_steps, card.hours) == (31, 1.5)


def test_hours_of_resumed_parts_add_up(run_training_card, tmp_path):
    """The state holds the sum: as `hwkd distill --resume` goes on from the seconds that it finds."""
    folder = run_training_card({**FINISHED, "seconds": 1800.0})
    assert training_card(folder).hours == 0.5
    run_training_card({**FINISHED, "seconds": 1800.0 + 3600.0})
    assert training_card(folder).hours == 1.5


@pytest.mark.parametrize("damaged", [True, False])
def test_without_a_checkpoint_the_steps_are_the_planned_ones(run_training_card, tmp_path, damaged):
    folder = run_training_card(FINISHED if damaged else None)
    if damaged:
        (tmp_path / "demo/checkpoint/state.pt").write_bytes(b"PK")
    card = training_card(folder)
    assert (card.float_steps, card.quantized_steps, card.hours) == (30, 20, None)


def test_the_float_student_was_not_trained_in_bits(run_training_card):
    card = training_card(run_training_card(FINISHED) + ":float")
    assert (card.float_steps, card.quantized_steps) == (31, 0)
    assert card.hours is None  # the state knows those of both phases together


@pytest.mark.parametrize("changes", [{"ptq": True}, {"bits": None}])
def test_a_run_that_never_trained_in_bits_knows_its_hours(run_training_card, changes):
    state = {"phase": "float", "step": 30, "steps": {"float": 30}, "seconds": 720.0}
    card = training_card(run_training_card(state, qat_steps=0, **changes))
    assert (card.float_steps, card.quantized_steps, card.hours) == (30, 0, 0.2)


def test_a_run_that_learns_from_nobody_has_no_teacher(run_training_card):
    alone = LossWeights(rd=1.0, latent=0.0, output=0.0, hyper=0.0)
    assert training_card(run_training_card(loss=alone)).teacher == "none"


def test_a_teacher_without_a_file_and_a_second_one(run_training_card):
    card = training_card(
        run_training_card(
            teacher_sha256="",
            second_teacher="other",
            second_teacher_sha256="00112233445566778899",
            start="random",
            start_sha256="",
        )
    )
    assert card.teacher == "patch-q5, for z_hat other (sha256 0011223344556677)"
    assert card.start == "random"


def test_a_shipped_teacher_says_what_its_card_says():
    card, held = training_card("patch-q5"), read_card("patch-q5")
    assert (card.data, card.licence, card.hardware) == (held.data, held.licence, held.hardware)
    assert (card.float_steps, card.quantized_steps, card.hours) == (13891, 0, 0.95)


def test_of_a_file_nothing_is_known(tiny_teacher_file):
    card = training_card(str(tiny_teacher_file))
    assert (card.data, card.seed, card.float_steps, card.hours) == (NOT_RECORDED, None, None, None)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="is not a run folder"):
        training_card(str(tmp_path))
