import sys
from pathlib import Path

import pytest

from hwkd.errors import HwkdError, InputError
from hwkd.measure.energy.rapl import RaplMeter
from tests.fakes.meters import FakeClock
from tests.fakes.sysfs import RANGE_UJ, FakeRapl


@pytest.fixture
def clock(monkeypatch):
    clock = FakeClock()
    monkeypatch.setattr("hwkd.measure.energy.rapl.time", clock)
    return clock


@pytest.fixture
def rapl(tmp_path):
    return FakeRapl(tmp_path)


def window(rapl, clock, seconds=1.0, **energy_uj):
    meter = RaplMeter(sysfs=rapl.sysfs)
    meter.begin_window()
    clock.sleep(seconds)
    rapl.set(**energy_uj)
    return meter.end_window()


def test_joules_are_the_difference_of_the_counter(rapl, clock):
    rapl.add_package(0, 1_000_000)
    result = window(rapl, clock, 2.0, package_0=46_500_000)
    assert (result.energy_j, result.seconds) == (45.5, 2.0)
    assert result.by_domain == {"package_0": 45.5}


def test_counter_wraps_once(rapl, clock):
    rapl.add_package(0, RANGE_UJ - 10_000_000)
    assert window(rapl, clock, package_0=5_000_000).energy_j == 15.0


def test_package_and_dram_are_summed_and_cores_are_not(rapl, clock):
    rapl.add_package(0, 0, dram_uj=7_000_000)
    result = window(rapl, clock, package_0=30_000_000, dram_0=9_500_000, core_0=25_000_000)
    assert result.energy_j == 32.5
    assert result.by_domain == {"package_0": 30.0, "dram_0": 2.5}


def test_two_sockets_are_summed_one_of_them_wrapping(rapl, clock):
    rapl.add_package(0, 0, dram_uj=0).add_package(1, RANGE_UJ - 1_000_000, dram_uj=0)
    result = window(
        rapl, clock, package_0=20_000_000, package_1=4_000_000, dram_0=1_000_000, dram_1=3_000_000
    )
    assert result.by_domain == {"package_0": 20.0, "package_1": 5.0, "dram_0": 1.0, "dram_1": 3.0}
    assert result.energy_j == 29.0


def test_a_second_window_starts_from_its_own_reading(rapl, clock):
    rapl.add_package(0, 0)
    meter = RaplMeter(sysfs=rapl.sysfs)
    energies = []
    for value in (1_000_000, 4_000_000):
        meter.begin_window()
        clock.sleep(1.0)
        rapl.set(package_0=value)
        energies.append(meter.end_window().energy_j)
    assert energies == [1.0, 3.0]


def test_a_counter_that_stands_still_is_an_error(rapl, clock):
    rapl.add_package(0, 77)
    with pytest.raises(HwkdError, match=r"went from 77 to 77 uJ in 0.500 s: the counter stands"):
        window(rapl, clock, 0.5)


def test_a_counter_may_stand_still_between_two_of_its_updates(rapl, clock):
    rapl.add_package(0, 77)
    assert window(rapl, clock, 0.0005).energy_j == 0.0


def test_a_counter_that_was_reset_is_an_error(rapl, clock):
    rapl.add_package(0, 5_000_000)
    # A wrap would mean 262,140 J in a second.
    with pytest.raises(HwkdError, match=r"one wrap at 262143328850 uJ does not explain it"):
        window(rapl, clock, package_0=1_000_000)


def test_going_back_without_a_known_range_is_an_error(rapl, clock):
    rapl.add_package(0, 5_000_000, range_uj=None)
    with pytest.raises(HwkdError, match="it went back, and no max_energy_range_uj"):
        window(rapl, clock, package_0=1_000_000)


def test_a_window_in_which_it_could_wrap_twice_is_refused(rapl, clock):
    rapl.add_package(0, 0)
    # 262,143 J at 1,000 W last 262.1 s.
    with pytest.raises(HwkdError, match=r"a window of 263.0 s is too long .* every 262.1 s"):
        window(rapl, clock, 263.0, package_0=1_000_000)


def test_a_counter_that_vanishes_is_an_error(rapl, clock):
    rapl.add_package(0, 0)
    meter = RaplMeter(sysfs=rapl.sysfs)
    meter.begin_window()
    rapl.files["package_0"].unlink()
    with pytest.raises(HwkdError, match="could not be read"):
        meter.end_window()


def test_ending_without_a_beginning_is_an_error(rapl):
    rapl.add_package(0, 0)
    with pytest.raises(HwkdError, match="needs begin_window"):
        RaplMeter(sysfs=rapl.sysfs).end_window()


def test_without_rapl_the_cause_and_what_to_do_instead(tmp_path):
    with pytest.raises(InputError) as error:
        RaplMeter(sysfs=tmp_path)
    assert str(error.value) == (
        f"no {tmp_path}/class/powercap/intel-rapl/intel-rapl:0: a virtual machine, or a processor or kernel without "
        "RAPL; use --energy codecarbon for an estimate, or a meter at the plug"
    )


def test_counters_for_root_only_give_the_chmod_line_for_them(rapl, monkeypatch):
    rapl.add_package(0, 0, dram_uj=0)
    read_text = Path.read_text

    def denied(path, *args, **kwargs):
        # Root may read whatever the mode says, so the refusal is made here.
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied", str(path))
        return read_text(path, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", denied)
    with pytest.raises(InputError) as error:
        RaplMeter(sysfs=rapl.sysfs)
    zone = f"{rapl.sysfs}/class/powercap/intel-rapl/intel-rapl:0"
    assert str(error.value) == (
        "RAPL's counters are readable by root only; allow it until the next boot with "
        f"`sudo chmod a+r {zone}/energy_uj {zone}/intel-rapl:0:1/energy_uj`, or use --energy codecarbon for an "
        "estimate, or a meter at the plug"
    )


def test_a_counter_that_is_no_file_is_refused(rapl):
    rapl.add_package(0, 0)
    rapl.files["package_0"].unlink()
    rapl.files["package_0"].mkdir()
    with pytest.raises(InputError, match=r"energy_uj cannot be read \(Is a directory\)"):
        RaplMeter(sysfs=rapl.sysfs)


def test_packages_that_pyjoules_does_not_see_are_refused(rapl):
    rapl.add_package(0, 0).add_package(1, 0, name="package-1-die-0")
    with pytest.raises(InputError, match="pyJoules sees 1 of 2 packages"):
        RaplMeter(sysfs=rapl.sysfs)


def test_the_platform_zone_is_not_summed(rapl, clock):
    rapl.add_package(0, 0).add_package(1, 0, name="psys")
    result = window(rapl, clock, package_0=30_000_000, package_1=50_000_000)
    assert result.by_domain == {"package_0": 30.0}


def test_what_is_covered_says_whether_memory_is(rapl):
    rapl.add_package(0, 0)
    assert "no DRAM counter here" in RaplMeter(sysfs=rapl.sysfs).covers
    rapl.add_package(1, 0, dram_uj=0)
    covers = RaplMeter(sysfs=rapl.sysfs).covers
    assert covers.startswith("processor domains package_0, package_1, dram_1, of all processes")
    assert "no DRAM" not in covers


def test_pyjoules_is_left_looking_where_it_looked_before(rapl):
    from pyJoules.device import rapl_device

    rapl.add_package(0, 0)
    RaplMeter(sysfs=rapl.sysfs)
    assert rapl_device.RAPL_API_DIR == "/sys/class/powercap/intel-rapl"


def test_without_pyjoules_the_install_line(rapl, monkeypatch):
    rapl.add_package(0, 0)
    monkeypatch.setitem(sys.modules, "pyJoules.device", None)
    with pytest.raises(InputError, match=r"pip install 'hwkd\[energy\]'"):
        RaplMeter(sysfs=rapl.sysfs)
