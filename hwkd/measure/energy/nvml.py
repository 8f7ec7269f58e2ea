"""Energy of an NVIDIA GPU by its own counter, through NVML."""

import time
from typing import Any

from hwkd.errors import HwkdError, InputError
from hwkd.measure.energy.meter import Window

STILL_S = 1.0
"""The counter moves several times a second, on an idle GPU too; standing still for longer is a defect."""


class NvmlMeter:
    """GPU 0: nvmlDeviceGetTotalEnergyConsumption, millijoules since the driver was loaded (Volta and newer).

    Work on the GPU must have finished (synchronise) before the window is ended.
    """

    name = "nvml"
    found = "measured"

    def __init__(self) -> None:
        """Open NVML and read the counter once.

        Raises:
            InputError: no NVML library for Python, no NVIDIA driver or GPU, or a GPU without the counter.
        """
        try:
            import pynvml  # type: ignore[import-untyped]
        except ImportError as error:
            raise InputError(
                f"NVML cannot be used ({error}): `pip install nvidia-ml-py`, or use --energy auto"
            ) from error
        self._nvml: Any = pynvml
        try:
            pynvml.nvmlInit()
            self._gpu = pynvml.nvmlDeviceGetHandleByIndex(0)
            name = pynvml.nvmlDeviceGetName(self._gpu)
        except pynvml.NVMLError as error:
            raise InputError(
                f"no NVIDIA GPU that NVML can see ({error}); use --energy auto"
            ) from error
        self.covers = f"GPU 0 ({name}) with its memory, of all processes; not the CPU"
        try:
            self._read_mj()
        except HwkdError as error:
            raise InputError(
                f"{error}; it came with the Volta generation, use --energy auto"
            ) from error
        self._begin: tuple[float, int] | None = None

    def begin_window(self) -> None:
        """Read the counter. Raises HwkdError where NVML fails."""
        self._begin = (time.perf_counter(), self._read_mj())

    def end_window(self) -> Window:
        """Read the counter again. Raises HwkdError where NVML fails, or the counter went back or stood still."""
        if self._begin is None:
            raise HwkdError("end_window needs begin_window before it")
        (begin_s, begin_mj), self._begin = self._begin, None
        seconds, end_mj = time.perf_counter() - begin_s, self._read_mj()
        if end_mj < begin_mj or (end_mj == begin_mj and seconds > STILL_S):
            raise HwkdError(
                f"the GPU's energy counter went from {begin_mj} to {end_mj} mJ in {seconds:.3f} s: it was reset or "
                "is defective; measure again"
            )
        energy_j = (end_mj - begin_mj) / 1e3
        return Window(energy_j, seconds, {"gpu_0": energy_j})

    def _read_mj(self) -> int:
        try:
            return int(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._gpu))
        except self._nvml.NVMLError as error:
            raise HwkdError(f"the GPU's energy counter cannot be read ({error})") from error
