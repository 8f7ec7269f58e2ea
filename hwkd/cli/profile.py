"""`hwkd profile`: what a model costs on this machine, measured, and on each target, predicted."""

import argparse
import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from hwkd.bits import BitPlan, parse_bits
from hwkd.cli.model_names import refuse_unknown
from hwkd.cli.output import emit_all
from hwkd.cli.profile_models import (
    check_names,
    check_quality_of,
    check_runtimes,
    check_torch,
    default_models,
    evaluated_model,
    file_name,
    host_steps_of,
    load_model,
    profile_here,
)
from hwkd.cli.profile_options import EMBEDDED, NONE, configure, parse_size, parse_threads
from hwkd.errors import InputError
from hwkd.images import open_images
from hwkd.measure.energy.sensors import OpenedMeter, open_meter
from hwkd.measure.host import host_facts
from hwkd.measure.machine import look
from hwkd.measure.profile import Profiled, Wanted, profile_target
from hwkd.measure.record import Record
from hwkd.measure.record_file import write_record
from hwkd.measure.save_target import check_name, target_from
from hwkd.models.architecture import is_architecture
from hwkd.qualities import DEFAULT_QUALITY
from hwkd.report.profile import cost_table, layer_table, size_table, stage_table
from hwkd.report.table import Table
from hwkd.runtime.bundle import is_bundle
from hwkd.runtime.session import present_runtimes
from hwkd.target import Target, list_targets, load_target, load_targets
from hwkd.target_file import write_target

if TYPE_CHECKING:
    from hwkd.cli.profile_models import Model

__all__ = ["EXAMPLES", "HELP", "configure", "parse_size", "parse_threads", "record_path", "run"]

HELP = "MACs, size, latency, memory and energy of models: measured here, predicted for every target"

EXAMPLES = """examples:
  hwkd profile
  hwkd profile hyperprior:N=128,M=192 hyperprior:N=64,M=192 --format json
  hwkd profile patch-q5 --target host raspberry-pi-4 --energy codecarbon --country FRA
  hwkd profile hyperprior:N=32,M=192,family=relu --bits 8 --target all --layers
  hwkd profile runs/student --save profiles/ --threads 1,2
  hwkd profile student.hwkd runs/student --target host
  hwkd profile patch-q5 --target host --save-target my-board
"""

HOST, ALL, AUTO = "host", "all", "auto"
FALLBACK = "x86-avx2"
"""What a saved target takes its arithmetic from where no shipped target describes the machine."""


Targets = dict[str, tuple[bool, list[Target]]]
"""By the model's text: whether this machine is measured, and the targets to predict for."""


def run(args: argparse.Namespace) -> int:
    """Profile, print, and return the exit code.

    Raises:
        InputError: a name, number or sensor that there is not, or options that contradict each other; told before
            anything is measured.
    """
    width, height = parse_size(args.size)
    refuse_unknown(args.models)
    texts = list(dict.fromkeys(args.models or default_models()))
    threads = parse_threads(args.threads)
    bits = _bits(args.bits, texts)
    targets = {text: _targets(args.target, is_bare=is_architecture(text)) for text in texts}
    on_host = [text for text, (is_on_host, _) in targets.items() if is_on_host]
    _check_options(args, on_host)
    check_torch(texts)
    meter, why_no_meter = _meter(args.energy, has_host=bool(on_host))
    images = None
    if args.evaluate is not None:
        images = open_images(None if args.evaluate is EMBEDDED else args.evaluate)

    # Torch is loaded only now: what the user got wrong was said at once.
    subjects = [load_model(text, width, height, bits) for text in texts]
    check_names(subjects)
    if args.quality is not None:
        check_quality_of(args.quality, subjects)
    quality = DEFAULT_QUALITY if args.quality is None else args.quality
    wanted = Wanted(
        threads=threads,
        runtimes=present_runtimes(),
        seconds=args.seconds,
        meter=meter,
        country=args.country,
        memory=not args.no_memory,
        why_no_meter=why_no_meter,
        quality=quality,
    )
    check_runtimes([subject for subject in subjects if subject.text in on_host], wanted)
    if images is not None:
        with Console(stderr=True).status("evaluating"):
            subjects = [evaluated_model(subject, images, quality) for subject in subjects]
    records = _records(subjects, targets, width, height, wanted, shlex.join(["hwkd", *args.argv]))
    if args.save:
        for record in records:
            write_record(record_path(args.save, record), record)
    if args.save_target:
        _save_target(args.save_target, records)
    emit_all(_tables(records, args), args)
    return 0


def record_path(folder: Path, record: Record) -> Path:
    """DIR/TARGET/MODEL.json, the model's name with what no file name may have replaced."""
    return folder / record.target / f"{file_name(record.model.name)}.json"


def _targets(names: Sequence[str] | None, *, is_bare: bool) -> tuple[bool, list[Target]]:
    """(whether this machine is measured, the targets to predict for)."""
    if names is None:
        names = (ALL,) if is_bare else (HOST, ALL)
    wanted: list[str] = []
    for name in names:
        wanted += list_targets() if name == ALL else [] if name == HOST else [name]
    return HOST in names, load_targets(wanted)


def _bits(text: str | None, models: Sequence[str]) -> BitPlan | None:
    if text is None:
        return None
    bits = parse_bits(text)
    trained = [model for model in models if not is_architecture(model)]
    if trained:
        raise InputError(
            f"--bits is for bare architectures, {trained[0]!r} has bits of its own: see `hwkd quantize`"
        )
    return bits


def _check_options(args: argparse.Namespace, on_host: Sequence[str]) -> None:
    """Refuse what would fail, or be without effect, once all is measured. on_host: the models measured here."""
    if args.save is not None and args.save.exists() and not args.save.is_dir():
        raise InputError(f"--save {args.save} is a file, records need a folder: give another")
    if args.save_target is not None:
        if not on_host:
            raise InputError("--save-target needs measurements of this machine: add --target host")
        if all(map(is_bundle, on_host)):
            raise InputError(
                "--save-target needs the times of layers, and a bundle is measured whole: add a model in torch, as "
                "hyperprior:N=64,M=192"
            )
        check_name(args.save_target)
        place = Path(f"{args.save_target}.toml")
        if place.exists():
            # Its owner may have filled in the power that a meter at the plug showed.
            raise InputError(
                f"--save-target would write over {place}: give another name, or move the file away"
            )
    if args.country is not None:
        if args.energy == NONE or not on_host:
            raise InputError(
                "--country turns energy measured on this machine into emissions: add --target host, and leave out "
                "--energy none"
            )
        _check_country(args.country)


def _check_country(code: str) -> None:
    # codecarbon, which knows the countries, takes a second to import.
    from hwkd.measure.emissions import emissions_g_per_1000

    emissions_g_per_1000(0.0, code)


def _meter(kind: str, *, has_host: bool) -> tuple[OpenedMeter | None, str]:
    """(the sensor, why there is none where one was looked for).

    One that was asked for by name is looked for even where it is not used, and has to be there.
    """
    if kind == NONE or (kind == AUTO and not has_host):
        return None, ""
    try:
        return open_meter(kind), ""
    except InputError as error:
        if kind != AUTO:
            raise
        return None, str(error)


def _records(
    subjects: Sequence["Model"],
    targets: Targets,
    width: int,
    height: int,
    wanted: Wanted,
    command: str,
) -> list[Record]:
    """A record for each model and each machine or target, this machine first."""
    records: list[Record] = []
    total = 0
    for subject in subjects:
        on_host, others = targets[subject.text]
        total += len(others) + (host_steps_of(subject, wanted) if on_host else 0)
    with _progress() as progress:
        task = progress.add_task("profile", total=total)

        def step(subject: Profiled, what: str) -> None:
            progress.update(task, description=f"{subject.facts.name}: {what}", advance=1)

        for subject in subjects:
            on_host, others = targets[subject.text]
            if on_host:
                say = partial(step, subject)
                records.append(profile_here(subject, width, height, wanted, command, say))
            for target in others:
                step(subject, target.name)
                records.append(profile_target(subject, width, height, target, command))
    return records


def _save_target(name: str, records: Sequence[Record]) -> None:
    like = load_target(look().processor.target or FALLBACK)
    target = target_from(name, records, like, host_facts())
    comment = (
        f"Written by {records[0].provenance.command}, {records[0].provenance.created}.\n"
        "Fill in idle_w and load_w from a meter at the plug, and predictions have energy as well."
    )
    write_target(Path(f"{name}.toml"), target, comment)


def _tables(records: Sequence[Record], args: argparse.Namespace) -> tuple[Table, ...]:
    tables = [size_table(records), cost_table(records, is_every_setting=args.settings)]
    tables += [stage_table(record) for record in records if record.is_host]
    if args.layers:
        by_model = {record.model.name: record for record in reversed(records)}
        hosts = {record.model.name: record for record in records if record.is_host}
        tables += [layer_table((by_model | hosts)[name]) for name in reversed(by_model)]
    return tuple(tables)


def _progress() -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f} of {task.total:.0f}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        # Where nobody watches, rich would leave an empty line.
        disable=not console.is_terminal,
    )
