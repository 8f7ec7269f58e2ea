"""Which rows of a comparison no other row beats: the Pareto front over chosen figures. Pure."""

from collections.abc import Iterator, Mapping, Sequence

from hwkd.errors import unknown
from hwkd.report.cells import NA, Cell
from hwkd.report.columns import columns_for
from hwkd.report.compare.tables import energy_notes, latency_notes, missing_notes, quality_notes
from hwkd.report.compared import Compared, names_of, of_all
from hwkd.report.comparison import run_labels
from hwkd.report.comparison_tables import Label, Sheet

HIGHER_IS_BETTER = ("psnr_db", "ms_ssim")
AXES = (
    *HIGHER_IS_BETTER,
    *("bpp", "encode_ms", "decode_ms", "total_ms", "encode_mj", "decode_mj", "total_mj"),
    *("total_gmacs", "parameters_m", "weight_mib"),
)
"""What --pareto takes; less is better of all but HIGHER_IS_BETTER."""

ALWAYS = ("psnr_db", "bpp")
WHERE_KNOWN = ("total_mj", "total_ms")
FRONT = "front"


def parse_axes(text: str) -> tuple[str, ...]:
    """The axes in `text`, with commas between; none for an empty text, which stands for the default.

    Raises:
        InputError: a name that is not among AXES.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(","))) if text.strip() else ()
    for name in names:
        if name not in AXES:
            raise unknown("axis", name, AXES)
    return names


def default_axes(figures: Sequence[Mapping[str, Cell]]) -> tuple[str, ...]:
    """psnr_db and bpp, with total_mj and total_ms where every row knows them."""
    known = (axis for axis in WHERE_KNOWN if all(f[axis].value is not None for f in figures))
    return (*ALWAYS, *known)


def verdicts(
    figures: Sequence[Mapping[str, Cell]], axes: Sequence[str], names: Sequence[str]
) -> tuple[str, ...]:
    """For each row "front", "dominated by NAME", or "n/a" where it does not know an axis, and then dominates none.

    A row dominates another if it is at least as good on every axis and better on one, values taken as they are,
    without their intervals. Where psnr_db, ms_ssim or bpp is an axis, rows evaluated on different images are not
    compared. NAME is the first dominating row that is on the front itself.
    """
    is_dominated_by = [[_dominates(other, row, axes) for other in figures] for row in figures]
    is_known = [all(row[axis].value is not None for axis in axes) for row in figures]
    is_front = [known and not any(by) for known, by in zip(is_known, is_dominated_by, strict=True)]
    texts = []
    for i, by in enumerate(is_dominated_by):
        if not is_known[i]:
            texts.append(NA)
        elif is_front[i]:
            texts.append(FRONT)
        else:
            best = next(j for j, beats in enumerate(by) if beats and is_front[j])
            texts.append(f"dominated by {names[best]}")
    return tuple(texts)


def pareto_sheet(compared: Compared, axes: Sequence[str]) -> Sheet:
    """The rows on the axes, and which of them are on the front. No axes: the default ones."""
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
    """How the figures on the axes were found."""
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
