"""`hwkd compare`: profile records as the resource comparison tables that stand in papers; results of training."""

import argparse
from pathlib import Path

from hwkd.cli.compare_link import link_tables, parse_links
from hwkd.cli.compare_results import add_results_options, check_results_options, show_results
from hwkd.cli.options import whole
from hwkd.cli.output import add_output_options, emit_all
from hwkd.errors import InputError
from hwkd.measure.shipped_records import records_named
from hwkd.report.compare.paper import paper_sheets
from hwkd.report.compare.published import read_paper
from hwkd.report.compare.rows import WHICH, Wanted
from hwkd.report.compared import compare
from hwkd.report.comparison import sheets
from hwkd.report.comparison_tables import to_table
from hwkd.report.pareto import AXES, pareto_sheet, parse_axes

HELP = "profile records side by side, or results on Kodak against published curves"

EXAMPLES = """examples:
  hwkd compare jetson-nano
  hwkd compare profiles/teacher.json profiles/ --runtime onnxruntime --threads 2
  hwkd compare my-board.toml
  hwkd compare profiles/ --paper --format latex -o tables.tex
  hwkd compare profiles/ --link lte --data photos/
  hwkd compare profiles/ --settings all --pareto psnr_db,bpp,total_mj --format csv
  hwkd compare --results --format md
  hwkd compare --results results/ --plot rd.svg
"""

MOST_THREADS = 4096


def configure(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the arguments of `hwkd compare`."""
    parser.add_argument(
        "profiles",
        nargs="*",
        metavar="PROFILE",
        help="a record (.json), a folder of them, a shipped TARGET/MODEL or TARGET, or a board of your own (.toml); the first one is what the others "
        "are compared with, and one that is given twice is taken once",
    )
    parser.add_argument(
        "--paper",
        action="store_true",
        help="three more tables: our rows beside those that arXiv 2509.10366 published",
    )
    parser.add_argument(
        "--per-pixel",
        action="store_true",
        help="MACs for a pixel, latency and energy for a megapixel: for records of different image sizes",
    )
    parser.add_argument(
        "--settings",
        choices=WHICH,
        default="first",
        help="of each record the first setting that has a figure and fits, or all (default: first)",
    )
    parser.add_argument(
        "--runtime", metavar="NAME", help='settings of this runtime only ("openvino")'
    )
    parser.add_argument(
        "--threads",
        type=whole(1, MOST_THREADS),
        metavar="N",
        help="settings of this number of threads only",
    )
    parser.add_argument("--unit", metavar="NAME", help="settings of this unit only (cpu, gpu)")
    parser.add_argument(
        "--precision", metavar="P", help="settings of this precision only (fp32, int8)"
    )
    parser.add_argument(
        "--pareto",
        nargs="?",
        const="",
        metavar="AXES",
        help="one more table: which rows no other beats on these axes, with commas between: "
        f"{', '.join(AXES)} (default: psnr_db,bpp, and total_mj and total_ms where every row has them)",
    )
    parser.add_argument(
        "--link",
        metavar="LINK",
        help="energy to encode and send, against JPEG and WebP at equal quality on this machine: wifi, lte, lora, all, "
        "or joule per bit (2e-7)",
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="images for --link, the ones the profile was evaluated on (default: the embedded photographs)",
    )
    add_results_options(parser)
    add_output_options(parser)


def run(args: argparse.Namespace) -> int:
    """Read the records, compare, print.

    Raises:
        InputError: no such record, different image sizes, no setting that fits, an unknown axis; options that do not
            go together; as `show_results`.
    """
    check_results_options(args)
    if args.results is not None:
        show_results(args)
        return 0
    links = None if args.link is None else parse_links(args.link)
    if args.data is not None and links is None:
        raise InputError("--data gives the images for --link: add it, or leave --data out")
    axes = None if args.pareto is None else parse_axes(args.pareto)
    records = [record for text in args.profiles for record in records_named(text)]
    wanted = Wanted(args.runtime, args.threads, args.unit, args.precision)
    compared = compare(records, wanted, args.settings, is_per_pixel=args.per_pixel)
    tables = [
        *sheets(compared),
        *(paper_sheets(compared, read_paper()) if args.paper else ()),
        *(() if axes is None else (pareto_sheet(compared, axes),)),
    ]
    shown = [to_table(sheet, args.format) for sheet in tables]
    if links is not None:
        shown += link_tables(records, links, args.data)
    emit_all(tuple(shown), args)
    return 0
