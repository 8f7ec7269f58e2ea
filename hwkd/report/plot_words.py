"""Words and numbers that the captions of plots share. Pure."""

from collections.abc import Collection, Sequence

from hwkd.report.cells import NA
from hwkd.report.numbers import three_digits
from hwkd.runtime.bundle import BUNDLE_SUFFIX

PAPER = "arXiv 2509.10366"
"""What the paper's figures are called beside ours."""


def exact(value: float | None) -> str:
    """A number for a table that a machine may read, "n/a" where it is not known."""
    return NA if value is None else f"{value:.8g}"


def span(values: Sequence[float], unit: str) -> str:
    """From the least to the largest of one or more values: "0.45 to 1.85 bpp", one number where they print alike."""
    low, high = three_digits(min(values)), three_digits(max(values))
    return f"{low} {unit}" if low == high else f"{low} to {high} {unit}"


def counted(count: int, noun: str) -> str:
    """ "1 model", "3 models"."""
    return f"{count} {noun}{'s' * (count != 1)}"


def short_name(model: str, every: Collection[str]) -> str:
    """A bundle's name without its suffix, unless another of the models `every` is called so."""
    short = model.removesuffix(BUNDLE_SUFFIX)
    return model if short in every else short


def in_words(name: str) -> str:
    """A name of code as words: "end_to_end" as "end to end"."""
    return name.replace("_", " ")
