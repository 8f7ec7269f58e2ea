"""The resource comparison of profile records as tables, with its notes and its Pareto front. Pure."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from hwkd.errors import unknown
from hwkd.quantity import MARKS, NA, Cell, against, places_of_three, unknown_cell
from hwkd.report.compare.rows import (
    SIZE,
    Column,
    Compared,
    Figures,
    Row,
    columns_for,
    model_rows,
    names_of,
    of_all,
)
from hwkd.report.table import Table, figure, missing, number, number_in_words

# A comparison as a table. For people, figure and change share one cell; for machines, they are separate. Pure.

FOR_MACHINES = ("csv", "json")
"""The formats with separate figures and changes. In csv, the interval and the way it was found have columns too."""


@dataclass(frozen=True)
class Label:
    """A column of texts, "n/a" in rows that have none.

    Attributes:
        is_always_shown: whether people see the column even if all its values are equal; if not, a note has the one value.
    """

    name: str
    values: tuple[str, ...]
    is_always_shown: bool = True

    @property
    def distinct(self) -> tuple[str, ...]:
        """The known texts, once each."""
        return tuple(text for text in dict.fromkeys(self.values) if text != NA)


@dataclass(frozen=True)
class Sheet:
    """A comparison before it is printed.

    Attributes:
        labels: columns of texts, each with a value for every row.
        columns, rows: the figures.
        has_changes: whether the figures have changes against the first row.
    """

    title: str
    labels: tuple[Label, ...]
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...]
    has_changes: bool = True


def to_table(sheet: Sheet, fmt: str) -> Table:
    """`sheet` as the table for format `fmt` (hwkd.report.table.FORMATS)."""
    if fmt == "json":
        return for_programs(sheet)
    return for_machines(sheet) if fmt in FOR_MACHINES else for_people(sheet)


_LEAST = (
    *("weight_bits", "parameters_m", "memory_mib", "encode_gmacs", "decode_gmacs", "total_gmacs"),
    *("mj_per_mpx", "fps", "encode_mj", "decode_mj", "runs", "threads", "bytes", "kmac_per_pixel"),
    *("total_mj", "weight_mib"),
)
"""Figures that follow from others, or that are less useful at a glance."""


def for_people(sheet: Sheet) -> Table:
    """A table with value, interval and change in one cell, and notes below. Marks show figures of groups with mixed ways."""
    shown = [x for x in sheet.labels if x.is_always_shown or len(x.distinct) > 1]
    marked = _mixed_groups(sheet)
    rows = tuple(
        (
            *(label.values[i] for label in shown),
            *(
                _text(cell, column, is_marked=column.group in marked, has_changes=sheet.has_changes)
                for cell, column in zip(cells, sheet.columns, strict=True)
            ),
        )
        for i, cells in enumerate(sheet.rows)
    )
    common = [f"{x.name} {x.distinct[0]}" for x in sheet.labels if x not in shown and x.distinct]
    notes = (
        *((f"Common to the records: {'; '.join(common)}.",) if common else ()),
        *sheet.notes,
        *_mark_notes(sheet, marked),
        *_interval_notes(
            sheet,
            "±, -/+: how far the ends of the interval are from the value",
            [column for column in sheet.columns if not column.is_derived],
        ),
    )
    names = (*(label.name for label in shown), *(column.name for column in sheet.columns))
    return Table(sheet.title, names, rows, notes, _LEAST)


def for_machines(sheet: Sheet) -> Table:
    """A table with a column for each number, without visible rounding; the columns are the same for any rows.

    NAME, NAME_low and NAME_high (latency, energy and emissions), NAME_percent (NAME_difference), NAME_found (all but
    counted figures): the way it was found, or "n/a: REASON".
    """
    return _apart(sheet, _machine_cells, "_low, _high: the ends of the interval")


def for_programs(sheet: Sheet) -> Table:
    """As for_machines, but NAME is a cell with its interval and the way it was found, or the reason why it is not known."""
    return _apart(sheet, _program_cells, "low, high: the ends of the interval")


def _apart(
    sheet: Sheet, cells_of: Callable[[Cell, Column, bool], Iterator[tuple[str, str]]], what: str
) -> Table:
    """A table with separate columns for the parts of each figure.

    Args:
        cells_of: the cells of a figure, each with the name of its column.
        what: the subject of a note on intervals.
    """
    names = [label.name for label in sheet.labels]
    for column in sheet.columns:
        names += [name for name, _ in cells_of(_EMPTY, column, sheet.has_changes)]
    rows = tuple(
        (
            *(label.values[i] for label in sheet.labels),
            *(
                text
                for cell, column in zip(cells, sheet.columns, strict=True)
                for _, text in cells_of(cell, column, sheet.has_changes)
            ),
        )
        for i, cells in enumerate(sheet.rows)
    )
    notes = _interval_notes(sheet, what, sheet.columns)
    return Table(sheet.title, tuple(names), rows, (*sheet.notes, *notes))


_EMPTY = unknown_cell("no row")


def _program_cells(cell: Cell, column: Column, has_changes: bool) -> Iterator[tuple[str, str]]:
    known = cell if column.has_interval else replace(cell, low=None, high=None, level=None)
    yield column.name, figure(_number(cell.value), known)
    if has_changes:
        yield column.change_name, number(cell.change, ".8g", cell.no_change or cell.reason)


def _machine_cells(cell: Cell, column: Column, has_changes: bool) -> Iterator[tuple[str, str]]:
    yield column.name, _number(cell.value)
    if column.has_interval:
        yield f"{column.name}_low", _number(cell.low)
        yield f"{column.name}_high", _number(cell.high)
    if has_changes:
        yield column.change_name, _number(cell.change)
    if column.group != "counts":
        yield (
            f"{column.name}_found",
            cell.found if cell.value is not None else f"{NA}: {cell.reason}",
        )


def _number(value: float | None) -> str:
    return NA if value is None else f"{value:.8g}"


def _text(cell: Cell, column: Column, *, is_marked: bool, has_changes: bool) -> str:
    if cell.value is None:
        return NA
    places = places_of_three(cell.value) if column.digits is None else column.digits
    text = (MARKS[cell.found] if is_marked else "") + f"{cell.value:,.{places}f}"
    if not column.is_derived:
        text += _spread(cell, places)
    if not has_changes or cell.is_reference:
        return text
    if cell.change is None:
        return f"{text} ({NA})"
    digits = column.digits if column.is_difference and column.digits is not None else 1
    return f"{text} ({cell.change:+.{digits}f}{column.change_unit})"


def _spread(cell: Cell, places: int) -> str:
    """The interval as its distances from the value: one distance if both print alike, else below and above."""
    if cell.value is None or cell.low is None or cell.high is None:
        return ""
    below, above = f"{cell.value - cell.low:,.{places}f}", f"{cell.high - cell.value:,.{places}f}"
    return f" ±{below}" if below == above else f" -{below}/+{above}"


def _mixed_groups(sheet: Sheet) -> set[str]:
    """Groups of columns with known figures that were found in more than one way."""
    ways: dict[str, set[str]] = {}
    for cells in sheet.rows:
        for cell, column in zip(cells, sheet.columns, strict=True):
            if cell.value is not None:
                ways.setdefault(column.group, set()).add(cell.found)
    return {group for group, found in ways.items() if len(found) > 1}


def _mark_notes(sheet: Sheet, marked: set[str]) -> Iterator[str]:
    """One note on the meaning of the marks of all mixed groups."""
    found = {
        cell.found
        for cells in sheet.rows
        for cell, column in zip(cells, sheet.columns, strict=True)
        if column.group in marked and cell.value is not None
    }
    if found:
        names = [column.name for column in sheet.columns if column.group in marked]
        meanings = [f"{mark or 'no mark'} {way}" for way, mark in MARKS.items() if way in found]
        yield f"Marks in {', '.join(names)}: {', '.join(meanings)}."


def _interval_notes(sheet: Sheet, what: str, columns: Sequence[Column]) -> Iterator[str]:
    """The certainty of the intervals of `columns`; a table shows `what` of them."""
    levels: dict[str, list[str]] = {}
    for cells_of, column in zip(zip(*sheet.rows, strict=True), sheet.columns, strict=True):
        shares = sorted({round(100 * c.level, 1) for c in cells_of if c.level is not None})
        if shares and column in columns:
            text = " and ".join(f"{share:g} %" for share in shares)
            levels.setdefault(text, []).append(column.name)
    if levels:
        parts = [f"{text} in {', '.join(names)}" for text, names in levels.items()]
        yield f"{what}: {'; '.join(parts)}. A sum adds the ends, and so holds the truth less surely."


# The resource comparison of profile records: size, computation and throughput, energy. Pure.

COMPUTATION = (
    *("encode_gmacs", "decode_gmacs", "total_gmacs", "kmac_per_pixel"),
    *("encode_ms", "decode_ms", "fps"),
)
ENERGY = ("encode_mj", "decode_mj", "total_mj", "mj_per_mpx")
EMISSIONS = "emissions_g_per_1000"


def sheets(compared: Compared) -> tuple[Sheet, Sheet, Sheet]:
    """The three tables: size, computation and throughput, energy."""
    return size_sheet(compared), computation_sheet(compared), energy_sheet(compared)


GLANCE = ("psnr_db", "bpp", "weight_mib", "kmac_per_pixel", "encode_ms", "decode_ms", "total_mj")


def glance_sheet(compared: Compared) -> Sheet:
    """The most important columns of the three, on one screen: figures without their intervals and changes."""
    columns = columns_for(GLANCE, is_per_pixel=compared.scope.is_per_pixel)
    cells = tuple(tuple(row[column.key] for column in columns) for row in compared.figures)
    notes = (
        *per_pixel_notes(compared),
        *latency_notes(compared),
        *energy_notes(compared),
        *compared.left_out,
    )
    labels = (*run_labels(compared), part_label(compared, compared.scope.latency_part))
    short = tuple(replace(column, is_derived=True) for column in columns)
    return Sheet("At a glance", labels, short, cells, notes, has_changes=False)


def size_sheet(compared: Compared) -> Sheet:
    """Parameters and memory: a row for each model, whatever it runs on."""
    columns = columns_for(SIZE, is_per_pixel=False)
    places = model_rows(compared)
    names = [compared.rows[i].record.model.name for i in places]
    cells = with_changes([compared.figures[i] for i in places], columns)
    notes = (
        *change_notes(columns, cells, names),
        MEMORY_NOTE,
        WEIGHT_NOTE,
        *quality_notes(zip(names, (row[-1] for row in cells), strict=True), names),
        *missing_notes(columns, cells, names),
        *compared.left_out,
    )
    labels = (Label("model", tuple(names)), weight_bits_label(compared, places))
    return Sheet("Size", labels, columns, cells, notes)


def computation_sheet(compared: Compared) -> Sheet:
    """Multiply-accumulates, latency, images a second."""
    columns = columns_for(COMPUTATION, is_per_pixel=compared.scope.is_per_pixel)
    cells = with_changes(compared.figures, columns)
    notes = (
        *change_notes(columns, cells, compared.names),
        *per_pixel_notes(compared),
        macs_note(compared.rows, compared.names),
        *latency_notes(compared),
        *rate_notes(compared),
        *missing_notes(columns, cells, compared.names),
        *record_notes(compared.rows, compared.names),
        *compared.left_out,
    )
    labels = (*run_labels(compared), part_label(compared, compared.scope.latency_part))
    return Sheet("Computation and throughput", labels, columns, cells, notes)


def energy_sheet(compared: Compared) -> Sheet:
    """Energy, with emissions if a record has any, and quality beside it."""
    has_emissions = any(
        entry.name == EMISSIONS and entry.setting == row.setting
        for row in compared.rows
        for entry in row.record.entries
    )
    keys = (*ENERGY, *((EMISSIONS,) if has_emissions else ()), "psnr_db", "bpp")
    columns = columns_for(keys, is_per_pixel=compared.scope.is_per_pixel)
    cells = with_changes(compared.figures, columns)
    notes = (
        *change_notes(columns, cells, compared.names),
        *per_pixel_notes(compared),
        *energy_notes(compared),
        *(emissions_notes(compared) if has_emissions else ()),
        *quality_notes(of_all(compared, "bpp"), compared.names),
        *missing_notes(columns, cells, compared.names),
        *record_notes(compared.rows, compared.names),
        *compared.left_out,
    )
    labels = (*run_labels(compared), part_label(compared, compared.scope.energy_part))
    return Sheet("Energy", labels, columns, cells, notes)


def weight_bits_label(compared: Compared, places: Sequence[int]) -> Label:
    """The bits at which the weights of the models are stored."""
    words = (compared.rows[i].record.model.weight_bits for i in places)
    return Label("weight_bits", tuple(map(number_in_words, words)))


def run_labels(compared: Compared) -> tuple[Label, ...]:
    """Labels of each run: the model, the machine, its setting, and the size of the images."""
    rows = compared.rows
    sizes = tuple(f"{row.record.width}x{row.record.height}" for row in rows)
    none = missing("the record holds no latency and no energy")
    settings = tuple(none if row.setting is None else str(row.setting) for row in rows)
    return (
        Label("model", tuple(row.record.model.name for row in rows)),
        Label("target", tuple(row.record.target for row in rows)),
        Label("setting", settings, is_always_shown=False),
        Label("image", sizes, is_always_shown=False),
    )


def part_label(compared: Compared, part: str) -> Label:
    """The part that the figures are of: the networks, or the codec from end to end."""
    return Label("part", (part,) * len(compared.rows), is_always_shown=False)


def with_changes(
    figures: Sequence[Figures], columns: Sequence[Column]
) -> tuple[tuple[Cell, ...], ...]:
    """The columns' cells of each row, with their changes against the first row."""
    first = [figures[0][column.key] for column in columns]
    cells = []
    for i, row in enumerate(figures):
        changed = (
            against(reference, row[column.key], is_difference=column.is_difference)
            for reference, column in zip(first, columns, strict=True)
        )
        cells.append(tuple(replace(cell, is_reference=i == 0) for cell in changed))
    return tuple(cells)


# The notes below a comparison: how figures were found, what is missing, and what is compared with what. Pure.

MEMORY_NOTE = (
    "parameters_m: counted, of the float model, entropy models included. memory_mib: its float32 parameters and buffers "
    "(a trained model's coding tables among them), computed."
)
WEIGHT_NOTE = (
    "weight_mib: the weights of g_a, h_a, h_s, g_s at weight_bits, with their scales, computed."
)

PART_WORDS = {
    "networks": "of the networks alone (encode: g_a, h_a, h_s; decode: h_s, g_s)",
    "end_to_end": "end to end (encode: pixels to bytes; decode: bytes to pixels)",
}


def ways(figures: Iterable[tuple[str, Cell]], every: Sequence[str]) -> str:
    """The ways in which figures were found: means, number of runs, and rows if not all; "" if there is no figure.

    Args:
        figures: pairs of a row's name and a figure.
        every: the names of all rows.
    """
    rows: dict[tuple[str, str], list[str]] = {}
    runs: dict[tuple[str, str], list[int]] = {}
    for name, cell in figures:
        if cell.value is not None:
            way = (cell.found, cell.by)
            rows.setdefault(way, []).append(name)
            runs.setdefault(way, []).extend([] if cell.runs is None else [cell.runs])
    parts = []
    for (found, by), names in rows.items():
        counts = sorted(set(runs[found, by]))
        in_runs = f", {_span(counts)} runs" if counts else ""
        where = "" if len(rows) == 1 else f" ({whose(names, every)})"
        parts.append(f"{found} by {by}{in_runs}{where}")
    return "; ".join(parts)


def whose(names: Sequence[str], every: Sequence[str]) -> str:
    """The rows' names, once each; "all rows" for all of them."""
    distinct = list(dict.fromkeys(names))
    return "all rows" if set(distinct) == set(every) and len(distinct) > 1 else ", ".join(distinct)


def change_notes(
    columns: Sequence[Column], rows: Sequence[Sequence[Cell]], names: Sequence[str]
) -> Iterator[str]:
    """Notes on changes: their reference, missing changes with the reason, and comparisons of unlike figures."""
    if len(rows) < 2:
        return
    yield f"Changes (percent, PSNR in dB) are against the first row, {names[0]}."
    without = [
        column.name
        for j, column in enumerate(columns)
        if not rows[0][j].value and any(cells[j].value is not None for cells in rows[1:])
    ]
    if without:
        yield f"{', '.join(without)}: no change, because the first row's is {NA} or 0."
    others: dict[str, list[str]] = {}
    mixed: dict[tuple[str, str, str], list[str]] = {}
    for name, cells in zip(names[1:], rows[1:], strict=True):
        for reference, cell, column in zip(rows[0], cells, columns, strict=True):
            if cell.value is None or reference.value is None:
                continue
            if cell.basis != reference.basis:
                others.setdefault(name, []).append(column.name)
            elif cell.found != reference.found:
                mixed.setdefault((column.group, cell.found, reference.found), []).append(name)
    for name, keys in others.items():
        yield f"{', '.join(keys)} of {name}: no change, because it was evaluated on other images than {names[0]}."
    for (group, found, reference_found), whom in mixed.items():
        yield (
            f"Changes of {group} compare {found} figures ({', '.join(dict.fromkeys(whom))}) with {reference_found} "
            f"ones ({names[0]})."
        )


def missing_notes(
    columns: Sequence[Column], rows: Sequence[Sequence[Cell]], names: Sequence[str]
) -> Iterator[str]:
    """The reasons why figures are not known: one sentence for all figures with the same reason."""
    by_reason: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for name, cells in zip(names, rows, strict=True):
        reasons: dict[str, list[str]] = {}
        for cell, column in zip(cells, columns, strict=True):
            if cell.value is None:
                reasons.setdefault(cell.reason, []).append(column.name)
        for reason, lacking in reasons.items():
            by_reason.setdefault((reason, tuple(lacking)), []).append(name)
    for (reason, keys), whom in by_reason.items():
        yield f"{', '.join(keys)} of {whose(whom, names)}: {NA}, {reason}."


def record_notes(rows: Sequence[Row], names: Sequence[str]) -> Iterator[str]:
    """How far to trust the records, in their own words, each sentence once."""
    sentences: dict[str, list[str]] = {}
    for row, name in zip(rows, names, strict=True):
        for sentence in row.record.notes:
            sentences.setdefault(sentence, []).append(name)
    for sentence, whom in sentences.items():
        yield f"{whose(whom, names)}: {sentence}"


def quality_notes(figures: Iterable[tuple[str, Cell]], every: Sequence[str]) -> Iterator[str]:
    """The images on which psnr_db and bpp were measured, and the source of the figures."""
    rows: dict[tuple[str, str], list[str]] = {}
    for name, cell in figures:
        if cell.value is not None:
            rows.setdefault((cell.basis, cell.by), []).append(name)
    for (images, source), names in rows.items():
        where = "" if len(rows) == 1 else f" of {whose(names, every)}"
        yield (
            f"psnr_db, bpp{where}: means over images, from real bytes, measured on {images} (source: {source})."
        )


def macs_note(rows: Sequence[Row], names: Sequence[str]) -> str:
    """The operations that the multiply-accumulates count, and those that they leave out."""
    left_out: dict[str, list[str]] = {}
    for row, name in zip(rows, names, strict=True):
        operators = ", ".join(f"{op} x{n}" for op, n in row.record.macs.not_counted.items())
        if operators:
            left_out.setdefault(operators, []).append(name)
    listed = "".join(f"{ops} ({whose(whom, names)}); " for ops, whom in left_out.items())
    return (
        "MACs: multiply-accumulates of the float models, counted. encode: g_a, h_a, h_s; decode: h_s, g_s; total and "
        f"kmac_per_pixel: each of the four once. Not counted: {listed}ReLU, clamping and moving of data, entropy coding."
    )


def latency_notes(compared: Compared) -> Iterator[str]:
    """The part that the latencies are of, and how they were found."""
    encode, decode = names_of(compared, ("encode_ms", "decode_ms"))
    found = ways(of_all(compared, "encode_ms", "decode_ms"), compared.names)
    if found:
        yield f"{encode}, {decode}: {PART_WORDS[compared.scope.latency_part]}; {found}."


def rate_notes(compared: Compared) -> Iterator[str]:
    """The meaning of fps."""
    encode, decode, rate = names_of(compared, ("encode_ms", "decode_ms", "fps"))
    what = "megapixels" if compared.scope.is_per_pixel else "images"
    yield (
        f"{rate}: {what} a second, encoded and decoded one after the other: 1000 / ({encode} + {decode}), found the way "
        "of the weaker of the two."
    )


def energy_notes(compared: Compared) -> Iterator[str]:
    """The part that the energies are of, and how they were found."""
    encode, decode, total = names_of(compared, ("encode_mj", "decode_mj", "total_mj"))
    found = ways(of_all(compared, "encode_mj", "decode_mj"), compared.names)
    if not found:
        return
    what = "a megapixel" if compared.scope.is_per_pixel else "one image"
    yield (
        f"{encode}, {decode}: for {what}, idle subtracted unless it says included, {PART_WORDS[compared.scope.energy_part]}; {found}. {total}: "
        "encode + decode, found the way of the weaker of the two."
    )


def emissions_notes(compared: Compared) -> Iterator[str]:
    """The part that the emissions are of, and how they were found."""
    (name,) = names_of(compared, ("emissions_g_per_1000",))
    found = ways(of_all(compared, "emissions_g_per_1000"), compared.names)
    what = "megapixels" if compared.scope.is_per_pixel else "images"
    if found:
        yield f"{name}: grams of CO2 equivalent for 1,000 {what}, encode + decode; {found}."


def per_pixel_notes(compared: Compared) -> Iterator[str]:
    """A warning if figures of different image sizes are side by side."""
    sizes = dict.fromkeys(f"{row.record.width}x{row.record.height}" for row in compared.rows)
    if compared.scope.is_per_pixel and len(sizes) > 1:
        yield (
            f"Divided by the pixels of images of {', '.join(sizes)}: padding and fixed costs weigh more in the smaller."
        )


def _span(counts: Sequence[int]) -> str:
    return f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


# The rows of a comparison that no other row beats: the Pareto front over chosen figures. Pure.

HIGHER_IS_BETTER = ("psnr_db", "ms_ssim")
AXES = (
    *HIGHER_IS_BETTER,
    *("bpp", "encode_ms", "decode_ms", "total_ms", "encode_mj", "decode_mj", "total_mj"),
    *("total_gmacs", "parameters_m", "weight_mib"),
)
"""The axes that --pareto takes. Less is better, except for HIGHER_IS_BETTER."""

ALWAYS = ("psnr_db", "bpp")
WHERE_KNOWN = ("total_mj", "total_ms")
FRONT = "front"


def parse_axes(text: str) -> tuple[str, ...]:
    """The axes in `text`, with commas between; none for an empty text, which means the default.

    Raises:
        InputError: a name is not in AXES.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(","))) if text.strip() else ()
    for name in names:
        if name not in AXES:
            raise unknown("axis", name, AXES)
    return names


def default_axes(figures: Sequence[Mapping[str, Cell]]) -> tuple[str, ...]:
    """psnr_db and bpp, and total_mj and total_ms if every row has them."""
    known = (axis for axis in WHERE_KNOWN if all(f[axis].value is not None for f in figures))
    return (*ALWAYS, *known)


def verdicts(
    figures: Sequence[Mapping[str, Cell]], axes: Sequence[str], names: Sequence[str]
) -> tuple[str, ...]:
    """For each row "front", "dominated by NAME", or "n/a" if it lacks an axis; such a row dominates none.

    A row dominates another if it is at least as good on every axis and better on one. Values count without their intervals.
    If psnr_db, ms_ssim or bpp is an axis, rows evaluated on different images are not compared. NAME is the first dominating
    row that is itself on the front.
    """
    is_dominated_by = [[_dominates(other, row, axes) for other in figures] for row in figures]
    is_known = [all(row[axis].value is not None for axis in axes) for row in figures]
    is_front = [known and not any(by) for known, by in zip(is_known, is_dominated_by, strict=True)]
    texts: list[str] = []
    for i, by in enumerate(is_dominated_by):
        if not is_known[i]:
            texts.append(missing("an axis is not known"))
        elif is_front[i]:
            texts.append(FRONT)
        else:
            best = next(j for j, beats in enumerate(by) if beats and is_front[j])
            texts.append(f"dominated by {names[best]}")
    return tuple(texts)


def pareto_sheet(compared: Compared, axes: Sequence[str]) -> Sheet:
    """The rows on the axes, with those on the front marked. No axes: the default ones."""
    axes = tuple(axes) or default_axes(compared.figures)
    columns = columns_for(axes, is_per_pixel=compared.scope.is_per_pixel)
    cells = tuple(tuple(row[axis] for axis in axes) for row in compared.figures)
    listed = ", ".join(
        f"{column.name} ({'more' if axis in HIGHER_IS_BETTER else 'less'} is better)"
        for axis, column in zip(axes, columns, strict=True)
    )
    model, *rest = run_labels(compared)
    notes = (
        f"Axes: {listed}. A row is dominated by one that is at least as good on every axis and better on one; values "
        "count as they are, without their intervals. Rows evaluated on different images are not compared by quality. "
        f"{NA}: an axis is not known.",
        *_axis_notes(compared, axes),
        *missing_notes(columns, cells, compared.names),
        *compared.left_out,
    )
    pareto = Label("pareto", verdicts(compared.figures, axes, compared.names))
    return Sheet("Pareto front", (model, pareto, *rest), columns, cells, notes, has_changes=False)


def _axis_notes(compared: Compared, axes: Sequence[str]) -> Iterator[str]:
    """Notes on how the figures on the axes were found."""
    if any(axis.endswith("_ms") for axis in axes):
        yield from latency_notes(compared)
    if "total_ms" in axes:
        total, encode, decode = names_of(compared, ("total_ms", "encode_ms", "decode_ms"))
        yield f"{total}: {encode} + {decode}, found the way of the weaker of the two."
    if any(axis.endswith("_mj") for axis in axes):
        yield from energy_notes(compared)
    if any(axis in ("psnr_db", "ms_ssim", "bpp") for axis in axes):
        yield from quality_notes(of_all(compared, "bpp"), compared.names)


def _dominates(a: Mapping[str, Cell], b: Mapping[str, Cell], axes: Sequence[str]) -> bool:
    is_better = False
    for axis in axes:
        x, y = a[axis].value, b[axis].value
        if x is None or y is None or a[axis].basis != b[axis].basis:
            return False
        gain = x - y if axis in HIGHER_IS_BETTER else y - x
        if gain < 0:
            return False
        is_better = is_better or gain > 0
    return is_better
