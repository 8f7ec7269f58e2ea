import subprocess
import sys

import pytest

from hwkd.errors import InputError
from hwkd.measure.energy import sensors
from hwkd.measure.energy.sensors import open_meter
from tests.fakes.sysfs import FakeRapl, hwmon_tree, iio_tree

NO_INA = "ina3221: no INA3221 under"
NO_RAPL = "rapl: no "


@pytest.fixture(autouse=True)
def tried_briefly(monkeypatch):
    """The counters of these trees do not move; where a test is about that it says so."""
    for kind in ("rapl", "nvml"):
        monkeypatch.setitem(sensors.TRIED_S, kind, 0.0)


def test_auto_passes_over_a_counter_that_stands_still(tmp_path, monkeypatch):
    monkeypatch.setitem(sensors.TRIED_S, "rapl", 0.15)
    FakeRapl(tmp_path).add_package(0, 0)
    opened = open_meter("auto", sysfs=tmp_path)
    assert opened.meter.name == "codecarbon"
    assert "the counter stands still" in opened.passed_over[1]
    with pytest.raises(InputError, match="the counter stands still"):
        open_meter("rapl", sysfs=tmp_path)


def test_auto_passes_over_two_rails_of_one_name(tmp_path):
    for chip in ("1-0040", "1-0041"):
        hwmon_tree(tmp_path, {"VDD_IN": (5000, 800)}, chip)
    opened = open_meter("auto", sysfs=tmp_path)
    assert "two rails called VDD_IN" in opened.passed_over[0]


def test_auto_passes_over_a_negative_power(tmp_path):
    hwmon_tree(tmp_path, {"VDD_IN": (5000, -800)})
    opened = open_meter("auto", sysfs=tmp_path)
    assert "tells -4 W for the whole module, which cannot be" in opened.passed_over[0]


def test_auto_passes_over_what_a_library_stumbles_over(tmp_path, monkeypatch):
    def fail(**_):
        raise IndexError("list index out of range")

    monkeypatch.setattr("hwkd.measure.energy.rapl.RaplMeter", fail)
    FakeRapl(tmp_path).add_package(0, 0)
    opened = open_meter("auto", sysfs=tmp_path)
    assert opened.passed_over[1] == "rapl: it fails with IndexError: list index out of range"


@pytest.mark.parametrize(
    ("config", "variables", "cause"),
    [
        ("no section\n", {}, "File contains no section headers"),
        ("", {"CODECARBON_MEASURE_POWER_SECS": "abc"}, "could not convert string to float: 'abc'"),
        ("", {"CODECARBON_FORCE_CPU_POWER": "many"}, "many"),
    ],
)
def test_a_broken_configuration_of_codecarbon_is_named_as_such(
    tmp_path, monkeypatch, config, variables, cause
):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".codecarbon.config").write_text(config)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    try:
        opened = open_meter("codecarbon")
    except InputError as error:
        assert "did not start" in str(error) and cause in str(error)
        assert "look at ~/.codecarbon.config" in str(error)
    else:
        # codecarbon itself may pass over what it cannot read.
        assert opened.meter.end_window  # and then it works
        opened.meter.begin_window()
        assert opened.meter.end_window().energy_j >= 0


def test_auto_takes_the_board_first(tmp_path):
    iio_tree(tmp_path, {"POM_5V_IN": 3000})
    FakeRapl(tmp_path).add_package(0, 0)
    opened = open_meter("auto", sysfs=tmp_path)
    assert (opened.meter.name, opened.meter.found) == ("ina3221", "measured")
    assert opened.passed_over == ()


def test_auto_takes_the_processor_next_and_says_what_it_passed_over(tmp_path):
    FakeRapl(tmp_path).add_package(0, 0)
    opened = open_meter("auto", sysfs=tmp_path)
    assert (opened.meter.name, opened.meter.found) == ("rapl", "measured")
    assert [reason.startswith(NO_INA) for reason in opened.passed_over] == [True]


def test_auto_ends_with_the_estimate(tmp_path):
    opened = open_meter("auto", sysfs=tmp_path)
    assert (opened.meter.name, opened.meter.found) == ("codecarbon", "estimated")
    ina, rapl = opened.passed_over
    assert ina.startswith(NO_INA)
    assert rapl.startswith(f"{NO_RAPL}{tmp_path}/class/powercap")


def test_auto_with_nothing_at_all_tells_every_cause(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "codecarbon", None)
    with pytest.raises(InputError) as error:
        open_meter("auto", sysfs=tmp_path)
    message = str(error.value)
    assert message.startswith(f"no energy meter works here: {NO_INA}")
    assert f" | {NO_RAPL}" in message
    assert " | codecarbon: codecarbon cannot be imported" in message


def test_a_meter_that_is_asked_for_and_missing_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"no .*intel-rapl:0: a virtual machine"):
        open_meter("rapl", sysfs=tmp_path)


def test_an_unknown_kind_is_refused_with_the_near_one():
    with pytest.raises(InputError, match="unknown energy meter 'rappl': did you mean rapl"):
        open_meter("rappl")


def test_measuring_loads_no_torch():
    modules = (
        "hwkd.measure.energy.measure",
        "hwkd.measure.energy.sensors",
        "hwkd.measure.energy.rapl",
        "hwkd.measure.energy.nvml",
        "hwkd.measure.energy.ina3221",
        "hwkd.measure.energy.codecarbon",
        "hwkd.measure.energy.codecarbon",
    )
    code = (
        "import importlib, sys\n"
        f"for name in {modules}: importlib.import_module(name)\n"
        "assert not {'torch', 'compressai', 'codecarbon', 'pyJoules', 'pynvml'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
