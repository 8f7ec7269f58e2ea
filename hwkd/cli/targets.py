"""hwkd targets: the devices hwkd knows, and what it knows about one."""

import argparse

from hwkd.cli.output import add_output_options, emit, emit_all
from hwkd.deploy.plan import plan_precision
from hwkd.report.targets import facts_table, overview, plan_table
from hwkd.target import list_targets, load_target

HELP = "list the devices hwkd knows, or show all facts about one with their sources"
EXAMPLES = """examples:
  hwkd targets
  hwkd targets --format md -o targets.md
  hwkd targets show jetson-nano
  hwkd targets show my-board.toml --format json
"""

SHOWN_BITS = 8
SHOWN_FAMILY = "gdn"
"""What `show` plans for: the usual bits, and the family with the most to say about precision."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `hwkd targets`."""
    add_output_options(parser)
    actions = parser.add_subparsers(dest="action", metavar="show")
    show = actions.add_parser("show", help="print every fact of one target, and its precision plan")
    show.add_argument("name", metavar="NAME", help="a target's name, or your own .toml file")
    add_output_options(show, is_nested=True)


def run(args: argparse.Namespace) -> int:
    """Print the overview, or one target's facts and plan.

    Raises:
        InputError: no such target, or its file does not describe one.
    """
    if args.action != "show":
        emit(overview(tuple(load_target(name) for name in list_targets())), args)
        return 0
    target = load_target(args.name)
    plan = plan_precision(target, SHOWN_BITS, SHOWN_BITS, family=SHOWN_FAMILY)
    emit_all((facts_table(target), plan_table(plan)), args)
    return 0
