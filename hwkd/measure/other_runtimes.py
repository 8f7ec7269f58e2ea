"""What other runtimes take, beside the one that a device's constants were fitted on.

    ln t(published) - ln t(by the constants) = b[device, runtime] + e,    e ~ Normal(0, s^2)
    b[device, runtime] ~ Normal(r[runtime], delta^2),    r ~ Normal(m, tau^2)

for each class of arithmetic (`arithmetic_class`). Where the same people timed the runtime of the constants on the same
board too, their own median difference is subtracted first: clocks, cooling and versions are then the same. m, tau, delta and
s are found by the method of moments. The step to a runtime on a board is the posterior mean of b, and its spread holds what
is left: tau where nobody timed that runtime, delta where nobody did on that board, and what one network differs by from the
next.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hwkd.errors import InputError
from hwkd.files import data_folder
from hwkd.measure.layers import LayerCost
from hwkd.measure.predict.fit import Prediction, predict
from hwkd.measure.predict.published import INT8, Configuration, Timings, network_of, read_json
from hwkd.target import Carried, Constants, ExecutionUnit, Target

SHIPPED = "published/other-runtimes.json"
"""Below profiles/."""
NOT_STATED = "threads not stated"
APART = ("some layers seem not to be quantized", "not on all four large cores")
"""What notes on rows say."""
OF_INT8 = ("ArmNN", "TFLite", "XNNPACK")
POOLED_RUNTIME = ", ".join(OF_INT8[:-1]) + f" or {OF_INT8[-1]}"
"""Whose int8 on cores without dot product is fitted on as one."""
POOLED_DEVICE = "Raspberry Pi 4 Model B by other runtimes"
POOLED_TARGET = "raspberry-pi-4"
ONE_BY_DEFAULT = ("TFLite",)
"""Runtimes that use one thread unless they are told otherwise; others use every core."""

Network = tuple[str, int, int]
"""Name, width and height of its input."""


@dataclass(frozen=True)
class OtherTiming:
    """One published time. device: a target's name. threads: that were stated, or all cores."""

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
    raw = read_json(path)
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


def pooled_table(rows: Iterable[OtherTiming]) -> Timings:
    """The times on cores without dot product whose threads are stated, as a row to fit on beside those of ncnn.

    A network's time is the geometric mean over OF_INT8: no runtime counts twice, and what they differ by is left to the
    steps between runtimes.
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
    return Timings(source, tuple(found), (configuration,), (ms,))


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
    """A published time beside what the constants alone say. ln_ratio: published over predicted. of: the class."""

    row: OtherTiming
    of: str
    ln_ratio: float
    base: Prediction


def base_prediction(
    row: OtherTiming, layers: Sequence[LayerCost], constants: Sequence[Constants]
) -> Prediction | None:
    """By the constants of the row's unit and precision, without steps; None where there are none.

    Where threads are not known: in the middle (of logarithms) between one thread and all of them, widened by a uniform
    distribution between these.
    """
    mine = [
        c
        for c in constants
        if c.unit == row.unit and (c.precision == "int8") == row.is_int8 and c.scheme == "kinds"
    ]
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


def _with_threads(
    constants: Sequence[Constants], layers: Sequence[LayerCost], threads: int
) -> Prediction:
    """By the constants with the nearest number of threads; where that is another one, time goes by the power of the
    number of threads that the constants for one thread and for this one have between them."""
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
    constants: Callable[[str, OtherTiming], Sequence[Constants]],
) -> tuple[Residual, ...]:
    """Of all rows on CPUs whose target has constants; those that are apart are left out.

    constants: of a target, for a row.
    """
    found = []
    for row in rows:
        target = targets.get(row.device)
        if target is None or row.unit != "cpu" or row.is_apart:
            continue
        base = base_prediction(row, layers[row.network], constants(row.device, row))
        if base is not None:
            of = arithmetic_class(target.cpu, row.is_int8)
            found.append(Residual(row, of, math.log(row.ms / base.ms), base))
    return tuple(found)


def step(found: Sequence[Residual], of: str, runtime: str, base: str, device: str = "") -> Carried:
    """From constants of `base` to `runtime` on `device` in the class `of`, by those of `found` that are of the class.

    Where no row is of the class: as in `base`, with the root mean square of what other runtimes differ from it by on all
    other processors, in either precision.
    """
    if runtime == base:
        how = "the runtime that was timed; another version of it on another day"
        return Carried(runtime, 0.0, FEWEST_SD, 0, how)
    mine = [r for r in found if r.of == of]
    if not mine:
        how = f"no timing of another runtime on {of}; as far as runtimes differ on other processors"
        return Carried(runtime, 0.0, _any_sd(found, base), 0, how)
    moments = Moments.of(_centred(mine, base), base, _sd2(mine))
    elsewhere: list[Sequence[float]] = []
    here: list[Sequence[float]] = []
    for (place, family, _), values in moments.groups.items():
        if family == runtime:
            (here if place == device else elsewhere).append(values)
    centre, variance = moments.mean, moments.tau2
    for values in elsewhere:
        centre, variance = _updated(
            centre, variance, values, moments.noise2(values) + moments.delta2
        )
    variance += moments.delta2
    for values in here:
        noise2 = moments.noise2(values) + FEWEST_SD**2
        centre, variance = _updated(centre, variance, values, noise2)
    if here:
        # Another version on another day, which elsewhere is in delta.
        variance += FEWEST_SD**2
    variance += moments.beyond2(here or elsewhere)
    n_here = sum(len(values) for values in here)
    n_all = n_here + sum(len(values) for values in elsewhere)
    if n_here:
        how = f"{n_here} published time{'s' * (n_here > 1)} of it on this board"
    elif n_all:
        how = f"{n_all} published time{'s' * (n_all > 1)} of it on {of}"
    else:
        how = f"nobody timed it on {of}; the mean of the runtimes that were timed there"
    return Carried(
        runtime, centre, math.sqrt(variance), n_all, f"{how}, {len(mine) - n_here} others beside"
    )


def _updated(
    mean: float, variance: float, values: Sequence[float], noise2: float
) -> tuple[float, float]:
    """A normal distribution after the mean of `values` was seen with the variance `noise2`."""
    weight = variance / (variance + noise2)
    return mean + weight * (float(np.mean(values)) - mean), (1 - weight) * variance


@dataclass(frozen=True)
class Moments:
    """What the groups (device, runtime, source) say.

    mean, tau2: of runtimes, the one of the constants among them, whose difference is 0. delta2: of one runtime from board
    to board. allowed2: what the constants allow for, for one network. groups: ln ratios.
    """

    mean: float
    tau2: float
    delta2: float
    allowed2: float
    groups: Mapping[tuple[str, str, str], Sequence[float]]

    @classmethod
    def of(
        cls, groups: Mapping[tuple[str, str, str], Sequence[float]], base: str, allowed2: float
    ) -> "Moments":
        """By the method of moments; runtimes are not taken to differ by less than FEWEST_SD / 2, nor boards by less than
        FEWEST_SD, as another version on another day does."""
        by_runtime: dict[str, list[float]] = defaultdict(list)
        for (_, runtime, _), v in groups.items():
            if runtime != base:
                by_runtime[runtime].append(float(np.mean(v)))
        squares, free = _squares(by_runtime.values())
        delta2 = max(squares / free if free else 0.0, FEWEST_SD**2)
        means = [0.0, *(float(np.mean(v)) for v in by_runtime.values())]
        between2 = float(np.var(means, ddof=1)) if len(means) > 1 else FEWEST_SD**2
        noise2 = delta2 * float(np.mean([0.0, *(1 / len(v) for v in by_runtime.values())]))
        return cls(
            float(np.mean(means)),
            max(between2 - noise2, FEWEST_SD**2 / 4),
            delta2,
            allowed2,
            groups,
        )

    def within2(self, groups: Sequence[Sequence[float]]) -> float:
        """What the networks of these groups differ by: their variance, shrunk to the median of all groups as by PRIOR_FREE
        degrees of freedom."""
        each = [_squares([v]) for v in self.groups.values() if len(v) > 1]
        prior = float(np.median([s / f for s, f in each])) if each else FEWEST_SD**2
        squares, free = _squares(groups)
        return (squares + PRIOR_FREE * prior) / (free + PRIOR_FREE)

    def noise2(self, values: Sequence[float]) -> float:
        """Of the mean of one group. A network is off by what the constants allow for, too."""
        return max(self.within2([values]), FEWEST_SD**2, self.allowed2) / len(values)

    def beyond2(self, groups: Sequence[Sequence[float]]) -> float:
        """What is left of `within2` beyond what the constants allow for. Where it is found from few networks of the runtime
        itself, by Student's distribution, whose variance is that of the normal one times n / (n - 2)."""
        own = _squares(groups)[1]
        free = own + PRIOR_FREE
        student = free / (free - 2) if own else 1.0
        return max(0.0, self.within2(groups) * student - self.allowed2)


def _squares(groups: Iterable[Sequence[float]]) -> tuple[float, int]:
    """(sum of squares about each group's mean, degrees of freedom)."""
    squares, free = 0.0, 0
    for v in groups:
        squares += float(np.sum((np.array(v) - np.mean(v)) ** 2))
        free += len(v) - 1
    return squares, free


PRIOR_FREE = 3


def _any_sd(found: Sequence[Residual], base: str) -> float:
    groups = _centred(found, base)
    means = [float(np.mean(v)) for key, v in groups.items() if key[1] != base]
    return math.sqrt(float(np.mean(np.square(means)))) if means else ANY_SD


ANY_SD = 0.4
"""Where no timing at all is given: a factor of 1.5."""
FEWEST_SD = 0.15
"""What the mean of few networks is taken to be uncertain by, for one network: what a network differs by is hardly less."""


def _sd2(found: Sequence[Residual]) -> float:
    """What the constants already allow for, for one network."""
    return float(np.mean([r.base.ln_sd**2 for r in found]))


def _centred(found: Sequence[Residual], base: str) -> dict[tuple[str, str, str], list[float]]:
    """(device, runtime, source) -> ln ratios, less what the same people found for `base` on that device."""
    of_base: dict[tuple[str, str], list[float]] = defaultdict(list)
    for r in found:
        if r.row.family == base:
            of_base[r.row.device, r.row.source].append(r.ln_ratio)
    groups: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for r in found:
        same = of_base.get((r.row.device, r.row.source))
        centre = float(np.median(same)) if same else 0.0
        groups[r.row.device, r.row.family, r.row.source].append(r.ln_ratio - centre)
    return groups


@dataclass(frozen=True)
class Checked:
    """A published time beside its prediction. The step to its runtime is found without the network; the constants below
    it may be fitted on that network in another runtime or precision.

    unit: of the target. ln_error: predicted over published. ln_sd: what the prediction gave itself. is_apart: what ran is not
    what was predicted, by the look of it (`OtherTiming.is_apart`). from_fit: whether it is among the
    times that the constants are fitted on, each network left out in turn.
    """

    target: str
    unit: str
    network: str
    precision: str
    runtime: str
    ln_error: float
    ln_sd: float
    is_apart: bool = False
    from_fit: bool = False


@dataclass(frozen=True)
class Evidence:
    """What the steps between runtimes are found from. own: by the constants of each target as they are predicted with;
    plain: with those of ncnn everywhere, for boards that have no others."""

    own: tuple[Residual, ...]
    plain: tuple[Residual, ...]

    def of(self, base: Constants) -> tuple[Residual, ...]:
        """Those that the constants `base` are to be compared with."""
        return self.own if base.device == POOLED_DEVICE else self.plain

    def without(self, network: str) -> "Evidence":
        """All but those of one network."""

        def kept(found: tuple[Residual, ...]) -> tuple[Residual, ...]:
            return tuple(r for r in found if network_of(r.row.network[0]) != network)

        return Evidence(kept(self.own), kept(self.plain))

    def step(self, device: str, unit: ExecutionUnit, base: Constants, runtime: str) -> Carried:
        """From `base` to `runtime` on a target's unit."""
        of = arithmetic_class(unit, base.precision == "int8")
        if unit.timings is not None and unit.timings.peers:
            # One machine of a class says of the others no more than any other machine does.
            device = ""
        return step(self.of(base), of, runtime, base.runtime, device)


def evidence(
    rows: Sequence[OtherTiming],
    targets: Mapping[str, Target],
    layers: Mapping[Network, Sequence[LayerCost]],
    base: Mapping[str, Sequence[Constants]],
    left_out: Mapping[tuple[str, bool], Prediction],
) -> Evidence:
    """base: the constants of each target, without steps; of one that has others for int8, those of ncnn too. left_out: (column of `pooled_table`, is_int8) -> its prediction
    by a fit without that network."""

    def own(name: str, row: OtherTiming) -> Sequence[Constants]:
        pooled = [c for c in base[name] if c.device == POOLED_DEVICE]
        return pooled or base[name]

    def plain(name: str, row: OtherTiming) -> Sequence[Constants]:
        return [c for c in base[name] if c.device != POOLED_DEVICE]

    pooled = [r for r in rows if r.device == POOLED_TARGET and r.is_int8]
    replaced = []
    for r in residuals(pooled, targets, layers, own):
        alone = left_out.get((_column(r.row), True))
        replaced.append(Residual(r.row, r.of, math.log(r.row.ms / alone.ms), alone) if alone else r)
    others = residuals([r for r in rows if r not in pooled], targets, layers, own)
    return Evidence((*others, *replaced), residuals(rows, targets, layers, plain))


def _column(row: OtherTiming) -> str:
    name, width, height = row.network
    return f"{name}@{width}x{height}"


def check(
    rows: Sequence[OtherTiming],
    targets: Mapping[str, Target],
    layers: Mapping[Network, Sequence[LayerCost]],
    constants: Mapping[str, Sequence[Constants]],
    found: Evidence,
    left_out: Mapping[tuple[str, bool], Prediction],
    of_gpu: Callable[[Sequence[LayerCost], Sequence[Constants], OtherTiming], Prediction],
) -> tuple[Checked, ...]:
    """Every row whose target and unit have constants.

    The step to the row's runtime is found anew without the row's network; the spread of a class is as in `constants`.
    """
    checked = []
    for row in rows:
        if row.device not in targets:
            continue
        target = targets[row.device]
        unit = next(u for u in target.units if u.name == row.unit)
        mine = [c for c in constants[row.device] if c.unit == row.unit]
        of_row = layers[row.network]
        if unit.kind == "gpu":
            prediction = of_gpu(of_row, mine, row)
            steps: tuple[Carried, ...] = ()
        else:
            bare = [replace(c, carried=()) for c in mine]
            base = base_prediction(row, of_row, bare)
            if base is None:
                continue
            alike = [c for c in mine if (c.precision == "int8") == row.is_int8]
            used = min(alike, key=lambda c: abs(math.log(c.threads / row.threads)))
            if used.device == POOLED_DEVICE:
                base = left_out.get((_column(row), row.is_int8), base)
            kept = [s for s in used.carried if s.to != used.predicts]
            fresh = found.without(network_of(row.network[0]))
            # The runtime of the constants itself needs no step, but another version of it on another day is a little off.
            prediction, steps = base, (fresh.step(row.device, unit, used, row.family), *kept)
        checked.append(
            Checked(
                row.device,
                row.unit,
                f"{row.network[0]} {row.network[1]}x{row.network[2]}",
                row.precision,
                row.runtime,
                math.log(prediction.ms / row.ms) + sum(s.ln_factor for s in steps),
                math.sqrt(prediction.ln_sd**2 + sum(s.sd**2 for s in steps)),
                row.is_apart,
            )
        )
    return tuple(checked)
