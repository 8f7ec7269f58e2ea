"""What this machine has that hwkd can use: packages, instruction sets, GPUs, sensors, limits.

Only looks; hwkd.report.doctor judges. /sys and /proc are parameters, so that any machine can be described.
"""

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

from hwkd.measure.host import cpu_name
from hwkd.measure.machine_limits import MIB, PROC, SYS, Limits, file_lines, find_limits
from hwkd.measure.machine_packages import (
    PACKAGES,
    Package,
    find_packages,
    installed_version,
    own_metadata,
)

INSTRUCTION_SETS = {
    "avx2": "AVX2",
    "fma": "FMA",
    "avx512f": "AVX512F",
    "avx512_vnni": "AVX512-VNNI",
    "avx_vnni": "AVX-VNNI",
    "amx_int8": "AMX",
    "asimd": "NEON",
    "asimddp": "NEON dot product",
    "i8mm": "i8mm",
}
"""What bears on int8 and float speed: Linux's name in /proc/cpuinfo, and ours."""

BOARDS = {
    "orin nano": "jetson-orin-nano",
    "agx orin": "jetson-agx-orin",
    "xavier nx": "jetson-xavier-nx",
    "jetson nano": "jetson-nano",
    "raspberry pi 4": "raspberry-pi-4",
    "raspberry pi 5": "raspberry-pi-5",
}
"""A part of the board's name in /proc/device-tree/model, and the shipped target."""

RAPL_COUNTERS = "class/powercap/intel-rapl:*/energy_uj"
INA3221_RAILS = (
    "bus/i2c/drivers/ina3221/*/hwmon/hwmon*/in*_label",  # the mainline driver, since JetPack 5
    "bus/i2c/drivers/ina3221x/*/iio:device*/rail_name_*",  # NVIDIA's own, JetPack 4
)


@dataclass(frozen=True)
class Processor:
    """instruction_sets: of INSTRUCTION_SETS, or None where the system does not tell. is_virtual: in a virtual
    machine, as far as x86 tells. board: from the device tree, "" for none. target: the shipped target that describes
    it best, or None."""

    name: str
    architecture: str
    instruction_sets: tuple[str, ...] | None
    is_virtual: bool
    board: str
    target: str | None


@dataclass(frozen=True)
class Gpu:
    """An NVIDIA GPU as NVML tells. has_energy_counter: whether it counts its own joules."""

    name: str
    memory_mib: float
    has_energy_counter: bool


@dataclass(frozen=True)
class Sensor:
    """A power sensor in sysfs. parts: the domains or rails it sees, none where it is absent. problem: why it cannot be
    read, "" if it can. is_denied: the problem is one of permissions."""

    parts: tuple[str, ...] = ()
    problem: str = ""
    is_denied: bool = False


@dataclass(frozen=True)
class Machine:
    """Everything `hwkd doctor` looks at. requires_python: hwkd's range. no_gpu: why `gpus` is empty, "" if it is not.
    has_nvidia_driver: whether the kernel has one loaded."""

    python: str
    requires_python: str
    packages: tuple[Package, ...]
    processor: Processor
    gpus: tuple[Gpu, ...]
    no_gpu: str
    has_nvidia_driver: bool
    rapl: Sensor
    ina3221: Sensor
    limits: Limits


def look(sys: Path = SYS, proc: Path = PROC) -> Machine:
    """This machine as it is now; with other folders for `sys` and `proc`, what the kernel tells comes from there."""
    requires_python, requirements = own_metadata()
    gpus, no_gpu = find_gpus()
    return Machine(
        python=platform.python_version(),
        requires_python=requires_python,
        packages=find_packages(PACKAGES, requirements, installed_version),
        processor=find_processor(proc),
        gpus=gpus,
        no_gpu=no_gpu,
        has_nvidia_driver=(proc / "driver/nvidia/version").is_file(),
        rapl=find_rapl(sys),
        ina3221=find_ina3221(sys),
        limits=find_limits(sys, proc),
    )


def find_processor(proc: Path = PROC) -> Processor:
    """The processor by /proc/cpuinfo, and the board by the device tree."""
    flags: set[str] | None = None
    for line in file_lines(proc / "cpuinfo"):
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            flags = set(value.split())
            break
    sets = None
    if flags is not None:
        sets = tuple(name for flag, name in INSTRUCTION_SETS.items() if flag in flags)
    board = " ".join(file_lines(proc / "device-tree/model")).strip("\0 ")
    return Processor(
        name=cpu_name(proc / "cpuinfo"),
        architecture=platform.machine(),
        instruction_sets=sets,
        is_virtual="hypervisor" in (flags or ()),
        board=board,
        target=nearest_target(board, sets),
    )


def nearest_target(board: str, instruction_sets: Sequence[str] | None) -> str | None:
    """The shipped target that describes such a machine best: its board, else its instruction sets; None for none."""
    for part, target in BOARDS.items():
        if part in board.lower():
            return target
    sets = set(instruction_sets or ())
    if {"AVX512-VNNI", "AVX-VNNI"} & sets:
        return "x86-vnni"
    if {"AVX2", "FMA"} <= sets:
        return "x86-avx2"
    return "arm-server" if "NEON dot product" in sets else None


def find_gpus() -> tuple[tuple[Gpu, ...], str]:
    """The NVIDIA GPUs by NVML, and why there are none ("" where there are)."""
    try:
        nvml = import_module("pynvml")
    except ImportError:
        return (), "NVML cannot be asked: nvidia-ml-py is not installed"
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return (), f"NVML says: {error}"
    try:
        gpus = tuple(_gpu(nvml, index) for index in range(nvml.nvmlDeviceGetCount()))
    except nvml.NVMLError as error:
        return (), f"NVML says: {error}"
    finally:
        nvml.nvmlShutdown()
    return gpus, "" if gpus else "NVML counts no GPU"


def find_rapl(sys: Path = SYS) -> Sensor:
    """RAPL's counters in powercap: the domains ("package-0", "dram"), and whether all of them can be read."""
    counters = sorted(sys.glob(RAPL_COUNTERS))
    parts = tuple(
        " ".join(file_lines(counter.parent / "name")) or counter.parent.name for counter in counters
    )
    return _sensor(parts, counters)


def find_ina3221(sys: Path = SYS) -> Sensor:
    """The rails that a Jetson's INA3221 measures, and whether their names can be read."""
    labels = [label for pattern in INA3221_RAILS for label in sorted(sys.glob(pattern))]
    parts = tuple(" ".join(file_lines(label)) or label.name for label in labels)
    return _sensor(parts, labels)


def _gpu(nvml: ModuleType, index: int) -> Gpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    try:
        nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
        has_counter = True
    except nvml.NVMLError:
        # The one way to find out; whoever measures says what NVML answered.
        has_counter = False
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    return Gpu(str(nvml.nvmlDeviceGetName(handle)), memory.total / MIB, has_counter)


def _sensor(parts: tuple[str, ...], files: Sequence[Path]) -> Sensor:
    for path in files:
        try:
            path.read_text(encoding="utf-8")
        except OSError as error:
            reason = error.strerror or type(error).__name__
            return Sensor(parts, f"{path.name}: {reason}", isinstance(error, PermissionError))
    return Sensor(parts)
