import sys
from types import SimpleNamespace

import pytest

from hwkd.errors import HwkdError, InputError
from hwkd.measure.energy.nvml import NvmlMeter
from tests.fakes.meters import FakeClock


class NVMLError(Exception):
    pass


@pytest.fixture
def clock(monkeypatch):
    clock = FakeClock()
    monkeypatch.setattr("hwkd.measure.energy.nvml.time", clock)
    return clock


@pytest.fixture
def library(monkeypatch):
    """A pynvml whose GPU has used 5,000 mJ."""
    library = SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByIndex=lambda index: ("gpu", index),
        nvmlDeviceGetName=lambda gpu: "H100",
        energy_mj=5000,
    )
    library.nvmlDeviceGetTotalEnergyConsumption = lambda gpu: library.energy_mj
    monkeypatch.setitem(sys.modules, "pynvml", library)
    return library


def test_joules_are_the_difference_of_the_counter(library, clock):
    meter = NvmlMeter()
    meter.begin_window()
    clock.sleep(2.0)
    library.energy_mj = 255_500
    result = meter.end_window()
    assert (result.energy_j, result.seconds, result.by_domain) == (250.5, 2.0, {"gpu_0": 250.5})
    assert meter.covers == "GPU 0 (H100) with its memory, of all processes; not the CPU"


@pytest.mark.parametrize("end_mj", [4999, 5000])
def test_a_counter_that_goes_back_or_stands_still_is_an_error(library, clock, end_mj):
    meter = NvmlMeter()
    meter.begin_window()
    clock.sleep(1.5)
    library.energy_mj = end_mj
    with pytest.raises(HwkdError, match=f"went from 5000 to {end_mj} mJ in 1.500 s"):
        meter.end_window()


def test_ending_without_a_beginning_is_an_error(library):
    with pytest.raises(HwkdError, match="needs begin_window"):
        NvmlMeter().end_window()


def fail(message):
    def call(*_):
        raise NVMLError(message)

    return call


def test_without_a_driver_the_cause(library):
    library.nvmlInit = fail("NVML Shared Library Not Found")
    with pytest.raises(InputError) as error:
        NvmlMeter()
    assert str(error.value) == (
        "no NVIDIA GPU that NVML can see (NVML Shared Library Not Found); use --energy auto"
    )


def test_a_gpu_without_the_counter_is_refused(library):
    library.nvmlDeviceGetTotalEnergyConsumption = fail("Not Supported")
    with pytest.raises(InputError, match=r"cannot be read \(Not Supported\); it came with the Vol"):
        NvmlMeter()


def test_without_the_python_library_the_install_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(InputError, match="pip install nvidia-ml-py"):
        NvmlMeter()
