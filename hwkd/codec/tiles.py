"""Cutting a large image, or its latents, into windows that overlap by what the networks reach."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """Along one axis: the window [start, stop) to compute, of which [first, last) is kept."""

    start: int
    stop: int
    first: int
    last: int

    @property
    def window(self) -> slice:
        """What to compute."""
        return slice(self.start, self.stop)

    @property
    def kept(self) -> slice:
        """Where the kept part belongs in the whole."""
        return slice(self.first, self.last)

    @property
    def inside(self) -> slice:
        """Where the kept part lies in the window."""
        return slice(self.first - self.start, self.last - self.start)

    def times(self, factor: int) -> "Span":
        """The same span on an axis of `factor` times the resolution."""
        return Span(
            factor * self.start, factor * self.stop, factor * self.first, factor * self.last
        )


def spans(length: int, tile: int, before: int, after: int) -> Iterator[Span]:
    """The spans that keep [0, length) in pieces of `tile`, each computed with a margin where the axis has more."""
    for first in range(0, length, tile):
        last = min(first + tile, length)
        yield Span(max(first - before, 0), min(last + after, length), first, last)


def tiles(
    height: int, width: int, tile: int, before: int, after: int
) -> Iterator[tuple[Span, Span]]:
    """(rows, columns) of each tile, row by row."""
    for rows in spans(height, tile, before, after):
        for columns in spans(width, tile, before, after):
            yield rows, columns
