"""What `hwkd sensitivity` leaves in its folder: figures as JSON and Markdown, the plot, and a recipe for each proposal."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from hwkd.errors import InputError
from hwkd.files import write_text
from hwkd.measure.allocations import Allocation, Checked
from hwkd.measure.sensitivity import Sensitivity
from hwkd.report.sensitivity import allocations_table, bits_table, layers_table, points_table
from hwkd.report.sensitivity_file import NAME, Told, write_sensitivity
from hwkd.report.sensitivity_recipe import Origin, recipe_text
from hwkd.report.table import Table, render

PLOTS = ("sensitivity.svg", "sensitivity.png")


def tables_of(
    told: Told, found: Sensitivity, checked: Sequence[Checked], notes: Sequence[str]
) -> tuple[Table, ...]:
    """What is printed: the layers, the allocations, and the bits of those that were chosen."""
    model = f"{told.model}, {told.base}"
    chosen = [each for each in checked if each.allocation.name.startswith("allocated")]
    return (
        layers_table(found, model, told.measured_on),
        allocations_table(found, checked, told.checked_on, notes),
        bits_table(chosen),
    )


def write_folder(
    folder: Path,
    told: Told,
    found: Sensitivity,
    checked: Sequence[Checked],
    tables: Sequence[Table],
    recipes: Mapping[str, Allocation],
    origin: Origin,
) -> list[str]:
    """Write all of it; sentences that say what was written, and what was not and why.

    Raises as hwkd.files.write_text.
    """
    from hwkd.report.plots.sensitivity import FLOOR_PERCENT, write_figure

    write_sensitivity(folder / NAME, told, found, checked)
    parts = [render(table, "md") for table in (*tables, points_table(found))]
    head = (
        f"# Sensitivity of {told.model} to bits\n\n![What each layer's bits cost]({PLOTS[0]})\n\n"
        f"In the picture changes under {FLOOR_PERCENT:g} %, those below 0 among them, stand at {FLOOR_PERCENT:g} %: that "
        "much is chance.\n\n"
    )
    foot = f"\n\nMade on {told.host}, {told.created}, by\n\n```\n{told.command}\n```\n"
    write_text(folder / "sensitivity.md", head + "\n\n".join(parts) + foot)
    write_figure(found, f"Sensitivity of {told.model} to bits", [folder / name for name in PLOTS])
    written = f"written: {folder}/{NAME}, sensitivity.md, {', '.join(PLOTS)}"
    try:
        texts = {name: recipe_text(origin, chosen) for name, chosen in recipes.items()}
    except InputError as error:
        return [written, f"note: {error}"]
    for name, text in texts.items():
        write_text(folder / f"{name}.toml", text)
    target = "" if origin.target else " --target NAME"
    first, *others = texts
    more = f" (or {', '.join(f'{name}.toml' for name in others)})" if others else ""
    train = f"hwkd distill --recipe {folder}/{first}.toml{target} --data DIR"
    return [written, f"train in these bits: {train}{more}"]
