"""The steps from the runtime that a device's constants were fitted on to others, and the check of what they predict.

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

import numpy as np

from hwkd.measure.layers import LayerCost
from hwkd.measure.predict.fit import Prediction
from hwkd.measure.predict.other_runtimes import (
    POOLED_DEVICE,
    POOLED_TARGET,
    Network,
    OtherTiming,
    Residual,
    arithmetic_class,
    residuals,
)
from hwkd.measure.predict.published import network_of
from hwkd.target import Carried, Constants, ExecutionUnit, Target

VERSION_SD = 0.15
"""The assumed difference of the same runtime on the same board: in another version, on another day."""
FEWEST_SD = VERSION_SD / 2
"""The least assumed difference between runtimes, and between boards."""
ANY_SD = 0.4
"""The spread where there is no timing at all: a factor of 1.5."""
PRIOR_FREE = 3


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
