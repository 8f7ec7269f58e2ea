"""The resource comparison of profile records: size, computation and throughput, energy, and the Pareto front. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from hwkd.errors import unknown
from hwkd.quantity import NA, Quantity
from hwkd.report.compare.notes import (
    MEMORY_NOTE,
    WEIGHT_NOTE,
    change_notes,
    emissions_notes,
    energy_notes,
    latency_notes,
    macs_note,
    missing_notes,
    per_pixel_notes,
    quality_notes,
    rate_notes,
    record_notes,
)
from hwkd.report.compare.rows import (
    SIZE,
    Column,
    Compared,
    Figures,
    columns_for,
    model_rows,
    names_of,
    of_all,
)
from hwkd.report.compare.sheet import Label, Sheet
from hwkd.report.table import missing, number_in_words

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
    cells = figures_in(columns, compared.figures)
    notes = (
        *per_pixel_notes(compared),
        *latency_notes(compared),
        *energy_notes(compared),
        *compared.left_out,
    )
    labels = (*run_labels(compared), part_label(compared, compared.scope.latency_part))
    short = tuple(replace(column, is_derived=True) for column in columns)
    return Sheet("At a glance", labels, short, cells, notes)


def size_sheet(compared: Compared) -> Sheet:
    """Parameters and memory: a row for each model, whatever it runs on."""
    columns = columns_for(SIZE, is_per_pixel=False)
    places = model_rows(compared)
    names = [compared.rows[i].record.model.name for i in places]
    cells = figures_in(columns, [compared.figures[i] for i in places])
    notes = (
        *change_notes(columns, cells, names),
        MEMORY_NOTE,
        WEIGHT_NOTE,
        *quality_notes(zip(names, (row[-1] for row in cells), strict=True), names),
        *missing_notes(columns, cells, names),
        *compared.left_out,
    )
    labels = (Label("model", tuple(names)), weight_bits_label(compared, places))
    return Sheet("Size", labels, columns, cells, notes, cells[0])


def computation_sheet(compared: Compared) -> Sheet:
    """Multiply-accumulates, latency, images a second."""
    columns = columns_for(COMPUTATION, is_per_pixel=compared.scope.is_per_pixel)
    cells = figures_in(columns, compared.figures)
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
    return Sheet("Computation and throughput", labels, columns, cells, notes, cells[0])


def energy_sheet(compared: Compared) -> Sheet:
    """Energy, with emissions if a record has any, and quality beside it."""
    has_emissions = any(
        entry.name == EMISSIONS and entry.setting == row.setting
        for row in compared.rows
        for entry in row.record.entries
    )
    keys = (*ENERGY, *((EMISSIONS,) if has_emissions else ()), "psnr_db", "bpp")
    columns = columns_for(keys, is_per_pixel=compared.scope.is_per_pixel)
    cells = figures_in(columns, compared.figures)
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
    return Sheet("Energy", labels, columns, cells, notes, cells[0])


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


def figures_in(
    columns: Sequence[Column], figures: Sequence[Figures]
) -> tuple[tuple[Quantity, ...], ...]:
    """The figures of each row that have a column, in the order of the columns."""
    return tuple(tuple(row[column.key] for column in columns) for row in figures)


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


def default_axes(figures: Sequence[Mapping[str, Quantity]]) -> tuple[str, ...]:
    """psnr_db and bpp, and total_mj and total_ms if every row has them."""
    known = (axis for axis in WHERE_KNOWN if all(f[axis].value is not None for f in figures))
    return (*ALWAYS, *known)


def verdicts(
    figures: Sequence[Mapping[str, Quantity]], axes: Sequence[str], names: Sequence[str]
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
    cells = figures_in(columns, compared.figures)
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
    return Sheet("Pareto front", (model, pareto, *rest), columns, cells, notes)


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


def _dominates(a: Mapping[str, Quantity], b: Mapping[str, Quantity], axes: Sequence[str]) -> bool:
    is_better = False
    for axis in axes:
        x, y = a[axis].value, b[axis].value
        if x is None or y is None or a[axis].on != b[axis].on:
            return False
        gain = x - y if axis in HIGHER_IS_BETTER else y - x
        if gain < 0:
            return False
        is_better = is_better or gain > 0
    return is_better
