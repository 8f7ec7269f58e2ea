"""`hwkd profile`: what a model costs on this machine, measured, and on each target, predicted."""

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from hwkd.cli.distill_values import above_0
from hwkd.cli.output import add_output_options, emit_all
from hwkd.errors import InputError
from hwkd.images import open_images
from hwkd.measure.host import host_facts, usable_cores
from hwkd.measure.machine import look
from hwkd.measure.meters import KINDS, open_meter
from hwkd.measure.record import Record
from hwkd.measure.record_file import write_record
from hwkd.models.architecture import is_architecture
from hwkd.quantize.bits import parse_bits
from hwkd.report.profile_tables import cost_table, layer_table, size_table, stage_table
from hwkd.report.table import Table
from hwkd.runtime.session import present_runtimes
from hwkd.target import Target, list_targets, load_target

if TYPE_CHECKING:
    from hwkd.measure.subject import Subject

HELP = "MACs, size, latency, memory and energy of models: measured here, predicted for every target"

EXAMPLES = """examples:
  hwkd profile
  hwkd profile hyperprior:N=128,M=192 hyperprior:N=64,M=192 --format json
  hwkd profile patch-q5 --target host raspberry-pi-4 --energy codecarbon --country FRA
  hwkd profile hyperprior:N=32,M=192,family=relu --bits 8 --target all --layers
  hwkd profile runs/student --save profiles/ --threads 1,2
  hwkd profile patch-q5 --target host --save-target my-board
"""

EMBEDDED = Path()
"""What --evaluate without a folder means."""
HOST, ALL, NONE = "host", "all", "none"
MOST_SIDE = 16384
FALLBACK = "x86-avx2"
"""What a saved target takes its arithmetic from where no shipped target describes the machine."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the arguments of `hwkd profile`."""
    parser.add_argument(
        "models",
        nargs="*",
        metavar="MODEL",
        help="a shipped model's name, a run folder, a teacher, or a bare architecture as "
        "hyperprior:N=64,M=192[,family=relu]; default: the newest run in runs/, or else the shipped models",
    )
    parser.add_argument(
        "--target",
        nargs="+",
        metavar="NAME",
        help="host (this machine, measured), all, names of targets or .toml files of your own; default: host and all "
        "for trained models, all for bare architectures",
    )
    parser.add_argument(
        "--size",
        default="768x512",
        metavar="WxH",
        help="of the image in pixels (default: 768x512)",
    )
    parser.add_argument(
        "--threads",
        metavar="N[,N]",
        help="on this machine; of several the first is the main one (default: all usable cores)",
    )
    parser.add_argument(
        "--energy",
        default="auto",
        choices=(*KINDS, NONE),
        help="the sensor on this machine (default: auto: ina3221, rapl, or else codecarbon's estimate)",
    )
    parser.add_argument(
        "--country",
        metavar="ISO",
        help="three letters (FRA): emissions of this country's electricity, by codecarbon",
    )
    parser.add_argument(
        "--bits",
        metavar="W[/A]",
        help="predict a bare architecture as quantized to these bits (a trained model has its own)",
    )
    parser.add_argument(
        "--seconds",
        type=above_0,
        default=4.0,
        metavar="S",
        help="to spend on each group of latencies and on the energy of each side (default: 4)",
    )
    parser.add_argument(
        "--evaluate",
        nargs="?",
        type=Path,
        const=EMBEDDED,
        metavar="DIR",
        help="measure PSNR and bits per pixel of trained models on the images in DIR (without DIR: on the embedded "
        "photographs); otherwise they are those of the model's card or the run's report",
    )
    parser.add_argument(
        "--no-memory", action="store_true", help="do not start the processes that measure memory"
    )
    parser.add_argument("--layers", action="store_true", help="a table of each model's layers")
    parser.add_argument(
        "--settings",
        action="store_true",
        help="a row for every unit and number of threads, not for the main one only",
    )
    parser.add_argument(
        "--save",
        type=Path,
        metavar="DIR",
        help="write the records to DIR/TARGET/MODEL.json, for `hwkd compare`",
    )
    parser.add_argument(
        "--save-target",
        metavar="NAME",
        help="make this machine a target: writes NAME.toml with constants from the measured layers",
    )
    add_output_options(parser)


def run(args: argparse.Namespace) -> int:
    """Profile, print, and return the exit code.

    Raises:
        InputError: a name, number or sensor that there is not; told before anything is measured.
    """
    width, height = parse_size(args.size)
    texts = args.models or _default_models()
    threads = parse_threads(args.threads)
    bits = None if args.bits is None else parse_bits(args.bits)
    trained = [text for text in texts if not is_architecture(text)]
    if bits is not None and trained:
        raise InputError(
            f"--bits is for bare architectures, {trained[0]!r} has bits of its own: see `hwkd quantize`"
        )
    targets = {text: _targets(args.target, is_bare=is_architecture(text)) for text in texts}
    has_host = any(on_host for on_host, _ in targets.values())
    if args.save_target and not has_host:
        raise InputError("--save-target needs measurements of this machine: add --target host")
    meter = None
    if args.energy != NONE and (has_host or args.energy != "auto"):
        meter = open_meter(args.energy)
    if args.country is not None:
        _check_country(args.country)
    images = None
    if args.evaluate is not None:
        images = open_images(None if args.evaluate == EMBEDDED else args.evaluate)

    # Torch is loaded only now: what the user got wrong was said at once.
    from hwkd.measure.profile import Wanted, host_steps, profile_host, profile_target
    from hwkd.measure.subject import evaluated, load_subject

    wanted = Wanted(
        threads, present_runtimes(), args.seconds, meter, args.country, not args.no_memory
    )
    command = shlex.join(["hwkd", *args.argv])
    subjects = [_with_bits(load_subject(text, width, height), bits) for text in texts]
    if images is not None:
        with Console(stderr=True).status("evaluating"):
            subjects = [evaluated(subject, images) for subject in subjects]
    records: list[Record] = []
    total = sum(len(t) + on_host * host_steps(wanted) for on_host, t in targets.values())
    with _progress() as progress:
        task = progress.add_task("profile", total=total)

        def step(subject: "Subject", what: str) -> None:
            progress.update(task, description=f"{subject.facts.name}: {what}", advance=1)

        for subject in subjects:
            on_host, others = targets[subject.text]
            if on_host:
                records.append(
                    profile_host(
                        subject,
                        width,
                        height,
                        wanted,
                        command,
                        partial(step, subject),
                    )
                )
            for target in others:
                step(subject, target.name)
                records.append(profile_target(subject, width, height, target, command))
    if args.save:
        for record in records:
            write_record(record_path(args.save, record), record)
    if args.save_target:
        _save_target(args.save_target, records)
    emit_all(_tables(records, args), args)
    return 0


def parse_size(text: str) -> tuple[int, int]:
    """(width, height) in "768x512". Raises InputError for anything else."""
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(p.isascii() and p.isdigit() for p in parts):
        raise InputError(f"--size {text!r} is not WIDTHxHEIGHT in pixels: give 768x512, say")
    width, height = map(int, parts)
    if not (1 <= width <= MOST_SIDE and 1 <= height <= MOST_SIDE):
        raise InputError(f"--size takes 1 to {MOST_SIDE} pixels a side, got {text}")
    return width, height


def parse_threads(text: str | None) -> tuple[int, ...]:
    """The numbers in "2" or "1,2"; all usable cores for None. Raises InputError for anything else."""
    cores = usable_cores()
    if text is None:
        return (cores,)
    parts = [part.strip() for part in text.split(",")]
    if not all(p.isascii() and p.isdigit() for p in parts):
        raise InputError(f"--threads {text!r} is not a number of threads: give 2, or 1,2")
    found = tuple(dict.fromkeys(int(part) for part in parts))
    if not all(1 <= n <= cores for n in found):
        raise InputError(f"--threads takes 1 to {cores} (the cores usable here), got {text}")
    return found


def record_path(folder: Path, record: Record) -> Path:
    """DIR/TARGET/MODEL.json, the model's name with what no file name may have replaced."""
    kept = [c if c.isalnum() or c in "._-" else " " for c in record.model.name.lower()]
    return folder / record.target / f"{'-'.join(''.join(kept).split())}.json"


def _default_models() -> list[str]:
    from hwkd.measure.subject import newest_run
    from hwkd.models.shipped import shipped_names

    run = newest_run()
    return [run] if run is not None else shipped_names()


def _targets(names: Sequence[str] | None, *, is_bare: bool) -> tuple[bool, list[Target]]:
    """(whether this machine is measured, the targets to predict for)."""
    if names is None:
        names = (ALL,) if is_bare else (HOST, ALL)
    wanted: list[str] = []
    for name in names:
        wanted += list_targets() if name == ALL else [] if name == HOST else [name]
    return HOST in names, [load_target(name) for name in dict.fromkeys(wanted)]


def _check_country(code: str) -> None:
    """Refuse an unknown country before anything is measured."""
    from hwkd.measure.emissions import emissions_g_per_1000

    emissions_g_per_1000(0.0, code)


def _with_bits(subject: "Subject", bits: object) -> "Subject":
    from hwkd.models.build import build
    from hwkd.quantize.bits import BitPlan
    from hwkd.quantize.brevitas_qat import quantize
    from hwkd.quantize.layers import weight_bytes

    if not isinstance(bits, BitPlan):
        return subject
    twin = build(subject.spec)
    quantize(twin, bits)
    return replace(
        subject,
        bits=bits,
        facts=replace(
            subject.facts,
            name=f"{subject.facts.name} {bits.weight_bits}/{bits.act_bits}",
            weight_bits=str(bits.weight_bits),
        ),
        size=replace(subject.size, weight_bytes=weight_bytes(twin)),
    )


def _save_target(name: str, records: Sequence[Record]) -> None:
    from hwkd.measure.save_target import target_from
    from hwkd.target_file import write_target

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
