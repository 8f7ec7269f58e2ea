"""The space of a search: families, and ranges of their widths, none wider than the teacher."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from hwkd.errors import InputError
from hwkd.models.families.family import Spec, family_of, student_families, student_family

Values = Mapping[str, int]
"""A student of one family: channels by the names of its ranges."""


@dataclass(frozen=True)
class Range:
    """Numbers of channels from `low` to `high` in steps of `step`."""

    name: str
    low: int
    high: int
    step: int

    def __post_init__(self) -> None:
        if self.low < 1 or self.step < 1 or self.high < self.low:
            raise InputError(f"{self.name} must go from 1 or more upwards, got {self}")

    def floor(self, channels: float) -> int:
        """The largest of the range that is not above `channels`; its lowest where there is none."""
        clipped = min(max(channels, self.low), self.high)
        return self.low + int(clipped - self.low) // self.step * self.step


@dataclass(frozen=True)
class FamilySpace:
    """The students of one family that may be chosen."""

    family: str
    ranges: tuple[Range, ...]

    def spec(self, values: Values) -> Spec:
        """The student with these channels."""
        return student_family(self.family).from_values(values)

    def cheapest(self) -> dict[str, int]:
        """The lowest of every range: no student of the family costs less."""
        return {r.name: r.low for r in self.ranges}

    def uniform(self, width: int) -> dict[str, int]:
        """The student that `hwkd distill --family F --width WIDTH` makes, as near as the ranges allow."""
        wanted = {"M": self["M"].high, **student_family(self.family).uniform(width)}
        return {r.name: r.floor(wanted[r.name]) for r in self.ranges}

    def uniform_widths(self) -> range:
        """The widths that every layer may have alike, the narrowest first."""
        layers = [self[name] for name in student_family(self.family).width_names()]
        return range(
            max(r.low for r in layers), min(r.high for r in layers) + 1, max(r.step for r in layers)
        )

    def towards_cheapest(self, values: Values, share: float) -> dict[str, int]:
        """`values` at `share` (0 to 1) of their way from the cheapest student: 1 leaves them as they are."""
        return {r.name: r.floor(r.low + share * (values[r.name] - r.low)) for r in self.ranges}

    def __getitem__(self, name: str) -> Range:
        return next(r for r in self.ranges if r.name == name)


@dataclass(frozen=True)
class Space:
    """Everything a search may choose from."""

    families: tuple[FamilySpace, ...]

    def of(self, family: str) -> FamilySpace:
        """The part of one family."""
        return next(part for part in self.families if part.family == family)

    def to_json(self) -> str:
        """One line that `space_from_json` reads back."""
        return json.dumps(asdict(self))


def space_from_json(text: str) -> Space:
    """The space that `Space.to_json` wrote. Raises InputError for anything else."""
    try:
        raw: dict[str, Any] = json.loads(text)
        return Space(
            tuple(
                FamilySpace(part["family"], tuple(Range(**r) for r in part["ranges"]))
                for part in raw["families"]
            )
        )
    except (TypeError, ValueError, KeyError) as error:
        raise InputError(f"not a search space: {text[:120]!r} ({error})") from error


def family_space(family: str, teacher: Spec) -> FamilySpace:
    """The students of `family` that every layer of `teacher`, which is of a fitting kind, has filters for."""
    return FamilySpace(family, tuple(Range(*one) for one in student_family(family).ranges(teacher)))


def families_of(teacher: Spec) -> tuple[str, ...]:
    """The families with students that can start from a teacher of this kind."""
    return tuple(f.name for f in student_families() if isinstance(teacher, f.spec_type))


def distill_options(spec: Spec) -> dict[str, Any]:
    """The options of `hwkd distill`, as a recipe has them, that make this student."""
    return family_of(spec).options(spec)
