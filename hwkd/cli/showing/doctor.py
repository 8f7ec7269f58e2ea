"""`hwkd doctor`: what this machine offers to hwkd, and the command that repairs each lack."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace

from hwkd.cli.tables import TableOptions, emit_all
from hwkd.errors import InputError
from hwkd.measure.machine import Gpu, Limits, Machine, Package, Processor, SysfsSensor
from hwkd.quantity import NA
from hwkd.report.table import Table, missing

HELP = "what this machine has for hwkd, and the line that mends each lack"

EXAMPLES = """examples:
  hwkd doctor
  hwkd doctor --format json -o machine.json
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `hwkd doctor` to `parser`: those of its table."""
    TableOptions.add_to(parser)


def run(args: argparse.Namespace) -> int:
    """Examine the machine and print the findings. A lack is not a failure, so the exit code is 0."""
    from hwkd.measure.machine import look

    machine = look()
    table = doctor_table(machine)
    emit_all(
        (table,),
        TableOptions.of(args),
        verdict(machine),
        ((first_table(table),), ("what is found of all that is ok",)),
    )
    return 0


# What a machine has and lacks for hwkd, and the command that repairs each lack. Pure: a Machine in, a Table out.

STATES = ("ok", "limited", "missing")
"""limited: it is there, but not in full use or not as hwkd needs it."""

NOTHING = "none"
"""Value of the column mend if there is nothing to repair."""

USES = {
    "numpy": "images and metrics",
    "pillow": "reading and writing images",
    "torch": "training, and models that are not exported",
    "compressai": "the entropy models of training, and CompressAI's teachers",
    "brevitas": "quantization-aware training",
    "torchao": "the torchao back ends of `hwkd quantize`",
    "fvcore": "counting MACs",
    "pytorch-msssim": "MS-SSIM",
    "safetensors": "reading and writing weights",
    "onnx": "exporting models",
    "onnxruntime": "running exported models on any processor",
    "openvino": "running exported models on x86, transposed convolutions in int8 included",
    "codecarbon": "estimates of energy where there is no sensor, and of emissions",
    "pyJoules": "reading RAPL's energy counters",
}
"""The use of each package; it follows the words "needed for"."""

TRAIN_PYTHONS = "CPython 3.11 or 3.12"
"""The Pythons that the extra `train` supports; pyproject.toml gives the reason."""

INA3221_MEND = "sudo chmod a+r /sys/bus/i2c/drivers/ina3221*/*/{hwmon/hwmon*,iio:device*}/*"
RAPL_MEND = "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj"
"""The kernel opens the counters to root only (CVE-2020-8694); the effect of this command lasts until the next start."""

LITTLE_MEMORY_MIB = 1024
"""`hwkd evaluate` of the shipped model on the embedded photographs peaked at 580 MiB (CPU build of torch 2.13)."""


@dataclass(frozen=True)
class Check:
    """One check of the machine.

    Attributes:
        found: the finding, in words.
        state: one of STATES.
        mend: the command that repairs the lack, or NOTHING.
        follows: the consequence for hwkd; "" if there is none.

    Raises:
        InputError: `state` is not one of STATES, or a lack has no `follows`.
    """

    name: str
    found: str
    state: str
    mend: str = NOTHING
    follows: str = ""

    def __post_init__(self) -> None:
        if self.state not in STATES:
            raise InputError(f"state must be one of {', '.join(STATES)}, got {self.state!r}")
        if self.state != "ok" and not self.follows:
            raise InputError(f"{self.name} is {self.state}: say what follows from it")


def doctor_table(machine: Machine) -> Table:
    """The checks of `machine`, one a row, with their consequences below."""
    checks = list_checks(machine)
    rows = tuple((check.name, _found(check), check.state, check.mend) for check in checks)
    notes = [f"{check.name}: {check.follows}." for check in checks if check.follows]
    counts = [
        f"{sum(check.state == state for check in checks)} {state}"
        for state in STATES
        if any(check.state == state for check in checks)
    ]
    title = f"This machine: {machine.processor.name}; {', '.join(counts)}"
    return Table(title, ("check", "found", "state", "mend"), rows, tuple(notes))


TASKS = (
    ("encode and decode", ("onnxruntime", "openvino"), any),
    ("train and export", ("torch", "compressai", "brevitas", "safetensors", "onnx"), all),
)
"""The uses of hwkd, and the packages of which each needs any, or all."""


def verdict(machine: Machine) -> str:
    """One line: what hwkd can do here."""
    there = {package.name for package in machine.packages if package.version is not None}
    can = [task for task, names, of in TASKS if of(name in there for name in names)]
    cannot = [task for task, _, _ in TASKS if task not in can]
    (can if not any(_energy(machine)) else cannot).append("measure energy")
    said = [f"hwkd can {', '.join(can)} here"] if can else []
    said += [f"it cannot {', '.join(cannot)}"] if cannot else []
    is_ready = all(task in can for task, _, _ in TASKS)
    return f"{'READY' if is_ready else 'LACKING'}: {'; '.join(said)}"


def first_table(table: Table) -> Table:
    """The checks that are not "ok" as rows; the names of the others in a sentence."""
    lacking = tuple(row for row in table.rows if row[2] != STATES[0])
    rest = [row[0] for row in table.rows if row[2] == STATES[0]]
    good = (f"{STATES[0]}: {', '.join(rest)}.",) if rest else ()
    names = {row[0] for row in lacking}
    notes = tuple(note for note in table.notes if note.partition(":")[0] in names)
    return replace(table, rows=lacking, notes=(*good, *notes))


def _found(check: Check) -> str:
    is_known = not check.found.startswith(NA)
    return check.found if is_known else missing(check.follows, check.found)


def list_checks(machine: Machine) -> tuple[Check, ...]:
    """Every check of `machine`, in the order of the table."""
    return (
        _python(machine),
        *(_package(package, machine.processor) for package in machine.packages),
        _instruction_sets(machine.processor),
        _target(machine.processor),
        _gpu(machine),
        _rapl(machine.rapl, machine.processor),
        _gpu_energy(machine),
        _ina3221(machine.ina3221),
        *_energy(machine),
        _cores(machine.limits),
        _clock(machine.limits),
        _memory(machine.limits),
        _temp(machine.limits),
    )


def _python(machine: Machine) -> Check:
    package = Package("python", machine.python, machine.requires_python, "")
    if not machine.requires_python:
        return Check(
            "python",
            machine.python,
            "limited",
            "pip install -e .",
            "hwkd runs from its source without being installed, so the versions that it needs are not known",
        )
    found = f"{machine.python} (needs {machine.requires_python})"
    if package.is_in_range:
        return Check("python", found, "ok")
    mend = f"make an environment with a Python {machine.requires_python} and install hwkd there"
    return Check("python", found, "limited", mend, "hwkd is not tested with this Python")


def _package(package: Package, processor: Processor) -> Check:
    use = f"needed for {USES[package.name]}"
    needs = f"needs {package.required}" if package.required else "hwkd states no range"
    if package.is_in_range:
        return Check(package.name, f"{package.version} ({needs})", "ok")
    one = f'pip install "{package.name}{package.required}"'
    if package.version is not None:
        return Check(
            package.name, f"{package.version} ({needs})", "limited", one, f"{use}; not tested so"
        )
    if package.name == "compressai" and processor.architecture not in ("x86_64", "AMD64"):
        mend = "train on an x86-64 machine and bring the exported model here"
        follows = f"{use}; it has wheels for x86-64 only"
        return Check(package.name, "not installed", "missing", mend, follows)
    if not package.has_python:
        mend = f"make an environment with {TRAIN_PYTHONS} to train and to export"
        follows = f"{use}; hwkd is not tested with it on this Python"
        return Check(package.name, "not installed", "missing", mend, follows)
    mend = f'pip install "hwkd[{package.extra}]"' if package.extra else one
    return Check(package.name, "not installed", "missing", mend, use)


def _instruction_sets(processor: Processor) -> Check:
    name = "instruction sets"
    if processor.instruction_sets is None:
        return Check(
            name,
            "n/a: the system has no /proc/cpuinfo with them",
            "limited",
            NOTHING,
            "whether int8 is fast and exact here is not known",
        )
    sets = set(processor.instruction_sets)
    found = ", ".join(processor.instruction_sets) or "none that hwkd looks for"
    mend = "none: the processor is as it is"
    if {"AVX512-VNNI", "AVX-VNNI", "NEON dot product"} & sets:
        follows = "8-bit weights do not saturate in int8 kernels: sums are kept in 32 bits"
        return Check(name, found, "ok", NOTHING, follows)
    if "NEON" in sets:
        follows = "8-bit weights do not saturate, but without dot product int8 gains less speed"
        return Check(name, found, "limited", mend, follows)
    if "AVX2" not in sets:
        follows = "no fast int8 arithmetic that hwkd knows: expect int8 to gain little here"
        return Check(name, found, "limited", mend, follows)
    follows = (
        "int8 weights are held to 7 bits in OpenVINO and ONNX Runtime: without VNNI two products of 8 bits are added "
        "in 16 bits and saturate (`hwkd targets show x86-avx2`)"
    )
    if processor.is_virtual:
        mend = (
            "none, unless the virtual machine hides VNNI: let it pass the host's processor through"
        )
    return Check(name, found, "limited", mend, follows)


def _target(processor: Processor) -> Check:
    board = f" (board: {processor.board})" if processor.board else ""
    if processor.target is None:
        return Check(
            "target",
            f"no shipped one describes this machine{board}",
            "missing",
            "write a .toml of it: hwkd targets show my-board.toml",
            "figures for a shipped target do not hold here",
        )
    follows = f"of the shipped targets the one most like this machine: `hwkd targets show {processor.target}`"
    return Check("target", processor.target + board, "ok", NOTHING, follows)


def _gpu(machine: Machine) -> Check:
    on_cpu = "training and models run on the processor"
    if not machine.gpus:
        target = machine.processor.target or ""
        if target.startswith("jetson-"):
            follows = f"exported models run on it through TensorRT: `hwkd targets show {target}`"
            return Check("gpu", "the board's own, which NVML does not list", "ok", NOTHING, follows)
        if machine.has_nvidia_driver:
            follows = f"a driver is loaded, but the GPU is not known: {machine.no_gpu}"
            return Check("gpu", "n/a", "limited", "pip install nvidia-ml-py", follows)
        follows = f"{machine.no_gpu}; {on_cpu}"
        return Check("gpu", "no NVIDIA GPU", "missing", "none: hwkd works without", follows)
    found = "; ".join(map(_one_gpu, machine.gpus))
    if any(gpu.problem for gpu in machine.gpus):
        follows = "a GPU that does not answer is not used; what is on it is lost"
        return Check(
            "gpu", found, "limited", "restart the machine, or reset it: nvidia-smi -r", follows
        )
    torch = next(package for package in machine.packages if package.name == "torch")
    if torch.version is not None and "+cpu" in torch.version:
        mend = f'pip install --force-reinstall "torch{torch.required}"'
        follows = (
            f"torch {torch.version} is a build without CUDA, so {on_cpu}; pip's own choice for Linux on x86-64 is a "
            "build with it"
        )
        return Check("gpu", found, "limited", mend, follows)
    return Check("gpu", found, "ok")


def _one_gpu(gpu: Gpu) -> str:
    if gpu.problem:
        return f"{gpu.name}: {gpu.problem}"
    memory = "memory not told" if gpu.memory_mib is None else f"{gpu.memory_mib:,.0f} MiB"
    return f"{gpu.name}, {memory}"


def _rapl(rapl: SysfsSensor, processor: Processor) -> Check:
    name = "sensor RAPL"
    if not rapl.parts:
        mend = "sudo modprobe intel_rapl_msr"
        if processor.is_virtual:
            mend = "none: a virtual machine sees no RAPL, measure on its host"
        elif processor.architecture not in ("x86_64", "AMD64"):
            mend = "none: only x86 processors have it"
        return Check(name, "absent", "missing", mend, "the processor's energy cannot be measured")
    found = ", ".join(rapl.parts)
    if not rapl.problem:
        return Check(name, f"{found}: readable", "ok")
    mend = RAPL_MEND if rapl.is_denied else "none known: see below"
    follows = "the processor's energy cannot be measured until its counters can be read"
    return _unusable(name, found, rapl, mend, follows)


def _gpu_energy(machine: Machine) -> Check:
    name = "sensor NVML"
    if not machine.gpus:
        mend = "none: it comes with an NVIDIA GPU"
        return Check(name, "absent", "missing", mend, "the energy of a GPU cannot be measured")
    if not machine.gpus[0].no_energy:
        return Check(name, "total energy counter", "ok")
    follows = f"NVML answers, but of the first GPU: {machine.gpus[0].no_energy}"
    return Check(name, "no energy counter", "limited", "none: the GPU is as it is", follows)


def _ina3221(ina3221: SysfsSensor) -> Check:
    name = "sensor INA3221"
    if not ina3221.parts:
        mend = "none: Jetson boards carry it"
        return Check(name, "absent", "missing", mend, "the energy of a board cannot be measured")
    found = ", ".join(ina3221.parts)
    if not ina3221.problem:
        return Check(name, f"{found}: readable", "ok")
    mend = INA3221_MEND if ina3221.is_denied else "none known: see below"
    follows = "the board's energy cannot be measured until its rails can be read"
    return _unusable(name, found, ina3221, mend, follows)


def _unusable(name: str, found: str, sensor: SysfsSensor, mend: str, follows: str) -> Check:
    if sensor.is_denied:
        return Check(name, f"{found}: not readable ({sensor.problem})", "limited", mend, follows)
    return Check(name, f"{found}: not usable", "limited", mend, f"{sensor.problem}; {follows}")


def _energy(machine: Machine) -> Iterator[Check]:
    """The check of energy as a whole, if no sensor can be read."""
    # A GPU's counter does not count as a sensor: what is measured here runs on the processor.
    if any(s.parts and not s.problem for s in (machine.rapl, machine.ina3221)):
        return
    codecarbon = next(package for package in machine.packages if package.name == "codecarbon")
    if codecarbon.version is None:
        follows = "no sensor can be read and codecarbon is not installed: energy is n/a here"
        yield Check("energy", "n/a", "missing", 'pip install "hwkd[energy]"', follows)
        return
    mend = "make one of the sensors above readable"
    follows = "no sensor can be read: energy here is codecarbon's estimate, not a measurement"
    yield Check("energy", "estimated by codecarbon", "limited", mend, follows)


def _cores(limits: Limits) -> Check:
    usable = min(limits.cores_allowed, limits.core_quota or limits.cores_allowed)
    found = f"{usable:g} of {limits.cores_online} usable"
    if usable >= limits.cores_online:
        return Check("cores", found, "ok")
    if usable < limits.cores_allowed:
        mend = f"raise the container's limit: docker run --cpus {limits.cores_online}"
        follows = "a limit on processor time pauses threads, which spreads every timing"
    else:
        mend = f"taskset -c 0-{limits.cores_online - 1} hwkd ..."
        follows = "timings are those of fewer cores than the machine has"
    return Check("cores", found, "limited", mend, follows)


def _clock(limits: Limits) -> Check:
    if not limits.governors:
        follows = "the system does not tell how the clock is governed, so it may move while timing"
        return Check("clock governor", "n/a", "limited", "none: it cannot be set here", follows)
    found = ", ".join(limits.governors)
    if limits.governors == ("performance",):
        return Check("clock governor", found, "ok")
    mend = "sudo cpupower frequency-set -g performance"
    follows = "the clock follows the load, which spreads timings"
    return Check("clock governor", found, "limited", mend, follows)


def _memory(limits: Limits) -> Check:
    if limits.available_mib is None:
        return Check("memory", "n/a", "limited", NOTHING, "the system does not tell what is free")
    free_mib = limits.available_mib
    limit_mib = limits.memory_limit_mib
    within = "" if limit_mib is None else f" (the control group's limit is {limit_mib:,.0f} MiB)"
    found = f"{free_mib:,.0f} MiB available{within}"
    if free_mib >= LITTLE_MEMORY_MIB:
        return Check("memory", found, "ok")
    follows = (
        f"under {LITTLE_MEMORY_MIB:,} MiB: evaluating two small photographs took 580 MiB, training takes more, so a "
        "run may be killed"
    )
    mend = "close other programs, or raise the limit on memory"
    return Check("memory", found, "limited", mend, follows)


def _temp(limits: Limits) -> Check:
    if limits.temp_problem:
        found = f"{limits.temp}: not writable ({limits.temp_problem})"
        follows = "temporary files cannot be made, which codecarbon and exporting need"
        return Check("temporary files", found, "missing", "export TMPDIR=DIR", follows)
    return Check("temporary files", f"{limits.temp}, {limits.temp_free_mib:,.0f} MiB free", "ok")
