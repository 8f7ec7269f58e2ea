"""From the options of `hwkd fit` to the settings of a search."""

import argparse
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hwkd.cli.fit_costs import Place, place_of
from hwkd.cli.fit_options import DEFAULTS, OF_THE_STUDY
from hwkd.errors import InputError, unknown
from hwkd.images import find_images
from hwkd.models.quality import lmbda_of
from hwkd.models.shipped import read_card, shipped_names
from hwkd.models.spec import FAMILIES, HyperpriorSpec, Spec
from hwkd.search.cost import Budget
from hwkd.search.settings import Settings, TeacherFacts
from hwkd.search.space import Space, families_of, family_space

SHIPPED_TEACHERS = ("patch-q5", "hyperprior-64")
PAPER_TEACHER = "hyperprior-64"
"""Of the paper's students, where no teacher of gdn students is given."""
EMBEDDED = "embedded photographs"


@dataclass(frozen=True)
class Named:
    """A teacher that was named: what is known before it is loaded."""

    facts: TeacherFacts
    spec: Spec
    lmbda: float | None


def check_worker(args: argparse.Namespace) -> None:
    """Refuse what does not go together. Raises InputError."""
    if not args.worker:
        if args.target is None:
            raise InputError(
                "no target is given: name one with --target (see `hwkd targets`), or help with a search with --worker"
            )
        return
    if args.study is None:
        raise InputError("--worker needs the search to help with: name it with --study")
    given = [name for name in OF_THE_STUDY if getattr(args, name) not in (None, [])]
    if given:
        raise InputError(
            f"--worker takes --{given[0].replace('_', '-')} from the study: leave it out"
        )


def named_teachers(texts: Sequence[str] | None) -> tuple[Named, ...]:
    """The teachers of the candidates, and one for the paper's students where none of those serves.

    Raises:
        InputError: nothing of this name; two for one family.
    """
    named = [_named(text) for text in texts or SHIPPED_TEACHERS]
    taken: dict[str, str] = {}
    for teacher in named:
        for family in teacher.facts.families:
            if family in taken:
                raise InputError(
                    f"--teacher {teacher.facts.text} and {taken[family]} both are for family {family}: give one of them"
                )
            taken[family] = teacher.facts.text
    return tuple(named)


def _named(text: str) -> Named:
    if text in shipped_names():
        card = read_card(text)
        facts = TeacherFacts(text, card.name, card.sha256, families_of(card.spec))
        return Named(facts, card.spec, card.lmbda)
    from hwkd.models.teacher import load_teacher  # of a file only the weights tell

    teacher = load_teacher(text)
    facts = TeacherFacts(text, teacher.name, teacher.sha256 or "", families_of(teacher.spec))
    return Named(facts, teacher.spec, teacher.lmbda)


def make_settings(args: argparse.Namespace) -> tuple[Settings, Place]:
    """The settings of the search that `args` ask for, and where its students shall run.

    Raises:
        InputError: options that contradict each other, or a target, images or teachers that are not there.
    """
    budget = Budget(args.max_ms, args.max_mj, args.max_mib)
    teachers = named_teachers(args.teacher)
    by_family = {family: t for t in teachers for family in t.facts.families}
    families = tuple(dict.fromkeys(args.family or by_family))
    for family in families:
        if family not in FAMILIES:
            raise unknown("family", family, FAMILIES)
        if family not in by_family:
            raise InputError(
                f"family {family} has no teacher among {', '.join(t.facts.text for t in teachers)}: give one more --teacher"
            )
    used = [t for t in teachers if set(t.facts.families) & set(families)]
    facts = tuple(t.facts for t in used)
    if not any("gdn" in teacher.families for teacher in facts):
        facts += (by_family["gdn"].facts if "gdn" in by_family else _named(PAPER_TEACHER).facts,)
    chosen = {name: getattr(args, name) for name in DEFAULTS}
    chosen = {name: DEFAULTS[name] if v is None else v for name, v in chosen.items()}
    lmbda, data = _lmbda(args, used), data_facts(args.data)
    place = place_of(args.target, texts_by_family(facts), args.threads)
    settings = Settings(
        target=args.target,
        target_sha256=place.sha256,
        budget=budget,
        space=Space(tuple(family_space(f, by_family[f].spec) for f in families)),
        weight_bits=place.costs.weight_bits,
        lmbda=lmbda,
        teachers=facts,
        data=data,
        **chosen,
    )
    return settings, place


def texts_by_family(teachers: Sequence[TeacherFacts]) -> dict[str, str]:
    """What the user named for each family."""
    return {family: teacher.text for teacher in teachers for family in teacher.families}


def paper_teacher_spec(settings: Settings) -> HyperpriorSpec:
    """Of the teacher of the paper's students."""
    spec = _named(settings.teacher_of("gdn").text).spec
    assert isinstance(spec, HyperpriorSpec)
    return spec


def data_facts(folder: Path | None) -> str:
    """Which images these are, whatever folder they lie in: their number, and a digest of names and sizes.

    Raises:
        InputError: no folder, or no images in it.
    """
    if folder is None:
        return EMBEDDED
    digest = hashlib.sha256()
    paths = find_images(folder)
    for path in sorted(paths):
        digest.update(f"{path.relative_to(folder).as_posix()} {path.stat().st_size}\n".encode())
    return f"{len(paths)} images, {digest.hexdigest()[:12]}"


def _lmbda(args: argparse.Namespace, teachers: Sequence[Named]) -> float:
    given: float | None = args.lmbda if args.quality is None else lmbda_of(args.quality)
    if given is not None:
        return given
    known = {t.lmbda for t in teachers}
    if len(known) == 1 and None not in known:
        return float(known.pop() or 0)
    words = ", ".join(f"{t.facts.name} {t.lmbda or 'unknown'}" for t in teachers)
    raise InputError(
        f"the students need one lambda, and the teachers' are {words}: give --lmbda or --quality"
    )
