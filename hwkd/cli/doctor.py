"""`hwkd doctor`: what this machine has for hwkd, and the line that mends each lack."""

import argparse

from hwkd.cli.output import add_output_options, emit

HELP = "what this machine has for hwkd, and the line that mends each lack"

EXAMPLES = """examples:
  hwkd doctor
  hwkd doctor --format json -o machine.json
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the arguments of `hwkd doctor`."""
    add_output_options(parser)


def run(args: argparse.Namespace) -> int:
    """Look, and print what was found; a lack is no failure, so the exit code is 0."""
    from hwkd.measure.machine import look
    from hwkd.report.doctor import doctor_table

    emit(doctor_table(look()), args)
    return 0
