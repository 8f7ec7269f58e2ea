"""Targets as tables: all of them at a glance, one of them with every fact and its source."""

from collections.abc import Iterator

from hwkd.facts import CONFIDENCES, Fact, Rate
from hwkd.quantize.precision import PrecisionPlan
from hwkd.report.table import Table
from hwkd.target import PRECISIONS, ExecutionUnit, Target

_NOT_KNOWN = "n/a"
_KEY = "Confidence: " + ", ".join(f"{key} {text}" for key, text in CONFIDENCES.items()) + "."


def overview(targets: tuple[Target, ...]) -> Table:
    """One row a target."""
    columns = ("target", "description", "preferred unit", "int8 arithmetic", "runtime", "power_w")
    rows = tuple(
        (
            target.name,
            target.description,
            target.preferred.name,
            _int8(target),
            f"{target.preferred.runtime.name} {target.preferred.runtime.version}",
            ", ".join(f"{mode.power_w:g}" for mode in target.power_modes) or _NOT_KNOWN,
        )
        for target in targets
    )
    notes = (
        "power_w: the modes a board can be set to, the one that its facts hold for first; "
        "n/a where a board has no modes.",
        "`hwkd targets show NAME` prints every fact with its source.",
    )
    return Table("Targets", columns, rows, notes)


def facts_table(target: Target) -> Table:
    """Every fact of `target`, with how sure it is and where it comes from."""
    rows = [*_board_rows(target)]
    for unit in target.units:
        rows += _unit_rows(unit)
    notes = (
        _KEY,
        "peak_gops: 1e9 dense operations a second, a multiply-accumulate counted as two.",
    )
    title = f"{target.name}: {target.description}"
    return Table(title, ("fact", "value", "confidence", "source"), tuple(rows), notes)


def plan_table(plan: PrecisionPlan) -> Table:
    """The precision plan, a row per network and unit, its sentences as notes."""
    rows = tuple(
        (
            entry.network,
            entry.unit,
            "yes" if entry.is_preferred else "if asked for",
            entry.arithmetic,
            " and ".join(entry.float_operations) or "none",
            str(entry.weight_storage_bits),
            entry.reason,
        )
        for entry in plan.entries
    )
    columns = ("network", "unit", "default", "arithmetic", "in float", "weight bits", "reason")
    bits = f"weights in {plan.weight_bits} bits, activations in {plan.act_bits}"
    return Table(f"Precision plan, family {plan.family}, {bits}", columns, rows, plan.notes)


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
        value = f"{mode.power_w:g}" + (f" ({mode.note})" if mode.note else "")
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
        return name, f"{_NOT_KNOWN}: {fact.unknown}", "", ""
    text = f"{fact.value:g}" if fact.upto is None else f"{fact.value:g} to {fact.upto:g}"
    return name, text, fact.confidence, fact.source


def _rate_text(rate: Rate) -> str:
    if rate.peak_gops is not None:
        return f"{rate.peak_gops:g}"
    return f"none: {rate.none}" if rate.none else f"{_NOT_KNOWN}: {rate.unknown}"
