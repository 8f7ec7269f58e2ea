"""The plots of a search: the loss over computation, latency and energy, the paper's students beside it. Pure."""

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial

from hwkd.quantity import Quantity
from hwkd.report.fit_notes import cost_notes, loss_note
from hwkd.report.fit_result import FitResult
from hwkd.report.numbers import three_digits
from hwkd.report.plot_words import PAPER, counted, exact, span
from hwkd.report.plots.plot import Point, Scatter, Series
from hwkd.report.table import Table
from hwkd.search.found import AXES, REFERENCE, UNIFORM, Found, completed, front_of

NEAR = "-near"
"""Ends the key of a plot of the best students alone."""
NEAR_SHARE = 1.1
"""Of the least loss, up to which a student is shown there."""


@dataclass(frozen=True)
class _Axis:
    """key: of the plot's file. axis: of AXES. what, unit: in words. most: the budget's limit, if it has one."""

    key: str
    axis: str
    what: str
    unit: str
    most: float | None


def fit_plots(result: FitResult) -> tuple[Scatter, ...]:
    """Plots without a point are left out: of energy where nobody knows it, of all before the first trial is complete."""
    budget = result.settings.budget
    axes = (
        _Axis("fit-macs", "kmac_per_pixel", "multiply-accumulates", "kMAC/pixel", None),
        _Axis("fit-ms", "latency_ms", "latency", "ms", budget.max_ms),
        _Axis("fit-mj", "energy_mj", "energy", "mJ", budget.max_mj),
    )
    return tuple(plot for axis in axes for plot in _plot(result, axis))


def _plot(result: FitResult, axis: _Axis) -> Iterator[Scatter]:
    """All students; where others press those near the best into a heap, the near ones once more alone."""
    shown = [one for one in completed(result.found) if AXES[axis.axis](one) is not None]
    if not shown:
        return
    near = _near(shown)
    has_near = 1 < len(near) < len(shown)
    yield _scatter(result, axis, shown, near if has_near else ())
    if has_near:
        yield _scatter(result, replace(axis, key=f"{axis.key}{NEAR}"), near, ())


def _near(shown: Sequence[Found]) -> list[Found]:
    """The students of the search whose loss is at most NEAR_SHARE of the least."""
    searched = [one for one in shown if one.kind != REFERENCE]
    least = min((one.rd_loss or 0.0 for one in searched), default=0.0)
    return [one for one in searched if (one.rd_loss or 0.0) <= NEAR_SHARE * least]


def _scatter(
    result: FitResult, axis: _Axis, shown: Sequence[Found], unnamed: Sequence[Found]
) -> Scatter:
    """unnamed: of `shown`, those that another plot names."""
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
    shown: Sequence[Found], axis: _Axis, draw: Callable[[Found], Point]
) -> Iterator[Series]:
    """A series for each family that is searched, one for students of equal widths, and one for the paper's."""
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


def _drawn(one: Found, axis: _Axis, named: Set[int], with_interval: bool) -> Point:
    """The point as a plot shows it: named if its number is among `named`."""
    point = _point(one, axis)
    if one.number not in named:
        point = replace(point, name="")
    return point if with_interval else replace(point, low=None, high=None)


def _point(one: Found, axis: _Axis) -> Point:
    x = AXES[axis.axis](one)
    assert x is not None and one.rd_loss is not None
    name = f"N={one.spec.widths[0]}" if one.kind == REFERENCE else f"{one.number}"
    low = high = None
    if axis.axis != "kmac_per_pixel":
        quantity = _quantity(one, axis)
        low, high = quantity.low, quantity.high
    return Point(x, one.rd_loss, name, low, high, str(one.spec))


def _quantity(one: Found, axis: _Axis) -> Quantity:
    return one.cost.latency_ms if axis.axis == "latency_ms" else one.cost.energy_mj


def _by_cost(students: Sequence[Found], axis: _Axis) -> list[Found]:
    return sorted(students, key=lambda one: AXES[axis.axis](one) or 0.0)


def _caption(shown: Sequence[Found], front: Sequence[Found], axis: _Axis, what: str) -> str:
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


def _table(shown: Sequence[Found], axis: _Axis, title: str) -> Table:
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
