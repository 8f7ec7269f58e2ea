"""The options of `hwkd fit`."""

import argparse
from pathlib import Path

from hwkd.cli.options import LAST_SEED, MOST, above_0, crop, whole

DEFAULT_TRIALS = 40
DEFAULTS = {
    "steps": 256,
    "crop": 128,
    "batch": 4,
    "pool": 512,
    "lr": 5e-4,
    "seed": 0,
}
"""Of the options that a study keeps, and a worker must not be given."""

OF_THE_STUDY = (
    *("target", "max_ms", "max_mj", "max_mib", "trials", "hours", "family", "teacher"),
    *("quality", "lmbda", "output", *DEFAULTS),
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the options, in groups; those that are not given are None."""
    budget = parser.add_argument_group("the device, and what a student may cost there")
    budget.add_argument(
        "--target",
        metavar="NAME",
        help="see `hwkd targets`: costs are predicted; or host: they are measured on this machine",
    )
    budget.add_argument(
        "--max-ms",
        type=above_0,
        metavar="MS",
        help="of the slower of encode and decode of a 768x512 image, networks",
    )
    budget.add_argument(
        "--max-mj", type=above_0, metavar="MJ", help="energy, of the greater of the two"
    )
    budget.add_argument(
        "--max-mib",
        type=above_0,
        metavar="MIB",
        help="of the stored weights: bits are then chosen by layer, 4 at least",
    )
    what = parser.add_argument_group("what to search")
    length = what.add_mutually_exclusive_group()
    length.add_argument(
        "--trials",
        type=whole(1, MOST),
        metavar="K",
        help=f"students to train, of all workers, the paper's not counted (default: {DEFAULT_TRIALS})",
    )
    length.add_argument(
        "--hours", type=above_0, metavar="H", help="in place of --trials: begin none after so long"
    )
    what.add_argument(
        "--family",
        action="append",
        metavar="F",
        help="gdn, relu or patch; may be given again (default: all that a teacher is there for)",
    )
    what.add_argument(
        "--teacher",
        action="append",
        metavar="T",
        help="as that of `hwkd distill`; a patch teacher for patch, any other for gdn and relu; may be given again "
        "(default: patch-q5 and hyperprior-64). No student is wider than its teacher",
    )
    rate = what.add_mutually_exclusive_group()
    rate.add_argument(
        "--quality",
        type=whole(1, 8),
        metavar="Q",
        help="1 to 8, for CompressAI's lambda of that quality",
    )
    rate.add_argument(
        "--lmbda",
        type=above_0,
        metavar="L",
        help="of bpp + L 255^2 MSE (default: the teachers')",
    )
    how = parser.add_argument_group("training of each student")
    how.add_argument(
        "--data", type=Path, metavar="DIR", help="images (default: embedded photographs)"
    )
    how.add_argument(
        "--steps",
        type=whole(1, MOST),
        metavar="S",
        help=f"of a student that is not stopped early (default: {DEFAULTS['steps']})",
    )
    how.add_argument(
        "--crop",
        type=crop,
        metavar="PIXELS",
        help=f"side, a multiple of 64 (default: {DEFAULTS['crop']})",
    )
    how.add_argument(
        "--batch",
        type=whole(1, 4096),
        metavar="B",
        help=f"crops a step (default: {DEFAULTS['batch']})",
    )
    how.add_argument(
        "--pool",
        type=whole(1, MOST),
        metavar="K",
        help=f"crops that the teachers code once, for all students (default: {DEFAULTS['pool']})",
    )
    how.add_argument(
        "--lr",
        type=above_0,
        metavar="RATE",
        help=f"peak rate of Adam (default: {DEFAULTS['lr']:g})",
    )
    how.add_argument(
        "--threads",
        type=whole(1, 4096),
        metavar="T",
        help="of torch, and of what is measured with --target host (default: torch's)",
    )
    how.add_argument(
        "--seed",
        type=whole(0, LAST_SEED),
        metavar="N",
        help=f"of all chance (default: {DEFAULTS['seed']}); one worker alone makes the same search of it again, with several "
        "it matters who is done first",
    )
    out = parser.add_argument_group("study and output")
    out.add_argument(
        "--study",
        metavar="FILE",
        help="where trials are kept: FILE.db (SQLite), FILE.journal (shared over a network file system), or a URL that "
        "Optuna takes; a search that is there already goes on (default: study.db in -o)",
    )
    out.add_argument(
        "--worker",
        action="store_true",
        help="help with the search in --study, on this machine or another; all but --data and --threads comes from there",
    )
    out.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="DIR",
        help="folder of tables, plots and recipe (default: runs/fit-TARGET)",
    )
