"""What this machine has that hwkd can use: packages, instruction sets, GPUs, sensors, limits. No torch.

Only looks; hwkd.report.doctor judges. /sys and /proc are parameters, so that any machine can be described.
"""

import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from types import ModuleType

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from hwkd.measure.host import cpu_name

SYS = Path("/sys")
PROC = Path("/proc")

MIB = 2**20

PACKAGES = (
    *("numpy", "pillow", "torch", "compressai", "brevitas", "torchao", "fvcore", "pytorch-msssim"),
    *("safetensors", "onnx", "onnxruntime", "openvino", "codecarbon", "pyJoules"),
)
"""The packages that decide what hwkd can do here."""

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
class Package:
    """version: the installed one, or None. required: hwkd's range, "" where it states none. extra: its optional
    group, "" for none."""

    name: str
    version: str | None
    required: str
    extra: str

    @property
    def is_in_range(self) -> bool:
        """Whether it is installed in a version that hwkd's range accepts."""
        return self.version is not None and SpecifierSet(self.required).contains(
            self.version, prereleases=True
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
class Limits:
    """What this process may use.

    cores_online: of the machine; cores_allowed: by affinity; core_quota: by the control group, in cores, None for no
    limit. governors: of the processor's clock, () where the system does not tell. available_mib: memory, None where
    the system does not tell; memory_limit_mib: by the control group, None for no limit. temp: the folder for temporary
    files; temp_free_mib: space there; temp_problem: why nothing can be written there, "" if it can.
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
    requires_python, requirements = _own_metadata()
    gpus, no_gpu = find_gpus()
    return Machine(
        python=platform.python_version(),
        requires_python=requires_python,
        packages=find_packages(PACKAGES, requirements, _installed_version),
        processor=find_processor(proc),
        gpus=gpus,
        no_gpu=no_gpu,
        has_nvidia_driver=(proc / "driver/nvidia/version").is_file(),
        rapl=find_rapl(sys),
        ina3221=find_ina3221(sys),
        limits=find_limits(sys, proc),
    )


def find_packages(
    names: Sequence[str], requirements: Sequence[str], version_of: Callable[[str], str | None]
) -> tuple[Package, ...]:
    """The packages `names`, with what `requirements` (as in a distribution's Requires-Dist) ask of them.

    A package of several optional groups is told with the first; "dev" repeats the others and is left out.
    """
    asked: dict[str, tuple[str, str]] = {}
    for text in requirements:
        requirement = Requirement(text)
        extra = "" if requirement.marker is None else _extra(str(requirement.marker))
        if extra != "dev":
            asked.setdefault(
                canonicalize_name(requirement.name), (_ranges(requirement.specifier), extra)
            )
    return tuple(
        Package(name, version_of(name), *asked.get(canonicalize_name(name), ("", "")))
        for name in names
    )


def find_processor(proc: Path = PROC) -> Processor:
    """The processor by /proc/cpuinfo, and the board by the device tree."""
    flags: set[str] | None = None
    for line in _lines(proc / "cpuinfo"):
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            flags = set(value.split())
            break
    sets = None
    if flags is not None:
        sets = tuple(name for flag, name in INSTRUCTION_SETS.items() if flag in flags)
    board = " ".join(_lines(proc / "device-tree/model")).strip("\0 ")
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
        " ".join(_lines(counter.parent / "name")) or counter.parent.name for counter in counters
    )
    return _sensor(parts, counters)


def find_ina3221(sys: Path = SYS) -> Sensor:
    """The rails that a Jetson's INA3221 measures, and whether their names can be read."""
    labels = [label for pattern in INA3221_RAILS for label in sorted(sys.glob(pattern))]
    parts = tuple(" ".join(_lines(label)) or label.name for label in labels)
    return _sensor(parts, labels)


def find_limits(sys: Path = SYS, proc: Path = PROC) -> Limits:
    """Cores, clock, memory and temporary files, as this process may use them."""
    online = _count(" ".join(_lines(sys / "devices/system/cpu/online"))) or os.cpu_count() or 1
    governors = sys.glob("devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor")
    total, available = (_meminfo_mib(proc, key) for key in ("MemTotal", "MemAvailable"))
    limit = _memory_limit_mib(sys, proc)
    # Control groups of version 1 write "no limit" as a number beyond any memory.
    is_limited = limit is not None and (total is None or limit < total)
    temp = tempfile.gettempdir()
    return Limits(
        cores_online=online,
        cores_allowed=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else online,
        core_quota=_core_quota(sys, proc),
        governors=tuple(sorted({" ".join(_lines(path)) for path in governors} - {""})),
        available_mib=available,
        memory_limit_mib=limit if is_limited else None,
        temp=temp,
        temp_free_mib=shutil.disk_usage(temp).free / MIB,
        temp_problem=_write_problem(temp),
    )


def _own_metadata() -> tuple[str, list[str]]:
    try:
        own = metadata.metadata("hwkd")
    except metadata.PackageNotFoundError:
        return "", []
    ranges = SpecifierSet(",".join(own.get_all("Requires-Python") or []))
    return _ranges(ranges), own.get_all("Requires-Dist") or []


def _installed_version(name: str) -> str | None:
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


def _core_quota(sys: Path, proc: Path) -> float | None:
    quotas = []
    for folder in _cgroup_folders("cpu", sys, proc):
        words = " ".join(_lines(folder / "cpu.max")).split()
        if not words:  # version 1 of control groups
            names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            words = [word for name in names for word in _lines(folder / name)]
        if len(words) == 2 and words[0] not in ("max", "-1"):
            quotas.append(int(words[0]) / int(words[1]))
    return min(quotas, default=None)


def _memory_limit_mib(sys: Path, proc: Path) -> float | None:
    limits = [
        int(word) / MIB
        for folder in _cgroup_folders("memory", sys, proc)
        for name in ("memory.max", "memory.limit_in_bytes")
        for word in _lines(folder / name)
        if word != "max"
    ]
    return min(limits, default=None)


def _cgroup_folders(controller: str, sys: Path, proc: Path) -> Iterator[Path]:
    """The folders of this process's control groups for `controller`, versions 1 and 2, and all above them: a limit on
    any of them holds."""
    for line in _lines(proc / "self/cgroup"):
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        root = sys / "fs/cgroup" / (controller if controllers else "")
        folder = root / path.lstrip("/")
        yield folder
        while folder != root:
            folder = folder.parent
            yield folder


def _meminfo_mib(proc: Path, key: str) -> float | None:
    for line in _lines(proc / "meminfo"):
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


def _lines(path: Path) -> list[str]:
    """The lines of a file, none where it is missing or cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
