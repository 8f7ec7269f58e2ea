"""What this host is, for the provenance of a measured figure. No torch until threads are asked for."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Host:
    """cpu: the processor's name. cores: usable by this process. threads: torch's, within an operator."""

    cpu: str
    cores: int
    threads: int
    torch_version: str

    def __str__(self) -> str:
        return f"{self.cpu}, {self.threads} threads, {self.cores} cores usable, torch {self.torch_version}"


def describe_host() -> Host:
    """The host as it is now, torch's settings included."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Host(cpu_name(), cores or 1, torch.get_num_threads(), torch.__version__)


def cpu_name(cpuinfo: Path = _CPUINFO) -> str:
    """The processor's name from /proc/cpuinfo ("model name" on x86, "Model" on boards), else the instruction set."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for key in ("model name", "Model"):
        for line in lines:
            name, colon, value = line.partition(":")
            if colon and name.strip() == key and value.strip():
                return " ".join(value.split())
    return platform.machine() or "unknown processor"
