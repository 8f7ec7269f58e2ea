import math
from dataclasses import replace

import pytest

from hwkd.errors import InputError
from hwkd.measure.host import HostFacts
from hwkd.measure.layers import LayerCost
from hwkd.measure.predict.target import predicted_entries
from hwkd.measure.record import Entry, Macs, ModelFacts, Provenance, Record, Setting, Size
from hwkd.measure.save_target import check_name, target_from
from hwkd.quantity import Quantity
from hwkd.target import load_target
from hwkd.target_file import write_target

SETTING = Setting("cpu", "torch 2.13.0 eager", "fp32", 2)
FACTS = HostFacts("A Processor 9000", ("avx2",), 6, 16_000.0, 3456.7, None)
LIKE = load_target("jetson-nano")


def layer(network, outputs):
    """A MAC takes a nanosecond, and nothing else any time."""
    macs = 1_000_000 * outputs
    return LayerCost(
        f"{network}.0", network, "conv", 64, 64, 5, 2, 1, 100, 100 * outputs, 102_400, macs
    )


LAYERS = (layer("g_a", 1), layer("h_a", 2), layer("h_s", 3), layer("g_s", 4))


@pytest.fixture
def record():
    def latency(side, part, ms, name=""):
        quantity = Quantity(ms, "measured", "the clock", runs=10)
        return Entry("latency_ms", side, part, SETTING, quantity, layer=name)

    times = [latency("both", "layer", of.macs / 1e6, of.name) for of in LAYERS]
    return Record(
        schema=1,
        target="a-processor-9000-6-cores",
        is_host=True,
        width=64,
        height=64,
        model=ModelFacts("m", "m", "{}", "gdn", "32", False),
        size=Size(1, 4, 4, 0),
        macs=Macs(1, 1, 1, 1),
        layers=LAYERS,
        entries=(
            *times,
            latency("encode", "networks", 1 + 2 + 3),
            latency("decode", "networks", 3 + 4),
        ),
        provenance=Provenance("2026-01-01T00:00:00Z", "hwkd profile m", "host", {}),
    )


def test_the_machine_is_what_the_system_tells(record):
    target = target_from("my-board", [record], LIKE, FACTS)
    assert (target.name, target.preferred_unit) == ("my-board", "cpu")
    (cpu,) = target.units
    assert (cpu.model, cpu.cores.value, cpu.clock_ghz.value) == ("A Processor 9000", 6, 3.457)
    assert target.description == (
        "A Processor 9000, 6 cores, as profiled; arithmetic and runtime as jetson-nano"
    )


def test_arithmetic_is_that_of_the_likeness_and_its_power_and_limits_are_not(record):
    target = target_from("my-board", [record], LIKE, FACTS)
    assert target.cpu.arithmetic == LIKE.cpu.arithmetic
    assert target.cpu.runtime == LIKE.cpu.runtime
    assert target.cpu.quantization == LIKE.cpu.quantization
    assert LIKE.power_modes and LIKE.limits and LIKE.cpu.timings
    assert (target.power_modes, target.limits, target.sensors) == ((), (), ())
    assert target.cpu.timings is None
    assert target.idle_w.unknown == target.load_w.unknown
    assert target.load_w.unknown == "not measured: a meter at the plug would tell"


def test_a_clock_that_the_system_does_not_tell_stays_unknown(record):
    target = target_from("my-board", [record], LIKE, replace(FACTS, clock_mhz=None))
    assert target.cpu.clock_ghz.unknown == "the system does not tell"


def test_its_constants_predict_what_was_measured(record):
    target = target_from("my-board", [record], LIKE, FACTS)
    entries, notes = predicted_entries(LAYERS, target, None)
    ms = {(e.name, e.side): e.quantity for e in entries}
    assert ms["latency_ms", "encode"].value == pytest.approx(6, rel=2e-4)
    assert ms["latency_ms", "decode"].value == pytest.approx(7, rel=2e-4)
    assert ms["latency_ms", "encode"].found == "predicted"
    assert ms["energy_mj", "encode"].reason == (
        "the power of my-board under load is unknown: not measured: a meter at the plug would tell"
    )
    assert {e.setting for e in entries} == {SETTING}
    assert notes == ()


def test_the_file_gives_the_same_target_back(record, tmp_path):
    target = target_from("my-board", [record], LIKE, FACTS)
    path = tmp_path / "my-board.toml"
    write_target(path, target, "first line\nsecond line")
    assert load_target(str(path)) == target
    assert path.read_text().startswith("# first line\n# second line\n")
    assert math.isfinite(target.constants[0].sigma)


@pytest.mark.parametrize("name", ["", " ", " a", "a/b", "..", "a.toml", "-x", "a\\b", "Board 2"])
def test_what_is_no_name_is_refused(name, record):
    for refuse in (lambda: check_name(name), lambda: target_from(name, [record], LIKE, FACTS)):
        with pytest.raises(InputError) as caught:
            refuse()
        assert str(caught.value) == (
            f"--save-target {name!r} is no name for a target; give letters, digits and dashes, as my-board"
        )


@pytest.mark.parametrize("name", ["my-board", "Board2", "kiste_3"])
def test_names_are_accepted(name, record):
    check_name(name)
    assert target_from(name, [record], LIKE, FACTS).name == name


def test_records_without_measured_layers_make_no_target(record):
    bare = replace(record, entries=())
    with pytest.raises(InputError, match="none of the records has measured layers"):
        target_from("my-board", [bare], LIKE, FACTS)
