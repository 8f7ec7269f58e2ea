import threading
import time
from pathlib import Path

import pytest

from hwkd.errors import HwkdError, InputError
from hwkd.measure.energy.ina3221 import Ina3221Meter, find_rails, integral_j
from tests.fakes.sysfs import hwmon_tree, iio_tree

ORIN_NANO = {"VDD_IN": (5000, 1200), "VDD_CPU_GPU_CV": (5000, 400), "VDD_SOC": (5000, 300)}
"""6 W in all, of which 2 W and 1.5 W."""

NANO = {"POM_5V_IN": 3000, "POM_5V_GPU": 500, "POM_5V_CPU": 1250}


@pytest.fixture(autouse=True)
def slow_machine_is_no_failure(monkeypatch):
    monkeypatch.setattr("hwkd.measure.energy.ina3221.MIN_SHARE", 0.0)


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "ina3221"]


def sampled(meter):
    meter.begin_window()
    while len(meter._samples.times_s) < 10:
        time.sleep(0.001)
    return meter.end_window()


def test_trapezoids_are_summed():
    # (1 + 3) / 2 * 2 + (3 + 0) / 2 * 1
    assert integral_j([10.0, 12.0, 13.0], [1.0, 3.0, 0.0]) == 5.5


@pytest.mark.parametrize(
    ("times_s", "powers_w", "message"),
    [
        ([0.0], [1.0], "got 1 powers at 1 times"),
        ([0.0, 1.0], [1.0], "got 1 powers at 2 times"),
        ([1.0, 0.5], [1.0, 1.0], "must not run back, got 1.0 before 0.5"),
    ],
)
def test_what_cannot_be_integrated_is_refused(times_s, powers_w, message):
    with pytest.raises(InputError, match=message):
        integral_j(times_s, powers_w)


def test_hwmon_gives_millivolts_times_milliamperes(tmp_path):
    hwmon_tree(tmp_path, ORIN_NANO)
    result = sampled(Ina3221Meter(sysfs=tmp_path, period_s=0.001))
    assert result.energy_j == pytest.approx(6.0 * result.seconds)
    assert result.by_domain["VDD_CPU_GPU_CV"] == pytest.approx(2.0 * result.seconds)
    assert result.by_domain["VDD_SOC"] == pytest.approx(1.5 * result.seconds)


def test_iio_gives_milliwatts(tmp_path):
    iio_tree(tmp_path, NANO)
    result = sampled(Ina3221Meter(sysfs=tmp_path, period_s=0.001))
    assert result.energy_j == pytest.approx(3.0 * result.seconds)
    assert set(result.by_domain) == set(NANO)


def test_unconnected_rails_and_sums_of_voltages_are_no_rails(tmp_path):
    hwmon_tree(tmp_path, {**ORIN_NANO, "VDD_SOC": (1000, 1)})
    hwmon_tree(tmp_path, {"NC": (0, 0), "VDDQ": (1000, 250)}, chip="1-0041")
    rails = {rail.name: rail.power_w() for rail in find_rails(tmp_path)}
    assert rails == pytest.approx(
        {"VDD_IN": 6.0, "VDD_CPU_GPU_CV": 2.0, "VDD_SOC": 0.001, "VDDQ": 0.25}
    )


def test_a_board_without_an_input_rail_is_the_sum_of_those_that_do_not_nest(tmp_path):
    orin = {"VDD_GPU_SOC": (5000, 600), "VDD_CPU_CV": (5000, 400), "VIN_SYS_5V0": (5000, 1000)}
    hwmon_tree(tmp_path, orin)
    hwmon_tree(tmp_path, {"NC": (0, 0), "VDDQ_VDD2_1V8AO": (5000, 200)}, chip="1-0041")
    meter = Ina3221Meter(sysfs=tmp_path, period_s=0.001)
    result = sampled(meter)
    # 3 + 2 + 5 W; the memory's 1 W is within the last.
    assert result.energy_j == pytest.approx(10.0 * result.seconds)
    assert "VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0" in meter.covers


def test_rails_whose_total_is_unknown_are_refused(tmp_path):
    hwmon_tree(tmp_path, {"VDD_CPU": (5000, 400), "VDD_GPU": (5000, 400)})
    with pytest.raises(InputError, match="has the rails VDD_CPU, VDD_GPU, and which of them make"):
        Ina3221Meter(sysfs=tmp_path)


def test_without_the_sensor_the_cause(tmp_path):
    with pytest.raises(InputError) as error:
        Ina3221Meter(sysfs=tmp_path)
    assert str(error.value) == (
        f"no INA3221 under {tmp_path}/bus/i2c/drivers/ina3221 or ina3221x: not a Jetson, or its kernel lacks the "
        "driver; use --energy auto"
    )


def test_a_sensor_that_may_not_be_read_gives_the_chmod_line(tmp_path, monkeypatch):
    folder = hwmon_tree(tmp_path, ORIN_NANO)
    read_text = Path.read_text

    def denied(path, *args, **kwargs):
        # Root may read whatever the mode says, so the refusal is made here.
        if path.name.startswith("curr1"):
            raise PermissionError(13, "Permission denied", str(path))
        return read_text(path, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", denied)
    with pytest.raises(InputError) as error:
        Ina3221Meter(sysfs=tmp_path)
    assert str(error.value) == (
        "the INA3221 may not be read; allow it until the next boot with "
        f"`sudo chmod a+r {folder}/curr1_input`, or use --energy auto"
    )


def test_a_sensor_that_does_not_answer_is_refused(tmp_path):
    (iio_tree(tmp_path, NANO) / "in_power1_input").write_text("\n")
    with pytest.raises(InputError, match="does not answer"):
        Ina3221Meter(sysfs=tmp_path)


def test_a_sensor_that_fails_in_the_window_is_an_error_and_sampling_ends(tmp_path):
    folder = iio_tree(tmp_path, NANO)
    meter = Ina3221Meter(sysfs=tmp_path, period_s=0.001)
    meter.begin_window()
    (sampling,) = threads()
    (folder / "in_power0_input").write_text("no number\n")
    sampling.join()
    (folder / "in_power0_input").write_text("3000\n")
    with pytest.raises(HwkdError, match="did not answer: could not convert"):
        meter.end_window()
    assert threads() == []


def test_too_few_samples_are_an_error_and_sampling_ends(tmp_path):
    iio_tree(tmp_path, NANO)
    meter = Ina3221Meter(sysfs=tmp_path, period_s=3600.0)
    meter.begin_window()
    with pytest.raises(HwkdError, match=r"2 samples in .* too few to integrate \(needed: 5\)"):
        meter.end_window()
    assert threads() == []


def test_sampling_that_was_held_up_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr("hwkd.measure.energy.ina3221.MIN_SHARE", 1e6)
    iio_tree(tmp_path, NANO)
    with pytest.raises(HwkdError, match="leave the machine a free core"):
        sampled(Ina3221Meter(sysfs=tmp_path, period_s=0.001))


def test_windows_do_not_nest(tmp_path):
    iio_tree(tmp_path, NANO)
    meter = Ina3221Meter(sysfs=tmp_path, period_s=0.001)
    with pytest.raises(HwkdError, match="end_window needs begin_window"):
        meter.end_window()
    meter.begin_window()
    with pytest.raises(HwkdError, match="begin_window needs end_window"):
        meter.begin_window()
    while len(meter._samples.times_s) < 10:
        time.sleep(0.001)
    meter.end_window()
    assert threads() == []
