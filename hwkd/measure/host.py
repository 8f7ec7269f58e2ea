"""What this host is, for the provenance of a measured figure."""

import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from hwkd.measure.record import Setting
from hwkd.runtime.cores import usable_cores

_CPUINFO = Path("/proc/cpuinfo")

X86_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8")
ARM_FLAGS = ("asimd", "asimddp", "i8mm", "sve", "bf16")
FLAGS = (*X86_FLAGS, *ARM_FLAGS)
"""Instruction sets that decide how fast convolutions run in float32, bfloat16 and int8, as Linux spells them."""


@dataclass(frozen=True)
class HostFacts:
    """The machine itself.

    cpu: the processor's name. flags: those of FLAGS that every core has. cores: usable by this process.
    memory_mib: of the machine; clock_mhz: of the fastest core now; governor: what sets the clock of the first core.
    All three are None where this system does not tell.
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
    """The machine, and what torch makes of it. threads: torch's, within an operator."""

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
    """The host as it is now. No torch.

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
    """Those of FLAGS that /proc/cpuinfo gives for every core ("flags" on x86, "Features" on ARM), in FLAGS' order."""
    cores = [set(v.split()) for key in ("flags", "Features") for v in _values(cpuinfo, key)]
    if not cores:
        return ()
    # A big and a small core of one chip may differ, and a thread may land on either.
    common = set.intersection(*cores)
    return tuple(flag for flag in FLAGS if flag in common)


def clock_mhz(root: Path = Path("/")) -> float | None:
    """The clock of the fastest core now, in MHz, by cpufreq or else by /proc/cpuinfo; None where neither tells."""
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
    """What stands behind `key :` in each line of `path` that has it; none where it cannot be read."""
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
