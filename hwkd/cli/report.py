"""`hwkd report`: runs, records and results as one page that opens offline, and as figures for a paper."""

import argparse
import shlex
from pathlib import Path

from rich.console import Console

from hwkd.cli.report_images import add_images_options, check_page, show_images
from hwkd.errors import InputError
from hwkd.files import write_text
from hwkd.report.page.plots import plots_of
from hwkd.report.page.sources import SHIPPED, gather
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


def configure(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the arguments of `hwkd report`."""
    parser.add_argument(
        "sources",
        nargs="*",
        metavar="SOURCE",
        help="a run's folder, a bundle, a record or a result (.json) or a folder of them, a shipped model's name, TARGET or "
        f"TARGET/MODEL; {SHIPPED!r}: all that ships with hwkd, and what is taken where nothing is named. With --images: "
        "the models to code them with",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help=f"the page (default: {PAGE}, and none where only --figures is given)",
    )
    parser.add_argument(
        "--figures",
        type=Path,
        metavar="DIR",
        help="write the plots as PDF, SVG and PNG, with captions, into DIR; layers' latencies only of what --target names",
    )
    parser.add_argument(
        "--target",
        nargs="+",
        default=[],
        metavar="TARGET",
        help="these targets only: names of `hwkd targets`, or .toml files of your own (default: all)",
    )
    add_images_options(parser)


def run(args: argparse.Namespace) -> int:
    """Read the sources and write the page, the figures, or both.

    Raises:
        InputError: as hwkd.report.page.sources.gather; options that do not go together; a place that cannot be written.
        HwkdError: a package for the page or the figures is not installed.
    """
    if args.images is not None:
        for option, value in (("--figures", args.figures), ("--target", args.target)):
            if value:
                raise InputError(f"{option} is for records and results: leave it out, or --images")
        show_images(args)
        return 0
    page = PAGE if args.output is None and args.figures is None else args.output
    if page is not None:
        check_page(page)
    if args.figures is not None and args.figures.exists() and not args.figures.is_dir():
        raise InputError(f"--figures {args.figures} is a file, figures need a folder: give another")
    console = Console(stderr=True)
    with console.status("reading") as status:
        gathered = gather(args.sources, args.target, lambda text: status.update(f"reading {text}"))
        plots = plots_of(gathered)
        if page is not None:
            from hwkd.report.page.page import page_html

            status.update(f"writing {page}")
            write_text(page, page_html(gathered, plots, shlex.join(["hwkd", *args.argv])))
            print(f"wrote {page} ({page.stat().st_size / 1e6:.1f} MB)")
        if args.figures is not None:
            from hwkd.report.plots.figures import draw_figures

            # One for each model on each target would be a hundred more, which no paper prints.
            kept = [plot for plot in plots if args.target or plot.key != LAYER_LATENCY]
            drawn = draw_figures(kept, args.figures, lambda name: status.update(f"drawing {name}"))
            print(f"wrote {len(drawn)} files into {args.figures}")
    return 0
