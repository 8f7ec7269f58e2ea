"""`hwkd models`: the trained models that come with hwkd."""

import argparse

from hwkd.cli.model_names import ZOO
from hwkd.cli.output import add_output_options, emit_all
from hwkd.codec.shipped import shipped
from hwkd.models.shipped import is_half, read_card, shipped_names, shipped_path
from hwkd.report.model_tables import bundles_table, teachers_table
from hwkd.runtime.bundle import read_bundle

HELP = "list the trained models that come with hwkd, and CompressAI's that it fetches"

EXAMPLES = """examples:
  hwkd models
  hwkd models --format md
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the arguments of `hwkd models`."""
    add_output_options(parser)


def run(args: argparse.Namespace) -> int:
    """Print the tables of shipped models."""
    bundles = [(name, read_bundle(path), path.stat().st_size) for name, path in shipped().items()]
    teachers = [
        (read_card(name), is_half(name), shipped_path(name).stat().st_size)
        for name in shipped_names()
    ]
    emit_all((bundles_table(bundles), teachers_table(teachers, ZOO)), args)
    return 0
