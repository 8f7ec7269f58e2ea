"""Everything that decides what a study's trials are, in one record that is stored in it and compared on return."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from hwkd.errors import InputError
from hwkd.search.cost import Budget
from hwkd.search.space import Space, space_from_json

FORMAT = 1


@dataclass(frozen=True)
class TeacherFacts:
    """A teacher. text: as the user named it, to load it again. families: of the candidates that start from it."""

    text: str
    name: str
    sha256: str
    families: tuple[str, ...]


@dataclass(frozen=True)
class Settings:
    """A study's.

    target: as given; target_sha256: of what is known of it. weight_bits: the most that its kernels take.
    lmbda: of R + lmbda * 255^2 * MSE. steps: of a full trial. crop, batch, lr: as those of `hwkd distill`.
    pool: crops that the teachers have coded. data: which images, whatever their folder. seed: of all chance.
    """

    target: str
    target_sha256: str
    budget: Budget
    space: Space
    weight_bits: int
    lmbda: float
    teachers: tuple[TeacherFacts, ...]
    data: str
    steps: int
    crop: int
    batch: int
    pool: int
    lr: float
    seed: int

    def __post_init__(self) -> None:
        if self.pool < self.batch:
            raise InputError(
                f"--pool {self.pool} is less than a batch: give {self.batch} (--batch) or more"
            )

    def to_json(self) -> str:
        """JSON that `settings_from_json` reads back."""
        return json.dumps({"format": FORMAT, **_plain(self)})

    def teacher_of(self, family: str) -> TeacherFacts:
        """Whose filters candidates of `family` start from."""
        return next(teacher for teacher in self.teachers if family in teacher.families)


def settings_from_json(text: str) -> Settings:
    """What `Settings.to_json` wrote. Raises InputError for anything else."""
    try:
        raw: dict[str, Any] = json.loads(text)
        if raw.pop("format") != FORMAT:
            raise InputError(f"the study is of another format than {FORMAT}")
        teachers = (
            TeacherFacts(**{**teacher, "families": tuple(teacher["families"])})
            for teacher in raw["teachers"]
        )
        made: Mapping[str, Any] = {
            "budget": Budget(**raw["budget"]),
            "space": space_from_json(json.dumps(raw["space"])),
            "teachers": tuple(teachers),
        }
        return Settings(**{**raw, **made})
    except (TypeError, ValueError, KeyError) as error:
        raise InputError(f"the study does not describe a search ({error})") from error


def differences(stored: Settings, given: Settings) -> tuple[str, ...]:
    """What differs, one phrase a field; empty where both searches have the same trials."""
    mine, theirs = _plain(stored), _plain(given)
    return tuple(
        f"{name} was {_short(mine[name])}, is now {_short(theirs[name])}"
        for name in mine
        if mine[name] != theirs[name]
    )


def _plain(settings: Settings) -> dict[str, Any]:
    # As JSON has it: lists for tuples, so that what was stored equals what is given.
    plain: dict[str, Any] = json.loads(json.dumps(asdict(settings)))
    return plain


def _short(value: Any) -> str:
    """A value in words that fit a line."""
    if isinstance(value, dict) and "families" in value:
        return ", ".join(_family(part) for part in value["families"])
    if isinstance(value, list):
        return ", ".join(f"{teacher['name']} ({teacher['sha256'][:8]})" for teacher in value)
    if isinstance(value, dict):
        return str(Budget(**value))
    return repr(value)


def _family(part: Mapping[str, Any]) -> str:
    ranges = " ".join(f"{r['name']}={r['low']}..{r['high']}" for r in part["ranges"])
    return f"{part['family']} ({ranges})"
