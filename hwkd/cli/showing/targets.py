"""hwkd targets: the known devices, the facts of one of them, and the accuracy of the predictions for them."""

import argparse
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import MISSING, dataclass, replace
from pathlib import Path

import numpy as np
from rich.progress import Progress

from hwkd.cli.tables import TableOptions, emit, emit_all
from hwkd.cli.talk import stderr_console
from hwkd.errors import InputError
from hwkd.files import data_folder
from hwkd.measure.predict.derive import Bars, CheckedTiming, checked_others, derive
from hwkd.measure.predict.fit import Z90
from hwkd.measure.predict.published import Accuracy, CrossValidation
from hwkd.options import option
from hwkd.quantize.precision import PrecisionPlan, plan_precision
from hwkd.report.table import Table, Valued, missing, number, numbers, span
from hwkd.target import (
    CONFIDENCES,
    PRECISIONS,
    ExecutionUnit,
    Fact,
    PeakRate,
    Target,
    list_targets,
    load_target,
    write_constants,
)

HELP = "list the devices hwkd knows, show the facts about one, fit and validate what is predicted for them"
EXAMPLES = """examples:
  hwkd targets
  hwkd targets --format md -o targets.md
  hwkd targets show jetson-nano
  hwkd targets show my-board.toml --format json
  hwkd targets validate
  hwkd targets fit --into fitted/
"""

SHOWN_BITS = 8
SHOWN_FAMILY = "gdn"
"""The family that `show` plans for, at the usual bits. Its plan has the most sentences on precision."""


TIMINGS_HELP = "published timings to fit on in place of all that ship (ncnn's benchmark, TensorRT on Jetsons, other runtimes)"


@dataclass(frozen=True, kw_only=True)
class ShowOptions(TableOptions):
    """The options of `hwkd targets show`."""

    name: str = option(
        "a target's name, or your own .toml file", "NAME", default=MISSING, positional=True
    )


@dataclass(frozen=True, kw_only=True)
class ValidateOptions(TableOptions):
    """The options of `hwkd targets validate`."""

    timings: Path | None = option(TIMINGS_HELP, "FILE.json")
    all_devices: bool = option("every configuration, not the worst ones only", default=False)


@dataclass(frozen=True, kw_only=True)
class FitConstantsOptions(TableOptions):
    """The options of `hwkd targets fit`."""

    timings: Path | None = option(TIMINGS_HELP, "FILE.json")
    into: Path | None = option(
        "write the targets' files there (default: over the shipped ones)", "DIR"
    )


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `hwkd targets` to `parser`, and those of its actions.

    An action has the options of tables too: those before its name hold unless they are given again.
    """
    TableOptions.add_to(parser)
    actions = parser.add_subparsers(dest="action", metavar="show|validate|fit")
    show = actions.add_parser("show", help="print every fact of one target, and its precision plan")
    ShowOptions.add_to(show)
    validate = actions.add_parser(
        "validate", help="print how far predictions of networks that were left out are off"
    )
    ValidateOptions.add_to(validate)
    fit = actions.add_parser(
        "fit", help="derive the constants behind predictions from published timings"
    )
    FitConstantsOptions.add_to(fit)


def run(args: argparse.Namespace) -> int:
    """Print the overview, or one target's facts and plan.

    Raises:
        InputError: there is no such target, or its file does not describe one.
    """
    if args.action == "validate":
        return run_validate(ValidateOptions.of(args))
    if args.action == "fit":
        return run_fit(FitConstantsOptions.of(args))
    if args.action is None:
        every = tuple(load_target(name) for name in list_targets())
        emit(overview(every), TableOptions.of(args))
        return 0
    options = ShowOptions.of(args)
    target = load_target(options.name)
    plan = plan_precision(target, SHOWN_BITS, SHOWN_BITS, family=SHOWN_FAMILY)
    facts, planned = facts_table(target), plan_table(plan)
    emit_all((facts, planned), options, first=((planned, facts), ()))
    return 0


# The actions of `hwkd targets` that work on published timings: fit and validate.

TOO_FEW = "too few networks were timed to leave one out"
CONSTANTS_NOTE = (
    "error_percent, coverage_percent: each network left out in turn, of that very configuration, without the steps to "
    "another runtime. Whole networks in the timed runtime; none of them has transposed convolutions or GDN, for which the "
    "interval widens. steps: what a time is carried over by, which is in every interval."
)


def run_fit(options: FitConstantsOptions) -> int:
    """Fit the constants of all shipped targets, write them into their files, and print them.

    Raises:
        InputError: the timings cannot be read, the files cannot be written, or the user's own timings come without a folder.
    """
    if options.timings is not None and options.into is None:
        raise InputError(
            f"--timings {options.timings} without --into would write over the targets that ship, which are fitted on all "
            "shipped timings; give --into DIR for the files fitted on yours"
        )
    with _progress() as progress:
        derived = derive(options.timings, _bars(progress))
    rows = []
    folder = data_folder("targets")
    # All are derived before the first is written: if the timings lack a device, its target must not leave a mixture.
    for name, constants in derived.constants.items():
        path = folder / f"{name}.toml"
        write_constants(path, (options.into or folder) / path.name, constants)
        for c in constants:
            share = None if c.coverage is None else 100 * c.coverage
            error = number(c.error_percent, ".1f", TOO_FEW)
            coverage = number(share, ".0f", TOO_FEW)
            timed = f"{c.device}, {c.runtime}"
            steps = "; ".join(map(str, c.carried)) or "none"
            rows.append((name, str(c), timed, number(c.networks), error, coverage, steps))
    columns = ("target", "constants", "timed", "networks", "error_percent", "coverage_percent")
    where = options.into or "the targets that ship"
    table = Table(
        f"Constants fitted and written to {where}",
        (*columns, "steps"),
        tuple(rows),
        (CONSTANTS_NOTE,),
    )
    emit_all((table, overall_table(tuple(f.left_out for f in derived.fitted))), options)
    return 0


def run_validate(options: ValidateOptions) -> int:
    """Print the errors of predictions for a left-out network, and those for other runtimes. Raises as `run_fit`."""
    with _progress() as progress:
        derived = derive(options.timings, _bars(progress), needs_targets=options.timings is None)
    worst = None if options.all_devices else WORST
    left_out = tuple(f.left_out for f in derived.fitted)
    tables = [overall_table(left_out), network_table(left_out), device_table(left_out, worst)]
    # Rows by network and by configuration are long: a screen has the errors of all.
    first, in_full_only = [tables[0]], [*IN_FULL_ONLY]
    if options.timings is None:
        checked = checked_others(derived)
        classes = [
            name
            for name, constants in derived.constants.items()
            if any(c.class_step is not None for c in constants)
        ]
        others = other_table(checked, classes)
        tables += [others, other_worst_table(checked, worst)]
        first.append(summary(others))
        in_full_only += OTHERS_IN_FULL_ONLY
    emit_all(tables, options, verdict_on(_pooled(left_out)), (tuple(first), tuple(in_full_only)))
    return 0


def _progress() -> Progress:
    console = stderr_console()
    # Without a terminal, rich would leave an empty line.
    return Progress(console=console, transient=True, disable=not console.is_terminal)


def _bars(progress: Progress) -> Bars:
    def start(what: str, parts: int) -> Callable[[], None]:
        task = progress.add_task(what, total=parts)
        return lambda: progress.advance(task)

    return start


# Targets as tables: all of them at a glance, one of them with every fact and its source.

_NOT_KNOWN = "n/a"
_KEY = "Confidence: " + ", ".join(f"{key} {text}" for key, text in CONFIDENCES.items()) + "."


def overview(targets: tuple[Target, ...]) -> Table:
    """A table with one row for each target."""
    columns = ("target", "description", "preferred unit", "int8 arithmetic", "runtime", "power_w")
    rows = tuple(
        (
            target.name,
            target.description,
            target.preferred.name,
            _int8(target),
            f"{target.preferred.runtime.name} {target.preferred.runtime.version}",
            _power_w(target),
        )
        for target in targets
    )
    notes = (
        "power_w: the modes a board can be set to, the one that its facts hold for first; "
        "n/a where a board has no modes.",
        "`hwkd targets show NAME` prints every fact with its source.",
    )
    return Table("Targets", columns, rows, notes, ("description", "runtime", "power_w"))


def _power_w(target: Target) -> str:
    watts = [mode.power_w for mode in target.power_modes]
    if not watts:
        return missing("the board has no modes")
    return numbers(", ".join(f"{power_w:g}" for power_w in watts), *watts)


def facts_table(target: Target) -> Table:
    """Every fact of `target`, with its certainty and its source."""
    rows = [*_board_rows(target)]
    for unit in target.units:
        rows += _unit_rows(unit)
    notes = (
        _KEY,
        "peak_gops: 1e9 dense operations a second, a multiply-accumulate counted as two.",
    )
    title = f"{target.name}: {target.description}"
    columns = ("fact", "value", "confidence", "source")
    return Table(title, columns, tuple(rows), notes, ("source",))


def plan_table(plan: PrecisionPlan) -> Table:
    """The precision plan: a row for each network and unit, its sentences as notes."""
    rows = tuple(
        (
            entry.network,
            entry.unit,
            "yes" if entry.is_preferred else "if asked for",
            entry.arithmetic,
            " and ".join(entry.float_operations) or "none",
            number(entry.weight_storage_bits),
            entry.reason,
        )
        for entry in plan.entries
    )
    columns = ("network", "unit", "default", "arithmetic", "in float", "weight bits", "reason")
    bits = f"weights in {plan.weight_bits} bits, activations in {plan.act_bits}"
    title = f"Precision plan, family {plan.family}, {bits}"
    return Table(title, columns, rows, plan.notes, ("reason", "weight bits"))


def _int8(target: Target) -> str:
    units = [unit for unit in target.units if unit.quantization]
    where = ", ".join(
        unit.name
        + (
            f" (weights to {q.weight_bits} bits)"
            if (q := unit.quantization).weight_bits < 8
            else ""
        )
        for unit in units
        if unit.quantization
    )
    if target.preferred in units:
        return f"yes: {where}"
    return f"not on {target.preferred.name}; {where}" if where else "no"


def _board_rows(target: Target) -> Iterator[tuple[str, str, str, str]]:
    yield _fact_row("board: idle_w", target.idle_w)
    yield _fact_row("board: load_w", target.load_w)
    for mode in target.power_modes:
        value: str = number(mode.power_w, "g")
        if mode.note:
            value = Valued(f"{value} ({mode.note})", {"value": mode.power_w, "note": mode.note})
        yield f"power mode {mode.name}: power_w", value, mode.confidence, mode.source
    for sensor in target.sensors:
        yield f"sensor {sensor.kind}: covers", sensor.covers, sensor.confidence, sensor.source
    for limit in target.limits:
        yield "limit", limit.text, limit.confidence, limit.source


def _unit_rows(unit: ExecutionUnit) -> Iterator[tuple[str, str, str, str]]:
    yield f"{unit.name}: model", f"{unit.model}; {unit.instruction_set}", "", ""
    yield _fact_row(f"{unit.name}: cores", unit.cores)
    yield _fact_row(f"{unit.name}: clock_ghz", unit.clock_ghz)
    yield _fact_row(f"{unit.name}: bandwidth_gbs", unit.bandwidth_gbs)
    if unit.load_w is not None:
        yield _fact_row(f"{unit.name}: load_w of the board", unit.load_w)
    for precision in PRECISIONS:
        rate = unit.arithmetic.rate(precision)
        name = f"{unit.name}: {precision} peak_gops"
        yield name, _rate_text(rate), rate.confidence, rate.source
    runtime = unit.runtime
    text = f"{runtime.name} {runtime.version}, opset {runtime.opset}"
    yield f"{unit.name}: runtime", text, runtime.confidence, runtime.source
    if q := unit.quantization:
        text = f"weights to {q.weight_bits} bits, {q.activations} activations: {q.reason}"
        yield f"{unit.name}: int8 kernels", text, q.confidence, q.source
    if unit.timings:
        kind = "" if unit.timings.is_same_device else "stand-in "
        text = unit.timings.device + (f" ({unit.timings.note})" if unit.timings.note else "")
        yield f"{unit.name}: {kind}timings", text, "S", unit.timings.source


def _fact_row(name: str, fact: Fact) -> tuple[str, str, str, str]:
    if fact.value is None:
        return name, missing(fact.unknown, f"{_NOT_KNOWN}: {fact.unknown}"), "", ""
    value = number(fact.value, "g")
    if fact.upto is not None:
        value = span(f"{value} to {fact.upto:g}", fact.value, fact.upto)
    return name, value, fact.confidence, fact.source


def _rate_text(rate: PeakRate) -> str:
    if rate.peak_gops is not None:
        return number(rate.peak_gops, "g")
    why = f"none: {rate.none}" if rate.none else rate.unknown
    return missing(why, why if rate.none else f"{_NOT_KNOWN}: {why}")


# The errors of predictions, as tables. Pure.

NONE = "no prediction is counted here"
WORST = 12
_COLUMNS = (
    "count",
    "median_error_percent",
    "p90_error_percent",
    "coverage_percent",
    "bias_percent",
)
MEDIAN_GOAL, P90_GOAL, COVERAGE_GOAL = 15, 35, (85, 95)
"""What the errors should be, in percent."""
GOAL = (
    f"Goal: median {MEDIAN_GOAL} % or less, 90th percentile {P90_GOAL} % or less, coverage between {COVERAGE_GOAL[0]} and "
    f"{COVERAGE_GOAL[1]} %."
)
IN_FULL_ONLY = ("errors by network", "errors by configuration")
OTHERS_IN_FULL_ONLY = ("other runtimes by target", "their worst rows")
"""What a screen leaves out, in words."""


def verdict_on(found: Accuracy) -> str:
    """The pooled errors beside the goal, in a line; "" where nothing could be left out."""
    median, p90, share = found.median_error_percent, found.p90_error_percent, found.coverage
    if median is None or p90 is None or share is None:
        return ""
    low, high = COVERAGE_GOAL
    is_met = median <= MEDIAN_GOAL and p90 <= P90_GOAL and low <= 100 * share <= high
    return (
        f"{'PASS' if is_met else 'OFF THE GOAL'}: {found.count} published times; median error {median:.1f} % "
        f"(goal {MEDIAN_GOAL}), 90th percentile {p90:.1f} % (goal {P90_GOAL}), coverage {100 * share:.1f} % "
        f"(goal {low} to {high})"
    )


def summary(table: Table) -> Table:
    """The rows of `other_table` that hold for all targets; its runtime column says which times they are of."""
    rows = tuple(row for row in table.rows if row[0] in ("all", BOARDS))
    return replace(table, rows=rows)


def overall_table(left_out: tuple[CrossValidation, ...]) -> Table:
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
                if len(population.runtimes) > 1:
                    for runtime in population.runtimes:
                        chosen = errors.accuracy(rows=population.rows_of(runtime), columns=columns)
                        if chosen.count:
                            rows.append((f"{of}, {runtime}", *_cells(chosen)))
    rows.append(("all", *_cells(_pooled(left_out))))
    title = "Predicted against published: each network left out of all devices in turn"
    notes += [
        "Errors: |predicted / published - 1|. coverage_percent: published times inside the 90 % interval. bias_percent: "
        "of the median prediction.",
        GOAL,
    ]
    return Table(title, ("unit", *_COLUMNS), tuple(rows), tuple(notes))


def network_table(left_out: tuple[CrossValidation, ...]) -> Table:
    """One row for each network; it shows which networks the terms cannot explain."""
    rows = []
    for errors in left_out:
        for n, (name, is_int8) in enumerate(errors.population.columns):
            columns = np.arange(len(errors.population.columns)) == n
            of = f"{errors.population.name} {'int8' if is_int8 else 'float'}"
            rows.append((of, name, *_cells(errors.accuracy(columns=columns))))
    return Table("By network", ("unit", "network", *_COLUMNS), tuple(rows))


def device_table(left_out: tuple[CrossValidation, ...], worst: int | None) -> Table:
    """One row for each configuration, the largest median errors first.

    Args:
        worst: the number of rows for each kind of unit; None for all.
    """
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


def other_table(checked: Sequence[CheckedTiming], classes: Collection[str]) -> Table:
    """The second set: one row for each target, unit, precision and runtime, below one for the unit as a whole.

    Times that the constants are fitted on are already in the first set. They have separate rows, and one for all.

    Args:
        classes: the targets that are a class of machines.
    """
    rows = []
    for target, unit in dict.fromkeys((c.target, c.unit) for c in checked):
        of_unit = [c for c in checked if (c.target, c.unit) == (target, unit)]
        rows.append((target, unit, "all", "all", *_cells(_accuracy(_counted(of_unit)))))
        for key in dict.fromkeys((_precision(c), c.runtime, c.from_fit) for c in of_unit):
            chosen = [c for c in of_unit if (_precision(c), c.runtime, c.from_fit) == key]
            precision, runtime, from_fit = key
            name = runtime + LEFT_OUT * from_fit
            rows.append((target, unit, precision, name, *_cells(_accuracy(chosen))))
    fitted_on = [c for c in checked if c.from_fit]
    counted = _counted(checked)
    rows.append(("all", "all", "all", "all", *_cells(_accuracy(counted))))
    unseen = [c for c in counted if c.without_source is not None]
    of_boards = [c for c in unseen if c.target not in classes]
    for name, chosen in (("all", unseen), (BOARDS, of_boards)):
        if chosen:
            found = np.array([c.without_source for c in chosen])
            accuracy = Accuracy.of(found[:, 0], found[:, 1])
            rows.append((name, "all", "all", "all" + NO_SOURCE, *_cells(accuracy)))
    if fitted_on:
        rows.append(("all", "all", "all", "all" + LEFT_OUT, *_cells(_accuracy(fitted_on))))
    notes = (
        "The step to a runtime is found without the network; the constants below it may be fitted on that network in another "
        "runtime or precision, but for those fitted on times of these runtimes, which are fitted without it.",
        "network left out: times that the constants are fitted on, predicted by a fit without the network, with the "
        "spread for another version as the target's prediction has it. They are of the table before, and not counted in the rows of all.",
        "source left out: the step is found without the times of the row's source too, as for a version and a day of which "
        "nobody knows anything, which is what an interval is for. boards: without the classes of machines "
        f"({', '.join(classes)}): all rows of one are of one machine, and say once how far a machine is off.",
        "apart: what ran is not what is predicted, by the source's own remark or by the board's power (networks quantized in "
        "part, small cores); these rows are shown and not counted in the rows above them.",
        "The interval holds the spread between runtimes, that of a class of machines, and one thread or all where the "
        "source does not say.",
    )
    title = "Other runtimes: predicted against published, steps found without the network"
    return Table(title, ("target", "unit", "precision", "runtime", *_COLUMNS), tuple(rows), notes)


def other_worst_table(checked: Sequence[CheckedTiming], worst: int | None) -> Table:
    """The rows of the second set with the largest errors, in standard deviations of their own prediction."""
    ordered = sorted(checked, key=lambda c: -abs(c.ln_error) / c.ln_sd)
    rows = tuple(
        (
            *(c.target, c.unit, c.network, _precision(c), c.runtime),
            number(math.exp(c.ln_error), ".2f"),
            _interval(c),
            "yes" if abs(c.ln_error) <= Z90 * c.ln_sd else "no",
        )
        for c in ordered[:worst]
    )
    columns = ("target", "unit", "network", "precision", "runtime", "predicted_to_published")
    title = "Other runtimes, every row" if worst is None else f"Other runtimes, the {worst} worst"
    return Table(title, (*columns, "interval", "inside"), rows)


def _interval(c: CheckedTiming) -> str:
    low, high = math.exp(-Z90 * c.ln_sd), math.exp(Z90 * c.ln_sd)
    return span(f"{low:.2f} to {high:.2f}", low, high)


LEFT_OUT = ", network left out"
NO_SOURCE = ", source left out"
BOARDS = "boards"


def _counted(checked: Sequence[CheckedTiming]) -> list[CheckedTiming]:
    return [c for c in checked if not c.is_apart and not c.from_fit]


APART = " (apart)"


def _precision(c: CheckedTiming) -> str:
    return c.precision + APART * c.is_apart


def _accuracy(checked: Sequence[CheckedTiming]) -> Accuracy:
    return Accuracy.of(
        np.array([c.ln_error for c in checked]), np.array([c.ln_sd for c in checked])
    )


def _cells(accuracy: Accuracy) -> tuple[str, ...]:
    coverage = None if accuracy.coverage is None else 100 * accuracy.coverage
    known = (accuracy.median_error_percent, accuracy.p90_error_percent, coverage)
    bias = number(accuracy.bias_percent, "+.1f", NONE)
    return (number(accuracy.count), *(number(n, ".1f", NONE) for n in known), bias)


def _pooled(left_out: tuple[CrossValidation, ...]) -> Accuracy:
    """The accuracy over all units and precisions."""
    errors = [e.ln_error[np.isfinite(e.ln_error)] for e in left_out]
    sds = [e.ln_sd[np.isfinite(e.ln_error)] for e in left_out]
    return Accuracy.of(np.concatenate(errors), np.concatenate(sds))
