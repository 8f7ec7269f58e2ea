"""A card for each target: what it is, what runs where, what its models are predicted to cost, and how fast that is. Pure.

Real time is REAL_TIME_FPS images a second of the record's size. An interval decides: "yes" where even its slow end
reaches that, "no" where not even its fast end does, "not certain" between.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hwkd.facts import CONFIDENCES, Fact
from hwkd.measure.record import PLAN, Record
from hwkd.quantize.precision import plan_precision
from hwkd.report.cells import NA, Cell
from hwkd.report.columns import columns_for
from hwkd.report.compare.rows import Row, Wanted, choose_part, choose_rows
from hwkd.report.compare.tables import PART_WORDS
from hwkd.report.page_cells import (
    HeadCell,
    PageCell,
    Reasons,
    columns_found,
    figure_cells,
    nobody_notes,
)
from hwkd.report.row_figures import Scope, figures_of
from hwkd.target import ExecutionUnit, Target

REAL_TIME_FPS = 25
"""Images a second: the rate of PAL, and near to film's 24."""

YES, NO, NOT_CERTAIN = "yes", "no", "not certain"
KEYS = ("encode_ms", "decode_ms", "encode_mj", "decode_mj")

_PLANNED_BITS = 8
_PLANNED_FAMILY = "patch"
"""What a plan is shown for where no record tells one: 8 bits, and the family that ships where there is no record."""


@dataclass(frozen=True)
class CardUnit:
    """An execution unit in words."""

    name: str
    kind: str
    model: str
    cores: str
    clock_ghz: str
    is_preferred: bool


@dataclass(frozen=True)
class CardRow:
    """A model on the target in its first setting. cells: its figures. encodes, decodes: in real time: YES, NO,
    NOT_CERTAIN or n/a."""

    model: str
    setting: str
    image: str
    cells: tuple[PageCell, ...]
    encodes: str
    decodes: str


@dataclass(frozen=True)
class TargetCard:
    """power: of the board, in words. plan_of: what `plan`, in sentences, is for. heads: of the cells of all rows.
    reasons: why figures are n/a, the first is note 1. part: what the latencies are of. is_networks: whether entropy coding
    and pixels are not in them. notes: how far to trust them."""

    name: str
    description: str
    units: tuple[CardUnit, ...]
    power: tuple[str, ...]
    plan_of: str
    plan: tuple[str, ...]
    heads: tuple[HeadCell, ...]
    rows: tuple[CardRow, ...]
    reasons: tuple[str, ...]
    part: str
    is_networks: bool
    notes: tuple[str, ...]


def target_card(target: Target, records: Sequence[Record]) -> TargetCard:
    """The card of `target`, with those of `records` that are of it."""
    own = [record for record in records if record.target == target.name]
    rows = choose_rows(own, Wanted())[0] if own else ()
    scope = Scope(choose_part(rows, "latency_ms"), choose_part(rows, "energy_mj"))
    figures = [figures_of(row, scope) for row in rows]
    columns = columns_for(KEYS, is_per_pixel=False)
    shown = columns_found(figures, columns)
    reasons = Reasons()
    card_rows = tuple(
        CardRow(
            row.record.model.name,
            NA if row.setting is None else str(row.setting),
            f"{row.record.width}x{row.record.height}",
            tuple(figure_cells(of_row, shown, reasons)),
            real_time(of_row["encode_ms"]),
            real_time(of_row["decode_ms"]),
        )
        for row, of_row in zip(rows, figures, strict=True)
    )
    plan_of, plan = _plan(target, own)
    notes = dict.fromkeys(note for row in rows for note in row.record.notes_on(_units_of(row)))
    return TargetCard(
        name=target.name,
        description=target.description,
        units=tuple(_unit(unit, target) for unit in target.units),
        power=tuple(_power(target)),
        plan_of=plan_of,
        plan=plan,
        heads=tuple(one.head for one in shown),
        rows=card_rows,
        reasons=tuple(reasons.numbers),
        part=PART_WORDS[scope.latency_part],
        is_networks=scope.latency_part == "networks",
        notes=(
            *(nobody_notes(figures, columns, {one.column.key for one in shown}) if rows else ()),
            *notes,
        ),
    )


def real_time(latency_ms: Cell) -> str:
    """Whether an image that takes `latency_ms` is one of REAL_TIME_FPS in a second; n/a where that is not known.

    A latency without an interval is taken as exact.
    """
    if latency_ms.value is None:
        return NA
    budget_ms = 1000 / REAL_TIME_FPS
    low = latency_ms.value if latency_ms.low is None else latency_ms.low
    high = latency_ms.value if latency_ms.high is None else latency_ms.high
    if high <= budget_ms:
        return YES
    return NO if low > budget_ms else NOT_CERTAIN


def _unit(unit: ExecutionUnit, target: Target) -> CardUnit:
    cores, clock_ghz = _fact(unit.cores), _fact(unit.clock_ghz, " GHz")
    return CardUnit(unit.name, unit.kind, unit.model, cores, clock_ghz, unit is target.preferred)


def _fact(fact: Fact, unit: str = "") -> str:
    if fact.value is None:
        return f"{NA} ({fact.unknown})"
    ends = f"{fact.value:g}" if fact.upto is None else f"{fact.value:g} to {fact.upto:g}"
    return ends + unit + (f" ({CONFIDENCES['M']})" if fact.confidence == "M" else "")


def _power(target: Target) -> Iterator[str]:
    yield f"idle {_fact(target.idle_w, ' W')}"
    yield f"under load {_fact(target.load_w, ' W')}"
    for mode in target.power_modes:
        yield f"mode {mode.name}: {mode.power_w:g} W" + (f" ({mode.note})" if mode.note else "")


def _plan(target: Target, records: Sequence[Record]) -> tuple[str, tuple[str, ...]]:
    """Of what the plan is, and its sentences: that of the first quantized model, as its record tells it."""
    for record in records:
        notes = [note for note in record.notes if note.startswith(PLAN)]
        if notes:
            model = record.model
            what = f"{model.name}, family {model.family}, weights in {model.weight_bits} bits"
            return what, tuple(note.removeprefix(PLAN) for note in notes)
    family = records[0].model.family if records else _PLANNED_FAMILY
    plan = plan_precision(target, _PLANNED_BITS, _PLANNED_BITS, family=family)
    what = f"a model of family {family} in {_PLANNED_BITS} bits; no record here is of one"
    return what, tuple(plan.sentences())


def _units_of(row: Row) -> tuple[str, ...]:
    return () if row.setting is None else (row.setting.unit,)
