"""Our rows beside the rows of a paper, which others measured elsewhere. Pure.

Our figures and the paper's are in separate columns, each with its change against its own first row. So the savings can be
compared although the machines cannot.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from hwkd.errors import InputError
from hwkd.quantity import NA, PUBLISHED, Quantity, not_known
from hwkd.report.compare.notes import (
    MEMORY_NOTE,
    change_notes,
    energy_notes,
    latency_notes,
    macs_note,
    missing_notes,
    quality_notes,
    rate_notes,
)
from hwkd.report.compare.published import Paper, PaperRow
from hwkd.report.compare.rows import (
    MEGAPIXEL,
    Column,
    Compared,
    Figures,
    columns_for,
    model_rows,
    of_all,
)
from hwkd.report.compare.sheet import Label, Sheet
from hwkd.report.compare.tables import figures_in, part_label, run_labels, weight_bits_label
from hwkd.report.table import missing

SIZE = ("parameters_m", "memory_mib", "psnr_db", "bpp")
COMPUTATION = ("total_gmacs", "fps")
ENERGY = ("total_mj", "psnr_db", "bpp")


def paper_sheets(compared: Compared, paper: Paper) -> tuple[Sheet, Sheet, Sheet]:
    """Size, throughput and energy: a row for each of our rows, then the paper's rows that match none of ours.

    Raises:
        InputError: our figures are of images of another size, and not per pixel.
    """
    size = f"{compared.rows[0].record.width}x{compared.rows[0].record.height}"
    published_size = f"{paper.width}x{paper.height}"
    if not compared.scope.is_per_pixel and size != published_size:
        raise InputError(
            f"the paper's figures are of images of {published_size}, the records of {size}: add --per-pixel, or profile "
            f"with --size {published_size}"
        )
    models, every = model_rows(compared), range(len(compared.rows))
    names = [compared.rows[i].record.model.name for i in models]
    bpp = zip(names, [compared.figures[i]["bpp"] for i in models], strict=True)
    labels = (Label("model", tuple(names)), weight_bits_label(compared, models))
    run, scope = run_labels(compared), compared.scope
    return (
        _sheet(
            *("Size, beside the paper's", SIZE, compared, models, paper, labels, names),
            (MEMORY_NOTE, *quality_notes(bpp, names)),
        ),
        _sheet(
            *("Throughput, beside the paper's", COMPUTATION, compared, every, paper),
            *((*run, part_label(compared, scope.latency_part)), compared.names),
            (
                macs_note(compared.rows, compared.names),
                *latency_notes(compared),
                *rate_notes(compared),
            ),
        ),
        _sheet(
            *("Energy, beside the paper's", ENERGY, compared, every, paper),
            *((*run, part_label(compared, scope.energy_part)), compared.names),
            (*energy_notes(compared), *quality_notes(of_all(compared, "bpp"), compared.names)),
        ),
    )


def _sheet(
    title: str,
    keys: tuple[str, ...],
    compared: Compared,
    places: Sequence[int],
    paper: Paper,
    labels: tuple[Label, ...],
    names: Sequence[str],
    notes: tuple[str, ...],
) -> Sheet:
    """Our columns and the paper's in turn, for our rows at `places` and the paper's own rows."""
    is_per_pixel = compared.scope.is_per_pixel
    columns = columns_for(keys, is_per_pixel=is_per_pixel)
    ours = figures_in(columns, [compared.figures[i] for i in places])
    matches = [paper.row_for(compared.rows[i].record) for i in places]
    rest = [row for row in paper.rows if row not in matches]
    first = _published(paper, paper.rows[0], columns, is_per_pixel)

    def published(row: PaperRow | None) -> tuple[Quantity, ...]:
        return first if row == paper.rows[0] else _published(paper, row, columns, is_per_pixel)

    rows = [_in_turn(cells, published(match)) for cells, match in zip(ours, matches, strict=True)]
    reason = "no record of this architecture is compared"
    no_record = tuple(not_known(reason) for _ in columns)
    rows += [_in_turn(no_record, published(row)) for row in rest]
    model, *others = labels
    all_labels = (
        replace(model, values=(*model.values, *(f"paper: {row.name}" for row in rest))),
        *(
            replace(label, values=(*label.values, *[missing(reason)] * len(rest)))
            for label in others
        ),
    )
    both = tuple(c for column in columns for c in (column, _paper_column(column, is_per_pixel)))
    return Sheet(
        title,
        all_labels,
        both,
        tuple(rows),
        (
            *change_notes(columns, ours, names),
            *_paper_notes(paper, names[0], matches[0], rest),
            *notes,
            *missing_notes(columns, ours, names),
            *compared.left_out,
        ),
        _in_turn(ours[0], first),
    )


def _paper_notes(
    paper: Paper, first: str, match: PaperRow | None, rest: Sequence[PaperRow]
) -> Iterator[str]:
    reference = paper.rows[0]
    yield (
        f"paper_...: published by {paper.source}; measured by its authors on {paper.measured_on}; quality on "
        f"{paper.images}. Changes are against its own {reference.name}. {NA} in rows that are not of its architectures "
        f"({paper.family}, M={paper.M}, hyper channels N). {paper.note}"
    )
    if match != reference:
        yield (
            f"Our first row, {first}, is not of the architecture of the paper's {reference.name}: the two columns of "
            "changes are against different models."
        )
    if rest:
        yield f'Rows "paper: ..." are the paper\'s alone: no record of their architecture is compared, ours are {NA}.'


def _published(
    paper: Paper, row: PaperRow | None, columns: Sequence[Column], is_per_pixel: bool
) -> tuple[Quantity, ...]:
    """The paper's figures of `row`."""
    if row is None:
        reason = "not one of the paper's architectures"
        return tuple(not_known(reason) for _ in columns)
    figures = _paper_figures(paper, row, is_per_pixel)
    return tuple(figures[column.key] for column in columns)


def _paper_figures(paper: Paper, row: PaperRow, is_per_pixel: bool) -> Figures:
    """The published figures under our keys; with `is_per_pixel`, divided by the pixels of the paper's images."""
    pixels = paper.width * paper.height
    values: Mapping[str, float] = {
        "parameters_m": row.parameters_m,
        "memory_mib": row.memory_mib,
        "psnr_db": row.psnr_db,
        "bpp": row.bpp,
        "total_gmacs": row.gmacs * 1e6 / pixels if is_per_pixel else row.gmacs,
        "fps": row.fps * pixels / MEGAPIXEL if is_per_pixel else row.fps,
        "total_mj": row.energy_mj * MEGAPIXEL / pixels if is_per_pixel else row.energy_mj,
    }
    return {key: Quantity(value, PUBLISHED, paper.source) for key, value in values.items()}


def _paper_column(column: Column, is_per_pixel: bool) -> Column:
    """The paper's column beside `column`, with the paper's two digits."""
    is_converted = is_per_pixel and column.key in (*COMPUTATION, "total_mj")
    return replace(
        column,
        key=f"paper_{column.key}",
        name=f"paper_{column.name}",
        group=PUBLISHED,
        digits=None if is_converted else 2,
        has_interval=False,
    )


def _in_turn(ours: Sequence[Quantity], papers: Sequence[Quantity]) -> tuple[Quantity, ...]:
    return tuple(cell for pair in zip(ours, papers, strict=True) for cell in pair)
