import os
import re
from collections import Counter
from dataclasses import replace
from importlib.metadata import version

import numpy as np
import pytest
import torch

from hwkd.bits import BitPlan
from hwkd.errors import HwkdError, InputError
from hwkd.measure.eager import profile
from hwkd.measure.eager.macs import count_macs
from hwkd.measure.eager.models import load_subject, quantized
from hwkd.measure.eager.profile import (
    TOLERANCE,
    UNTRAINED,
    graph_latencies,
    host_steps,
    largest_difference,
    layer_latencies,
    profile_host,
    stage_latencies,
)
from hwkd.measure.energy.sensors import OpenedMeter
from hwkd.measure.machine import eager_setting, host_facts, host_name
from hwkd.measure.profile import ProfilePlan
from hwkd.measure.record import Entry, Setting
from hwkd.models.build import build
from hwkd.models.spec import HyperpriorSpec
from hwkd.models.teacher import load_teacher
from hwkd.quantity import Quantity
from hwkd.runtime.session import RUNTIMES
from tests.fakes.steady_meter import SteadyMeter

BARE = "hyperprior:N=4,M=6,family=relu"
EAGER = eager_setting(1)
WITHOUT = ProfilePlan(
    threads=(1,), runtimes=(), seconds=0.001, meter=None, country=None, memory=False
)
STAGES = {
    "encode": ("preprocess", "transform", "hyper", "entropy", "networks", "end_to_end"),
    "decode": ("entropy", "hyper", "transform", "postprocess", "networks", "end_to_end"),
}


@pytest.fixture(scope="module")
def trained(made_teacher):
    return load_subject(str(made_teacher), 128, 64)


@pytest.fixture(scope="module")
def bare():
    return load_subject(BARE, 128, 64)


@pytest.fixture(scope="module")
def steps():
    """The steps that the profile of `full` told of."""
    return []


@pytest.fixture(scope="module")
def full(trained, brief_windows, steps):
    """The tiny teacher with everything but memory."""
    opened = OpenedMeter(SteadyMeter(), ("rapl: none here",))
    wanted = replace(WITHOUT, runtimes=("onnxruntime",), meter=opened, country="FRA")
    return profile_host(trained, 128, 64, wanted, "hwkd profile x", steps.append)


@pytest.fixture(scope="module")
def untrained(bare, brief_windows):
    """A bare architecture with energy."""
    return profile_host(bare, 128, 64, replace(WITHOUT, meter=OpenedMeter(SteadyMeter())), "c")


def found(record, name, side, part, setting=EAGER):
    (entry,) = (
        e
        for e in record.entries
        if (e.name, e.side, e.part, e.setting) == (name, side, part, setting)
    )
    return entry.quantity


def test_a_host_record_is_of_this_machine(full):
    assert full.is_host
    assert full.target == host_name(host_facts())
    assert (full.width, full.height) == (128, 64)
    assert full.model.name == "tiny-teacher"
    assert full.provenance.command == "hwkd profile x"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", full.provenance.created)
    assert {"hwkd", "torch", "compressai"} <= set(full.provenance.versions)
    assert full.provenance.host.startswith(host_facts().cpu)


def test_every_stage_and_layer_is_measured(full, trained):
    for side, parts in STAGES.items():
        for part in parts:
            figure = found(full, "latency_ms", side, part)
            assert (figure.found, figure.level) == ("measured", 0.95)
            assert figure.value > 0
    layers = {e.layer: e for e in full.entries if e.part == "layer"}
    assert {layer.name for layer in trained.layers} <= set(layers)
    sides = {"g_a.head": "encode", "h_a.0": "encode", "h_s.0": "both", "g_s.head": "decode"}
    assert {name: layers[name].side for name in sides} == sides
    assert layers["g_s.rest"].side == "decode"


def test_other_runtimes_have_the_networks(full):
    labels = {e.setting.runtime for e in full.entries if e.setting != EAGER}
    assert [label.split()[0] for label in labels] == ["onnxruntime"]
    (setting,) = {e.setting for e in full.entries if e.setting != EAGER}
    assert found(full, "latency_ms", "encode", "networks", setting).value > 0
    assert {e.part for e in full.entries if e.setting == setting} == {"networks"}


def test_the_energy_of_a_trained_model_is_of_the_whole_way(full):
    assert {e.part for e in full.entries if e.name == "energy_mj"} == {"end_to_end"}
    for side in ("encode", "decode"):
        # 2 J above rest in a second, over one image in a window at the least.
        assert found(full, "power_w", side, "end_to_end").value == pytest.approx(2.0)
        energy = found(full, "energy_mj", side, "end_to_end")
        assert 0 < energy.value <= 2000
        # On a busy machine the windows hold unlike numbers of images, and `by` tells of a cut interval as well.
        assert energy.by.startswith("fake: a made-up machine")


def test_emissions_are_those_of_a_thousand_images(full):
    for side in ("encode", "decode"):
        joules = found(full, "energy_mj", side, "end_to_end").value / 1e3
        emissions = found(full, "emissions_g_per_1000", side, "end_to_end")
        assert emissions.found == "estimated"
        g_per_kwh = float(re.search(r"([\d.]+) g CO2e/kWh", emissions.by).group(1))
        assert emissions.value == pytest.approx(1000 * joules / 3.6e6 * g_per_kwh, rel=0.02)


def test_notes_say_what_was_done_and_passed_over(full):
    assert full.notes[0].startswith("Latency and energy in torch: ")
    assert "energy: rapl: none here" in full.notes
    assert len(set(full.notes)) == len(full.notes)


def test_every_step_is_told_before_it(full, steps):
    assert steps == [
        "latency by stage",
        "latency by layer",
        "latency in other runtimes",
        "energy",
    ]


def test_steps_are_counted_as_they_are_told():
    meter = OpenedMeter(SteadyMeter())
    assert host_steps(WITHOUT) == 2
    assert host_steps(replace(WITHOUT, threads=(1, 2), runtimes=("openvino",))) == 6
    assert host_steps(replace(WITHOUT, meter=meter, memory=True)) == 4
    assert host_steps(replace(WITHOUT, runtimes=("onnxruntime",), meter=meter)) == 4


def test_random_weights_have_no_coding_and_no_whole_way(untrained):
    unknown = {(e.side, e.part) for e in untrained.entries if e.quantity.value is None}
    assert unknown == {(side, part) for side in STAGES for part in ("entropy", "end_to_end")}
    assert {e.quantity.reason for e in untrained.entries if e.quantity.value is None} == {UNTRAINED}
    assert found(untrained, "latency_ms", "encode", "networks").value > 0


def test_the_energy_of_random_weights_is_of_the_networks(untrained):
    energies = [e for e in untrained.entries if e.name in ("energy_mj", "power_w")]
    assert [(e.name, e.side, e.part) for e in energies] == [
        ("energy_mj", "encode", "networks"),
        ("power_w", "encode", "networks"),
        ("energy_mj", "decode", "networks"),
        ("power_w", "decode", "networks"),
    ]
    assert not [e for e in untrained.entries if e.name.startswith("emissions")]


@pytest.fixture
def asked(monkeypatch):
    """What memory was asked for, in place of the processes that measure it."""
    calls = []

    def measure_memory(text, width, height, *, threads, repeats):
        calls.append((text, width, height, threads))
        peak = Quantity(200.0, "measured", "a process", runs=repeats)
        return [Entry("peak_mib", "encode", "end_to_end", eager_setting(threads), peak)]

    for name in ("stage_latencies", "_layer_entries"):
        monkeypatch.setattr(profile, name, lambda *_, **__: [])
    monkeypatch.setattr(profile, "measure_memory", measure_memory)
    return calls


def test_memory_is_that_of_the_model_in_the_main_number_of_threads(trained, asked):
    wanted = replace(WITHOUT, threads=(2, 1), memory=True)
    record = profile_host(trained, 128, 64, wanted, "c")
    assert asked == [(trained.text, 128, 64, 2)]
    assert found(record, "peak_mib", "encode", "end_to_end", eager_setting(2)).value == 200


def test_a_quantized_run_is_measured_by_its_float_twin_and_says_so(trained, asked):
    subject = replace(trained, text="runs/student", bits=BitPlan(8, 8))
    record = profile_host(subject, 128, 64, replace(WITHOUT, memory=True), "c")
    assert asked == [("runs/student:float", 128, 64, 1)]
    assert any("float twin in float32" in note for note in record.notes)


def test_a_bare_architecture_has_no_twin_whatever_its_bits(bare, asked):
    subject = quantized(bare, BitPlan(8, 8))
    profile_host(subject, 128, 64, replace(WITHOUT, memory=True), "c")
    assert asked == [(BARE, 128, 64, 1)]


def test_too_many_threads_are_refused(bare):
    with pytest.raises(InputError, match="threads must be 1 to"):
        profile_host(bare, 64, 64, replace(WITHOUT, threads=(4096,)), "c")


PLACES = [
    ("encode", "preprocess"),
    ("encode", "transform"),
    ("encode", "hyper"),
    ("encode", "entropy"),
    ("encode", "networks"),
    ("encode", "end_to_end"),
    ("decode", "entropy"),
    ("decode", "hyper"),
    ("decode", "transform"),
    ("decode", "postprocess"),
    ("decode", "networks"),
    ("decode", "end_to_end"),
]


def places(entries):
    return [(entry.side, entry.part) for entry in entries]


@pytest.fixture
def trained_stages(made_teacher):
    return load_teacher(str(made_teacher)).model


def test_every_stage_of_a_trained_codec_is_measured(trained_stages, photo):
    threads = torch.get_num_threads()
    entries = stage_latencies(
        trained_stages, photo(60, 100, 1), threads=1, seconds=1e-9, is_trained=True
    )
    assert places(entries) == PLACES
    for entry in entries:
        figure = entry.quantity
        assert entry.name == "latency_ms"
        assert entry.setting == eager_setting(1)
        assert (figure.found, figure.runs, figure.level) == ("measured", 6, 0.95)
        assert "1 thread" in figure.by
        assert entry.p95 >= figure.value > 0
    assert torch.get_num_threads() == threads


def test_untrained_weights_have_no_coding_time(tiny_specs, photo):
    codec = build(tiny_specs["gdn"])
    entries = stage_latencies(codec, photo(64, 64, 1), threads=1, seconds=1e-9, is_trained=False)
    assert places(entries) == PLACES
    unknown = [entry for entry in entries if entry.quantity.value is None]
    assert places(unknown) == [
        ("encode", "entropy"),
        ("encode", "end_to_end"),
        ("decode", "entropy"),
        ("decode", "end_to_end"),
    ]
    for entry in unknown:
        assert entry.quantity.reason.startswith("untrained weights: ")
        assert entry.p95 is None
    assert codec.training


def test_stages_run_their_networks_once_each(trained_stages, photo):
    calls = Counter()
    for name in ("g_a", "h_a", "h_s", "g_s"):
        getattr(trained_stages, name).register_forward_hook(
            lambda *_, name=name: calls.update([name])
        )
    stage_latencies(trained_stages, photo(64, 64, 1), threads=1, seconds=1e-9, is_trained=True)
    # 2 warm-up rounds and 6 timed ones, and one pass to make the inputs. In a round: g_a in transform, networks and
    # end_to_end; h_a in hyper, networks, end_to_end; h_s in those of both sides; g_s as g_a.
    assert calls == {"g_a": 8 * 3 + 1, "h_a": 8 * 3 + 1, "h_s": 8 * 6 + 1, "g_s": 8 * 3 + 1}


def test_untrained_weights_are_not_coded_even_once(tiny_specs, photo, monkeypatch):
    def coded(*_, **__):
        raise AssertionError("coded")

    codec = build(tiny_specs["patch"])
    for model in (codec.entropy_bottleneck, codec.gaussian_conditional):
        monkeypatch.setattr(model, "compress", coded)
        monkeypatch.setattr(model, "decompress", coded)
    stage_latencies(codec, photo(64, 64, 1), threads=1, seconds=1e-9, is_trained=False)


def test_what_is_no_image_is_refused(trained_stages):
    with pytest.raises(InputError, match="uint8 array"):
        stage_latencies(trained_stages, np.zeros((8, 8)), threads=1, seconds=1, is_trained=True)


def test_a_model_elsewhere_is_refused(tiny_specs, photo):
    codec = build(tiny_specs["relu"]).to("meta")
    with pytest.raises(InputError, match="on the CPU, the model is on meta"):
        stage_latencies(codec, photo(64, 64, 1), threads=1, seconds=1, is_trained=False)


RESTS = {"g_a.rest", "h_a.rest", "h_s.rest", "g_s.rest"}


@pytest.mark.parametrize("family", ["gdn", "relu", "patch"])
def test_layers_are_those_that_have_macs(tiny_specs, family):
    codec = build(tiny_specs[family])
    result = layer_latencies(codec, 100, 60, threads=1, repeats=3)
    assert set(result) == set(count_macs(codec, 100, 60).by_layer) | RESTS
    assert {latency.runs for latency in result.values()} == {3}
    assert all(latency.median_ms > 0 for latency in result.values())


def test_the_order_is_that_of_the_run(tiny_specs):
    names = list(layer_latencies(build(tiny_specs["gdn"]), 64, 64, threads=1, repeats=1))
    layers = [name for name in names if name not in RESTS]
    assert layers == [
        *(f"g_a.{i}" for i in range(7)),
        *("h_a.0", "h_a.2", "h_a.4"),
        *("h_s.0", "h_s.2", "h_s.4"),
        *(f"g_s.{i}" for i in range(7)),
    ]


def test_hooks_and_modes_are_as_before(tiny_specs):
    codec = build(tiny_specs["gdn"])
    layer_latencies(codec, 64, 64, threads=1, repeats=1)
    assert codec.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in codec.modules())


@pytest.mark.parametrize(("width", "height", "repeats"), [(0, 64, 1), (64, 0, 1), (64, 64, 0)])
def test_nothing_to_time_is_refused(tiny_specs, width, height, repeats):
    with pytest.raises(InputError, match=f"got {width}x{height} and {repeats} runs"):
        layer_latencies(build(tiny_specs["relu"]), width, height, threads=1, repeats=repeats)


@pytest.mark.parametrize("family", ["gdn", "relu", "patch", "mean"])
def test_both_sides_are_measured_in_each_runtime(tiny_specs, family):
    codec = build(tiny_specs.get(family, HyperpriorSpec("mean", (8, 8, 8), 12, 8, 8)))
    threads = torch.get_num_threads()
    entries = graph_latencies(codec, 100, 60, runtimes=RUNTIMES, threads=1, seconds=0.001)
    assert [(e.name, e.side, e.part, e.setting) for e in entries] == [
        ("latency_ms", side, "networks", Setting("cpu", f"{name} {version(name)}", "fp32", 1))
        for name in RUNTIMES
        for side in ("encode", "decode")
    ]
    for entry in entries:
        figure = entry.quantity
        assert (figure.found, figure.runs, figure.level) == ("measured", 6, 0.95)
        assert "of torch's, relative to its largest value" in figure.by
        assert entry.p95 >= figure.value > 0
    assert codec.training
    assert torch.get_num_threads() == threads


def test_no_runtime_gives_no_figures(tiny_specs):
    codec = build(tiny_specs["relu"])
    assert graph_latencies(codec, 64, 64, runtimes=(), threads=1, seconds=1) == []


def test_an_unknown_runtime_is_refused_before_any_work(tiny_specs, monkeypatch):
    monkeypatch.setattr(profile, "export_networks", None)
    with pytest.raises(InputError, match="unknown runtime 'tensorrt'"):
        graph_latencies(
            build(tiny_specs["relu"]), 64, 64, runtimes=["tensorrt"], threads=1, seconds=1
        )


def test_the_difference_is_relative_to_the_largest_value():
    expected = {"y": np.array([-200.0, 1.0]), "z": np.array([0.0, 0.0])}
    outputs = {"y": np.array([-200.0, 1.1]), "z": np.array([0.0, -0.0001])}
    assert largest_difference("r", outputs, expected) == pytest.approx(0.1 / 200)


@pytest.mark.parametrize("value", [1 + 2 * TOLERANCE, float("nan")])
def test_another_result_than_torchs_is_an_error(value):
    with pytest.raises(HwkdError, match=r"openvino 1 computes another x_hat than torch") as caught:
        largest_difference("openvino 1", {"x_hat": np.array([value])}, {"x_hat": np.ones(1)})
    assert caught.value.exit_code == 1


def test_a_runtime_that_computes_something_else_is_not_timed(tiny_specs, monkeypatch):
    class Doubling:
        def __init__(self, path, runtime, threads):
            self.session = real(path, runtime, threads)

        def run(self, inputs):
            return {name: 2 * array for name, array in self.session.run(inputs).items()}

    real = profile.open_session
    monkeypatch.setattr(profile, "open_session", Doubling)
    with pytest.raises(HwkdError, match=r"onnxruntime .* computes another y than torch"):
        graph_latencies(
            build(tiny_specs["relu"]), 64, 64, runtimes=["onnxruntime"], threads=1, seconds=1
        )


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system cannot pin")
def test_graphs_are_opened_before_the_cores_are_fixed(tiny_specs, monkeypatch):
    # Else OpenVINO takes the one core for all there are, for as long as the process lives.
    seen = []

    def opened(path, runtime, threads):
        seen.append(os.sched_getaffinity(0))
        return real(path, runtime, threads)

    real = profile.open_session
    monkeypatch.setattr(profile, "open_session", opened)
    cores = os.sched_getaffinity(0)
    graph_latencies(
        build(tiny_specs["relu"]), 64, 64, runtimes=["openvino"], threads=1, seconds=0.001
    )
    assert seen == [cores] * 3
