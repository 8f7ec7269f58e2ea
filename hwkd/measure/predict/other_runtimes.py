"""The times of other runtimes than the one that a device's constants were fitted on.

    ln t(published) - ln t(by the constants) = b[device, runtime] + u[device] + e,    e ~ Normal(0, s^2)
    b[device, runtime] ~ Normal(r[runtime], delta^2),    r ~ Normal(m, tau^2)

for each class of arithmetic (`arithmetic_class`). u is the error of the device's constants for all of its networks, by
their own covariance; for a class of machines, also the difference of one machine. Where the same people timed the runtime
of the constants on the same board too, their own median difference is subtracted first: this removes u, and clocks, cooling
and versions with it. m, tau, delta and s are found by the method of moments. u's variance is taken out of them: it is in
every prediction already.

The step to a runtime on a board is the posterior mean of b + u. Its spread is the rest beyond the spread of the constants:
tau where nobody timed that runtime, delta where nobody timed it on that board, and the difference between networks. Few
runtimes were timed in a class: for one that was not, tau is that of all classes, or that of its own where this is larger.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hwkd.errors import InputError
from hwkd.files import data_folder
from hwkd.measure.layers import LayerCost
from hwkd.measure.predict.fit import Prediction, predict
from hwkd.measure.predict.published import INT8, Configuration, TimingTable, network_of, read_json
from hwkd.target import Carried, Constants, ExecutionUnit, Target

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
VERSION_SD = 0.15
"""The assumed difference of the same runtime on the same board: in another version, on another day."""
FEWEST_SD = VERSION_SD / 2
"""The least assumed difference between runtimes, and between boards."""
ANY_SD = 0.4
"""The spread where there is no timing at all: a factor of 1.5."""
PRIOR_FREE = 3
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


def step(found: Sequence[Residual], of: str, runtime: str, base: str, device: str = "") -> Carried:
    """The step from constants of `base` to `runtime` on `device` in the class `of`, by the rows of `found` in that class.

    Where no row is of the class, the time is as in `base`, with a spread: the root mean square difference of other runtimes
    from `base` on all other processors, in either precision.
    """
    if runtime == base:
        how = "the runtime that was timed; another version of it on another day"
        return Carried(runtime, 0.0, VERSION_SD, 0, how)
    mine = [r for r in found if r.of == of]
    if not mine:
        how = f"no timing of another runtime on {of}; as far as runtimes differ on other processors"
        return Carried(runtime, 0.0, _any_sd(found, base), 0, how)
    moments = Moments.of(grouped(mine, base), base)
    own = [g for g in moments.groups if g.runtime == runtime]
    here = [g for g in own if g.device == device]
    elsewhere = [g for g in own if g.device != device]
    centre, variance = moments.mean, moments.tau2
    if not own:
        variance = max(variance, _tau2_of_all(found, base))
    for g in elsewhere:
        noise2 = moments.noise2(g) + moments.delta2 + g.common2
        weight = variance / (variance + noise2)
        centre, variance = centre + weight * (g.mean - centre), (1 - weight) * variance
    # delta holds what another version on another day differs by, which is of the version and not of the board.
    prior2 = variance + moments.delta2 - VERSION_SD**2
    common2 = float(np.mean([g.board2 for g in here])) if here else 0.0
    ln_factor, left2 = _seen_here(centre, prior2, common2, here, moments)
    sigma2 = float(np.mean([r.sigma**2 for r in mine]))
    beyond2 = max(0.0, left2 + moments.network2(here or elsewhere) - common2 - sigma2)
    n_here = sum(len(g.values) for g in here)
    n_all = n_here + sum(len(g.values) for g in elsewhere)
    if n_here:
        how = f"{_times(n_here)} of it on this board"
    elif n_all:
        how = f"{_times(n_all)} of it on {of}"
    else:
        how = f"nobody timed it on {of}; the mean of the runtimes that were timed there"
    beside = len(mine) - (n_here or n_all)
    return Carried(
        runtime,
        ln_factor,
        math.sqrt(VERSION_SD**2 + beyond2),
        n_all,
        f"{how}, {beside or 'no'} other{'s' * (beside != 1)} beside",
    )


def _tau2_of_all(found: Sequence[Residual], base: str) -> float:
    """The variance between runtimes within a class, one for all classes."""
    classes: dict[str, list[Residual]] = defaultdict(list)
    for r in found:
        classes[r.of].append(r)
    sets = [Moments.of(grouped(mine, base), base).runtimes for mine in classes.values()]
    return _between2(sets, FEWEST_SD**2)


def _times(n: int) -> str:
    return f"{n} published time{'s' * (n > 1)}"


def _seen_here(
    centre: float,
    prior2: float,
    common2: float,
    here: Sequence["TimedNetworks"],
    moments: "Moments",
) -> tuple[float, float]:
    """(mean, variance) of b + u on the board, after its own times were seen: b is Normal(centre, prior2) before, u, what
    the board's constants are off by, Normal(0, common2)."""
    mean, covariance = np.array([centre, 0.0]), np.diag([prior2, common2])
    for g in here:
        sees = np.array([1.0, 0.0 if g.is_centred else 1.0])
        noise2 = moments.noise2(g) + VERSION_SD**2
        gain = covariance @ sees / (sees @ covariance @ sees + noise2)
        mean = mean + gain * (g.mean - sees @ mean)
        covariance = covariance - np.outer(gain, sees @ covariance)
    return float(mean.sum()), float(covariance.sum())


@dataclass(frozen=True)
class TimedNetworks:
    """The networks that one source timed with one runtime on one device.

    Attributes:
        values: ln ratios.
        is_centred: whether the values are less what the same people found for the runtime of the constants on that device.
        board2: the variance that these networks have in common before that subtraction (`Residual.common2`).
    """

    device: str
    runtime: str
    values: tuple[float, ...]
    is_centred: bool
    board2: float

    @property
    def mean(self) -> float:
        """The mean of the values."""
        return float(np.mean(self.values))

    @property
    def common2(self) -> float:
        """The variance of what the constants are off by for all of these networks alike, as it is in the values."""
        return 0.0 if self.is_centred else self.board2


def grouped(found: Sequence[Residual], base: str) -> tuple[TimedNetworks, ...]:
    """The residuals grouped by device, runtime and source; those of `base` are among them."""
    of_base: dict[tuple[str, str], list[float]] = defaultdict(list)
    for r in found:
        if r.row.family == base:
            of_base[r.row.device, r.row.source].append(r.ln_ratio)
    groups: dict[tuple[str, str, str], list[Residual]] = defaultdict(list)
    for r in found:
        groups[r.row.device, r.row.family, r.row.source].append(r)
    made = []
    for (device, runtime, source), mine in groups.items():
        same = of_base.get((device, source))
        centre = float(np.median(same)) if same else 0.0
        values = tuple(r.ln_ratio - centre for r in mine)
        board2 = float(np.mean([r.common2 for r in mine]))
        made.append(TimedNetworks(device, runtime, values, bool(same), board2))
    return tuple(made)


@dataclass(frozen=True)
class Moments:
    """Mean and variances that the groups show.

    Attributes:
        prior2: variance between networks of one group, the median over the groups.
        delta2: variance of one runtime from board to board.
        mean, tau2: mean and variance of the runtimes' differences. The runtime of the constants is among them, with
            difference 0.
        runtimes: the differences, each (mean, variance of it).
    """

    groups: tuple[TimedNetworks, ...]
    prior2: float
    delta2: float = VERSION_SD**2 + FEWEST_SD**2
    mean: float = 0.0
    tau2: float = FEWEST_SD**2
    runtimes: tuple[tuple[float, float], ...] = ()

    @classmethod
    def of(cls, groups: tuple[TimedNetworks, ...], base: str) -> "Moments":
        """Moments of `groups` by the method of moments.

        Boards differ by at least FEWEST_SD beyond the difference of versions, and runtimes by at least FEWEST_SD.
        """
        each = [_squares([g]) for g in groups if len(g.values) > 1]
        prior2 = float(np.median([s / f for s, f in each])) if each else VERSION_SD**2
        draft = cls(groups, prior2)
        by_runtime: dict[str, list[TimedNetworks]] = defaultdict(list)
        for g in groups:
            if g.runtime != base:
                by_runtime[g.runtime].append(g)
        known = [
            [(g.mean, draft.noise2(g) + g.common2) for g in mine] for mine in by_runtime.values()
        ]
        delta2 = _between2(known, VERSION_SD**2 + FEWEST_SD**2)
        # The runtime of the constants is known to lie at 0.
        means = ((0.0, 0.0), *(_weighted(mine, delta2) for mine in known))
        tau2 = _between2([means], FEWEST_SD**2)
        mean = float(np.mean([m for m, _ in means]))
        return replace(draft, delta2=delta2, mean=mean, tau2=tau2, runtimes=means)

    def within2(self, groups: Sequence[TimedNetworks]) -> float:
        """The variance between the networks of these groups, shrunk to `prior2` as by PRIOR_FREE degrees of freedom."""
        squares, free = _squares(groups)
        return (squares + PRIOR_FREE * self.prior2) / (free + PRIOR_FREE)

    def noise2(self, group: TimedNetworks) -> float:
        """The variance of a group's mean."""
        return self.within2([group]) / len(group.values)

    def network2(self, groups: Sequence[TimedNetworks]) -> float:
        """The variance of one more network. Where `within2` comes from few networks of the runtime itself, Student's
        distribution holds: its variance is that of the normal one times n / (n - 2)."""
        own = _squares(groups)[1]
        free = own + PRIOR_FREE
        return self.within2(groups) * (free / (free - 2) if own else 1.0)


def _weighted(values: Sequence[tuple[float, float]], between2: float) -> tuple[float, float]:
    """(mean, variance of it) of (value, variance), which also differ by `between2`."""
    weights = [1 / (between2 + variance) for _, variance in values]
    mean = sum(w * value for w, (value, _) in zip(weights, values, strict=True)) / sum(weights)
    return mean, 1 / sum(weights)


def _between2(sets: Sequence[Sequence[tuple[float, float]]], fewest: float) -> float:
    """The variance of the values within each set beyond their own variances; one for all sets, `fewest` or more.

    Where the weighted squares about each set's mean equal the degrees of freedom (Paule and Mandel 1982): a value that is
    hardly known has hardly a say.

    Args:
        sets: each of (value, variance).
    """
    free = sum(len(values) - 1 for values in sets)

    def excess(between2: float) -> float:
        squares = 0.0
        for values in sets:
            mean, _ = _weighted(values, between2)
            squares += sum((x - mean) ** 2 / (between2 + variance) for x, variance in values)
        return squares - free

    if excess(fewest) <= 0:
        return fewest
    low, high = fewest, 2 * fewest
    while excess(high) > 0:
        low, high = high, 2 * high
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return (low + high) / 2


BISECTIONS = 40


def _squares(groups: Iterable[TimedNetworks]) -> tuple[float, int]:
    """(sum of squares about each group's mean, degrees of freedom)."""
    squares, free = 0.0, 0
    for g in groups:
        squares += len(g.values) * float(np.var(g.values))
        free += len(g.values) - 1
    return squares, free


def _any_sd(found: Sequence[Residual], base: str) -> float:
    """The root mean square difference of runtimes from `base`, over all groups, without the error of the constants there."""
    others = [g for g in grouped(found, base) if g.runtime != base]
    if not others:
        return ANY_SD
    squares = float(np.mean([g.mean**2 - g.common2 for g in others]))
    return math.sqrt(max(squares, VERSION_SD**2))


@dataclass(frozen=True)
class Evidence:
    """The residuals that give the steps between runtimes.

    Attributes:
        own: residuals from the constants that predict each target.
        plain: residuals from the constants of ncnn everywhere, for boards that have no others.
    """

    own: tuple[Residual, ...]
    plain: tuple[Residual, ...]

    def of(self, base: Constants) -> tuple[Residual, ...]:
        """The residuals to compare the constants `base` with."""
        return self.own if base.device == POOLED_DEVICE else self.plain

    def without(self, row: OtherTiming, *, source: bool) -> "Evidence":
        """All but those of the row's network and, if `source`, those of its source."""
        network = network_of(row.network[0])

        def kept(found: tuple[Residual, ...]) -> tuple[Residual, ...]:
            return tuple(
                r
                for r in found
                if network_of(r.row.network[0]) != network
                and not (source and r.row.source == row.source)
            )

        return Evidence(kept(self.own), kept(self.plain))

    def step(self, device: str, unit: ExecutionUnit, base: Constants, runtime: str) -> Carried:
        """The step from `base` to `runtime` on a target's unit."""
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
    """The evidence for the steps between runtimes.

    Args:
        base: the constants of each target, without the step to its runtime. If a target has others for int8, those of
            ncnn are there too.
        left_out: (column of `pooled_table`, is_int8) -> its prediction by a fit without that network.
    """
    plain = {name: [c for c in mine if c.device != POOLED_DEVICE] for name, mine in base.items()}
    own = {
        name: [c for c in mine if c.device == POOLED_DEVICE] or mine for name, mine in base.items()
    }
    pooled = [r for r in rows if r.device == POOLED_TARGET and r.is_int8]
    replaced = []
    for r in residuals(pooled, targets, layers, own):
        alone = left_out.get((column_of(r.row), True))
        if alone is not None:
            r = replace(r, ln_ratio=math.log(r.row.ms / alone.ms), base=alone)
        replaced.append(r)
    others = residuals([r for r in rows if r not in pooled], targets, layers, own)
    return Evidence((*others, *replaced), residuals(rows, targets, layers, plain))


def column_of(row: OtherTiming) -> str:
    """The name of the row's network in a table of published timings."""
    name, width, height = row.network
    return f"{name}@{width}x{height}"
