"""What stands below the table of a search: how its figures were found, and what they do not say. Pure."""

from collections.abc import Iterator

from hwkd.quantity import Quantity
from hwkd.report.cells import NA
from hwkd.report.fit_result import FitResult
from hwkd.report.numbers import three_digits
from hwkd.report.plot_words import PAPER, counted
from hwkd.search.found import COMPLETE, FAILED, REFERENCE, STOPPED, UNIFORM, Found
from hwkd.search.predicted import HEIGHT, WIDTH


def notes_of(result: FitResult, best: Found | None) -> tuple[str, ...]:
    """In sentences."""
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
            f"latency_ms, energy_mj: {how} for {result.target} ({result.setting}), the greater of encode and decode, of the "
            f"networks without entropy coding, for one image of {WIDTH}x{HEIGHT}; the budget is held to the value, not to "
            "the ends of its interval. kmac_per_pixel: counted, all four networks. stored_mib: of weights and scales, computed."
        )


def loss_note(result: FitResult) -> str:
    """What the loss is, and what it is not."""
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


def _against_uniform(result: FitResult, best: Found | None) -> Iterator[str]:
    """Whether widths per layer were worth it."""
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


def _interval(result: FitResult, best: Found | None) -> Iterator[str]:
    """Whether the best would keep the budget if the prediction were as far off as it may be."""
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
    return f"{NA} {unit}" if quantity.value is None else f"{three_digits(quantity.value)} {unit}"
