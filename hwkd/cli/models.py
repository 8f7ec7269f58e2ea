"""`hwkd models`: the trained models that come with hwkd."""

import argparse

from hwkd.cli.output import add_output_options, emit
from hwkd.report.table import Table

HELP = "list the trained models that come with hwkd, and CompressAI's that it fetches"

EXAMPLES = """examples:
  hwkd models
  hwkd models --format md
"""

NA = "n/a"


def configure(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the arguments of `hwkd models`."""
    add_output_options(parser)


def run(args: argparse.Namespace) -> int:
    """Print the table of shipped models."""
    from hwkd.models.shipped import read_card, shipped_names
    from hwkd.models.zoo import TEACHERS

    cards = [read_card(name) for name in shipped_names()]
    rows = tuple(
        (
            card.name,
            str(card.spec),
            f"{card.lmbda:g}",
            f"{card.steps:,}",
            NA if card.kodak_psnr_db is None else f"{card.kodak_psnr_db:.2f}",
            NA if card.kodak_bpp is None else f"{card.kodak_bpp:.3f}",
        )
        for card in cards
    )
    notes = (
        *(f"{card.name} was trained on {card.data}." for card in cards),
        "kodak_psnr_db, kodak_bpp: measured, means over 24 images, bpp of real bytes.",
        f"CompressAI's zoo, fetched on first use: {', '.join(sorted(TEACHERS))}, "
        "as NAME:QUALITY (bmshj2018-hyperprior:5).",
    )
    columns = (
        "model",
        "architecture",
        "lmbda",
        "steps",
        "kodak_psnr_db",
        "kodak_bpp",
    )
    emit(Table("Shipped models", columns, rows, notes), args)
    return 0
