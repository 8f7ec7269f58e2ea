"""What a device is: facts with their sources, read from targets/*.toml. A new board is one file there and no code."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hwkd.constants import Constants
from hwkd.data import data_folder
from hwkd.errors import InputError, unknown
from hwkd.facts import Fact, Rate, check_source
from hwkd.schema import read_toml

PRECISIONS = ("fp32", "fp16", "bf16", "int8")
UNIT_KINDS = ("cpu", "gpu", "dla")
RUNTIMES = ("openvino", "onnxruntime", "tensorrt")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""Of a target."""
SENSOR_KINDS = ("rapl", "nvml", "ina3221")


@dataclass(frozen=True)
class Arithmetic:
    """The rates of one unit, precision by precision."""

    fp32: Rate
    fp16: Rate
    bf16: Rate
    int8: Rate

    def rate(self, precision: str) -> Rate:
        """The rate in one of PRECISIONS."""
        rates = {"fp32": self.fp32, "fp16": self.fp16, "bf16": self.bf16, "int8": self.int8}
        return rates[precision]


@dataclass(frozen=True)
class Runtime:
    """What runs the networks on a unit.

    version: the newest one that is usable there. opset: the ONNX operator set to export, which it reads.
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
    """What the int8 kernels of a unit want.

    weight_bits: at most so many in a signed weight, or sums saturate. activations: uint8 or int8.
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
class Timings:
    """Published timings of networks that a prediction may be fitted on.

    device: its name in the published table. is_same_device: False for a stand-in; the note then says which part
    is alike.
    """

    device: str
    is_same_device: bool
    source: str
    note: str = ""

    def __post_init__(self) -> None:
        if not self.is_same_device and not self.note:
            raise InputError("a stand-in needs a note on what is alike; got an empty one")
        if not self.device or not self.source:
            raise InputError("timings need the device's name in the published table and a source")


@dataclass(frozen=True)
class ExecutionUnit:
    """A processor of a target: how fast it computes in which precision, and through which runtime.

    bandwidth_gbs: 1e9 bytes a second, peak; units of one board share it. quantization: None without int8.
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
    timings: Timings | None = None

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
    """A power sensor that hwkd can read there; covers: what of the machine it sees."""

    kind: str
    covers: str
    confidence: str
    source: str

    def __post_init__(self) -> None:
        if self.kind not in SENSOR_KINDS:
            raise unknown("kind of sensor", self.kind, SENSOR_KINDS)
        check_source(self.confidence, self.source)


@dataclass(frozen=True)
class Limit:
    """A sentence on what the software of a board does not allow."""

    text: str
    confidence: str
    source: str

    def __post_init__(self) -> None:
        check_source(self.confidence, self.source)


@dataclass(frozen=True)
class Target:
    """A device: its units, its power, its limits.

    idle_w, load_w: the whole board at the wall or plug. power_modes: the first is the default, for which all other
    facts hold. int8_alternative: a target to try where int8 is asked for and the preferred unit has none.
    """

    name: str
    description: str
    preferred_unit: str
    idle_w: Fact
    load_w: Fact
    units: tuple[ExecutionUnit, ...]
    power_modes: tuple[PowerMode, ...] = ()
    sensors: tuple[Sensor, ...] = ()
    limits: tuple[Limit, ...] = ()
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
    """The target of that name, or the one in the user's own .toml file at that path.

    Raises:
        InputError: no such target or file, or a file that does not describe a target.
    """
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
