"""The tables of a search: the front and what it is compared with, and every trial. Pure."""

from hwkd.quantity import Quantity
from hwkd.report.cells import NA
from hwkd.report.fit_notes import notes_of
from hwkd.report.fit_result import FitResult
from hwkd.report.numbers import interval_text, three_digits
from hwkd.report.plot_words import exact
from hwkd.report.table import Table
from hwkd.search.found import REFERENCE, UNIFORM, Found, best_of
from hwkd.search.layers import weight_names

COLUMNS = (
    *("trial", "what", "student", "weight_bits", "kmac_per_pixel", "latency_ms", "energy_mj"),
    *("stored_mib", "rd_loss", "bpp", "psnr_db", "steps"),
)
BEST = "best"


def front_table(result: FitResult) -> Table:
    """The front, the students of equal widths, and the paper's."""
    best = best_of(result.found)
    front = result.front
    others = [one for one in result.found if one.kind in (UNIFORM, REFERENCE) and one not in front]
    rows = [_row(one, f"front{_equal(one)}", best) for one in front]
    rows += [_row(one, _beside(one), best) for one in others]
    title = f"Students for {result.target} within {result.settings.budget}"
    return Table(title, COLUMNS, tuple(rows), notes_of(result, best))


def trials_table(result: FitResult) -> Table:
    """Every trial with all that is known of it, for machines."""
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


def _row(one: Found, what: str, best: Found | None) -> tuple[str, ...]:
    return (
        str(one.number),
        f"{what}, {BEST}" if one is best else what,
        str(one.spec),
        _bits(one),
        f"{one.cost.kmac_per_pixel:.2f}",
        _for_people(one.cost.latency_ms),
        _for_people(one.cost.energy_mj),
        _digits(one.stored_mib, 2),
        _digits(one.rd_loss, 4),
        _digits(one.bpp, 4),
        _digits(one.psnr_db, 2),
        NA if one.steps is None else str(one.steps),
    )


def _beside(one: Found) -> str:
    """What a student off the front is there for, and what became of it."""
    what = f"paper N={one.spec.widths[0]}" if one.kind == REFERENCE else "equal widths"
    return what if one.state == "complete" else f"{what}, {one.state}"


def _equal(one: Found) -> str:
    return ", equal widths" if one.kind == UNIFORM else ""


def _bits(one: Found) -> str:
    """Of all layers, or from the fewest to the most with their mean over the weights."""
    if one.bits is None:
        return NA
    weights = weight_names(one.spec)
    bits = {name: one.bits.bits_for(name)[0] for name in weights}
    low, high = min(bits.values()), max(bits.values())
    mean = sum(bits[name] * n for name, n in weights.items()) / sum(weights.values())
    return str(low) if low == high else f"{low} to {high}, mean {mean:.1f}"


def _digits(value: float | None, digits: int) -> str:
    return NA if value is None else f"{value:.{digits}f}"


def _for_people(quantity: Quantity) -> str:
    if quantity.value is None:
        return NA
    ends = interval_text(quantity.low, quantity.high)
    return three_digits(quantity.value) + (f" ({ends})" if ends else "")


def _with_ends(quantity: Quantity) -> tuple[str, str, str]:
    return exact(quantity.value), exact(quantity.low), exact(quantity.high)
