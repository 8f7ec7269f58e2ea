from dataclasses import replace
from importlib.metadata import version

import numpy as np
import pytest

from hwkd.errors import InputError
from hwkd.measure import bundles
from hwkd.measure.bench_coder import Absent
from hwkd.measure.bundle_subject import load_bundle_subject
from hwkd.measure.bundles import CHILD, bundle_steps, profile_bundle, runtimes_for
from hwkd.measure.coder import STAGES, STAGES_NOTE, int8_setting
from hwkd.measure.energy.sensors import OpenedMeter
from hwkd.measure.host import host_facts, host_name
from hwkd.measure.picture import picture
from hwkd.measure.profile import Wanted, photograph
from hwkd.measure.record import Entry
from hwkd.quantity import Quantity
from hwkd.runtime.manifest import Executed
from tests.fakes.steady_meter import SteadyMeter

WITHOUT = Wanted(
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
def subject(tiny_bundle):
    return load_bundle_subject(str(tiny_bundle), 70, 64)


@pytest.fixture(scope="module")
def steps():
    """The steps that the profile of `full` told of."""
    return []


@pytest.fixture(scope="module")
def full(subject, steps, brief_windows):
    """The tiny bundle with everything but memory."""
    opened = OpenedMeter(SteadyMeter(), ("rapl: none here",))
    wanted = replace(WITHOUT, meter=opened, country="FRA")
    return profile_bundle(subject, 70, 64, wanted, "hwkd profile x", steps.append)


@pytest.fixture
def nothing_timed(monkeypatch):
    """A profile opens and measures nothing; the seconds are for other tests."""
    coders = {OPENVINO.runtime: Absent("m", OPENVINO.runtime, "it fails the self-test")}
    some = bundles.open_coders

    def open_coders(bundle, runtimes, image, threads, quality):
        return coders | some(bundle, ("onnxruntime",), image, threads)

    monkeypatch.setattr(bundles, "open_coders", open_coders)
    monkeypatch.setattr(bundles, "stage_latencies", lambda *_, **__: [])


def test_the_record_is_of_this_machine_and_of_the_bundle(full, subject):
    assert (full.is_host, full.target) == (True, host_name(host_facts()))
    assert (full.width, full.height) == (70, 64)
    assert (full.model, full.size, full.macs) == (subject.facts, subject.size, subject.macs)
    assert full.layers == subject.layers
    assert full.provenance.command == "hwkd profile x"
    assert {"hwkd", "onnxruntime", "openvino", "numba"} <= set(full.provenance.versions)


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


def test_memory_is_that_of_the_runtime_that_is_measured(subject, nothing_timed, monkeypatch):
    asked = []

    def measure_memory(text, width, height, *, threads, repeats, setting, command):
        asked.append((text, width, height, threads, setting, command))
        peak = Quantity(200.0, "measured", "a process", runs=repeats)
        return [Entry("peak_mib", "encode", "end_to_end", setting, peak)]

    monkeypatch.setattr(bundles, "measure_memory", measure_memory)
    record = profile_bundle(subject, 70, 64, replace(WITHOUT, memory=True), "c")
    # Not the preferred one, which fails here.
    command = (*CHILD, "onnxruntime")
    assert asked == [(subject.text, 70, 64, 1, ONNXRUNTIME, command)]
    assert [e.quantity.value for e in record.entries] == [200.0]


def test_no_sensor_is_told_with_the_reason(subject, nothing_timed):
    wanted = replace(WITHOUT, why_no_meter="no energy meter works here")
    record = profile_bundle(subject, 70, 64, wanted, "c")
    assert "energy: no energy meter works here" in record.notes


@pytest.mark.parametrize("has_photographs", [True, False])
def test_a_photograph_is_coded_where_there_is_one(
    subject, nothing_timed, monkeypatch, has_photographs
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
    record = profile_bundle(subject, 70, 64, WITHOUT, "c")
    expected = photograph(70, 64) if has_photographs else picture(70, 64)
    assert np.array_equal(coded[0], expected)
    assert any("made in code" in note for note in record.notes) != has_photographs


def with_executed(subject, *executed):
    manifest = replace(subject.bundle.manifest, executed=executed)
    return replace(subject, bundle=replace(subject.bundle, manifest=manifest))


def test_what_ran_in_float_is_one_sentence(subject, nothing_timed):
    told = with_executed(
        subject,
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


def test_where_no_runtime_was_asked_that_is_said(subject, nothing_timed):
    record = profile_bundle(with_executed(subject), 70, 64, WITHOUT, "c")
    assert (
        "What ran in float is not known: no runtime was asked when the bundle was exported."
    ) in record.notes


def test_runtimes_are_those_that_are_wanted_and_have_graphs(subject):
    assert runtimes_for(subject, WITHOUT) == ("openvino", "onnxruntime")
    assert runtimes_for(subject, replace(WITHOUT, runtimes=("onnxruntime",))) == ("onnxruntime",)
    graphs = subject.bundle.manifest.graphs
    decoder = {"onnxruntime": graphs["decoder"]["onnxruntime"]}
    manifest = replace(subject.bundle.manifest, graphs={**graphs, "decoder": decoder})
    partial = replace(subject, bundle=replace(subject.bundle, manifest=manifest))
    assert runtimes_for(partial, WITHOUT) == ("onnxruntime",)


def test_without_a_runtime_it_is_one_line(subject):
    with pytest.raises(InputError) as caught:
        profile_bundle(subject, 70, 64, replace(WITHOUT, runtimes=()), "c")
    assert str(caught.value) == (
        f'no runtime for {subject.text} is installed: pip install "hwkd[runtime]", or leave host out of --target'
    )
