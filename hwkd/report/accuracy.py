"""How far predictions were off, as tables. Pure."""

import numpy as np

from hwkd.measure.left_out import Accuracy, LeftOut
from hwkd.report.table import Table

NA = "n/a"
WORST = 12
_COLUMNS = (
    "count",
    "median_error_percent",
    "p90_error_percent",
    "coverage_percent",
    "bias_percent",
)
GOAL = "Goal: median 15 % or less, 90th percentile 35 % or less, coverage between 85 and 95 %."


def overall_table(left_out: tuple[LeftOut, ...]) -> Table:
    """One row for each kind of unit and precision, and one for all together."""
    rows = []
    notes = []
    for errors in left_out:
        population = errors.population
        devices = len({c.device for c in population.configurations})
        notes.append(
            f"{population.name}: {len(population.configurations)} configurations (device and threads) of {devices} "
            f"devices, {len({name for name, _ in population.columns})} networks."
        )
        for is_int8 in (False, True):
            columns = population.is_int8 == is_int8
            if columns.any():
                of = f"{population.name} {'int8' if is_int8 else 'float'}"
                rows.append((of, *_cells(errors.accuracy(columns=columns))))
    rows.append(("all", *_cells(_pooled(left_out))))
    title = "Predicted against published: each network left out of all devices in turn"
    notes += [
        "Errors: |predicted / published - 1|. coverage_percent: published times inside the 90 % interval. bias_percent: "
        "of the median prediction.",
        GOAL,
    ]
    return Table(title, ("unit", *_COLUMNS), tuple(rows), tuple(notes))


def network_table(left_out: tuple[LeftOut, ...]) -> Table:
    """One row for each network: which of them the terms cannot explain."""
    rows = []
    for errors in left_out:
        for n, (name, is_int8) in enumerate(errors.population.columns):
            columns = np.arange(len(errors.population.columns)) == n
            of = f"{errors.population.name} {'int8' if is_int8 else 'float'}"
            rows.append((of, name, *_cells(errors.accuracy(columns=columns))))
    return Table("By network", ("unit", "network", *_COLUMNS), tuple(rows))


def device_table(left_out: tuple[LeftOut, ...], worst: int | None) -> Table:
    """One row for each configuration, the largest median errors first; `worst`: only so many of each kind of unit."""
    rows = []
    for errors in left_out:
        population = errors.population
        of_kind = []
        for d, configuration in enumerate(population.configurations):
            chosen = np.arange(len(population.configurations)) == d
            accuracy = errors.accuracy(rows=chosen)
            if accuracy.median_error_percent is not None:
                names = [name + "_int8" * int8 for name, int8 in population.columns]
                row = errors.ln_error[d]
                n = int(np.nanargmax(np.abs(row)))
                furthest = f"{names[n]} {100 * np.expm1(row[n]):+.0f} %"
                of_kind.append(
                    (accuracy.median_error_percent, str(configuration), accuracy, furthest)
                )
        of_kind.sort(key=lambda item: -item[0])
        rows += [(name, *_cells(a), furthest) for _, name, a, furthest in of_kind[:worst]]
    title = (
        "By configuration" if worst is None else f"The {worst} worst configurations of each kind"
    )
    return Table(title, ("configuration", *_COLUMNS, "furthest_off"), tuple(rows))


def _cells(accuracy: Accuracy) -> tuple[str, ...]:
    coverage = None if accuracy.coverage is None else 100 * accuracy.coverage
    numbers = (accuracy.median_error_percent, accuracy.p90_error_percent, coverage)
    bias = NA if accuracy.bias_percent is None else f"{accuracy.bias_percent:+.1f}"
    return (str(accuracy.count), *(NA if n is None else f"{n:.1f}" for n in numbers), bias)


def _pooled(left_out: tuple[LeftOut, ...]) -> Accuracy:
    """Over all units and precisions."""
    errors = [e.ln_error[np.isfinite(e.ln_error)] for e in left_out]
    sds = [e.ln_sd[np.isfinite(e.ln_error)] for e in left_out]
    return Accuracy.of(np.concatenate(errors), np.concatenate(sds))
