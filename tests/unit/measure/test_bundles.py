import hashlib
import json
import sys
import zipfile
from dataclasses import replace
from functools import cache
from importlib.metadata import version

import numpy as np
import pytest
import torch
from PIL import Image

from hwkd.bits import BitPlan
from hwkd.codec.codec import Codec
from hwkd.errors import InputError
from hwkd.files import data_folder
from hwkd.images import open_images
from hwkd.measure import bundles
from hwkd.measure.bundles import (
    CHILD,
    COSTS,
    all_shipped_records,
    bits_of,
    bundle_steps,
    card_quality,
    evaluated_bundle,
    load_bundle_subject,
    predicted_for,
    predicted_records,
    profile_bundle,
    read_costs,
    records_named,
    runtimes_for,
)
from hwkd.measure.coder import STAGES, STAGES_NOTE, Absent, int8_setting, picture
from hwkd.measure.eager.bundle_file import costs_of
from hwkd.measure.eager.macs import codec_layers, count_macs
from hwkd.measure.energy.sensors import OpenedMeter
from hwkd.measure.machine import host_facts, host_name
from hwkd.measure.profile import ProfilePlan, photograph
from hwkd.measure.quality import ms_ssim
from hwkd.measure.record import Entry, Quality, find_records, read_record
from hwkd.models.build import build
from hwkd.models.spec import spec_to_json
from hwkd.quantity import Quantity
from hwkd.quantize.integer import weight_bytes
from hwkd.quantize.qat import quantize
from hwkd.runtime.bundle import read_bundle, unpack_arrays, write_bundle
from hwkd.runtime.manifest import Card, Executed, SetFigures
from hwkd.target import list_targets, load_target
from tests.fakes.steady_meter import SteadyMeter


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


def test_the_layers_that_bits_add_are_counted(quantized, holding):
    spec, codec = quantized("wide")
    costs = read_costs(holding(costs_of(spec, codec, 6)))
    macs, layers = costs.for_image(64, 64)
    added = 128 * 12
    assert {one.name: one.macs for one in layers}["g_a.head_rest"] == 16 * added
    model = build(spec)
    assert macs.g_a - count_macs(model, 64, 64).by_network["g_a"] == 16 * added
    assert costs.parameters - sum(p.numel() for p in model.parameters()) == added


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


WITHOUT = ProfilePlan(
    threads=(1,),
    runtimes=("onnxruntime", "openvino"),
    seconds=1e-9,
    meter=None,
    country=None,
    memory=False,
)
OPENVINO, ONNXRUNTIME = (
    int8_setting(f"{name} {version(name)}", 1) for name in ("openvino", "onnxruntime")
)


@pytest.fixture(scope="module")
def subject_bundle_profile(tiny_bundle):
    return load_bundle_subject(str(tiny_bundle), 70, 64)


@pytest.fixture(scope="module")
def steps():
    """The steps that the profile of `full` told of."""
    return []


@pytest.fixture(scope="module")
def full(subject_bundle_profile, steps, brief_windows):
    """The tiny bundle with everything but memory."""
    opened = OpenedMeter(SteadyMeter(), ("rapl: none here",))
    wanted = replace(WITHOUT, meter=opened, country="FRA")
    return profile_bundle(subject_bundle_profile, 70, 64, wanted, "hwkd profile x", steps.append)


@pytest.fixture
def nothing_timed(monkeypatch):
    """A profile opens and measures nothing; the seconds are for other tests."""
    coders = {OPENVINO.runtime: Absent("m", OPENVINO.runtime, "it fails the self-test")}
    some = bundles.open_coders

    def open_coders(bundle, runtimes, image, threads, quality):
        return coders | some(bundle, ("onnxruntime",), image, threads)

    monkeypatch.setattr(bundles, "open_coders", open_coders)
    monkeypatch.setattr(bundles, "stage_latencies", lambda *_, **__: [])


def test_the_record_is_of_this_machine_and_of_the_bundle(full, subject_bundle_profile):
    assert (full.is_host, full.target) == (True, host_name(host_facts()))
    assert (full.width, full.height) == (70, 64)
    assert (full.model, full.size, full.macs) == (
        subject_bundle_profile.facts,
        subject_bundle_profile.size,
        subject_bundle_profile.macs,
    )
    assert full.layers == subject_bundle_profile.layers
    assert full.provenance.command == "hwkd profile x"
    assert {"hwkd", "onnxruntime", "openvino", "llvmlite"} <= set(full.provenance.versions)


def test_every_stage_is_measured_in_every_runtime_the_preferred_one_first(full):
    latencies = [e for e in full.entries if e.name == "latency_ms"]
    places = [(side, part) for side, parts in STAGES.items() for part in parts]
    expected = [(setting, *p) for setting in (OPENVINO, ONNXRUNTIME) for p in places]
    assert [(e.setting, e.side, e.part) for e in latencies] == expected
    for entry in latencies:
        figure = entry.quantity
        assert (figure.found, figure.level) == ("measured", 0.95)
        assert 0 < figure.low <= figure.value <= figure.high
        assert figure.runs >= 6


def test_energy_is_of_the_whole_way_in_the_preferred_runtime(full):
    energies = [e for e in full.entries if e.name != "latency_ms"]
    names = ("energy_mj", "power_w", "emissions_g_per_1000")
    assert [(e.name, e.side) for e in energies] == [(n, s) for s in STAGES for n in names]
    assert {(e.setting, e.part) for e in energies} == {(OPENVINO, "end_to_end")}
    # The meter tells 2 J above rest in every window of a second.
    power = [e.quantity.value for e in energies if e.name == "power_w"]
    assert power == pytest.approx([2.0, 2.0])


def test_steps_are_told_and_counted(full, steps):
    assert steps == ["opening", "latency by stage", "energy"]
    meter = OpenedMeter(SteadyMeter())
    assert bundle_steps(replace(WITHOUT, meter=meter)) == 3
    assert bundle_steps(replace(WITHOUT, threads=(1, 2), memory=True)) == 4


def test_notes_say_what_was_done(full):
    assert full.notes[0].startswith("Latency and energy: ")
    assert "energy: rapl: none here" in full.notes
    assert STAGES_NOTE in full.notes
    assert not any("float twin" in note for note in full.notes)


def test_memory_is_that_of_the_runtime_that_is_measured(
    subject_bundle_profile, nothing_timed, monkeypatch
):
    asked = []

    def measure_memory(text, width, height, *, threads, repeats, setting, command):
        asked.append((text, width, height, threads, setting, command))
        peak = Quantity(200.0, "measured", "a process", runs=repeats)
        return [Entry("peak_mib", "encode", "end_to_end", setting, peak)]

    monkeypatch.setattr(bundles, "measure_memory", measure_memory)
    record = profile_bundle(subject_bundle_profile, 70, 64, replace(WITHOUT, memory=True), "c")
    # Not the preferred one, which fails here.
    command = (*CHILD, "onnxruntime")
    assert asked == [(subject_bundle_profile.text, 70, 64, 1, ONNXRUNTIME, command)]
    assert [e.quantity.value for e in record.entries] == [200.0]


def test_no_sensor_is_told_with_the_reason(subject_bundle_profile, nothing_timed):
    wanted = replace(WITHOUT, why_no_meter="no energy meter works here")
    record = profile_bundle(subject_bundle_profile, 70, 64, wanted, "c")
    assert "energy: no energy meter works here" in record.notes


@pytest.mark.parametrize("has_photographs", [True, False])
def test_a_photograph_is_coded_where_there_is_one(
    subject_bundle_profile, nothing_timed, monkeypatch, has_photographs
):
    coded = []
    opened = bundles.open_coders

    def open_coders(bundle, runtimes, image, threads, quality):
        coded.append(image)
        return opened(bundle, runtimes, image, threads, quality)

    def no_photograph(width, height):
        raise InputError("scikit-image is not installed")

    monkeypatch.setattr(bundles, "open_coders", open_coders)
    if not has_photographs:
        monkeypatch.setattr(bundles, "photograph", no_photograph)
    record = profile_bundle(subject_bundle_profile, 70, 64, WITHOUT, "c")
    expected = photograph(70, 64) if has_photographs else picture(70, 64)
    assert np.array_equal(coded[0], expected)
    assert any("made in code" in note for note in record.notes) != has_photographs


def with_executed(subject, *executed):
    manifest = replace(subject.bundle.manifest, executed=executed)
    return replace(subject, bundle=replace(subject.bundle, manifest=manifest))


def test_what_ran_in_float_is_one_sentence(subject_bundle_profile, nothing_timed):
    told = with_executed(
        subject_bundle_profile,
        Executed("encoder", "a 1", {"int8": 5, "fp32": 2, "elementwise": 9}, ("g_a.6", "h_a.4")),
        Executed("hyper", "a 1", {"fp32": 3}, ("h_s.0",)),
        Executed("decoder", "a 1", {"int8": 3, "fp32": 1}, ("g_s.0",)),
        Executed("encoder", "b 2", {"int8": 7}, ()),
        Executed("hyper", "b 2", {"fp32": 3}, ("h_s.0",)),
    )
    record = profile_bundle(told, 70, 64, WITHOUT, "c")
    assert (
        "Convolutions and matrix products in float, as each runtime told when the bundle was exported: a 1: 2 of 7 in "
        "the encoder (g_a.6, h_a.4), 1 of 4 in the decoder (g_s.0); b 2: none; those of h_s hold whole numbers in "
        "float32 on purpose."
    ) in record.notes


def test_where_no_runtime_was_asked_that_is_said(subject_bundle_profile, nothing_timed):
    record = profile_bundle(with_executed(subject_bundle_profile), 70, 64, WITHOUT, "c")
    assert (
        "What ran in float is not known: no runtime was asked when the bundle was exported."
    ) in record.notes


def test_runtimes_are_those_that_are_wanted_and_have_graphs(subject_bundle_profile):
    assert runtimes_for(subject_bundle_profile, WITHOUT) == ("openvino", "onnxruntime")
    assert runtimes_for(subject_bundle_profile, replace(WITHOUT, runtimes=("onnxruntime",))) == (
        "onnxruntime",
    )
    graphs = subject_bundle_profile.bundle.manifest.graphs
    decoder = {"onnxruntime": graphs["decoder"]["onnxruntime"]}
    manifest = replace(
        subject_bundle_profile.bundle.manifest, graphs={**graphs, "decoder": decoder}
    )
    partial = replace(
        subject_bundle_profile, bundle=replace(subject_bundle_profile.bundle, manifest=manifest)
    )
    assert runtimes_for(partial, WITHOUT) == ("onnxruntime",)


def test_without_a_runtime_it_is_one_line(subject_bundle_profile):
    with pytest.raises(InputError) as caught:
        profile_bundle(subject_bundle_profile, 70, 64, replace(WITHOUT, runtimes=()), "c")
    assert str(caught.value) == (
        f'no runtime for {subject_bundle_profile.text} is installed: pip install "hwkd[runtime]", or leave host out of --target'
    )


def figures(record):
    return [(e.name, e.side, e.setting, e.quantity.value) for e in record.entries]


def test_a_board_of_ones_own_is_predicted_as_the_shipped_one_it_is_a_copy_of(board_file):
    shipped = {r.model.name: r for r in find_records("raspberry-pi-5")}
    made = records_named(str(board_file))
    assert {r.model.name for r in made} == set(shipped)
    for record in made:
        assert record.target == "my-board"
        assert not record.is_host
        assert figures(record) == [
            (*key, pytest.approx(value)) for *key, value in figures(shipped[record.model.name])
        ]


def test_records_are_ordered_with_the_most_macs_first(board_file):
    macs = [r.macs.total_macs for r in records_named(str(board_file))]
    assert macs == sorted(macs, reverse=True)
    assert len(set(macs)) > 1


def test_a_target_with_records_gives_those_that_ship():
    assert records_named("jetson-nano") == find_records("jetson-nano")


def test_a_target_that_was_added_as_a_file_needs_no_records(installed_board):
    assert "my-board" in list_targets()
    assert {r.target for r in records_named("my-board")} == {"my-board"}
    assert "my-board" in {r.target for r in all_shipped_records()}


def test_all_shipped_records_are_those_of_the_files():
    folder = data_folder("profiles")
    paths = [p for p in folder.glob("*/*.json") if p.parent.name not in ("published", "results")]
    assert len(all_shipped_records()) == len(paths)


def test_a_quantized_model_that_does_not_ship_is_refused():
    path = data_folder("profiles") / "jetson-nano" / "patch-small.hwkd.json"
    record = read_record(path)
    unknown = replace(record, model=replace(record.model, name="mine.hwkd"))
    with pytest.raises(InputError, match=r"mine\.hwkd is quantized .*hwkd profile"):
        predicted_for([unknown], load_target("jetson-nano"))


def test_the_models_predicted_for_a_target_are_those_that_ship():
    names = {r.model.name for r in predicted_records(load_target("arm-server"))}
    assert names == {r.model.name for r in find_records("arm-server")}


@pytest.mark.parametrize("text", ["none.toml", "no-such-target", "no-such-folder/model.json"])
def test_what_is_nothing_is_refused(text):
    with pytest.raises(InputError):
        records_named(text)


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
