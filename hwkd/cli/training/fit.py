"""`hwkd fit`: searches for the best student that a device can afford."""

import argparse
import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import tomli_w

from hwkd.cli.measuring.profile import FALLBACK, HOST
from hwkd.cli.tables import ScreenOptions, printed, terminal_width
from hwkd.cli.talk import stderr_console
from hwkd.errors import InputError, Interrupted, unknown
from hwkd.files import write_text
from hwkd.images import content_sha256, find_images
from hwkd.measure.machine import find_processor, host_facts, host_name
from hwkd.models.shipped import read_card, shipped_names
from hwkd.models.spec import FAMILIES, HyperpriorSpec, Spec, lmbda_of
from hwkd.options import LAST_SEED, MOST, crop, option, positive, whole
from hwkd.report.fit import FitResult, best_in_words, fit_plots, front_table, trials_table
from hwkd.report.narrow import wrap
from hwkd.report.plots.figures import draw_plot
from hwkd.report.plots.plot import file_name
from hwkd.report.table import render
from hwkd.runtime.session import usable_cores
from hwkd.search.cost import Budget, Cost, PredictedCosts, within
from hwkd.search.settings import Settings, TeacherFacts
from hwkd.search.space import Space, distill_options, families_of, family_space
from hwkd.search.trial import Trial, best_of
from hwkd.target import load_target

if TYPE_CHECKING:
    import optuna
    from optuna.storages import BaseStorage

    from hwkd.models.teacher import Teacher
    from hwkd.search.train import Trainer

HELP = "search the widths, the family and the bits that are best within what a device can afford"

EXAMPLES = """examples:
  hwkd fit --target raspberry-pi-4 --max-ms 150 --max-mj 800 --data photos/
  hwkd fit --target jetson-nano --max-ms 60 --max-mib 0.5 --trials 60 --data photos/ -o runs/nano
  hwkd fit --target raspberry-pi-4 --max-ms 100 --hours 8 --study shared/pi.journal --data photos/
  hwkd fit --worker --study shared/pi.journal --data photos/
"""


# The options of `hwkd fit`.


@dataclass(frozen=True, kw_only=True)
class FitOptions(ScreenOptions):
    """The options of `hwkd fit`."""

    target: str | None = option(
        "see `hwkd targets`: costs are predicted; or host: they are measured on this machine",
        "NAME",
        group="the device, and what a student may cost there",
    )
    max_ms: float | None = option(
        "of the slower of encode and decode of a 768x512 image, from end to end", "MS", positive
    )
    max_mj: float | None = option("energy, of the greater of the two", "MJ", positive)
    max_mib: float | None = option(
        "of the stored weights: bits are then chosen by layer, 4 at least", "MIB", positive
    )
    trials: int = option(
        "students to train, of all workers, the paper's not counted",
        "K",
        whole(1, MOST),
        default=40,
        group="what to search",
        exclusive="length",
    )
    hours: float | None = option(
        "in place of --trials: begin none after so long", "H", positive, exclusive="length"
    )
    family: tuple[str, ...] = option(
        "gdn, relu or patch; may be given again (default: all that a teacher is there for)",
        "F",
        default=(),
    )
    teacher: tuple[str, ...] = option(
        "as that of `hwkd distill`; a patch teacher for patch, any other for gdn and relu; may be given again "
        "(default: patch-q5 and hyperprior-64). No student is wider than its teacher",
        "T",
        default=(),
    )
    quality: int | None = option(
        "1 to 8, for CompressAI's lambda of that quality", "Q", whole(1, 8), exclusive="rate"
    )
    lmbda: float | None = option(
        "of bpp + L 255^2 MSE (default: the teachers')", "L", positive, exclusive="rate"
    )
    data: Path | None = option(
        "images (default: embedded photographs)", "DIR", group="training of each student"
    )
    steps: int = option("of a student that is not stopped early", "S", whole(1, MOST), default=256)
    crop: int = option("side, a multiple of 64", "PIXELS", crop, default=128)
    batch: int = option("crops a step", "B", whole(1, 4096), default=4)
    pool: int = option(
        "crops that the teachers code once, for all students", "K", whole(1, MOST), default=512
    )
    lr: float = option("peak rate of Adam", "RATE", positive, default=5e-4)
    threads: int | None = option(
        "of torch, and of what is measured with --target host (default: torch's)",
        "T",
        whole(1, 4096),
    )
    seed: int = option(
        "of all chance (default: 0); one worker alone makes the same search of it again, with several "
        "it matters who is done first",
        "N",
        whole(0, LAST_SEED),
        default=0,
    )
    study: str | None = option(
        "where trials are kept: FILE.db (SQLite), FILE.journal (shared over a network file system), or a URL that "
        "Optuna takes; a search that is there already goes on (default: study.db in -o)",
        "FILE",
        group="study and output",
    )
    worker: bool = option(
        "help with the search in --study, on this machine or another; all but --data and --threads comes from there",
        default=False,
    )
    output: Path | None = option(
        "folder of tables, plots and recipe (default: runs/fit-TARGET)", "DIR", short="-o"
    )


OF_A_WORKER = ("worker", "study", "data", "threads", "full")
"""The options that a worker may get; all others come from the study."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options to `parser`, in groups."""
    FitOptions.add_to(parser)


# The source of a search's costs: a target that is predicted, or this machine, which is measured.


class CandidateCosts(Protocol):
    """The costs of candidates.

    Attributes:
        weight_bits: the bits of the weights that the kernels take.
        setting, notes: as FitResult's `setting` and `trust`.
    """

    weight_bits: int
    setting: str
    notes: tuple[str, ...]

    def __call__(self, spec: Spec) -> Cost:
        """The cost of the student of `spec`."""


@dataclass(frozen=True)
class Place:
    """The place where students run.

    Attributes:
        name: the name for people.
        sha256: digest of the known facts of the place; workers compare it.
        distill_target: the target that `hwkd distill` takes for this place.
    """

    name: str
    sha256: str
    distill_target: str
    costs: CandidateCosts


def place_of(target: str, teachers: Mapping[str, str], threads: int | None) -> Place:
    """The place that `--target` names.

    Args:
        teachers: teachers by family, as the user named them. They are loaded only for measurements.
    Raises:
        InputError: there is no such target, or nothing can measure here.
    """
    if target != HOST:
        found = load_target(target)
        costs = PredictedCosts(found)
        return Place(found.name, _digest(repr(found)), target, costs)
    facts = host_facts()
    like = load_target(find_processor().target or FALLBACK)
    name = host_name(facts)
    # Torch is loaded now: students are built and exported before the first is trained.
    from hwkd.search.train import Measured

    used = threads or usable_cores()
    measured = Measured(like, _loading(teachers), used)
    return Place(name, _digest(f"{name} {facts.flags} {used}"), like.name, measured)


def check_place(place: Place, sha256: str) -> None:
    """Refuse to work for a search if its target differs from the one here. Raises InputError."""
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


PAPER_N = (16, 32, 64, 96, 128)
"""The widths N of arXiv 2509.10366."""


def run(args: argparse.Namespace) -> int:
    """Check the input, search until the limit is reached, write and print the results.

    Raises:
        InputError: options are wrong or contradict each other; no student fits the budget; the study is locked, or belongs
            to another search.
        Interrupted: Ctrl-C.
    """
    options = FitOptions.of(args)
    if options.worker:
        return _help_with(options, check_worker(FitOptions.given_in(args)))
    settings, place = make_settings(options)
    costs = place.costs
    folder = options.output or Path("runs") / f"fit-{place.name}"
    for part in (folder, *folder.parents):
        if part.exists() and not part.is_dir():
            raise InputError(f"{part} is a file, a search needs a folder: give another with -o")
    study_text = options.study or str(folder / "study.db")
    widths = paper_teacher_spec(settings)
    trained = [n for n in PAPER_N if n <= min(*widths.widths, widths.H, widths.Z)]

    # Optuna takes half a second to import, torch longer, so every check that does not need them comes first.
    from hwkd.search.study import (
        SearchLimit,
        create_or_join,
        found_in,
        open_storage,
        storage_errors,
    )

    @cache
    def narrowed() -> Space:
        return within(settings.space, settings.budget, costs, place.name)

    if "://" not in study_text and not Path(study_text).is_file():
        narrowed()  # an input that it refuses must not leave a file behind
    storage = open_storage(study_text, must_exist=False)
    with storage_errors(study_text):
        data = "" if options.data is None else str(options.data.resolve())
        limit = SearchLimit(trials=options.trials)
        if options.hours is not None:
            limit = SearchLimit(until=time.time() + 3600 * options.hours)
        study = create_or_join(storage, settings, data, narrowed, costs, trained, limit)
        _work(options, storage, study, settings, costs, options.data, study_text)
        found = found_in(study)
    from hwkd.search.worker import paper_spec

    # On this machine they would have to be built and timed, every time that the search is shown.
    shown = () if options.target == HOST else [n for n in PAPER_N if n not in trained]
    untrained = tuple((n, costs(paper_spec(n))) for n in shown)
    result = FitResult(settings, place.name, found, costs.setting, costs.notes, untrained)
    # Printed before the files are written: so the results are seen even if the files cannot be written.
    width = terminal_width()
    print(
        printed((front_table(result),), width, is_full=options.full, verdict=best_in_words(result))
    )
    written = write_result(result, folder, place.distill_target)
    print(wrap(f"written: {folder}/{', '.join(written)}", width, 2))
    return 0


def _help_with(options: FitOptions, text: str) -> int:
    """Work on the study in `text`, which another process has begun."""
    from hwkd.search.study import join, open_storage, storage_errors, stored_settings

    storage = open_storage(text, must_exist=True)
    with storage_errors(text):
        settings, stored_folder = stored_settings(storage)
        place = place_of(settings.target, texts_by_family(settings.teachers), options.threads)
        check_place(place, settings.target_sha256)
        folder = options.data or (Path(stored_folder) if stored_folder else None)
        if data_facts(folder) != settings.data:
            raise InputError(
                f"{folder or EMBEDDED} holds {data_facts(folder)}, the study's images are {settings.data}: name the "
                "folder that holds them here with --data"
            )
        _, study = join(storage, place.costs)
        _work(options, storage, study, settings, place.costs, folder, text)
    print(f"the search in {text} is done: the process that began it writes the result")
    return 0


def _work(
    options: FitOptions,
    storage: "BaseStorage",
    study: "optuna.Study",
    settings: "Settings",
    costs: CandidateCosts,
    data: Path | None,
    study_text: str,
) -> None:
    from hwkd.cli.training.progress import FitBar
    from hwkd.search.worker import Worker

    console = stderr_console()
    say = partial(console.print, markup=False, highlight=False, soft_wrap=True)

    def trainer() -> "Trainer":
        import torch

        from hwkd.distill.data import load_images
        from hwkd.models.teacher import load_teacher
        from hwkd.search.train import Trainer

        torch.set_num_threads(options.threads or min(torch.get_num_threads(), usable_cores()))
        bar.tell("reading the images")
        images = load_images(data, settings.crop, settings.seed, lambda _name: None)
        for note in images.notes:
            say(f"note: {note}")
        loaded: dict[str, Teacher] = {}
        for facts in settings.teachers:
            teacher = load_teacher(facts.text)
            if (teacher.sha256 or "") != facts.sha256:
                raise InputError(
                    f"the teacher {facts.text} is another file here than where the search began: give the study its file"
                )
            loaded |= dict.fromkeys(facts.families, teacher)
        return Trainer(settings, loaded, images, bar.tell)

    try:
        with FitBar(console) as bar:
            Worker(storage, study, settings, costs, trainer, bar.show).work()
    except KeyboardInterrupt:
        raise Interrupted(
            f"stopped; what was trained is kept in {study_text}: run the same command again to go on"
        ) from None


# From the options of `hwkd fit` to the settings of a search.

SHIPPED_TEACHERS = ("patch-q5", "hyperprior-64")
PAPER_TEACHER = "hyperprior-64"
"""The teacher of the paper's students, if no teacher of gdn students is given."""
EMBEDDED = "embedded photographs"


@dataclass(frozen=True)
class Named:
    """A named teacher: the facts that are known before it is loaded."""

    facts: TeacherFacts
    spec: Spec
    lmbda: float | None


def check_worker(given: Mapping[str, Any]) -> str:
    """The study of a worker. Raises InputError if it is not given, or if an option is given that the study sets."""
    if "study" not in given:
        raise InputError("--worker needs the search to help with: name it with --study")
    for name in given:
        if name not in OF_A_WORKER:
            raise InputError(
                f"--worker takes --{name.replace('_', '-')} from the study: leave it out"
            )
    return str(given["study"])


def named_teachers(texts: Sequence[str]) -> tuple[Named, ...]:
    """The teachers that `texts` name; the shipped ones if `texts` is empty.

    Raises:
        InputError: nothing has this name, or two teachers serve one family.
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
    from hwkd.models.teacher import load_teacher  # a file is known by its weights only

    teacher = load_teacher(text)
    facts = TeacherFacts(text, teacher.name, teacher.sha256 or "", families_of(teacher.spec))
    return Named(facts, teacher.spec, teacher.lmbda)


def make_settings(options: FitOptions) -> tuple[Settings, Place]:
    """The settings of the search that `options` define, and the place where its students run.

    Raises:
        InputError: options contradict each other, or a target, images or teachers do not exist.
    """
    if options.target is None:
        raise InputError(
            "no target is given: name one with --target (see `hwkd targets`), or help with a search with --worker"
        )
    budget = Budget(options.max_ms, options.max_mj, options.max_mib)
    teachers = named_teachers(options.teacher)
    by_family = {family: t for t in teachers for family in t.facts.families}
    families = tuple(dict.fromkeys(options.family or by_family))
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
    lmbda, data = _lmbda(options, used), data_facts(options.data)
    place = place_of(options.target, texts_by_family(facts), options.threads)
    settings = Settings(
        target=options.target,
        target_sha256=place.sha256,
        budget=budget,
        space=Space(tuple(family_space(f, by_family[f].spec) for f in families)),
        weight_bits=place.costs.weight_bits,
        lmbda=lmbda,
        teachers=facts,
        data=data,
        steps=options.steps,
        crop=options.crop,
        batch=options.batch,
        pool=options.pool,
        lr=options.lr,
        seed=options.seed,
    )
    return settings, place


def texts_by_family(teachers: Sequence[TeacherFacts]) -> dict[str, str]:
    """The teacher that the user named for each family."""
    return {family: teacher.text for teacher in teachers for family in teacher.families}


def paper_teacher_spec(settings: Settings) -> HyperpriorSpec:
    """The spec of the teacher of the paper's students."""
    spec = _named(settings.teacher_of("gdn").text).spec
    assert isinstance(spec, HyperpriorSpec)
    return spec


def data_facts(folder: Path | None) -> str:
    """The identity of the images, whatever folder they lie in: their number, and a digest of names and content.

    Raises:
        InputError: there is no folder, or it has no images.
    """
    if folder is None:
        return EMBEDDED
    digest = hashlib.sha256()
    paths = find_images(folder)
    for path in sorted(paths):
        # The name counts as well: which images are held out follows from their order.
        name = path.relative_to(folder).as_posix()
        digest.update(f"{name} {content_sha256([path])}\n".encode(errors="surrogateescape"))
    return f"{len(paths)} images, {digest.hexdigest()[:12]}"


def _lmbda(options: FitOptions, teachers: Sequence[Named]) -> float:
    given: float | None = options.lmbda if options.quality is None else lmbda_of(options.quality)
    if given is not None:
        return given
    known = {t.lmbda for t in teachers}
    if len(known) == 1 and None not in known:
        return float(known.pop() or 0)
    words = ", ".join(f"{t.facts.name} {t.lmbda or 'unknown'}" for t in teachers)
    raise InputError(
        f"the students need one lambda, and the teachers' are {words}: give --lmbda or --quality"
    )


# The files of `hwkd fit` in its folder: tables, plots, a recipe.

RECIPE = "recipe.toml"
PLOT_KINDS = ("svg", "png")


def write_result(result: FitResult, folder: Path, distill_target: str) -> list[str]:
    """Write all files, and return their names in `folder`.

    Args:
        distill_target: the target in the recipe.
    Raises:
        InputError, HwkdError: as hwkd.files.write_text and hwkd.report.plots.figures.draw_plot.
    """
    table, trials = front_table(result), trials_table(result)
    plots = fit_plots(result)
    pictures = [f"{file_name(plot)}.svg" for plot in plots]
    shown = [f"![{p.title}]({name})" for p, name in zip(plots, pictures, strict=True)]
    captions = [f"**{p.title}.** {p.caption}" for p in plots]
    parts = [
        render(table, "md"),
        *(text for pair in zip(shown, captions, strict=True) for text in pair),
    ]
    front = {one.number for one in result.front}
    content = {
        "settings": json.loads(result.settings.to_json()),
        "target": result.target,
        "setting": result.setting,
        "notes": table.notes,
        "trials": [
            {
                "number": one.number,
                "state": one.state,
                **one.to_dict(),
                "is_on_front": one.number in front,
            }
            for one in result.found
        ],
        "untrained": [{"N": n, **cost.to_dict()} for n, cost in result.untrained],
    }
    texts = {
        "fit.md": "\n\n".join(parts) + "\n",
        "fit.csv": render(trials, "csv") + "\n",
        "fit.json": json.dumps(content, indent=2) + "\n",
    }
    best = best_of(result.found)
    if best is not None:
        texts[RECIPE] = recipe_of(best, result.settings, result.target, distill_target)
    for name, text in texts.items():
        write_text(folder / name, text)
    for plot in plots:
        draw_plot(plot, [folder / f"{file_name(plot)}.{kind}" for kind in PLOT_KINDS])
    return [*texts, *pictures]


# The recipe of a search's best student, for `hwkd distill --recipe`.

STEPS, QAT_STEPS = 4000, 150
"""The steps of shipped recipes of this size: the few steps of a search do not make a usable student."""


def recipe_of(best: Trial, settings: Settings, place: str, target: str) -> str:
    """The recipe as TOML.

    Args:
        place: the place where the student runs, for people.
        target: the target that `hwkd distill` takes for it.
    """
    assert best.bits is not None  # it was trained for all steps
    bits = best.bits
    options = {
        "description": f"the best of a search for {place} within {settings.budget}: trial {best.number}",
        "target": target,
        "bits": f"{bits.weight_bits}/{bits.act_bits}",
        "layer_bits": [f"{name}={w}/{a}" for name, w, a in bits.layers],
        **distill_options(best.spec),
        "lmbda": settings.lmbda,
        "teacher": settings.teacher_of(best.spec.family).text,
        "kd": "latent,output",
        "start": "teacher",
        "steps": STEPS,
        "qat_steps": QAT_STEPS,
        "lr": settings.lr,
        "crop": settings.crop,
        "batch": settings.batch,
        "seed": settings.seed,
    }
    return tomli_w.dumps({name: value for name, value in options.items() if value != []})
