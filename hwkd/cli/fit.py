"""`hwkd fit`: the best student that a device can afford."""

import argparse
import time
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from hwkd.cli.fit_costs import Costs, check_place, place_of
from hwkd.cli.fit_options import DEFAULT_TRIALS, configure
from hwkd.cli.fit_settings import (
    EMBEDDED,
    check_worker,
    data_facts,
    make_settings,
    paper_teacher_spec,
    texts_by_family,
)
from hwkd.cli.output import terminal_width
from hwkd.cli.profile import HOST
from hwkd.errors import HwkdError, InputError
from hwkd.report.table import render
from hwkd.search.fitting import within
from hwkd.search.space import Space

if TYPE_CHECKING:
    import optuna
    from optuna.storages import BaseStorage

    from hwkd.models.teacher import Teacher
    from hwkd.search.settings import Settings
    from hwkd.search.train import Trainer

__all__ = ["EXAMPLES", "HELP", "configure", "run"]

HELP = "search the widths, the family and the bits that are best within what a device can afford"

EXAMPLES = """examples:
  hwkd fit --target raspberry-pi-4 --max-ms 150 --max-mj 800 --data photos/
  hwkd fit --target jetson-nano --max-ms 60 --max-mib 0.5 --trials 60 --data photos/ -o runs/nano
  hwkd fit --target raspberry-pi-4 --max-ms 100 --hours 8 --study shared/pi.journal --data photos/
  hwkd fit --worker --study shared/pi.journal --data photos/
"""

PAPER_N = (16, 32, 64, 96, 128)
"""Of arXiv 2509.10366."""


class Interrupted(HwkdError):
    """Ctrl-C; what was trained is kept."""

    exit_code = 130


def run(args: argparse.Namespace) -> int:
    """Check the input, search until it is enough, write and print what was found.

    Raises:
        InputError: options that are wrong or contradict each other; no student within the budget; a study that is
            locked, or of another search.
        Interrupted: Ctrl-C.
    """
    check_worker(args)
    if args.worker:
        return _help_with(args)
    settings, place = make_settings(args)
    costs = place.costs
    folder = args.output or Path("runs") / f"fit-{place.name}"
    for part in (folder, *folder.parents):
        if part.exists() and not part.is_dir():
            raise InputError(f"{part} is a file, a search needs a folder: give another with -o")
    study_text = args.study or str(folder / "study.db")
    widths = paper_teacher_spec(settings)
    trained = [n for n in PAPER_N if n <= min(*widths.widths, widths.H, widths.Z)]

    # Optuna takes half a second to import, torch longer: after everything that can be refused without them.
    from hwkd.search.storage import open_storage, storage_errors
    from hwkd.search.study import Limit, create_or_join, found_in

    @cache
    def narrowed() -> Space:
        return within(settings.space, settings.budget, costs, place.name)

    if "://" not in study_text and not Path(study_text).is_file():
        narrowed()  # what it refuses must not leave a file behind
    storage = open_storage(study_text, must_exist=False)
    with storage_errors(study_text):
        data = "" if args.data is None else str(args.data.resolve())
        limit = Limit(trials=args.trials or DEFAULT_TRIALS)
        if args.hours is not None:
            limit = Limit(until=time.time() + 3600 * args.hours)
        study = create_or_join(storage, settings, data, narrowed, costs, trained, limit)
        _work(args, storage, study, settings, costs, args.data, study_text)
        found = found_in(study)
    from hwkd.cli.fit_output import write_result
    from hwkd.report.fit_result import FitResult
    from hwkd.report.fit_tables import front_table
    from hwkd.search.worker import paper_spec

    # On this machine they would have to be built and timed, every time that the search is looked at.
    shown = () if args.target == HOST else [n for n in PAPER_N if n not in trained]
    untrained = tuple((n, costs(paper_spec(n))) for n in shown)
    result = FitResult(settings, place.name, found, costs.setting, costs.notes, untrained)
    written = write_result(result, folder, place.distill_target)
    print(render(front_table(result), "table", terminal_width()))
    print(f"written: {folder}/{', '.join(written)}")
    return 0


def _help_with(args: argparse.Namespace) -> int:
    """Work on a study that another process has begun."""
    from hwkd.search.storage import open_storage, storage_errors
    from hwkd.search.study import join, stored_settings

    storage = open_storage(args.study, must_exist=True)
    with storage_errors(args.study):
        settings, stored_folder = stored_settings(storage)
        place = place_of(settings.target, texts_by_family(settings.teachers), args.threads)
        check_place(place, settings.target_sha256)
        folder = args.data or (Path(stored_folder) if stored_folder else None)
        if data_facts(folder) != settings.data:
            raise InputError(
                f"{folder or EMBEDDED} holds {data_facts(folder)}, the study's images are {settings.data}: name the "
                "folder that holds them here with --data"
            )
        _, study = join(storage, place.costs)
        _work(args, storage, study, settings, place.costs, folder, args.study)
    print(f"the search in {args.study} is done: the process that began it writes the result")
    return 0


def _work(
    args: argparse.Namespace,
    storage: "BaseStorage",
    study: "optuna.Study",
    settings: "Settings",
    costs: Costs,
    data: Path | None,
    study_text: str,
) -> None:
    from hwkd.cli.progress import FitBar
    from hwkd.search.worker import Worker

    console = Console(stderr=True)
    say = partial(console.print, markup=False, highlight=False, soft_wrap=True)

    def trainer() -> "Trainer":
        import torch

        from hwkd.distill.data import load_images
        from hwkd.models.teacher import load_teacher
        from hwkd.search.train import Trainer

        if args.threads is not None:
            torch.set_num_threads(args.threads)
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
