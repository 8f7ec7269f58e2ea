"""The parts of this machine that hwkd can use: the host, packages, instruction sets, GPUs, sensors, limits."""

import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import import_module, metadata
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from hwkd.errors import InputError
from hwkd.measure.energy.sensors import open_meter
from hwkd.measure.record import Setting
from hwkd.quantity import MIB
from hwkd.runtime.session import (
    PROC,
    SYS,
    core_quota,
    file_lines,
    free_memory_bytes,
    memory_limit_mib,
    usable_cores,
)

# What this host is, for the provenance of a measured figure.

_CPUINFO = Path("/proc/cpuinfo")

X86_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8")
ARM_FLAGS = ("asimd", "asimddp", "i8mm", "sve", "bf16")
FLAGS = (*X86_FLAGS, *ARM_FLAGS)
"""Instruction sets that decide how fast convolutions run in float32, bfloat16 and int8, as Linux spells them."""


@dataclass(frozen=True)
class HostFacts:
    """The machine itself.

    Attributes:
        cpu: the processor's name.
        flags: those of FLAGS that every core has.
        cores: number of cores that this process may use.
        memory_mib: memory of the machine; None where this system does not report it.
        clock_mhz: clock of the fastest core now; None where this system does not report it.
        governor: what sets the clock of the first core; None where this system does not report it.
    """

    cpu: str
    flags: tuple[str, ...]
    cores: int
    memory_mib: float | None
    clock_mhz: float | None
    governor: str | None

    def __str__(self) -> str:
        memory = "n/a" if self.memory_mib is None else f"{self.memory_mib / 1024:.1f} GiB"
        clock = "n/a" if self.clock_mhz is None else f"{self.clock_mhz:.0f} MHz"
        flags = " ".join(self.flags) or "none of the instruction sets that matter here"
        return (
            f"{self.cpu} ({flags}), {self.cores} cores usable, memory {memory}, clock {clock}, "
            f"governor {self.governor or 'n/a'}"
        )


@dataclass(frozen=True)
class Host:
    """The machine, and what torch makes of it.

    Attributes:
        threads: torch's threads within an operator.
    """

    facts: HostFacts
    threads: int
    torch_version: str

    def __str__(self) -> str:
        return f"{self.facts}, {self.threads} threads, torch {self.torch_version}"


def describe_host() -> Host:
    """The host as it is now, torch's settings included."""
    import torch

    return Host(host_facts(), torch.get_num_threads(), torch.__version__)


def host_facts(root: Path = Path("/")) -> HostFacts:
    """The host as it is now.

    Args:
        root: where proc/ and sys/ lie.
    """
    cpuinfo = root / "proc/cpuinfo"
    return HostFacts(
        cpu=cpu_name(cpuinfo),
        flags=cpu_flags(cpuinfo),
        cores=usable_cores(),
        memory_mib=_memory_mib(root / "proc/meminfo"),
        clock_mhz=clock_mhz(root),
        governor=_first_line(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
    )


def host_name(facts: HostFacts) -> str:
    """The machine's name for a record and its folder: its processor and its cores."""
    words = "".join(c if c.isalnum() else " " for c in facts.cpu.lower()).split()
    dropped = {"r", "tm", "cpu", "processor", "with", "core"}
    name = "-".join(word for word in words if word not in dropped)
    return f"{name}-{facts.cores}-core{'s' * (facts.cores > 1)}"


def cpu_name(cpuinfo: Path = _CPUINFO) -> str:
    """The processor's name from /proc/cpuinfo ("model name" on x86, "Model" on boards), else the instruction set."""
    for key in ("model name", "Model"):
        for value in _values(cpuinfo, key):
            if value:
                return " ".join(value.split())
    return platform.machine() or "unknown processor"


def cpu_flags(cpuinfo: Path = _CPUINFO) -> tuple[str, ...]:
    """The members of FLAGS that /proc/cpuinfo has for every core ("flags" on x86, "Features" on ARM), in FLAGS' order."""
    cores = [set(v.split()) for key in ("flags", "Features") for v in _values(cpuinfo, key)]
    if not cores:
        return ()
    # A big and a small core of one chip may differ, and a thread may land on either.
    common = set.intersection(*cores)
    return tuple(flag for flag in FLAGS if flag in common)


def clock_mhz(root: Path = Path("/")) -> float | None:
    """The clock of the fastest core now, in MHz, from cpufreq or else from /proc/cpuinfo; None where neither has it."""
    clocks = [
        float(text) / 1000
        for path in sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*"))
        if (text := _first_line(path / "cpufreq/scaling_cur_freq")) and text.isdigit()
    ]
    if not clocks:
        clocks = [float(value) for value in _values(root / "proc/cpuinfo", "cpu MHz") if value]
    return max(clocks, default=None)


def eager_setting(threads: int) -> Setting:
    """The setting of a figure from eager torch in float32 on this host's CPU."""
    return Setting("cpu", f"torch {version('torch')} eager", "fp32", threads)


def _memory_mib(meminfo: Path) -> float | None:
    for value in _values(meminfo, "MemTotal"):
        return int(value.split()[0]) / 1024
    return None


def _values(path: Path, key: str) -> list[str]:
    """The text after `key :` in each line of `path` that has it; none where it cannot be read."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        name, colon, value = line.partition(":")
        if colon and name.strip() == key:
            found.append(value.strip())
    return found


def _first_line(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


# What this process may use of the machine: cores, memory, places to write. /sys and /proc are parameters.


@dataclass(frozen=True)
class Limits:
    """The limits of this process.

    Attributes:
        cores_online: online cores of the machine.
        cores_allowed: cores allowed by affinity.
        core_quota: limit of the control group, in cores; None for no limit.
        governors: governors of the processor's clock; () where the system does not report them.
        available_mib: free memory, within the control group's limit too; None where the system does not report it.
        memory_limit_mib: limit of the control group; None for no limit.
        temp: the folder for temporary files.
        temp_free_mib: free space there.
        temp_problem: why nothing can be written there; "" if it can.
    """

    cores_online: int
    cores_allowed: int
    core_quota: float | None
    governors: tuple[str, ...]
    available_mib: float | None
    memory_limit_mib: float | None
    temp: str
    temp_free_mib: float
    temp_problem: str


def find_limits(sys: Path = SYS, proc: Path = PROC) -> Limits:
    """Cores, clock, memory and temporary files, as this process may use them."""
    online = _count(" ".join(file_lines(sys / "devices/system/cpu/online"))) or os.cpu_count() or 1
    governors = sys.glob("devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor")
    total = _meminfo_mib(proc, "MemTotal")
    free = free_memory_bytes(sys, proc)
    limit = memory_limit_mib(sys, proc)
    # Control groups of version 1 write "no limit" as a number beyond any memory.
    is_limited = limit is not None and (total is None or limit < total)
    temp = tempfile.gettempdir()
    return Limits(
        cores_online=online,
        cores_allowed=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else online,
        core_quota=core_quota(sys, proc),
        governors=tuple(sorted({" ".join(file_lines(path)) for path in governors} - {""})),
        available_mib=None if free is None else free / MIB,
        memory_limit_mib=limit if is_limited else None,
        temp=temp,
        temp_free_mib=shutil.disk_usage(temp).free / MIB,
        temp_problem=_write_problem(temp),
    )


def _meminfo_mib(proc: Path, key: str) -> float | None:
    for line in file_lines(proc / "meminfo"):
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0]) / 1024
    return None


def _count(ranges: str) -> int:
    """How many numbers a list as the kernel writes it holds: "0-3,6" has 5."""
    ends = [part.split("-") for part in ranges.split(",") if part.strip()]
    return sum(int(end[-1]) - int(end[0]) + 1 for end in ends)


def _write_problem(folder: str) -> str:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"0")
    except OSError as error:
        return error.strerror or type(error).__name__
    return ""


# The installed packages that decide what hwkd can do here, against the ranges that hwkd states.

PACKAGES = (
    *("numpy", "pillow", "torch", "compressai", "brevitas", "torchao", "fvcore", "pytorch-msssim"),
    *("safetensors", "onnx", "onnxruntime", "openvino", "codecarbon", "pyJoules"),
)
"""The packages that decide what hwkd can do here."""


@dataclass(frozen=True)
class Package:
    """A package that hwkd uses.

    Attributes:
        version: the installed version, or None.
        required: hwkd's range of versions; "" where it states none.
        extra: its optional group; "" for none.
        has_python: whether hwkd requires it with the Python that runs.
    """

    name: str
    version: str | None
    required: str
    extra: str
    has_python: bool = True

    @property
    def is_in_range(self) -> bool:
        """Whether it is installed in a version that hwkd's range accepts."""
        return self.version is not None and SpecifierSet(self.required).contains(
            self.version, prereleases=True
        )


def find_packages(
    names: Sequence[str], requirements: Sequence[str], version_of: Callable[[str], str | None]
) -> tuple[Package, ...]:
    """The packages `names`, with their ranges in `requirements` (as in a distribution's Requires-Dist).

    A package of several optional groups gets the first one. "dev" repeats the other groups and is left out.
    """
    asked: dict[str, tuple[str, str, bool]] = {}
    for text in requirements:
        requirement = Requirement(text)
        extra = "" if requirement.marker is None else _extra(str(requirement.marker))
        if extra != "dev":
            marker = requirement.marker
            has_python = marker is None or marker.evaluate({"extra": extra})
            asked.setdefault(
                canonicalize_name(requirement.name),
                (_ranges(requirement.specifier), extra, has_python),
            )
    return tuple(
        Package(name, version_of(name), *asked.get(canonicalize_name(name), ("", "", True)))
        for name in names
    )


def own_metadata() -> tuple[str, list[str]]:
    """(the Python versions, the requirements) that the installed hwkd states; "" and none where it is not installed."""
    try:
        own = metadata.metadata("hwkd")
    except metadata.PackageNotFoundError:
        return "", []
    ranges = SpecifierSet(",".join(own.get_all("Requires-Python") or []))
    return _ranges(ranges), own.get_all("Requires-Dist") or []


def installed_version(name: str) -> str | None:
    """The version of the distribution `name`, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _ranges(specifier: SpecifierSet) -> str:
    """The range with ">=" before "<", as one writes it."""
    return ",".join(sorted(map(str, specifier), reverse=True))


def _extra(marker: str) -> str:
    """The group named in a marker such as: extra == "train"."""
    _, found, group = marker.replace("'", '"').partition('extra == "')
    return group.partition('"')[0] if found else ""


# What this machine has that hwkd can use: packages, instruction sets, GPUs, sensors, limits.
#
# Only looks; hwkd.cli.showing.doctor judges. /sys and /proc are parameters, so that any machine can be described.

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
"""Instruction sets that matter for int8 and float speed: Linux's name in /proc/cpuinfo, and ours."""

BOARDS = {
    "orin nano": "jetson-orin-nano",
    "agx orin": "jetson-agx-orin",
    "xavier nx": "jetson-xavier-nx",
    "jetson nano": "jetson-nano",
    "raspberry pi 4": "raspberry-pi-4",
    "raspberry pi 5": "raspberry-pi-5",
}
"""A part of the board's name in /proc/device-tree/model, and the shipped target."""

RAPL_COUNTERS = (
    "class/powercap/intel-rapl:*/energy_uj",
    "class/powercap/intel-rapl/intel-rapl:*/energy_uj",
)
"""The same ones: the kernel links each zone into the class."""
INA3221_RAILS = (
    "bus/i2c/drivers/ina3221/*/hwmon/hwmon*/in*_label",  # the mainline driver, since JetPack 5
    "bus/i2c/drivers/ina3221x/*/iio:device*/rail_name_*",  # NVIDIA's own, JetPack 4
)


@dataclass(frozen=True)
class Processor:
    """The processor of this machine.

    Attributes:
        instruction_sets: those of INSTRUCTION_SETS that it has; None where the system does not report them.
        is_virtual: whether it runs in a virtual machine; known on x86 only.
        board: the board's name from the device tree; "" for none.
        target: the shipped target that describes it best, or None.
    """

    name: str
    architecture: str
    instruction_sets: tuple[str, ...] | None
    is_virtual: bool
    board: str
    target: str | None


@dataclass(frozen=True)
class Gpu:
    """An NVIDIA GPU as NVML reports it.

    Attributes:
        memory_mib: its memory; None where NVML does not report it (a chip that shares the machine's memory, an instance of
            a divided GPU).
        no_energy: why its energy cannot be measured; "" if it can.
        problem: why nothing else is known of it; "" for no problem.
    """

    name: str
    memory_mib: float | None
    no_energy: str = ""
    problem: str = ""


@dataclass(frozen=True)
class SysfsSensor:
    """A power sensor in sysfs.

    Attributes:
        parts: the domains or rails that it measures; none where it is absent.
        problem: why it cannot be used; "" if it can.
        is_denied: whether the problem is one of permissions.
    """

    parts: tuple[str, ...] = ()
    problem: str = ""
    is_denied: bool = False


@dataclass(frozen=True)
class Machine:
    """Everything that `hwkd doctor` looks at.

    Attributes:
        requires_python: hwkd's range of Python versions.
        no_gpu: why `gpus` is empty; "" if it is not.
        has_nvidia_driver: whether the kernel has loaded NVIDIA's driver.
    """

    python: str
    requires_python: str
    packages: tuple[Package, ...]
    processor: Processor
    gpus: tuple[Gpu, ...]
    no_gpu: str
    has_nvidia_driver: bool
    rapl: SysfsSensor
    ina3221: SysfsSensor
    limits: Limits


def look(sys: Path = SYS, proc: Path = PROC) -> Machine:
    """This machine as it is now. The kernel's facts come from the folders `sys` and `proc`."""
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
        if gpus and not gpus[0].no_energy:
            # As `hwkd profile --energy nvml` judges it, which takes the first.
            gpus = (replace(gpus[0], no_energy=_meter_problem("nvml", SYS)), *gpus[1:])
    except nvml.NVMLError as error:
        return (), f"NVML says: {error}"
    finally:
        nvml.nvmlShutdown()
    return gpus, "" if gpus else "NVML counts no GPU"


def find_rapl(sys: Path = SYS) -> SysfsSensor:
    """RAPL's counters in powercap: the domains ("package-0", "dram"), and whether all of them can be read."""
    counters = sorted(path for pattern in RAPL_COUNTERS for path in sys.glob(pattern))
    parts = tuple(
        " ".join(file_lines(counter.parent / "name")) or counter.parent.name for counter in counters
    )
    return _sensor("rapl", sys, tuple(dict.fromkeys(parts)), counters)


def find_ina3221(sys: Path = SYS) -> SysfsSensor:
    """The rails that a Jetson's INA3221 measures, and whether their names can be read."""
    labels = [label for pattern in INA3221_RAILS for label in sorted(sys.glob(pattern))]
    parts = tuple(" ".join(file_lines(label)) or label.name for label in labels)
    return _sensor("ina3221", sys, parts, labels)


def _gpu(nvml: ModuleType, index: int) -> Gpu:
    """One GPU; one that is lost must not hide the others."""
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        name = str(nvml.nvmlDeviceGetName(handle))
    except nvml.NVMLError as error:
        return Gpu(f"GPU {index}", None, str(error), str(error))
    no_energy, memory_mib = "", None
    try:
        nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except nvml.NVMLError as error:
        no_energy = f"it does not count its energy ({error})"
    with suppress(nvml.NVMLError):
        memory_mib = nvml.nvmlDeviceGetMemoryInfo(handle).total / MIB
    return Gpu(name, memory_mib, no_energy)


def _meter_problem(kind: str, sys: Path) -> str:
    """Why the command that measures cannot use the sensor; "" if it can."""
    try:
        open_meter(kind, sysfs=sys)
    except InputError as error:
        return str(error)
    return ""


def _sensor(kind: str, sys: Path, parts: tuple[str, ...], files: Sequence[Path]) -> SysfsSensor:
    for path in files:
        try:
            path.read_text(encoding="utf-8")
        except OSError as error:
            reason = error.strerror or type(error).__name__
            return SysfsSensor(parts, f"{path.name}: {reason}", isinstance(error, PermissionError))
    return SysfsSensor(parts, _meter_problem(kind, sys) if parts else "")
