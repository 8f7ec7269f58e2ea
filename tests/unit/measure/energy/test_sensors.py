import subprocess
import sys

import pytest

from hwkd.errors import InputError
from hwkd.measure.energy.sensors import open_meter
from tests.fakes.sysfs import FakeRapl, iio_tree

NO_INA = "ina3221: no INA3221 under"
NO_RAPL = "rapl: no "


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
