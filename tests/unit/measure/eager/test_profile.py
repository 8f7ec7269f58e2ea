import re
from dataclasses import replace

import pytest

from hwkd.bits import BitPlan
from hwkd.errors import InputError
from hwkd.measure import eager_profile
from hwkd.measure.eager.models import load_subject, quantized
from hwkd.measure.eager_profile import host_steps, profile_host
from hwkd.measure.energy.sensors import OpenedMeter
from hwkd.measure.host import eager_setting, host_facts, host_name
from hwkd.measure.profile import Wanted
from hwkd.measure.record import Entry
from hwkd.measure.stages import UNTRAINED
from hwkd.quantity import Quantity
from tests.fakes.steady_meter import SteadyMeter

BARE = "hyperprior:N=4,M=6,family=relu"
EAGER = eager_setting(1)
WITHOUT = Wanted(threads=(1,), runtimes=(), seconds=0.001, meter=None, country=None, memory=False)
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
        monkeypatch.setattr(eager_profile, name, lambda *_, **__: [])
    monkeypatch.setattr(eager_profile, "measure_memory", measure_memory)
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
