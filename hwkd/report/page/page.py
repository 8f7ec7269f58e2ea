"""`hwkd report`'s page: tables, plots and cards in one HTML file that asks nothing of the network.

    Gathered, plots -> tables, cards, figures (pure) -> templates/report.html.j2 -> text

The same input gives the same text: there is no date in it.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace

from hwkd.errors import HwkdError
from hwkd.measure.record import PLAN, Record
from hwkd.quantity import FOUND, NA, PUBLISHED, Quantity, interval_text, number_text
from hwkd.quantize.precision import plan_precision
from hwkd.report.compare.notes import (
    PART_WORDS,
    WEIGHT_NOTE,
    energy_notes,
    latency_notes,
    macs_note,
    per_pixel_notes,
    quality_notes,
    record_notes,
)
from hwkd.report.compare.rows import (
    Column,
    Compared,
    Figures,
    Row,
    Scope,
    SettingFilter,
    choose_part,
    choose_rows,
    columns_for,
    compare,
    figures_of,
    of_all,
)
from hwkd.report.page.sources import SHIPPED, Gathered
from hwkd.report.page.templating import NOT_INSTALLED, render_template, script_json, script_text
from hwkd.report.plots.draw_plotly import FigureGroup, figure_groups
from hwkd.report.plots.plot import Plot
from hwkd.target import CONFIDENCES, ExecutionUnit, Fact, Target


@dataclass(frozen=True)
class Way:
    """How a figure can be had: the mark that stands for it, the word, and what such a figure is worth."""

    mark: str
    word: str
    worth: str


WAYS = (
    Way(
        "●",
        "measured",
        "by a clock or a sensor on the machine that is named, or of real bytes and real pixels; several runs, with the "
        "interval of their mean or median where there is one.",
    ),
    Way(
        "~",
        "estimated",
        "by a model of that same machine: energy without a sensor is processor time times a constant power. Compare "
        "estimates with each other only.",
    ),
    Way(
        "^",
        "predicted",
        "for a machine that was not there, from published timings of other networks, layer by layer. The interval below "
        "it is meant to hold the truth in 90 of 100 cases; `hwkd targets validate` prints how often it did. It holds "
        "for the runtime that is named, and what runtimes differ by is in the interval.",
    ),
    Way("#", "counted", "exact: parameters, multiply-accumulates."),
    Way("=", "computed", "exact arithmetic on counted figures: bytes from bits."),
    Way(
        "§",
        PUBLISHED,
        "by others, who measured elsewhere; drawn in greys with dashes and never joined with ours.",
    ),
)

COSTS = ("psnr-macs", "psnr-latency", "psnr-energy")
LAYERS = ("layer-macs", "layer-latency")
WHAT_SHIPS = "what ships with hwkd"


def page_html(gathered: Gathered, plots: Sequence[Plot], command: str) -> str:
    """The page as text.

    Args:
        plots: plots of hwkd.report.page.sources, in any order. The page has places for their keys.
        command: the line that makes the page again, for its foot.

    Raises:
        HwkdError: Jinja2 or Plotly is not installed.
    """
    groups = figure_groups(plots)
    records = gathered.records
    return render_template(
        "report.html.j2",
        summary=_summary(gathered),
        ways=WAYS,
        marks={way.word: way.mark for way in WAYS},
        rd=_of(groups, ("rd",)),
        costs=_of(groups, COSTS),
        layers=_of(groups, LAYERS),
        training=_of(groups, ("training",)),
        resources=resource_table(records) if records else None,
        cards=[target_card(target, records) for target in gathered.targets],
        real_time_fps=REAL_TIME_FPS,
        sources=gathered.sources,
        command=command,
        versions=_versions(gathered),
        drawings=script_json(
            {
                figure.id: {"data": figure.drawing.data, "layout": figure.drawing.layout}
                for group in groups.values()
                for figure in group.figures
            }
        ),
        plotly=script_text(_plotly_source() if plots else ""),
    )


def _of(groups: dict[str, FigureGroup], keys: Sequence[str]) -> list[FigureGroup]:
    return [groups[key] for key in keys if key in groups]


def _summary(gathered: Gathered) -> str:
    """The content of the page, in one sentence."""
    records = gathered.records
    models = len({record.model.name for record in records})
    machines = len({record.target for record in records})
    parts = []
    if records:
        parts.append(f"What {_count(models, 'model')} cost on {_count(machines, 'machine')}")
    if gathered.results is not None:
        shipped = len(gathered.results.shipped)
        parts.append(
            f"rate and distortion of {_count(shipped, 'curve or single model', 'curves and single models')}"
        )
    if gathered.targets:
        parts.append(_count(len(gathered.targets), "target card"))
    if gathered.logs:
        parts.append(_count(len(gathered.logs), "training curve"))
    text = ", ".join(parts)
    sources = (WHAT_SHIPS if source == SHIPPED else source for source in gathered.sources)
    return f"{text[:1].upper()}{text[1:]}; from {', '.join(sources)}."


def _count(n: int, one: str, many: str = "") -> str:
    return f"{n} {one}" if n == 1 else f"{n} {many or one + 's'}"


def _versions(gathered: Gathered) -> list[str]:
    """The versions of what made the records, each combination once."""
    told = (
        ", ".join(f"{name} {version}" for name, version in record.provenance.versions.items())
        for record in gathered.records
    )
    return [text for text in dict.fromkeys(told) if text]


def _plotly_source() -> str:
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise HwkdError(NOT_INSTALLED) from error
    source: str = get_plotlyjs()
    return source


# Figures in the tables of a page: a column for each figure and each way it was found. Pure.
#
# A figure that was measured never stands in one column with one that was predicted; a column that nobody has a figure in
# is left out. An unknown figure is n/a with the number of a note that says why.


@dataclass(frozen=True)
class HeadCell:
    """A heading.

    Attributes:
        found: one of hwkd.quantity.FOUND, "" for a column of texts.
    """

    name: str
    found: str = ""


@dataclass(frozen=True)
class PageCell:
    """A cell of a table.

    Attributes:
        text: the text in the cell.
        number: number to sort by; None for texts and where there is none.
        small: small text below it.
        title: text that shows when the pointer is on the cell.
        note: the number of the note with the reason why there is no figure.
    """

    text: str
    number: float | None = None
    small: str = ""
    title: str = ""
    note: int | None = None


@dataclass
class Reasons:
    """Why figures are n/a: reasons by number, from 1, in order of their first use."""

    numbers: dict[str, int] = field(default_factory=dict)

    def number(self, reason: str) -> int:
        """The number of `reason`; a new reason gets a new number."""
        return self.numbers.setdefault(reason, len(self.numbers) + 1)


@dataclass(frozen=True)
class FoundColumn:
    """A figure found in one way.

    Attributes:
        of: what the figure is of, for example "networks"; empty where that is clear.
    """

    column: Column
    found: str
    of: str = ""

    @property
    def head(self) -> HeadCell:
        """Its heading."""
        return HeadCell(
            f"{self.column.name}, {self.of}" if self.of else self.column.name, self.found
        )


def columns_found(
    figures: Sequence[Figures], columns: Sequence[Column], of: str = ""
) -> tuple[FoundColumn, ...]:
    """The columns of `columns`, one for each way in which any of `figures` was found, in order of hwkd.quantity.FOUND."""
    return tuple(
        FoundColumn(column, found, of)
        for column in columns
        for found in FOUND
        if any(f[column.key].value is not None and f[column.key].found == found for f in figures)
    )


def figure_cells(
    figures: Figures, columns: Sequence[FoundColumn], reasons: Reasons, *, shows_basis: bool = False
) -> Iterator[PageCell]:
    """A row's cells.

    Args:
        shows_basis: show on which images the quality was measured, where rows differ in that.
    """
    for one in columns:
        cell, digits = figures[one.column.key], one.column.digits
        if cell.value is None or cell.found != one.found:
            reason = cell.reason or f"{cell.found}, not {one.found}: see the column for that"
            yield PageCell(NA, title=reason, note=reasons.number(reason))
            continue
        small = interval_text(cell.low, cell.high, digits)
        if shows_basis and cell.on:
            small = f"on {cell.on}"
        yield PageCell(number_text(cell.value, digits), cell.value, small, _how(cell))


def nobody_notes(
    figures: Sequence[Figures], columns: Sequence[Column], shown: Collection[str]
) -> Iterator[str]:
    """The reason for each of `columns` with a key that is not `shown`: no row has a figure in it."""
    for column in columns:
        if column.key not in shown:
            reasons = dict.fromkeys(f[column.key].reason for f in figures)
            yield f"{column.name}: {NA} in every row: {'; '.join(reasons)}."


def _how(cell: Quantity) -> str:
    """The way the figure was found, in words."""
    parts = [f"{cell.found} by {cell.by}" if cell.by else cell.found]
    if cell.runs is not None:
        parts.append(f"{cell.runs} run{'s' * (cell.runs != 1)}")
    if cell.level is not None:
        parts.append(f"{100 * cell.level:g} % interval")
    if cell.on:
        parts.append(f"on {cell.on}")
    return ", ".join(parts)


# The resource table of the page: a row for each record in its first setting. Pure.

MODEL_KEYS = ("parameters_m", "weight_mib", "kmac_per_pixel", "psnr_db", "bpp")
COST_KEYS = ("encode_ms", "decode_ms", "encode_mj", "decode_mj")
SHORT_PARTS = {"networks": "networks", "end_to_end": "end to end"}
"""Short names of hwkd.report.compare.rows.PARTS. The part that predictions on targets have comes first."""

LABELS = ("model", "target", "unit", "runtime", "precision", "threads")


@dataclass(frozen=True)
class PageRow:
    """A record in its first setting."""

    target: str
    cells: tuple[PageCell, ...]


@dataclass(frozen=True)
class ResourceTable:
    """The resource table of the page.

    Attributes:
        heads: one heading for each cell of a row.
        targets: targets to choose from.
        reasons: why figures are n/a; the first is note 1.
        notes: how the figures were found.
    """

    heads: tuple[HeadCell, ...]
    rows: tuple[PageRow, ...]
    targets: tuple[str, ...]
    reasons: tuple[str, ...]
    notes: tuple[str, ...]


def resource_table(records: Sequence[Record]) -> ResourceTable:
    """The table of `records`, of which there is at least one.

    Latency and energy are for an image; for a megapixel where the records are of images of different sizes.
    """
    sizes = {(record.width, record.height) for record in records}
    compared = compare(records, is_per_pixel=len(sizes) > 1)
    model_columns = columns_for(MODEL_KEYS, is_per_pixel=False)
    cost_columns = columns_for(COST_KEYS, is_per_pixel=compared.scope.is_per_pixel)
    # What one record has for the networks alone another has for the whole way: each has its column.
    by_part = [(part, of_part(compared, part)) for part in SHORT_PARTS]
    blocks = [
        (compared, columns_found(compared.figures, model_columns)),
        *((of, columns_found(of.figures, cost_columns, SHORT_PARTS[part])) for part, of in by_part),
    ]
    bases = {cell.on for _, cell in of_all(compared, "bpp") if cell.value is not None}
    reasons = Reasons()
    rows = []
    for i, row in enumerate(compared.rows):
        cells = list(_labels(row))
        for block, shown in blocks:
            cells += figure_cells(block.figures[i], shown, reasons, shows_basis=len(bases) > 1)
        rows.append(PageRow(row.record.target, tuple(cells)))
    shown_heads = [one.head for _, shown in blocks for one in shown]
    shown_keys = {one.column.key for _, shown in blocks for one in shown}
    return ResourceTable(
        (*map(HeadCell, LABELS), *shown_heads),
        tuple(rows),
        tuple(dict.fromkeys(row.target for row in rows)),
        tuple(reasons.numbers),
        (
            *_notes(compared, [of for _, of in by_part]),
            *nobody_notes(compared.figures, (*model_columns, *cost_columns), shown_keys),
        ),
    )


def of_part(compared: Compared, part: str) -> Compared:
    """The same rows with latency and energy of `part`, one of hwkd.report.compare.rows.PARTS."""
    scope = replace(compared.scope, latency_part=part, energy_part=part)
    figures = tuple(figures_of(row, scope) for row in compared.rows)
    return replace(compared, figures=figures, scope=scope)


def _labels(row: Row) -> Iterator[PageCell]:
    yield PageCell(row.record.model.name)
    yield PageCell(row.record.target)
    setting = row.setting
    if setting is None:
        yield from (PageCell(NA, title="the record holds no latency and no energy"),) * 4
        return
    yield from map(PageCell, (setting.unit, setting.runtime, setting.precision))
    if setting.threads is None:
        yield PageCell(NA, title=f"the unit {setting.unit} has no threads")
    else:
        yield PageCell(str(setting.threads), setting.threads)


def _notes(compared: Compared, by_part: Sequence[Compared]) -> Iterator[str]:
    sizes = dict.fromkeys(f"{row.record.width}x{row.record.height}" for row in compared.rows)
    yield from per_pixel_notes(compared)
    yield f"Images: {', '.join(sizes)} pixels. Of each record its first setting that has a figure."
    yield "parameters_m: of the float model, entropy models included."
    yield WEIGHT_NOTE
    yield macs_note(compared.rows, compared.names)
    yield from quality_notes(of_all(compared, "bpp"), compared.names)
    for of in by_part:
        if _has(of, "encode_ms"):
            yield from latency_notes(of)
        if _has(of, "encode_mj"):
            yield from energy_notes(of)
    on_hosts = [
        (row, name)
        for row, name in zip(compared.rows, compared.names, strict=True)
        if row.record.is_host
    ]
    yield from record_notes([row for row, _ in on_hosts], [name for _, name in on_hosts])


def _has(compared: Compared, key: str) -> bool:
    return any(figures[key].value is not None for figures in compared.figures)


# A card for each target: what it is, what runs where, what its models are predicted to cost, and how fast that is. Pure.
#
# Real time is REAL_TIME_FPS images a second of the record's size, end to end: entropy coding included. An interval decides:
# "yes" where even its slow end reaches that, "no" where not even its fast end does, "not certain" between. Only trained
# models that code bytes there have an answer; a bare architecture, and networks alone, have none.

REAL_TIME_FPS = 25
"""Images a second: the rate of PAL, and near to film's 24."""

YES, NO, NOT_CERTAIN = "yes", "no", "not certain"
KEYS = ("encode_ms", "decode_ms", "encode_mj", "decode_mj")

_PLANNED_BITS = 8
_PLANNED_FAMILY = "patch"
"""The page shows a plan for these where no record has one: 8 bits, and the family that ships where there is no record."""


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
    """A model on the target in its first setting.

    Attributes:
        cells: its figures.
        encodes, decodes: whether it does so in real time: YES, NO, NOT_CERTAIN or n/a.
    """

    model: str
    setting: str
    image: str
    cells: tuple[PageCell, ...]
    encodes: str
    decodes: str


@dataclass(frozen=True)
class TargetCard:
    """The card of one target.

    Attributes:
        power: power of the board, in words.
        plan_of: the model that `plan` is for.
        plan: the plan in sentences.
        heads: headings of the cells of all rows.
        reasons: why figures are n/a; the first is note 1.
        part: the part that the latencies are of.
        is_networks: whether the latencies exclude entropy coding and pixels.
        notes: how far to trust the latencies.
    """

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
    rows = choose_rows(own, SettingFilter())[0] if own else ()
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
            _real_time_of(row, "encode"),
            _real_time_of(row, "decode"),
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


def real_time(latency_ms: Quantity) -> str:
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


def _real_time_of(row: Row, side: str) -> str:
    entry = row.entry("latency_ms", side, "end_to_end")
    if entry is None or not row.record.model.is_trained:
        return NA
    return real_time(entry.quantity)


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
    for unit in target.units:
        if unit.load_w is not None:
            yield f"while its {unit.name} runs networks {_fact(unit.load_w, ' W')}"
    for mode in target.power_modes:
        yield f"mode {mode.name}: {mode.power_w:g} W" + (f" ({mode.note})" if mode.note else "")


def _plan(target: Target, records: Sequence[Record]) -> tuple[str, tuple[str, ...]]:
    """What the plan is for, and its sentences: the plan of the first quantized model, as in its record."""
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
