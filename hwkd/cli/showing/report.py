"""`hwkd report`: runs, records and results as one page that opens offline, and as figures for a paper."""

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from hwkd.cli.coding.jobs import tell
from hwkd.cli.measuring.profile import check_torch
from hwkd.cli.model_names import refuse_unknown
from hwkd.cli.talk import stderr_console
from hwkd.codec.shipped import default_bundle, shipped_or_as_given
from hwkd.errors import HwkdError, InputError
from hwkd.files import write_text
from hwkd.images import SUFFIXES, open_images
from hwkd.measure.machine import installed_version
from hwkd.models.shipped import shipped_names
from hwkd.options import Options, option
from hwkd.report.page.sources import SHIPPED, gather, plots_of
from hwkd.report.page.templating import NOT_INSTALLED
from hwkd.report.plots.layers import LAYER_LATENCY

HELP = "one page that opens offline: tables, plots, a card for each target; figures for a paper; images side by side"

EXAMPLES = """examples:
  hwkd report
  hwkd report runs/pi records/ -o report.html
  hwkd report shipped runs/pi --target raspberry-pi-4 my-board.toml
  hwkd report patch-small patch-large --figures figures/
  hwkd report --images photos/ patch-q5 patch-medium -o visual.html
"""

PAGE = Path("report.html")
IMAGES_PAGE = Path("visual.html")


@dataclass(frozen=True, kw_only=True)
class ReportOptions(Options):
    """The options of `hwkd report`."""

    sources: tuple[str, ...] = option(
        "a run's folder, a bundle, a record or a result (.json) or a folder of them, a shipped model's name, TARGET or "
        f"TARGET/MODEL; {SHIPPED!r}: all that ships with hwkd, and what is taken where nothing is named. With --images: "
        "the models to code them with",
        "SOURCE",
        default=(),
        positional=True,
        nargs="*",
    )
    output: Path | None = option(
        f"the page (default: {PAGE}, and none where only --figures is given)", "FILE", short="-o"
    )
    figures: Path | None = option(
        "write the plots as PDF, SVG and PNG, with captions, into DIR; layers' latencies only of what --target names",
        "DIR",
    )
    target: tuple[str, ...] = option(
        "these targets only: names of `hwkd targets`, or .toml files of your own (default: all)",
        "TARGET",
        default=(),
        nargs="+",
    )
    images: Path | None = option(
        f"instead of a report: a page that shows the images in FOLDER ({' '.join(SUFFIXES)}) and below it as each MODEL "
        "decodes them, and as JPEG and WebP do at the last model's rate, side by side (default models: the default teacher "
        f"and a student in float, where torch is installed, and that student's bundle; default page: {IMAGES_PAGE})",
        "FOLDER",
    )


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `hwkd report` to `parser`."""
    ReportOptions.add_to(parser)


def run(args: argparse.Namespace) -> int:
    """Read the sources and write the page, the figures, or both.

    Raises:
        InputError: as hwkd.report.page.sources.gather; options that do not go together; a place that cannot be written.
        HwkdError: a package for the page or the figures is not installed.
    """
    options, command = ReportOptions.of(args), shlex.join(["hwkd", *args.argv])
    if options.images is not None:
        for flag, value in (("--figures", options.figures), ("--target", options.target)):
            if value:
                raise InputError(f"{flag} is for records and results: leave it out, or --images")
        show_images(options.images, options.sources, options.output or IMAGES_PAGE, command)
        return 0
    page = PAGE if options.output is None and options.figures is None else options.output
    if page is not None:
        check_page(page)
    if options.figures is not None and options.figures.exists() and not options.figures.is_dir():
        raise InputError(
            f"--figures {options.figures} is a file, figures need a folder: give another"
        )
    console = stderr_console()
    with console.status("reading") as status:
        gathered = gather(
            options.sources, options.target, lambda text: status.update(f"reading {text}")
        )
        plots = plots_of(gathered)
        if page is not None:
            from hwkd.report.page.page import page_html

            status.update(f"writing {page}")
            write_text(page, page_html(gathered, plots, command))
            print(f"wrote {page} ({page.stat().st_size / 1e6:.1f} MB)")
        if options.figures is not None:
            from hwkd.report.plots.figures import draw_figures

            # One for each model on each target would be a hundred more, which no paper prints.
            kept = [plot for plot in plots if options.target or plot.key != LAYER_LATENCY]
            drawn = draw_figures(
                kept, options.figures, lambda name: status.update(f"drawing {name}")
            )
            print(f"wrote {len(drawn)} files into {options.figures}")
    return 0


# `hwkd report --images`: what codecs do to images, to see with one's own eyes.

_SUFFIXES = (".html", ".htm")


def show_images(folder: Path, sources: Sequence[str], page: Path, command: str) -> None:
    """Write the page of the images in `folder`, coded by the models `sources`, to `page`.

    Args:
        sources: none for the default models.
        command: the command that the page names.

    Raises:
        InputError: no such folder, no image in it, or one that cannot be read or coded; no such model; a place that no page
            can be written to.
        HwkdError: Jinja2 is not installed; the page cannot be written.
    """
    check_page(page)
    images = open_images(folder)
    models = sources or _default_models()
    meant = [shipped_or_as_given(text) for text in models]
    refuse_unknown(meant)
    check_torch(meant)
    if installed_version("jinja2") is None:
        raise HwkdError(NOT_INSTALLED)
    from hwkd.report.page.visual import load_codecs, visual, visual_html

    console = stderr_console()
    with console.status("loading models"):
        codecs = load_codecs(models)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("")

        def show(doing: str, done: int, count: int) -> None:
            bar.update(task, description=doing, completed=done, total=count)

        made = visual(images, codecs, show)
        text = visual_html(made, command)
    write_text(page, text)
    if made.left_out:
        tell(console, f"note: {made.left_out} of {made.found} images are left out: more do not fit")
    print(f"wrote {page} ({len(made.images)} images, {page.stat().st_size / 1e6:.1f} MB)")


def check_page(page: Path) -> None:
    """Refuse a place that no page should be written to.

    Raises:
        InputError: a folder, or a name that a browser would not open as a page.
    """
    if page.is_dir():
        raise InputError(
            f"-o {page} is a folder: give the name of a file, {page / IMAGES_PAGE} say"
        )
    if page.suffix.lower() not in _SUFFIXES:
        raise InputError(f"-o {page} is no name of a page: give one that ends in {_SUFFIXES[0]}")


def _default_models() -> list[str]:
    """The default teacher and the float student, where torch is there to run them, and the default bundle.

    Raises as `default_bundle`.
    """
    bundle = default_bundle().stem
    if installed_version("torch") is None:
        return [bundle]
    from hwkd.models.teacher import DEFAULT

    in_float = f"{bundle}-float"
    return [DEFAULT, *([in_float] if in_float in shipped_names() else []), bundle]
