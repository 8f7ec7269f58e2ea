"""What `hwkd fit` leaves in its folder: tables, plots, a recipe."""

import json
from dataclasses import asdict
from pathlib import Path

from hwkd.cli.fit_recipe import recipe_of
from hwkd.files import write_text
from hwkd.report.fit import fit_plots
from hwkd.report.fit_result import FitResult
from hwkd.report.fit_tables import front_table, trials_table
from hwkd.report.plots.figures import draw_plot
from hwkd.report.plots.plot import file_name
from hwkd.report.table import render
from hwkd.search.found import best_of

RECIPE = "recipe.toml"
PLOT_KINDS = ("svg", "png")


def write_result(result: FitResult, folder: Path, distill_target: str) -> list[str]:
    """Write all files; their names in `folder`.

    distill_target: what the recipe names as target.
    Raises:
        InputError, HwkdError: as hwkd.files.write_text and hwkd.report.plots.figures.draw_plot.
    """
    table, trials = front_table(result), trials_table(result)
    plots = fit_plots(result)
    pictures = [f"{file_name(plot)}.svg" for plot in plots]
    shown = [f"![{p.title}]({name})" for p, name in zip(plots, pictures, strict=True)]
    captions = [f"**{p.title}.** {p.caption}" for p in plots]
    parts = [
        render(table, "md"),
        *(text for pair in zip(shown, captions, strict=True) for text in pair),
    ]
    front = {one.number for one in result.front}
    content = {
        "settings": json.loads(result.settings.to_json()),
        "target": result.target,
        "setting": result.setting,
        "notes": table.notes,
        "trials": [
            {
                "number": one.number,
                "state": one.state,
                **one.to_dict(),
                "is_on_front": one.number in front,
            }
            for one in result.found
        ],
        "untrained": [{"N": n, **asdict(cost)} for n, cost in result.untrained],
    }
    texts = {
        "fit.md": "\n\n".join(parts) + "\n",
        "fit.csv": render(trials, "csv") + "\n",
        "fit.json": json.dumps(content, indent=2) + "\n",
    }
    best = best_of(result.found)
    if best is not None:
        texts[RECIPE] = recipe_of(best, result.settings, result.target, distill_target)
    for name, text in texts.items():
        write_text(folder / name, text)
    for plot in plots:
        draw_plot(plot, [folder / f"{file_name(plot)}.{kind}" for kind in PLOT_KINDS])
    return [*texts, *pictures]
