"""`hwkd distill`: from a teacher to a small quantized student and its report."""

import argparse
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from hwkd.cli.distill_config import (
    Planned,
    command_again,
    load_start,
    loss_weights,
    planned,
    run_config,
)
from hwkd.cli.distill_options import configure
from hwkd.cli.distill_recipe import recipes_table, with_recipe
from hwkd.cli.distill_restart import after_restart
from hwkd.cli.options import check_choices, family_of, parse_channels, parse_kd
from hwkd.cli.output import terminal_width
from hwkd.cli.training_bar import TrainingBar
from hwkd.images import ImageSource, open_images
from hwkd.report.table import render

if TYPE_CHECKING:
    from hwkd.distill.data import TrainingImages
    from hwkd.distill.distributed import Processes

__all__ = ["EXAMPLES", "HELP", "configure", "run"]

HELP = "distil a small quantized student from a teacher, for a target"

EXAMPLES = """examples:
  hwkd distill --target jetson-nano --bits 8
  hwkd distill --target raspberry-pi-4 --bits 8 --data photos/ --minutes 60 -o runs/pi
  hwkd distill --target x86-vnni --family gdn --width 32 --teacher bmshj2018-hyperprior:5 --data photos/ --steps 200000
  hwkd distill --target raspberry-pi-4 --bits 8 --data photos/ --minutes 60 -o runs/pi --resume
  torchrun --nproc-per-node 2 --max-restarts 3 -m hwkd distill --target x86-vnni --data photos/ --batch 16 -o runs/two
  hwkd distill --recipes
  hwkd distill --recipe patch-large --data photos/
"""


def run(args: argparse.Namespace) -> int:
    """Check the input, train, evaluate, write and print the report; with --recipes, print their table."""
    if args.recipes:
        print(render(recipes_table(), "table", terminal_width()))
        return 0
    args = with_recipe(args)
    args.family = args.family or family_of(args.start)
    check_choices(args)
    parse_kd(args.kd)
    parse_channels("--width", args.width)
    parse_channels("--post", args.post)
    plan = planned(args)
    folder = args.output or plan.folder
    evaluation = open_images(args.evaluate)

    # torch takes seconds to import: after everything that can be refused without it.
    from hwkd.distill.distributed import LostProcess, joined, started_processes
    from hwkd.distill.events import Event, append_event

    processes = started_processes()
    processes.check_batch(args.batch, args.accumulate)
    try:
        with joined(processes) as connected:
            args = after_restart(args, folder, connected)
            return _run(args, plan, folder, evaluation, connected)
    except LostProcess:
        if processes.is_first and (folder / "config.json").is_file():
            append_event(folder, Event("lost", processes.count, processes.launcher))
        raise


def _run(
    args: argparse.Namespace,
    plan: Planned,
    folder: Path,
    evaluation: ImageSource,
    processes: "Processes",
) -> int:
    import torch

    from hwkd.cli.distill_images import training_images
    from hwkd.distill.batches import Teaching
    from hwkd.distill.events import read_events
    from hwkd.distill.run import distill, with_steps
    from hwkd.distill.run_folder import check_folder
    from hwkd.models.teacher import load_teacher
    from hwkd.report.assemble import assemble

    console = Console(stderr=True, quiet=not processes.is_first)
    say = partial(console.print, markup=False, highlight=False, soft_wrap=True)
    processes.by_first(lambda: check_folder(folder, resume=args.resume, force=args.force))
    loss = loss_weights(args)
    teacher = load_teacher(args.teacher)
    second = None if args.second_teacher is None else load_teacher(args.second_teacher)
    start = load_start(args.start, teacher)
    say(f"teacher: {teacher.name} ({teacher.spec}; {teacher.source})")
    images = training_images(args, console)
    if processes.is_first:
        for _ in evaluation:
            pass  # a damaged image is found now, not after the training
    config = run_config(args, plan.bits, loss, teacher, second, images, start, processes)
    left_out = images.notes
    for note in (*left_out, *_trained_on(evaluation, images, args.data)):
        say(f"note: {note}")
    rates = "all rates" if config.lmbda is None else f"lmbda {config.lmbda:g}"
    say(f"student: {config.spec}, {rates}, on {images.source}")
    if processes.count > 1:
        say(
            f"{processes.count} processes, {config.batch // processes.count} crops of each batch for each"
        )
    teaching = None
    if loss.needs_teacher:
        models = [
            t.model.to(config.device, memory_format=torch.channels_last)
            for t in (teacher, second)
            if t is not None
        ]
        teaching = Teaching(models[0], models[1] if len(models) > 1 else None)
    with TrainingBar(console) as bar, _stop_on_interrupt() as wants_to_stop:
        outcome = distill(
            config,
            folder,
            images,
            teaching,
            start.codec,
            start_lmbda=start.lmbda,
            resume=args.resume,
            force=args.force,
            show=bar.show,
            wants_to_stop=wants_to_stop,
            processes=processes,
        )
    if outcome is None:
        return 0
    history = tuple(event.sentence() for event in read_events(folder))
    if len(history) == 2:  # started and finished
        history = ()
    for note in (*images.notes[len(left_out) :], *outcome.notes, *history):
        say(f"note: {note}")
    say(f"evaluating on {evaluation}")
    config = with_steps(config, outcome.steps)
    assembled = assemble(
        config,
        replace(outcome, notes=(*outcome.notes, *_trained_on(evaluation, images, args.data))),
        teacher,
        plan.sentences,
        evaluation,
        folder.resolve().name,
        command_again(args.argv, config, folder),
        history,
    )
    assembled.write(folder)
    print(assembled.terminal(terminal_width()))
    print(f"written: {folder}/student.safetensors, report.md, report.json")
    return 0


def _trained_on(
    evaluation: ImageSource, images: "TrainingImages", data: Path | None
) -> tuple[str, ...]:
    """A note where the report's images are not new to the student."""
    if data is None:
        return ()
    trained = {(data / name).resolve() for name in images.train_names}
    known = sum(path.resolve() in trained for path in evaluation.paths)
    if not known:
        return ()
    return (
        f"{known} of the {len(evaluation.paths)} images of --evaluate were trained on: "
        "the figures say little about other images",
    )


@contextmanager
def _stop_on_interrupt() -> "Iterator[Any]":
    """Ctrl-C asks the loop to stop after this step; a second one stops at once."""
    asked: list[int] = []

    def ask(signum: int, _frame: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(signum)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: bool(asked)
    finally:
        signal.signal(signal.SIGINT, before)
