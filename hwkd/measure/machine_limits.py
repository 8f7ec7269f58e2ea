"""What this process may use of the machine: cores, memory, places to write. /sys and /proc are parameters."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SYS = Path("/sys")
PROC = Path("/proc")
MIB = 2**20


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


def find_limits(sys: Path = SYS, proc: Path = PROC) -> Limits:
    """Cores, clock, memory and temporary files, as this process may use them."""
    online = _count(" ".join(file_lines(sys / "devices/system/cpu/online"))) or os.cpu_count() or 1
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
        governors=tuple(sorted({" ".join(file_lines(path)) for path in governors} - {""})),
        available_mib=available,
        memory_limit_mib=limit if is_limited else None,
        temp=temp,
        temp_free_mib=shutil.disk_usage(temp).free / MIB,
        temp_problem=_write_problem(temp),
    )


def _core_quota(sys: Path, proc: Path) -> float | None:
    quotas = []
    for folder in _cgroup_folders("cpu", sys, proc):
        words = " ".join(file_lines(folder / "cpu.max")).split()
        if not words:  # version 1 of control groups
            names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            words = [word for name in names for word in file_lines(folder / name)]
        if len(words) == 2 and words[0] not in ("max", "-1"):
            quotas.append(int(words[0]) / int(words[1]))
    return min(quotas, default=None)


def _memory_limit_mib(sys: Path, proc: Path) -> float | None:
    limits = [
        int(word) / MIB
        for folder in _cgroup_folders("memory", sys, proc)
        for name in ("memory.max", "memory.limit_in_bytes")
        for word in file_lines(folder / name)
        if word != "max"
    ]
    return min(limits, default=None)


def _cgroup_folders(controller: str, sys: Path, proc: Path) -> Iterator[Path]:
    """The folders of this process's control groups for `controller`, versions 1 and 2, and all above them: a limit on
    any of them holds."""
    for line in file_lines(proc / "self/cgroup"):
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


def file_lines(path: Path) -> list[str]:
    """The lines of a file, none where it is missing or cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
