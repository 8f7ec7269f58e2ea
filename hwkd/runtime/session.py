"""Running an ONNX graph in any installed runtime; facts of a processor's kernels; the number of cores and the memory."""

import os
import platform
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from hwkd.errors import HwkdError, InputError, unknown
from hwkd.quantity import MIB

# One way to run an ONNX graph in any installed runtime.

RUNTIMES = ("onnxruntime", "openvino")
"""The runtimes' names as packages."""

_X86 = ("x86_64", "amd64", "i686", "i386")

Arrays = Mapping[str, npt.NDArray[Any]]


class Session(Protocol):
    """A graph, loaded and ready to run."""

    def run(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        """Every output by name, for every input by name. The work is done at return, and the caller owns the arrays."""


def present_runtimes() -> tuple[str, ...]:
    """The installed runtimes of RUNTIMES."""
    return tuple(name for name in RUNTIMES if _is_present(name))


def preferred_runtimes() -> tuple[str, ...]:
    """The installed runtimes of RUNTIMES, the preferred one first: on x86 OpenVINO, the faster; elsewhere ONNX Runtime.

    OpenVINO lacks int8 kernels for some ARM cores (Cortex-A72, emulated).
    """
    order = ("openvino", "onnxruntime") if is_x86() else ("onnxruntime", "openvino")
    return tuple(name for name in order if name in present_runtimes())


def sums_exactly(runtime: str, machine: str | None = None) -> bool:
    """Whether its float32 convolution of whole numbers is a sum of their products, in any order.

    OpenVINO on ARM transforms instead (of 36,864 sums below 2^21, 12 were wrong after rounding, emulated Cortex-A76);
    on x86 its kernels are direct, as ONNX Runtime's are everywhere.

    Args:
        machine: as platform.machine() returns it; by default this one's.
    """
    return runtime == "onnxruntime" or is_x86(machine)


def is_x86(machine: str | None = None) -> bool:
    """Whether `machine`, as platform.machine() returns it, is an x86; by default this one."""
    return (machine or platform.machine()).lower() in _X86


def runtime_label(runtime: str) -> str:
    """The runtime with its version, for example "onnxruntime 1.32.0". Raises InputError as `open_session`."""
    # Imported here: it reads the package's metadata with the modules of e-mail, which take longer than to find the package.
    from importlib.metadata import PackageNotFoundError, version

    check_present(runtime)
    try:
        return f"{runtime} {version(runtime)}"
    except PackageNotFoundError:  # a build of another name
        return f"{runtime} of unknown version"


def open_session(graph: Path | bytes, runtime: str, threads: int) -> Session:
    """A graph in `runtime` on the CPU with `threads` threads; float parts of the graph run in float32.

    Args:
        graph: an ONNX file, or its content.

    Raises:
        InputError: the runtime is unknown or not installed; threads under 1; there is no such file.
        HwkdError: the runtime is installed but does not load, or refuses the graph.
    """
    check_present(runtime)
    if threads < 1:
        raise InputError(f"threads must be 1 or more, got {threads}")
    if isinstance(graph, Path) and not graph.is_file():
        raise InputError(f"there is no graph {graph}; export it first")
    try:
        if runtime == "openvino":
            from hwkd.runtime.openvino_runtime import OpenVinoSession

            return OpenVinoSession(graph, threads)
        from hwkd.runtime.onnx_runtime import OnnxRuntimeSession

        return OnnxRuntimeSession(graph, threads)
    except ImportError as error:
        raise HwkdError(
            f"{runtime_label(runtime)} is installed but cannot be loaded ({error}); install it again: "
            f"pip install --force-reinstall {runtime}"
        ) from error
    except MemoryError:
        raise
    # Each runtime raises its own classes; some derive from RuntimeError, some from Exception alone.
    except Exception as error:
        name = graph.name if isinstance(graph, Path) else "the graph"
        cause = str(error).strip().partition("\n")[0] or type(error).__name__
        raise HwkdError(f"{runtime_label(runtime)} refuses {name}: {cause}") from error


def check_present(runtime: str) -> None:
    """Raise InputError if `runtime` is unknown, or not installed."""
    if runtime not in RUNTIMES:
        raise unknown("runtime", runtime, RUNTIMES)
    if not _is_present(runtime):
        raise InputError(
            f'{runtime} is not installed: pip install "hwkd[runtime]", or pip install {runtime}'
        )


def _is_present(runtime: str) -> bool:
    spec = find_spec(runtime)
    return spec is not None and spec.origin is not None  # a folder of that name is not a package


# Whether a processor's int8 kernels overflow with a bundle's weights.
#
# Without VNNI the kernels of x86 add pairs of products of uint8 and int8 in 16 bits: 2 x 255 x 64 is the most that fits,
# so weights beyond 7 bits saturate. On AVX2 more than half the symbols of y were wrong so (relu N=64, 8-bit weights).

SAFE_BITS = 7

_WITHOUT_OVERFLOW = {"avx512_vnni", "avx_vnni"}


def saturation_warning(
    weight_bits: int, machine: str | None = None, cpuinfo: Path = Path("/proc/cpuinfo")
) -> str | None:
    """The warning for a user who runs integer weights of `weight_bits` bits here; None if there is none.

    Args:
        machine: as platform.machine() returns it; by default this one's.
        cpuinfo: the kernel's list of the processor's flags; without such a list there is no warning.
    """
    if weight_bits <= SAFE_BITS or not is_x86(machine):
        return None
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "").split()
    if not flags or _WITHOUT_OVERFLOW.intersection(flags):
        return None
    return (
        f"this processor has no VNNI, so sums over weights of {weight_bits} bits saturate and pictures are worse than they "
        "should be: export the model with --target x86-avx2 to use it here"
    )


# The usable cores and memory: those of the machine, and those of the container.

SYS = Path("/sys")
PROC = Path("/proc")


def usable_cores() -> int:
    """The number of cores that this process may keep busy: by its affinity, and by the processor time of its container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota = core_quota()
    # More threads than the quota are all paused once it is used up, and each waits for the others.
    return max(1, min(cores or 1, cores or 1 if quota is None else int(quota)))


def free_memory_bytes(sys: Path = SYS, proc: Path = PROC) -> int | None:
    """Memory that is available without swapping, within the limits of the control groups; None if the system has no figure."""
    free = [
        1024 * int(value.split()[0])
        for line in file_lines(proc / "meminfo")
        for key, _, value in [line.partition(":")]
        if key == "MemAvailable" and value.split()[0].isdigit()
    ]
    for folder in _cgroup_folders("memory", sys, proc):
        for limit, usage, stale in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            words = [" ".join(file_lines(folder / name)) for name in (limit, usage)]
            if not all(word.isdigit() for word in words):
                continue
            # Pages of files that were read once are freed when memory is needed.
            stat = dict(
                line.split(" ", 1) for line in file_lines(folder / "memory.stat") if " " in line
            )
            used = int(words[1]) - int(stat.get(stale, "0"))
            free.append(max(int(words[0]) - used, 0))
    return min(free, default=None)


def core_quota(sys: Path = SYS, proc: Path = PROC) -> float | None:
    """Cores that the control groups let this process use, by processor time; None for no limit."""
    quotas = []
    for folder in _cgroup_folders("cpu", sys, proc):
        words = " ".join(file_lines(folder / "cpu.max")).split()
        if not words:  # version 1 of control groups
            names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            words = [word for name in names for word in file_lines(folder / name)]
        if len(words) == 2 and words[0] not in ("max", "-1"):
            quotas.append(int(words[0]) / int(words[1]))
    return min(quotas, default=None)


def memory_limit_mib(sys: Path = SYS, proc: Path = PROC) -> float | None:
    """Memory that the control groups let this process take; None for no limit."""
    limits = [
        int(word) / MIB
        for folder in _cgroup_folders("memory", sys, proc)
        for name in ("memory.max", "memory.limit_in_bytes")
        for word in file_lines(folder / name)
        if word != "max"
    ]
    return min(limits, default=None)


def _cgroup_folders(controller: str, sys: Path, proc: Path) -> Iterator[Path]:
    """The folders of this process's control groups for `controller`, versions 1 and 2, and all above them.

    A limit on any of them holds.
    """
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


def file_lines(path: Path) -> list[str]:
    """The lines of a file; none if it is missing or cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
