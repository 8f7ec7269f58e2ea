"""hwkd targets: the devices hwkd knows, what it knows about one, and how well it predicts for them."""

import argparse
from pathlib import Path

from hwkd.cli.output import add_output_options, emit, emit_all
from hwkd.cli.targets_fit import add_timings_option, run_fit, run_validate
from hwkd.quantize.precision import plan_precision
from hwkd.report.targets import facts_table, overview, plan_table
from hwkd.target import list_targets, load_target

HELP = "list the devices hwkd knows, show the facts about one, fit and validate what is predicted for them"
EXAMPLES = """examples:
  hwkd targets
  hwkd targets --format md -o targets.md
  hwkd targets show jetson-nano
  hwkd targets show my-board.toml --format json
  hwkd targets validate
  hwkd targets fit --into fitted/
"""

SHOWN_BITS = 8
SHOWN_FAMILY = "gdn"
"""What `show` plans for: the usual bits, and the family with the most to say about precision."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `hwkd targets`."""
    add_output_options(parser)
    actions = parser.add_subparsers(dest="action", metavar="show|validate|fit")
    show = actions.add_parser("show", help="print every fact of one target, and its precision plan")
    show.add_argument("name", metavar="NAME", help="a target's name, or your own .toml file")
    add_output_options(show, is_nested=True)
    validate = actions.add_parser(
        "validate", help="print how far predictions of networks that were left out are off"
    )
    add_timings_option(validate)
    validate.add_argument(
        "--all-devices", action="store_true", help="every configuration, not the worst ones only"
    )
    add_output_options(validate, is_nested=True)
    fit = actions.add_parser(
        "fit", help="derive the constants behind predictions from published timings"
    )
    add_timings_option(fit)
    fit.add_argument(
        "--into",
        type=Path,
        metavar="DIR",
        help="write the targets' files there (default: over the shipped ones)",
    )
    add_output_options(fit, is_nested=True)


def run(args: argparse.Namespace) -> int:
    """Print the overview, or one target's facts and plan.

    Raises:
        InputError: no such target, or its file does not describe one.
    """
    if args.action == "validate":
        return run_validate(args)
    if args.action == "fit":
        return run_fit(args)
    if args.action is None:
        emit(overview(tuple(load_target(name) for name in list_targets())), args)
        return 0
    target = load_target(args.name)
    plan = plan_precision(target, SHOWN_BITS, SHOWN_BITS, family=SHOWN_FAMILY)
    emit_all((facts_table(target), plan_table(plan)), args)
    return 0
