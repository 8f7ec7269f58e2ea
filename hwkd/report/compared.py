"""The rows of a comparison, with their figures. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hwkd.errors import InputError
from hwkd.measure.record import Record
from hwkd.report.cells import Cell
from hwkd.report.columns import columns_for
from hwkd.report.compare.rows import Row, Wanted, choose_part, choose_rows, row_names
from hwkd.report.row_figures import Scope, figures_of

SIZE = ("parameters_m", "memory_mib", "weight_mib", "psnr_db", "bpp")
"""What does not depend on where a model runs."""

Figures = Mapping[str, Cell]


@dataclass(frozen=True)
class Compared:
    """The rows of a comparison with their figures, by which all its tables are made.

    names: of the rows, to tell them apart in sentences. figures: of each row (hwkd.report.row_figures).
    left_out: a sentence for each record that no row stands for.
    """

    rows: tuple[Row, ...]
    names: tuple[str, ...]
    figures: tuple[Figures, ...]
    scope: Scope
    left_out: tuple[str, ...]


def compare(
    records: Sequence[Record],
    wanted: Wanted | None = None,
    which: str = "first",
    *,
    is_per_pixel: bool = False,
) -> Compared:
    """The rows of `records` that are wanted, each with its figures.

    Raises:
        InputError: no records, no setting that is wanted, or images of different sizes without is_per_pixel.
    """
    rows, left_out = choose_rows(records, wanted or Wanted(), which)
    if not is_per_pixel:
        _check_one_size(rows)
    scope = Scope(choose_part(rows, "latency_ms"), choose_part(rows, "energy_mj"), is_per_pixel)
    figures = tuple(figures_of(row, scope) for row in rows)
    return Compared(rows, row_names(rows), figures, scope, left_out)


def model_rows(compared: Compared) -> list[int]:
    """The places of the first row of each model: rows that differ in target or setting only are of one model."""
    first: dict[tuple[object, ...], int] = {}
    for i, (row, figures) in enumerate(zip(compared.rows, compared.figures, strict=True)):
        model = row.record.model
        key = (model.name, model.weight_bits, *(figures[k].value for k in SIZE))
        first.setdefault(key, i)
    return list(first.values())


def of_all(compared: Compared, *keys: str) -> list[tuple[str, Cell]]:
    """The figures `keys` of all rows, with the rows' names."""
    return [
        (name, figures[key])
        for name, figures in zip(compared.names, compared.figures, strict=True)
        for key in keys
    ]


def names_of(compared: Compared, keys: tuple[str, ...]) -> list[str]:
    """The headings of the columns `keys`."""
    return [c.name for c in columns_for(keys, is_per_pixel=compared.scope.is_per_pixel)]


def _check_one_size(rows: Sequence[Row]) -> None:
    sizes: dict[str, list[str]] = {}
    for row in rows:
        sizes.setdefault(f"{row.record.width}x{row.record.height}", []).append(
            row.record.model.name
        )
    if len(sizes) > 1:
        listed = ", ".join(f"{s} ({', '.join(dict.fromkeys(m))})" for s, m in sizes.items())
        raise InputError(
            f"the records are of images of different sizes: {listed}; one table holds one size: give records of one, or "
            "compare with --per-pixel"
        )
