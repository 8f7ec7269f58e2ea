"""Devices: facts with their sources and derived constants, in targets/*.toml. A new board is one file there and no code."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tomli_w

from hwkd.errors import InputError, unknown
from hwkd.files import data_folder, write_text
from hwkd.schema import read_toml

# A number about a device, and where it comes from.

CONFIDENCES = {
    "S": "seen in a source",
    "R": "reported by others, not by the vendor or who measured",
    "D": "derived",
    "M": "from memory, unverified",
}
"""How sure a fact is. A derivation is S or D only if all its premises are S, R or D."""


def check_source(confidence: str, source: str) -> None:
    """Raise InputError unless the confidence is one of CONFIDENCES and the source says something."""
    if confidence not in CONFIDENCES:
        raise InputError(
            f"confidence must be S (seen), R (reported), D (derived) or M (memory), got {confidence!r}"
        )
    if not source.strip():
        raise InputError("a fact needs a source, or the way it was derived; got an empty one")


@dataclass(frozen=True)
class Fact:
    """A number with its source, or the reason why there is none. The unit stands in the name of the field.

    Attributes:
        value: the number, or the lower end of a range that ends at `upto`.
        unknown: why there is no value.
        source: where it was seen, or how it was derived.
        confidence: S, R, D or M.
    """

    value: float | None = None
    upto: float | None = None
    unknown: str = ""
    confidence: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        if (self.value is None) == (not self.unknown):
            raise InputError("needs either a value, or the reason why it is unknown")
        if self.value is None:
            return
        check_source(self.confidence, self.source)
        if self.value <= 0 or (self.upto is not None and self.upto <= self.value):
            raise InputError(f"needs 0 < value < upto, got {self.value} and {self.upto}")

    @property
    def high(self) -> float | None:
        """The upper end of the range; the value itself where there is only one."""
        return self.value if self.upto is None else self.upto


@dataclass(frozen=True)
class PeakRate:
    """The rate of one unit in one precision: a peak rate, an unknown rate, or none.

    Attributes:
        peak_gops: peak in 1e9 operations a second, dense, a multiply-accumulate counted as two, as vendors do.
        unknown: why an existing rate has no number.
        none: why the unit has no such arithmetic.
    """

    confidence: str
    source: str
    peak_gops: float | None = None
    unknown: str = ""
    none: str = ""

    def __post_init__(self) -> None:
        if (self.peak_gops is not None) + bool(self.unknown) + bool(self.none) != 1:
            raise InputError("needs exactly one of peak_gops, unknown and none")
        if self.peak_gops is not None and self.peak_gops <= 0:
            raise InputError(
                f"peak_gops must be > 0, got {self.peak_gops}; say none where there is none"
            )
        check_source(self.confidence, self.source)

    @property
    def is_there(self) -> bool:
        """Whether the unit computes in this precision, at whatever rate."""
        return not self.none


# What a device takes for a unit of work: the constants behind predicted latencies, with their uncertainty.
#
# Kept in a target's TOML file, derived by `hwkd targets fit` from published timings or by `hwkd profile --save-target` from
# a board's own. The terms of a layer's work are those of hwkd.measure.layers (scheme "kinds") or of
# hwkd.measure.layers (scheme "shapes").

SCHEMES = ("kinds", "shapes")


@dataclass(frozen=True)
class Carried:
    """One step from what was timed to what is predicted: to another runtime, or to the other machines of a class.

    Attributes:
        to: what the step leads to.
        ln_factor: natural logarithm of the ratio of times.
        sd: standard deviation of ln(time) that the step adds.
        timings: number of published times (or machines) that support it; 0 for none.
        how: where it comes from.

    Raises:
        InputError: a spread or a count below 0, or an empty text.
    """

    to: str
    ln_factor: float
    sd: float
    timings: int
    how: str

    def __post_init__(self) -> None:
        if not self.to.strip() or not self.how.strip():
            raise InputError("a step to another runtime or machine needs `to` and `how`")
        if self.sd < 0 or self.timings < 0 or not math.isfinite(self.ln_factor):
            raise InputError(
                f"sd and timings of a step must be 0 or more and ln_factor finite; got {self.sd}, {self.timings} and "
                f"{self.ln_factor}"
            )

    def __str__(self) -> str:
        """As "to onnxruntime times 1.15, spread 20 % (27 published times ...)"."""
        spread = 100 * math.expm1(self.sd)
        return f"to {self.to}: times {math.exp(self.ln_factor):.2f}, spread {spread:.0f} % ({self.how})"


ANY_OF_CLASS = "any machine of the class"
"""The destination of a step from the timed machine of a class."""


@dataclass(frozen=True)
class Constants:
    """The constants of one unit in one precision with one number of threads.

    Attributes:
        unit: a unit of the target.
        threads: number of threads in the timings.
        runtime: runtime of the timings. It is not the target's own where nobody published that.
        device: the device that was timed.
        is_same_device: False for a stand-in; `note` then has what is alike.
        source: source of the timings.
        scheme: one of SCHEMES.
        networks: number of networks or profiles behind the constants.
        sigma: standard deviation of ln(time) that the terms cannot explain.
        unseen: further standard deviation of ln(time) for layers that nobody timed.
        ln_ns: term -> natural logarithm of the nanoseconds for one unit of work.
        covariance: covariance of ln_ns, in the order of its keys. Empty: only sigma is known.
        error_percent, coverage: median error and share of truths inside the 90 % interval when each network is left out in
            turn, of this very device; None where too few were timed.
        predicts: runtime that predictions hold for; empty where that is `runtime`.
        carried: the steps from `runtime` to `predicts`. Every interval includes their spreads.

    Raises:
        InputError: an unknown scheme, no terms, a covariance of another size, a spread below 0, an empty source.
    """

    unit: str
    precision: str
    threads: int
    runtime: str
    device: str
    is_same_device: bool
    source: str
    scheme: str
    networks: int
    sigma: float
    unseen: float
    ln_ns: Mapping[str, float]
    covariance: tuple[tuple[float, ...], ...] = ()
    error_percent: float | None = None
    coverage: float | None = None
    note: str = ""
    predicts: str = ""
    carried: tuple[Carried, ...] = ()

    @property
    def predicted_runtime(self) -> str:
        """The runtime that predictions hold for."""
        return self.predicts or self.runtime

    @property
    def class_step(self) -> Carried | None:
        """The step to any machine of the class; None for a device that is no class."""
        return next((step for step in self.carried if step.to == ANY_OF_CLASS), None)

    @property
    def ln_factor(self) -> float:
        """The logarithm of the factor of all steps together."""
        return sum(step.ln_factor for step in self.carried)

    @property
    def carried_variance(self) -> float:
        """The variance of ln(time) of all steps together."""
        return sum(step.sd**2 for step in self.carried)

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            raise InputError(f"scheme must be one of {', '.join(SCHEMES)}, got {self.scheme!r}")
        if not self.ln_ns:
            raise InputError("constants need a value for at least one term in ln_ns, got none")
        if not self.source.strip() or not self.device.strip():
            raise InputError(
                "constants need the device that was timed and a source; got an empty one"
            )
        if not self.is_same_device and not self.note:
            raise InputError("a stand-in needs a note on what is alike; got an empty one")
        if min(self.sigma, self.unseen) < 0 or self.threads < 1 or self.networks < 1:
            raise InputError(
                f"sigma and unseen must be 0 or more, threads and networks 1 or more; got {self.sigma}, "
                f"{self.unseen}, {self.threads} and {self.networks}"
            )
        n = len(self.ln_ns)
        if self.covariance and [len(row) for row in self.covariance] != [n] * n:
            raise InputError(f"covariance must have {n} rows of {n} numbers, one for each of ln_ns")
        if not all(math.isfinite(value) for value in self.ln_ns.values()):
            raise InputError(f"ln_ns must hold finite numbers, got {dict(self.ln_ns)}")

    def __str__(self) -> str:
        return f"{self.unit} {self.precision}, {self.threads} thread{'s' * (self.threads > 1)}"


# What a device is: facts with their sources, read from targets/*.toml. A new board is one file there and no code.

PRECISIONS = ("fp32", "fp16", "bf16", "int8")
UNIT_KINDS = ("cpu", "gpu", "dla")
RUNTIMES = ("openvino", "onnxruntime", "tensorrt")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""The form of a target's name."""
SENSOR_KINDS = ("rapl", "nvml", "ina3221")
ALIASES = {
    "rpi4": "raspberry-pi-4",
    "pi4": "raspberry-pi-4",
    "rpi5": "raspberry-pi-5",
    "pi5": "raspberry-pi-5",
    "pi-zero-2w": "raspberry-pi-zero-2w",
    "orin-nano": "jetson-orin-nano",
    "orin-nx": "jetson-orin-nx",
    "agx-orin": "jetson-agx-orin",
    "xavier-nx": "jetson-xavier-nx",
    "m1": "apple-m1",
}
"""Short names that mean one target; one that may mean several ("orin") is answered with these."""


@dataclass(frozen=True)
class Arithmetic:
    """The rates of one unit, precision by precision."""

    fp32: PeakRate
    fp16: PeakRate
    bf16: PeakRate
    int8: PeakRate

    def rate(self, precision: str) -> PeakRate:
        """The rate in one of PRECISIONS."""
        rates = {"fp32": self.fp32, "fp16": self.fp16, "bf16": self.bf16, "int8": self.int8}
        return rates[precision]


@dataclass(frozen=True)
class Runtime:
    """The runtime that runs the networks on a unit.

    Attributes:
        version: the newest version that is usable there.
        opset: the ONNX operator set to export; the runtime reads it.
    """

    name: str
    version: str
    opset: int
    confidence: str
    source: str

    def __post_init__(self) -> None:
        if self.name not in RUNTIMES:
            raise unknown("runtime", self.name, RUNTIMES)
        if not 7 <= self.opset <= 30:
            raise InputError(f"opset must be 7 to 30, got {self.opset}")
        check_source(self.confidence, self.source)


@dataclass(frozen=True)
class Quantization:
    """The requirements of the int8 kernels of a unit.

    Attributes:
        weight_bits: largest number of bits in a signed weight; with more, sums saturate.
        activations: uint8 or int8.
    """

    weight_bits: int
    activations: str
    reason: str
    confidence: str
    source: str

    def __post_init__(self) -> None:
        if not 2 <= self.weight_bits <= 8:
            raise InputError(f"weight_bits must be 2 to 8, got {self.weight_bits}")
        if self.activations not in ("uint8", "int8"):
            raise InputError(f"activations must be uint8 or int8, got {self.activations!r}")
        check_source(self.confidence, self.source)


@dataclass(frozen=True)
class TimingSource:
    """Published timings of networks that a prediction may be fitted on.

    Attributes:
        device: its name in the published table.
        is_same_device: False for a stand-in; `note` then has which part is alike.
        int8_device: the row for int8, where that is another row.
        peers: the other machines of a class. Their spread belongs into the interval.
        one_chip: the peers that have the same chip; they count as one.
    """

    device: str
    is_same_device: bool
    source: str
    note: str = ""
    int8_device: str = ""
    peers: tuple[str, ...] = ()
    one_chip: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.is_same_device and not self.note:
            raise InputError("a stand-in needs a note on what is alike; got an empty one")
        for name in self.one_chip:
            if name not in self.peers:
                raise InputError(
                    f"one_chip must name some of the peers, got {name!r}, which is none"
                )
        if not self.device or not self.source:
            raise InputError("timings need the device's name in the published table and a source")


@dataclass(frozen=True)
class ExecutionUnit:
    """A processor of a target: how fast it computes in which precision, and through which runtime.

    Attributes:
        bandwidth_gbs: peak in 1e9 bytes a second; units of one board share it.
        quantization: None without int8.
        load_w: power of the whole board while this unit runs networks, idle included; None where nobody measured it.
    """

    name: str
    kind: str
    model: str
    instruction_set: str
    cores: Fact
    clock_ghz: Fact
    bandwidth_gbs: Fact
    arithmetic: Arithmetic
    runtime: Runtime
    quantization: Quantization | None = None
    timings: TimingSource | None = None
    load_w: Fact | None = None

    def __post_init__(self) -> None:
        if self.kind not in UNIT_KINDS:
            raise unknown("kind of unit", self.kind, UNIT_KINDS)
        if self.arithmetic.int8.is_there != (self.quantization is not None):
            raise InputError("quantization belongs to a unit with int8 arithmetic, and only there")


@dataclass(frozen=True)
class PowerMode:
    """A power budget that a board can be set to."""

    name: str
    power_w: float
    confidence: str
    source: str
    note: str = ""

    def __post_init__(self) -> None:
        if self.power_w <= 0:
            raise InputError(f"power_w must be > 0, got {self.power_w}")
        check_source(self.confidence, self.source)


@dataclass(frozen=True)
class Sensor:
    """A power sensor of the target that hwkd can read.

    Attributes:
        covers: the part of the machine that it measures.
    """

    kind: str
    covers: str
    confidence: str
    source: str

    def __post_init__(self) -> None:
        if self.kind not in SENSOR_KINDS:
            raise unknown("kind of sensor", self.kind, SENSOR_KINDS)
        check_source(self.confidence, self.source)


@dataclass(frozen=True)
class SoftwareLimit:
    """A sentence on what the software of a board does not allow."""

    text: str
    confidence: str
    source: str

    def __post_init__(self) -> None:
        check_source(self.confidence, self.source)


@dataclass(frozen=True)
class Target:
    """A device: its units, its power, its limits.

    Attributes:
        idle_w, load_w: power of the whole board at the wall or plug.
        power_modes: the first is the default. All other facts hold for it.
        int8_alternative: a target to try for int8 where the preferred unit has none.
    """

    name: str
    description: str
    preferred_unit: str
    idle_w: Fact
    load_w: Fact
    units: tuple[ExecutionUnit, ...]
    power_modes: tuple[PowerMode, ...] = ()
    sensors: tuple[Sensor, ...] = ()
    limits: tuple[SoftwareLimit, ...] = ()
    int8_alternative: str = ""
    constants: tuple[Constants, ...] = ()

    def __post_init__(self) -> None:
        # It names a folder of records too.
        if not NAME.fullmatch(self.name):
            raise InputError(f"name must be letters, digits, dots and dashes, got {self.name!r}")
        names = [unit.name for unit in self.units]
        if len(set(names)) != len(names):
            raise InputError(f"units need different names, got {', '.join(names)}")
        if not any(unit.kind == "cpu" for unit in self.units):
            raise InputError("needs a unit of kind cpu: the entropy path runs there")
        if self.preferred_unit not in names:
            raise unknown("preferred_unit", self.preferred_unit, names)
        for constants in self.constants:
            if constants.unit not in names:
                raise unknown("unit of the constants", constants.unit, names)

    @property
    def preferred(self) -> ExecutionUnit:
        """The unit that runs encoder and decoder unless the user says otherwise."""
        return next(unit for unit in self.units if unit.name == self.preferred_unit)

    @property
    def cpu(self) -> ExecutionUnit:
        """The unit that runs the entropy path."""
        return next(unit for unit in self.units if unit.kind == "cpu")


def list_targets() -> tuple[str, ...]:
    """The names of the targets that ship with hwkd, sorted."""
    return tuple(sorted(path.stem for path in data_folder("targets").glob("*.toml")))


def load_target(name: str) -> Target:
    """The target of that name or alias, or the one in the user's own .toml file at that path.

    Raises:
        InputError: no such target or file, or a file that does not describe a target.
    """
    name = ALIASES.get(name.lower(), name)
    if name in list_targets():
        return read_toml(Target, data_folder("targets") / f"{name}.toml")
    if name.endswith(".toml"):
        return read_toml(Target, Path(name))
    raise unknown("target", name, list_targets(), "hwkd targets")


def load_targets(names: Sequence[str]) -> list[Target]:
    """The targets of those names or files, each text once.

    Raises:
        InputError: as `load_target`; two of them have one name, by which tables and records tell them apart.
    """
    found: dict[str, Target] = {}
    for text in dict.fromkeys(names):
        target = load_target(text)
        if target.name in found:
            raise InputError(
                f"two of the targets are called {target.name}, the second is {text}: give it another name in its file"
            )
        found[target.name] = target
    return list(found.values())


# Writing targets: the derived constants at the end of a board's file, or a whole file for a board of one's own.

_NUMBERS = re.compile(r"\[\n((?:\s+-?[\d.e+-]+,\n)+)\s*\]")
MARK = "# Below: derived by `hwkd targets fit`, which writes it anew. What is above is left as it stands.\n"


def write_constants(path: Path, into: Path, constants: Sequence[Constants]) -> None:
    """Write the target file at `path` to `into` with these constants in place of those that it holds.

    Raises:
        InputError: the file cannot be read, or `into` not written.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    facts = text.partition(MARK)[0].rstrip("\n")
    derived = _toml({"constants": [asdict(c) for c in constants]}) if constants else ""
    write_text(into, f"{facts}\n\n{MARK}\n{derived}" if derived else f"{facts}\n")


def write_target(path: Path, target: Target, comment: str) -> None:
    """Write a whole target, `comment` (lines) above it. Raises as hwkd.files.write_text."""
    lines = "".join(f"# {line}\n" for line in comment.splitlines())
    write_text(path, lines + _toml(asdict(target)))


def _toml(content: dict[str, Any]) -> str:
    # A row of a matrix on a line, as people write it.
    return _NUMBERS.sub(
        lambda row: "[" + ", ".join(row.group(1).replace(",", " ").split()) + "]",
        tomli_w.dumps(_given(content)),
    )


def _given(value: Any) -> Any:
    """Without None, which TOML lacks, and without empty texts and lists, which are defaults; tuples as lists."""
    if isinstance(value, dict):
        kept = {key: _given(item) for key, item in value.items()}
        return {k: v for k, v in kept.items() if v is not None and v != "" and v != [] and v != {}}
    if isinstance(value, list | tuple):
        return [_given(item) for item in value]
    return value
