"""Where a search's costs come from: a target that is predicted, or this machine, which is measured."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Protocol

from hwkd.cli.profile import FALLBACK, HOST
from hwkd.errors import InputError
from hwkd.measure.host import host_facts, host_name
from hwkd.measure.machine import find_processor
from hwkd.models.spec import Spec
from hwkd.runtime.cores import usable_cores
from hwkd.search.cost import Cost
from hwkd.search.predicted import Predicted
from hwkd.target import load_target

if TYPE_CHECKING:
    from hwkd.models.teacher import Teacher


class Costs(Protocol):
    """What candidates cost. weight_bits: that the kernels take. setting, notes: as those of FitResult."""

    weight_bits: int
    setting: str
    notes: tuple[str, ...]

    def __call__(self, spec: Spec) -> Cost:
        """Of the student of `spec`."""


@dataclass(frozen=True)
class Place:
    """Where students shall run.

    name: for people. sha256: of what is known of it, so that workers agree. distill_target: what `hwkd distill` takes
    for it.
    """

    name: str
    sha256: str
    distill_target: str
    costs: Costs


def place_of(target: str, teachers: Mapping[str, str], threads: int | None) -> Place:
    """The place that `--target` names.

    Args:
        teachers: by family, as the user named them; loaded where something is measured only.
    Raises:
        InputError: no such target; nothing that could measure here.
    """
    if target != HOST:
        found = load_target(target)
        costs = Predicted(found)
        return Place(found.name, _digest(repr(found)), target, costs)
    facts = host_facts()
    like = load_target(find_processor().target or FALLBACK)
    name = host_name(facts)
    # Torch is loaded now: students are built and exported before the first is trained.
    from hwkd.search.measured import Measured

    used = threads or usable_cores()
    measured = Measured(like, _loading(teachers), used)
    return Place(name, _digest(f"{name} {facts.flags} {used}"), like.name, measured)


def check_place(place: Place, sha256: str) -> None:
    """Refuse to work for a search whose target is another one here. Raises InputError."""
    if place.sha256 != sha256:
        raise InputError(
            f"the search is for another machine, number of --threads or file of a target than {place.name} is here, and costs "
            "would not compare: run the worker where the search began, with its --threads, or give it the same file"
        )


def _loading(teachers: Mapping[str, str]) -> "Callable[[str], Teacher]":
    @cache
    def load(text: str) -> "Teacher":
        from hwkd.models.teacher import load_teacher

        return load_teacher(text)

    return lambda family: load(teachers[family])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
