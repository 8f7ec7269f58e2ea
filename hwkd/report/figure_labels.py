"""Names beside the points of a figure, where they cover nothing. Pure geometry, in points of 1/72 inch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

REACHES_PT = (4.0, 9.0, 15.0, 22.0)
"""How far a name may be from its point; beyond the first a thin line joins the two."""

_DIRECTIONS = ((1, 0), (0, 1), (-1, 0), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))


@dataclass(frozen=True)
class Box:
    """A rectangle."""

    left: float
    bottom: float
    right: float
    top: float

    def overlap(self, other: "Box") -> float:
        """The area that both cover."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(0.0, width) * max(0.0, height)

    def holds(self, other: "Box") -> bool:
        """Whether `other` lies inside."""
        return (
            self.left <= other.left
            and other.right <= self.right
            and self.bottom <= other.bottom
            and other.top <= self.top
        )


@dataclass(frozen=True)
class Wanted:
    """A name to place: its point, and the size of its text. is_needed: placed even where it covers a line."""

    x: float
    y: float
    width: float
    height: float
    is_needed: bool


@dataclass(frozen=True)
class Placed:
    """Where a name goes. is_far: a line should join it to its point."""

    box: Box
    is_far: bool


def place(
    wanted: Sequence[Wanted], marks: Sequence[Box], lines: Sequence[Box], area: Box
) -> list[Placed | None]:
    """A place for each name, in their order, the first come first served; None where there is none.

    A name covers neither another, nor a mark, and stays in `area`; `lines` it avoids where it can, and goes without a
    place rather than cover one, unless it is needed.
    """
    taken = list(marks)
    found: list[Placed | None] = []
    for each in wanted:
        best: tuple[float, Placed] | None = None
        for placed in _candidates(each):
            if not area.holds(placed.box) or any(placed.box.overlap(other) for other in taken):
                continue
            cost = sum(placed.box.overlap(line) for line in lines)
            if cost > 0 and not each.is_needed:
                continue
            if best is None or cost < best[0]:
                best = (cost, placed)
        found.append(None if best is None else best[1])
        if best is not None:
            taken.append(best[1].box)
    return found


def _candidates(wanted: Wanted) -> Iterator[Placed]:
    """The nearest first."""
    for reach in REACHES_PT:
        for right, up in _DIRECTIONS:
            # The text's corner or side that faces the point stands `reach` away from it.
            left = wanted.x + right * reach - wanted.width * (1 - right) / 2
            bottom = wanted.y + up * reach - wanted.height * (1 - up) / 2
            box = Box(left, bottom, left + wanted.width, bottom + wanted.height)
            yield Placed(box, reach > REACHES_PT[0])
