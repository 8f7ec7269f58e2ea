"""What a search may choose from: families, and ranges of their widths, none wider than the teacher."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from hwkd.errors import InputError
from hwkd.models.spec import (
    PATCH_BLOCKS,
    PATCH_HYPER,
    PATCH_HYPER_LATENT,
    PATCH_POST_SHARE,
    HyperpriorSpec,
    PatchSpec,
    Spec,
)

Values = Mapping[str, int]
"""A student of one family: channels by the names of its ranges."""

OF_HYPERPRIOR, OF_PATCH = ("gdn", "relu"), ("patch",)
"""The families that can start from a teacher of each kind."""

WIDTHS = {
    "gdn": ("N1", "N2", "N3"),
    "relu": ("N1", "N2", "N3"),
    "patch": tuple(f"w{i + 1}" for i in range(PATCH_BLOCKS)),
}
"""The ranges of the layers' widths; M, H and Z, of patch also post, come to them."""


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
        """The student with these channels; the trunk of a patch student takes the widest block's."""
        widths = tuple(values[name] for name in WIDTHS[self.family])
        M, H, Z = values["M"], values["H"], values["Z"]
        if self.family == "patch":
            return PatchSpec(M=M, H=H, Z=Z, C=max(widths), widths=widths, post=(values["post"],))
        n1, n2, n3 = widths
        return HyperpriorSpec(self.family, (n1, n2, n3), M, H, Z)

    def cheapest(self) -> dict[str, int]:
        """The lowest of every range: no student of the family costs less."""
        return {r.name: r.low for r in self.ranges}

    def uniform(self, width: int) -> dict[str, int]:
        """The student that `hwkd distill --family F --width WIDTH` makes, as near as the ranges allow; of patch with hyper
        networks no wider than the trunk, which would else be most of a narrow student's weights."""
        is_patch = self.family == "patch"
        wanted: dict[str, float] = dict.fromkeys(WIDTHS[self.family], width)
        wanted["M"] = self["M"].high
        wanted["H"] = min(PATCH_HYPER, width) if is_patch else width
        wanted["Z"] = min(PATCH_HYPER_LATENT, width) if is_patch else width
        if is_patch:
            wanted["post"] = width / PATCH_POST_SHARE
        return {r.name: r.floor(wanted[r.name]) for r in self.ranges}

    def uniform_widths(self) -> range:
        """The widths that every layer may have alike, the narrowest first."""
        layers = [self[name] for name in WIDTHS[self.family]]
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
    if isinstance(teacher, PatchSpec):
        # The trunk's channels are the widest block's.
        most = (min(teacher.C, *teacher.widths),) * PATCH_BLOCKS
        low = 16
    else:
        most, low = teacher.widths, 8
    ranges = [_range(name, low, n, 8) for name, n in zip(WIDTHS[family], most, strict=True)]
    ranges += [
        _range("M", 64, teacher.M, 16),
        _range("H", 16, teacher.H, 8),
        _range("Z", 16, teacher.Z, 8),
    ]
    if isinstance(teacher, PatchSpec):
        post = max(teacher.post, default=teacher.C // PATCH_POST_SHARE)
        ranges.append(_range("post", 4, post, 4))
    return FamilySpace(family, tuple(ranges))


def families_of(teacher: Spec) -> tuple[str, ...]:
    """The families whose students can start from a teacher of this kind."""
    return OF_PATCH if isinstance(teacher, PatchSpec) else OF_HYPERPRIOR


def distill_options(spec: Spec) -> dict[str, Any]:
    """The options of `hwkd distill`, as a recipe has them, that make this student."""
    options: dict[str, Any] = {
        "family": spec.family,
        "width": list(spec.widths),
        "latent": spec.M,
        "hyper": spec.H,
        "hyper_latent": spec.Z,
    }
    if isinstance(spec, PatchSpec):
        options["post"] = list(spec.post)
    return options


def _range(name: str, low: int, most: int, step: int) -> Range:
    """From `low` up to `most`, which a narrow teacher may have fewer of."""
    low = min(low, most)
    return Range(name, low, low + (most - low) // step * step, step)
