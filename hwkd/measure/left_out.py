"""How far predictions can be trusted: each network is left out of all devices in turn, and then predicted.

A codec's networks were timed by nobody on these devices, so the network that is left out is left out everywhere: what
other devices took for it may not help.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hwkd.measure.cost_predict import Z90
from hwkd.measure.predict.fit import Array, fit
from hwkd.measure.predict.published import Population


@dataclass(frozen=True)
class LeftOut:
    """The errors over a population.

    ln_error: [D, N], ln(predicted / published), nan where nothing was published, and for a network that alone has work
    in some term: once it is left out, nothing speaks for that term. ln_sd: [D, N], the standard deviation that the
    prediction gave itself.
    """

    population: Population
    ln_error: Array
    ln_sd: Array

    def accuracy(self, rows: Array | None = None, columns: Array | None = None) -> "Accuracy":
        """Over the chosen rows and columns (masks; None: all)."""
        chosen = np.isfinite(self.ln_error)
        if rows is not None:
            chosen &= rows[:, None]
        if columns is not None:
            chosen &= columns[None]
        return Accuracy.of(self.ln_error[chosen], self.ln_sd[chosen])


@dataclass(frozen=True)
class Accuracy:
    """count: of predictions. *_error_percent: of |predicted / published - 1|. coverage: share of the published times
    inside the 90 % interval. bias_percent: of the median prediction. None where count is 0."""

    count: int
    median_error_percent: float | None
    p90_error_percent: float | None
    coverage: float | None
    bias_percent: float | None

    @classmethod
    def of(cls, ln_error: Array, ln_sd: Array) -> "Accuracy":
        """Of errors and the standard deviations that their predictions gave themselves, both [n]."""
        if not len(ln_error):
            return cls(0, None, None, None, None)
        percent = 100 * np.abs(np.expm1(ln_error))
        return cls(
            len(ln_error),
            float(np.median(percent)),
            float(np.quantile(percent, 0.9)),
            float(np.mean(np.abs(ln_error) <= Z90 * ln_sd)),
            float(100 * np.expm1(np.median(ln_error))),
        )


def leave_networks_out(
    population: Population, progress: Callable[[str], None] | None = None
) -> LeftOut:
    """Fit without each network (in either precision) and predict it.

    progress: called with each network's name before the fit without it.
    """
    error = np.full(population.ln_times.shape, np.nan)
    sd = np.full(population.ln_times.shape, np.nan)
    names = [name for name, _ in population.columns]
    for network in dict.fromkeys(names):
        if progress is not None:
            progress(network)
        out = np.array([name == network for name in names])
        # A device with no other timing in any column cannot be fitted; FEWEST sees to it that there is none.
        fitted = fit(population.work[~out], population.ln_times[:, ~out])
        is_known = population.work[~out].sum(0) > 0
        for n in np.flatnonzero(out):
            if (population.work[n, ~is_known] > 0).any():
                continue
            ln_ms, ln_sd = fitted.predict(population.work[n])
            error[:, n] = ln_ms - population.ln_times[:, n]
            sd[:, n] = np.sqrt(ln_sd**2 + fitted.sigma**2)
    return LeftOut(population, error, sd)
