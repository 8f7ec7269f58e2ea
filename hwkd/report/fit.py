"""A search as tables and plots, with the notes below them. Pure."""

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial

from hwkd.quantity import NA, Quantity, quantity_text, three_digits
from hwkd.report.plots.plot import PAPER, Point, Scatter, Series, counted, exact, span
from hwkd.report.table import Table
from hwkd.search.cost import HEIGHT, WIDTH, Cost, weight_names
from hwkd.search.settings import Settings
from hwkd.search.trial import (
    AXES,
    COMPLETE,
    FAILED,
    REFERENCE,
    STOPPED,
    UNIFORM,
    Trial,
    best_of,
    completed,
    front_of,
)

# A search in its current state, for its tables and plots. Pure.


@dataclass(frozen=True)
class FitResult:
    """A search in its current state.

    Attributes:
        target: the target's name.
        setting: the setting in which the networks run there.
        trust: how far to trust the costs.
        untrained: the paper's students that are shown with their costs alone, by N.
    """

    settings: Settings
    target: str
    found: tuple[Trial, ...]
    setting: str
    trust: tuple[str, ...]
    untrained: tuple[tuple[int, Cost], ...]

    @property
    def searched(self) -> tuple[Trial, ...]:
        """All trials but the references."""
        return tuple(one for one in self.found if one.kind != REFERENCE)

    @property
    def front(self) -> tuple[Trial, ...]:
        """The students within the budget that no other beats in loss and every cost."""
        return front_of(self.searched, tuple(AXES))


# The tables of a search: the front beside its comparisons, and every trial. Pure.

COLUMNS = (
    *("trial", "what", "student", "weight_bits", "kmac_per_pixel", "latency_ms", "energy_mj"),
    *("stored_mib", "rd_loss", "bpp", "psnr_db", "steps"),
)
_LEAST = ("steps", "kmac_per_pixel", "stored_mib", "weight_bits", "bpp", "psnr_db")
BEST = "best"


def front_table(result: FitResult) -> Table:
    """The front, the students of equal widths, and the paper's."""
    best = best_of(result.found)
    front = result.front
    others = [one for one in result.found if one.kind in (UNIFORM, REFERENCE) and one not in front]
    rows = [_row(one, f"front{_equal(one)}", best) for one in front]
    rows += [_row(one, _beside(one), best) for one in others]
    title = f"Students for {result.target} within {result.settings.budget}"
    return Table(title, COLUMNS, tuple(rows), notes_of(result, best), _LEAST)


def best_in_words(result: FitResult) -> str:
    """What the search found, in a sentence; "" before a student within the budget is trained for all steps."""
    best = best_of(result.found)
    if best is None:
        return ""
    latency = quantity_text(best.cost.latency_ms)
    return (
        f"Best: trial {best.number}, {best.spec}: {latency} ms, rd_loss {_digits(best.rd_loss, 4)}."
    )


def trials_table(result: FitResult) -> Table:
    """Every trial with all its known figures, for machines."""
    columns = (
        *("trial", "kind", "state", "reason", "student", "weight_bits", "is_within_budget"),
        *("kmac_per_pixel", "latency_ms", "latency_ms_low", "latency_ms_high"),
        *("energy_mj", "energy_mj_low", "energy_mj_high", "found", "stored_mib"),
        *("rd_loss", "bpp", "psnr_db", "steps", "seconds", "is_on_front"),
    )
    front = result.front
    rows = tuple(
        (
            *(str(one.number), one.kind, one.state, one.reason, str(one.spec), _bits(one)),
            "yes" if one.is_within else "no",
            exact(one.cost.kmac_per_pixel),
            *_with_ends(one.cost.latency_ms),
            *_with_ends(one.cost.energy_mj),
            one.cost.latency_ms.found,
            *map(exact, (one.stored_mib, one.rd_loss, one.bpp, one.psnr_db)),
            NA if one.steps is None else str(one.steps),
            exact(one.seconds),
            "yes" if one in front else "no",
        )
        for one in result.found
    )
    return Table("Trials", columns, rows)


def _row(one: Trial, what: str, best: Trial | None) -> tuple[str, ...]:
    return (
        str(one.number),
        f"{what}, {BEST}" if one is best else what,
        str(one.spec),
        _bits(one),
        f"{one.cost.kmac_per_pixel:.2f}",
        quantity_text(one.cost.latency_ms),
        quantity_text(one.cost.energy_mj),
        _digits(one.stored_mib, 2),
        _digits(one.rd_loss, 4),
        _digits(one.bpp, 4),
        _digits(one.psnr_db, 2),
        NA if one.steps is None else str(one.steps),
    )


def _beside(one: Trial) -> str:
    """Why a student off the front is shown, and its state if it is not complete."""
    what = f"paper N={one.spec.widths[0]}" if one.kind == REFERENCE else "equal widths"
    return what if one.state == "complete" else f"{what}, {one.state}"


def _equal(one: Trial) -> str:
    return ", equal widths" if one.kind == UNIFORM else ""


def _bits(one: Trial) -> str:
    """The bits of all layers, or from the fewest to the most with their mean over the weights."""
    if one.bits is None:
        return NA
    weights = weight_names(one.spec)
    bits = {name: one.bits.bits_for(name)[0] for name in weights}
    low, high = min(bits.values()), max(bits.values())
    mean = sum(bits[name] * n for name, n in weights.items()) / sum(weights.values())
    return str(low) if low == high else f"{low} to {high}, mean {mean:.1f}"


def _digits(value: float | None, digits: int) -> str:
    return NA if value is None else f"{value:.{digits}f}"


def _with_ends(quantity: Quantity) -> tuple[str, str, str]:
    return exact(quantity.value), exact(quantity.low), exact(quantity.high)


# The notes below the table of a search: how its figures were found, and their limits. Pure.


def notes_of(result: FitResult, best: Trial | None) -> tuple[str, ...]:
    """The notes, in sentences."""
    return tuple(
        (
            _counts(result),
            *_against_uniform(result, best),
            *cost_notes(result),
            *_interval(result, best),
            loss_note(result),
            *_references(result),
            *_unknown(result),
            *result.trust,
        )
    )


def cost_notes(result: FitResult) -> Iterator[str]:
    """How the costs were found."""
    found = {one.cost.latency_ms.found for one in result.found}
    if found:
        how = found.pop()
        yield (
            f"latency_ms, energy_mj: {how} for {result.target} ({result.setting}), the greater of encode and decode, from end "
            f"to end (entropy coding included), for one image of {WIDTH}x{HEIGHT}; the budget is held to the value, not to "
            "the ends of its interval. kmac_per_pixel: counted, all four networks. stored_mib: of weights and scales, computed."
        )


def loss_note(result: FitResult) -> str:
    """The meaning of the loss, and its limits."""
    settings = result.settings
    return (
        f"rd_loss: bpp + {settings.lmbda:g} x 255^2 x MSE on held-out images ({settings.data}), after the steps told, "
        "quantized after training, the rate estimated from likelihoods. So few steps rank students; they say little of what "
        f"one reaches that is trained to the end. Only trials of all {settings.steps} steps are compared."
    )


def _counts(result: FitResult) -> str:
    searched = result.searched
    by_state = {
        state: [one for one in searched if one.state == state]
        for state in (COMPLETE, STOPPED, FAILED)
    }
    text = (
        f"{counted(len(searched), 'trial')}: {len(by_state[COMPLETE])} trained for all steps, "
        f"{len(by_state[STOPPED])} stopped early"
    )
    reasons = "; ".join(f"trial {one.number}: {one.reason}" for one in by_state[FAILED])
    return text + (f", {len(by_state[FAILED])} failed ({reasons})." if reasons else ".")


def _against_uniform(result: FitResult, best: Trial | None) -> Iterator[str]:
    """The benefit of separate widths per layer over equal widths."""
    if best is None or best.rd_loss is None:
        yield "No student within the budget has been trained for all steps yet."
        return
    alike = [
        one
        for one in result.found
        if one.kind == UNIFORM and one.spec.family == best.spec.family and one.state == COMPLETE
    ]
    if best.kind == UNIFORM:
        yield f"No searched student has a smaller loss than trial {best.number}, of equal widths."
    elif alike and alike[0].rd_loss is not None:
        less = 100 * (1 - best.rd_loss / alike[0].rd_loss)
        yield (
            f"The loss of trial {best.number} is {less:.1f} % below that of the widest {best.spec.family} student of equal "
            f"widths within the budget (trial {alike[0].number})."
        )


def _interval(result: FitResult, best: Trial | None) -> Iterator[str]:
    """Whether the best student would still keep the budget at the far end of the prediction's interval."""
    if best is None:
        return
    budget = result.settings.budget
    for name, most, found in (
        ("latency_ms", budget.max_ms, best.cost.latency_ms),
        ("energy_mj", budget.max_mj, best.cost.energy_mj),
    ):
        if most is not None and found.high is not None and found.level is not None:
            where = "within" if found.high <= most else "beyond"
            yield (
                f"{name} of trial {best.number}: the upper end of its {100 * found.level:.0f} % interval, "
                f"{three_digits(found.high)}, is {where} the budget of {most:g}."
            )


def _references(result: FitResult) -> Iterator[str]:
    trained = [one for one in result.found if one.kind == REFERENCE]
    if trained:
        teacher = result.settings.teacher_of("gdn").name
        yield (
            f"paper N: the students of {PAPER}, trained here as the others are, from {teacher}, to the last step whatever "
            "their loss, and not bound by the budget."
        )
    if result.untrained:
        costs = "; ".join(
            f"N={n}: {cost.kmac_per_pixel:.1f} kMAC/pixel, {_value(cost.latency_ms, 'ms')}, {_value(cost.energy_mj, 'mJ')}"
            for n, cost in result.untrained
        )
        yield f"Wider students of {PAPER} than its teacher has filters for are not trained; they would cost {costs}."


def _unknown(result: FitResult) -> Iterator[str]:
    reasons = dict.fromkeys(
        one.cost.energy_mj.reason for one in result.found if one.cost.energy_mj.value is None
    )
    for reason in reasons:
        yield f"energy_mj is {NA}: {reason}."


def _value(quantity: Quantity, unit: str) -> str:
    return f"{quantity_text(quantity, interval=None)} {unit}"


# The plots of a search: the loss over computation, latency and energy, the paper's students beside it. Pure.

NEAR = "-near"
"""Suffix of the key of a plot of the best students alone."""
NEAR_SHARE = 1.1
"""A plot of the best students shows losses up to this multiple of the least loss."""


@dataclass(frozen=True)
class _Axis:
    """One horizontal axis of the plots.

    Attributes:
        key: key of the plot's file.
        axis: one of AXES.
        what, unit: in words.
        most: the budget's limit; None if there is none.
    """

    key: str
    axis: str
    what: str
    unit: str
    most: float | None


def fit_plots(result: FitResult) -> tuple[Scatter, ...]:
    """The plots that have a point: none of energy if no trial knows it, none at all before the first trial is complete."""
    budget = result.settings.budget
    axes = (
        _Axis("fit-macs", "kmac_per_pixel", "multiply-accumulates", "kMAC/pixel", None),
        _Axis("fit-ms", "latency_ms", "latency", "ms", budget.max_ms),
        _Axis("fit-mj", "energy_mj", "energy", "mJ", budget.max_mj),
    )
    return tuple(plot for axis in axes for plot in _plot(result, axis))


def _plot(result: FitResult, axis: _Axis) -> Iterator[Scatter]:
    """A plot of all students. If the near ones are only a part of them, a second plot shows these alone."""
    shown = [one for one in completed(result.found) if AXES[axis.axis](one) is not None]
    if not shown:
        return
    near = _near(shown)
    has_near = 1 < len(near) < len(shown)
    yield _scatter(result, axis, shown, near if has_near else ())
    if has_near:
        yield _scatter(result, replace(axis, key=f"{axis.key}{NEAR}"), near, ())


def _near(shown: Sequence[Trial]) -> list[Trial]:
    """The students of the search with a loss of at most NEAR_SHARE times the least."""
    searched = [one for one in shown if one.kind != REFERENCE]
    least = min((one.rd_loss or 0.0 for one in searched), default=0.0)
    return [one for one in searched if (one.rd_loss or 0.0) <= NEAR_SHARE * least]


def _scatter(
    result: FitResult, axis: _Axis, shown: Sequence[Trial], unnamed: Sequence[Trial]
) -> Scatter:
    """One plot.

    Args:
        unnamed: students of `shown` that another plot names.
    """
    is_near = axis.key.endswith(NEAR)
    front = front_of([one for one in shown if one.kind != REFERENCE], (axis.axis,))
    is_counted = axis.axis == "kmac_per_pixel"
    found = "counted" if is_counted else _quantity(shown[0], axis).found
    where = "" if is_counted else f" on {result.target}"
    image = "" if is_counted else ", one image"
    title = f"Rate-distortion loss over {found} {axis.what}{where}"
    if is_near:
        title += f", those within {100 * (NEAR_SHARE - 1):g} % of the least loss"
    limit = () if axis.most is None else (f"The budget ends at {axis.most:g} {axis.unit}.",)
    named = {one.number for one in shown} - {one.number for one in unnamed}
    draw = partial(_drawn, axis=axis, named=named, with_interval=not is_near)
    return Scatter(
        key=axis.key,
        title=title,
        x_label=f"{found} {axis.what}{image}{where} ({axis.unit})",
        y_label=f"RD loss after {result.settings.steps} steps",
        series=tuple(_series(shown, axis, draw)),
        caption=_caption(shown, front, axis, f"{found} {axis.what}{where}"),
        table=_table(shown, axis, title),
        notes=(*limit, *cost_notes(result), loss_note(result)),
        is_x_log=not is_near,
        front=tuple(map(draw, _by_cost(front, axis))),
    )


def _series(
    shown: Sequence[Trial], axis: _Axis, draw: Callable[[Trial], Point]
) -> Iterator[Series]:
    """A series for each searched family, one for students of equal widths, and one for the paper's."""
    families = dict.fromkeys(one.spec.family for one in shown if one.kind != REFERENCE)
    wanted = [
        (
            family,
            [o for o in shown if o.spec.family == family and o.kind not in (UNIFORM, REFERENCE)],
        )
        for family in sorted(families)
    ]
    wanted.append(("equal widths", [one for one in shown if one.kind == UNIFORM]))
    wanted.append((f"gdn, uniform N of {PAPER}", [one for one in shown if one.kind == REFERENCE]))
    for name, students in wanted:
        if students:
            yield Series(name, tuple(map(draw, _by_cost(students, axis))))


def _drawn(one: Trial, axis: _Axis, named: Set[int], with_interval: bool) -> Point:
    """The point as a plot shows it: with its name if its number is in `named`."""
    point = _point(one, axis)
    if one.number not in named:
        point = replace(point, name="")
    return point if with_interval else replace(point, low=None, high=None)


def _point(one: Trial, axis: _Axis) -> Point:
    x = AXES[axis.axis](one)
    assert x is not None and one.rd_loss is not None
    name = f"N={one.spec.widths[0]}" if one.kind == REFERENCE else f"{one.number}"
    low = high = None
    if axis.axis != "kmac_per_pixel":
        quantity = _quantity(one, axis)
        low, high = quantity.low, quantity.high
    return Point(x, one.rd_loss, name, low, high, str(one.spec))


def _quantity(one: Trial, axis: _Axis) -> Quantity:
    return one.cost.latency_ms if axis.axis == "latency_ms" else one.cost.energy_mj


def _by_cost(students: Sequence[Trial], axis: _Axis) -> list[Trial]:
    return sorted(students, key=lambda one: AXES[axis.axis](one) or 0.0)


def _caption(shown: Sequence[Trial], front: Sequence[Trial], axis: _Axis, what: str) -> str:
    points = [_point(one, axis) for one in shown]
    best = min(points, key=lambda point: point.y)
    on_front = ", ".join(
        f"{p.name} ({three_digits(p.x)} {axis.unit}, {p.y:.3f})"
        for p in (_point(one, axis) for one in _by_cost(front, axis))
    )
    return (
        f"The loss bpp + lmbda 255^2 MSE over {what}, for {counted(len(shown), 'student')}: lower and "
        f"further left is better. They take {span([p.x for p in points], axis.unit)}. The least loss is that of {best.name}, "
        f"{best.y:.3f} at {three_digits(best.x)} {axis.unit}. On the front, from the cheapest up: {on_front}."
    )


def _table(shown: Sequence[Trial], axis: _Axis, title: str) -> Table:
    rows = tuple(
        (
            str(one.number),
            one.kind,
            str(one.spec),
            exact(p.x),
            exact(p.low),
            exact(p.high),
            exact(p.y),
        )
        for one in _by_cost(shown, axis)
        for p in (_point(one, axis),)
    )
    columns = ("trial", "kind", "student", axis.unit, f"{axis.unit}, low", f"{axis.unit}, high")
    return Table(title, (*columns, "rd_loss"), rows)
