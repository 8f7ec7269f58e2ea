"""Published times of other runtimes than the one that a device's constants were fitted on, beside what the constants predict."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwkd.errors import InputError
from hwkd.files import data_folder
from hwkd.measure.layers import LayerCost
from hwkd.measure.predict.fit import Prediction, predict
from hwkd.measure.predict.published import INT8, Configuration, TimingTable
from hwkd.schema import read_json
from hwkd.target import Constants, ExecutionUnit, Target

SHIPPED = "published/other-runtimes.json"
"""Path below profiles/."""
NOT_STATED = "threads not stated"
APART = ("some layers seem not to be quantized", "not on all four large cores")
"""The notes on rows that mark a row as apart."""
OF_INT8 = ("ArmNN", "TFLite", "XNNPACK")
POOLED_RUNTIME = ", ".join(OF_INT8[:-1]) + f" or {OF_INT8[-1]}"
"""The runtimes of OF_INT8: the fit takes their int8 on cores without dot product as one."""
POOLED_DEVICE = "Raspberry Pi 4 Model B by other runtimes"
POOLED_TARGET = "raspberry-pi-4"
ONE_BY_DEFAULT = ("TFLite",)
"""Runtimes that use one thread by default; others use every core."""

Network = tuple[str, int, int]
"""Name, width and height of its input."""


@dataclass(frozen=True)
class OtherTiming:
    """One published time.

    Attributes:
        device: a target's name.
        threads: the stated number, or all cores.
    """

    device: str
    unit: str
    network: Network
    precision: str
    runtime: str
    threads: int
    ms: float
    source: str
    note: str

    def __post_init__(self) -> None:
        if not (math.isfinite(self.ms) and self.ms > 0) or self.threads < 1:
            raise InputError(
                f"a time must be above 0 ms and threads 1 or more; got {self.ms} and {self.threads} for "
                f"{self.network[0]} on {self.device}"
            )

    @property
    def is_int8(self) -> bool:
        """Whether it is of int8."""
        return self.precision == "int8"

    @property
    def is_apart(self) -> bool:
        """Whether something else ran than is predicted, by the look of its time or power (APART)."""
        return any(reason in self.note for reason in APART)

    @property
    def are_threads_unknown(self) -> bool:
        """Whether it may have run on one thread or on all."""
        return NOT_STATED in self.note and self.family in ONE_BY_DEFAULT

    @property
    def family(self) -> str:
        """The runtime without its version, as targets name it."""
        name = self.runtime.split(" ")[0]
        return {"ONNX": "onnxruntime", "OpenVINO": "openvino", "TensorRT": "tensorrt"}.get(
            name, name
        )


def read_other(path: Path | None = None) -> tuple[OtherTiming, ...]:
    """The rows that ship, or those at `path`.

    Raises:
        InputError: no such file, or not of that form.
    """
    path = data_folder("profiles") / SHIPPED if path is None else path
    raw = read_json(path, "give a list like the one that ships", "the timings")
    try:
        return tuple(
            OtherTiming(
                row["device"],
                row["unit"],
                (row["network"], *map(int, row["input"].split("x"))),
                row["precision"],
                row["runtime"],
                int(row["threads"]),
                float(row["ms"]),
                row["source"],
                row["note"],
            )
            for row in raw["rows"]
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is no list of timings of other runtimes ({error!r})") from error


def pooled_table(rows: Iterable[OtherTiming]) -> TimingTable:
    """The times on cores without dot product with a stated number of threads, as a row to fit on beside those of ncnn.

    A network's time is the geometric mean over OF_INT8: no runtime counts twice. The steps between runtimes hold their
    differences.
    """
    found: dict[str, list[float]] = defaultdict(list)
    sources = []
    for row in rows:
        if row.device != POOLED_TARGET or row.unit != "cpu" or row.note:
            continue
        if row.family in OF_INT8:
            name, width, height = row.network
            found[f"{name}@{width}x{height}" + INT8 * row.is_int8].append(math.log(row.ms))
            sources.append(row.source.split(",")[0].split(" README")[0])
    source = "; ".join(dict.fromkeys(sources))
    configuration = Configuration(POOLED_DEVICE, 4, -1, POOLED_RUNTIME, source)
    ms = tuple(math.exp(float(np.mean(logs))) for logs in found.values())
    return TimingTable(source, tuple(found), (configuration,), (ms,))


def arithmetic_class(unit: ExecutionUnit, is_int8: bool) -> str:
    """Within which runtimes are compared: the instruction set, and what ncnn computes in there."""
    if not unit.instruction_set.startswith("ARM"):
        return "x86 int8" if is_int8 else "x86 float"
    if is_int8:
        has_dot = "dot product" in unit.instruction_set.replace("no dot product", "")
        return "Arm int8 with dot product" if has_dot else "Arm int8 without dot product"
    return "Arm, fp16 in ncnn" if unit.arithmetic.fp16.is_there else "Arm, fp32 in ncnn"


@dataclass(frozen=True)
class Residual:
    """A published time beside the prediction of the constants alone.

    Attributes:
        of: the class of arithmetic.
        ln_ratio: logarithm of published over predicted time.
        sigma: the part of the spread of `base` that is each network's own.
    """

    row: OtherTiming
    of: str
    ln_ratio: float
    base: Prediction
    sigma: float

    @property
    def common2(self) -> float:
        """The variance that all networks of the device have in common."""
        return max(0.0, self.base.ln_sd**2 - self.sigma**2)


def base_prediction(
    row: OtherTiming, layers: Sequence[LayerCost], constants: Sequence[Constants]
) -> Prediction | None:
    """The prediction by the constants of the row's unit and precision, with their steps; None where there are none.

    Where the number of threads is not known, the prediction is in the middle (of logarithms) between one thread and all of
    them, widened by a uniform distribution between these.
    """
    mine = _fitting(row, constants)
    if not mine:
        return None
    chosen = _with_threads(mine, layers, row.threads)
    single = [c for c in mine if c.threads == 1]
    if not (row.are_threads_unknown and single):
        return chosen
    slow = predict(layers, single[0])
    width = abs(math.log(slow.ms / chosen.ms))
    sd = math.sqrt(max(slow.ln_sd, chosen.ln_sd) ** 2 + width**2 / 12)
    return Prediction(math.sqrt(slow.ms * chosen.ms), sd, chosen.unseen_share)


def _fitting(row: OtherTiming, constants: Sequence[Constants]) -> list[Constants]:
    """The constants of the row's unit and precision."""
    return [
        c
        for c in constants
        if c.unit == row.unit and (c.precision == "int8") == row.is_int8 and c.scheme == "kinds"
    ]


def _with_threads(
    constants: Sequence[Constants], layers: Sequence[LayerCost], threads: int
) -> Prediction:
    """The prediction by the constants with the nearest number of threads.

    If that is another number, time follows a power of the number of threads: the power between the constants for one
    thread and for this number.
    """
    nearest = min(constants, key=lambda c: abs(math.log(c.threads / threads)))
    found = predict(layers, nearest)
    single = [c for c in constants if c.threads == 1]
    if threads == nearest.threads or nearest.threads == 1 or not single:
        return found
    power = math.log(found.ms / predict(layers, single[0]).ms) / math.log(nearest.threads)
    ms = found.ms * (threads / nearest.threads) ** power
    return Prediction(ms, found.ln_sd, found.unseen_share)


def residuals(
    rows: Iterable[OtherTiming],
    targets: Mapping[str, Target],
    layers: Mapping[Network, Sequence[LayerCost]],
    constants: Mapping[str, Sequence[Constants]],
) -> tuple[Residual, ...]:
    """The residuals of all rows on CPUs of targets with constants. Rows that are apart are left out.

    Args:
        constants: constants by target. Those of a class of machines have the step to any machine of it
            (`constants.at_class`): the row's machine is not the one that was fitted.
    """
    found = []
    for row in rows:
        target = targets.get(row.device)
        if target is None or row.unit != "cpu" or row.is_apart:
            continue
        mine = _fitting(row, constants[row.device])
        base = base_prediction(row, layers[row.network], mine)
        if base is not None:
            of = arithmetic_class(target.cpu, row.is_int8)
            found.append(Residual(row, of, math.log(row.ms / base.ms), base, mine[0].sigma))
    return tuple(found)
