"""`hwkd compare --results`: what trained models reach, against published curves, as tables and as a plot."""

import argparse
from pathlib import Path

from hwkd.cli.output import emit_all
from hwkd.errors import InputError, unknown
from hwkd.report.compare.published import read_paper
from hwkd.report.published_curves import read_published_curves
from hwkd.report.result_files import read_result_files, shipped_results
from hwkd.report.results_page import results_tables

PLOTS = (".svg", ".png", ".pdf")
_FOR_RECORDS = (
    *("paper", "per_pixel", "settings", "runtime", "threads", "unit", "precision", "pareto"),
    *("link", "data"),
)
"""Options that say something about profile records only."""


def add_results_options(parser: argparse.ArgumentParser) -> None:
    """Give `parser` --results and --plot."""
    parser.add_argument(
        "--results",
        nargs="?",
        const="",
        metavar="FOLDER",
        help="instead of records: the results of `hwkd evaluate --save-results` in FOLDER, on Kodak, against published "
        "curves and the paper's (default: those that ship with hwkd)",
    )
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="FILE",
        help=f"draw the rate-distortion curves of --results ({', '.join(PLOTS)})",
    )
    parser.set_defaults(not_for_results={name: parser.get_default(name) for name in _FOR_RECORDS})


def check_results_options(args: argparse.Namespace) -> None:
    """Refuse what does not go together.

    Raises:
        InputError: neither records nor --results, or both; --plot without --results, or of a kind that cannot be drawn;
            an option that would have no effect.
    """
    if args.results is None:
        if args.plot is not None:
            raise InputError("--plot draws what --results reads: add it, or leave --plot out")
        if not args.profiles:
            raise InputError(
                "nothing to compare: give a PROFILE (`hwkd compare jetson-nano`), or --results"
            )
        return
    if args.profiles:
        raise InputError(
            f"--results prints tables of its own: leave out {' '.join(args.profiles)}, or --results"
        )
    for name, default in args.not_for_results.items():
        if getattr(args, name) != default:
            option = f"--{name.replace('_', '-')}"
            raise InputError(f"{option} is for profile records: leave it out, or --results")
    if args.plot is not None and args.plot.suffix.lower() not in PLOTS:
        raise unknown("kind of plot", args.plot.suffix, PLOTS)


def show_results(args: argparse.Namespace) -> None:
    """Print the tables of `args.results`, and draw `args.plot` where it is given.

    Raises:
        InputError: no results there, or a file that is none.
        HwkdError: a package for BD-rates or the plot is not installed.
    """
    folder = Path(args.results) if args.results else shipped_results()
    files = read_result_files(folder)
    tables = results_tables(files, args.format)
    if args.plot is not None:
        from hwkd.report.rd_plot import draw_rd

        if not files.results:
            raise InputError(f"{folder} holds no curve to plot; add one, or leave --plot out")
        draw_rd(files, read_published_curves(), read_paper(), args.plot)
    emit_all(tables, args)
