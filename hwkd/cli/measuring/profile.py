"""`hwkd profile`: costs of a model, measured on this machine and predicted on each target."""

import argparse
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from hwkd.bits import BitPlan, parse_bits
from hwkd.cli.model_names import SHIPPED_FIRST, refuse_unknown
from hwkd.cli.tables import TableOptions, emit_all
from hwkd.cli.talk import stderr_console
from hwkd.codec.shipped import shipped_or_as_given
from hwkd.errors import InputError
from hwkd.images import ImageSource, open_images
from hwkd.measure.bundles import (
    BundleSubject,
    bundle_steps,
    evaluated_bundle,
    load_bundle_subject,
    profile_bundle,
    runtimes_for,
)
from hwkd.measure.energy.sensors import KINDS, OpenedMeter, open_meter
from hwkd.measure.machine import host_facts, installed_version, look
from hwkd.measure.predict.constants import check_name, target_from
from hwkd.measure.profile import Profiled, ProfilePlan, profile_target
from hwkd.measure.record import Record, write_record
from hwkd.models.spec import is_architecture
from hwkd.options import option, positive, whole
from hwkd.qualities import DEFAULT_QUALITY, HIGHEST, LOWEST, check_within
from hwkd.report.profile import cost_table, glance_table, layer_table, size_table, stage_table
from hwkd.report.table import Table
from hwkd.runtime.bundle import BUNDLE_SUFFIX, is_bundle
from hwkd.runtime.session import present_runtimes, usable_cores
from hwkd.target import Target, list_targets, load_target, load_targets, write_target

if TYPE_CHECKING:
    from hwkd.measure.eager.models import Subject

    Model = Subject | BundleSubject


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
FEW = 4
"""Largest number of records with which the stages of coding fit on the first screen."""
STEP_S, BUNDLE_STEP_S = 25.0, 5.0
"""Seconds of a step on this machine beside --seconds, for loading, starting processes, and runs of layers."""
FALLBACK = "x86-avx2"
"""Source of a saved target's arithmetic if no shipped target describes the machine."""


Targets = dict[str, tuple[bool, list[Target]]]
"""By the model's text: whether this machine is measured, and the targets to predict for."""


# The options of `hwkd profile`.

EMBEDDED = object()
"""Value of --evaluate without a folder. It is not a path, because "." is a folder of the user."""
NONE = "none"
"""A value of --energy beside the meters."""


@dataclass(frozen=True, kw_only=True)
class ProfileOptions(TableOptions):
    """The options of `hwkd profile`."""

    models: tuple[str, ...] = option(
        "the name of a bundle or teacher that ships, a run folder, a checkpoint, a bundle (.hwkd), or a bare "
        f"architecture as hyperprior:N=64,M=192[,family=relu]; {SHIPPED_FIRST}; default: the newest run in runs/, or else patch-q5",
        "MODEL",
        shipped_or_as_given,
        default=(),
        positional=True,
        nargs="*",
    )
    target: tuple[str, ...] | None = option(
        "host (this machine, measured), all, names of targets or .toml files of your own; default: host and all "
        "for trained models, all for bare architectures",
        "NAME",
        nargs="+",
    )
    size: str = option("of the image in pixels", "WxH", default="768x512")
    threads: str | None = option(
        "on this machine; of several the first is the main one (default: all usable cores)", "N[,N]"
    )
    energy: str = option(
        "the sensor on this machine (default: auto: ina3221, rapl, or else codecarbon's estimate, or none of them)",
        default=AUTO,
        choices=(*KINDS, NONE),
    )
    country: str | None = option(
        "three letters (FRA): emissions of this country's electricity, by codecarbon", "ISO"
    )
    bits: str | None = option(
        "predict a bare architecture as quantized to these bits (a trained model has its own)",
        "W[/A]",
    )
    seconds: float = option(
        "to spend on each group of latencies and on the energy of each side",
        "S",
        positive,
        default=4.0,
    )
    evaluate: Path | None = option(
        "measure PSNR and bits per pixel of trained models on the images in DIR (without DIR: on the embedded "
        "photographs); otherwise they are those of the model's card or the run's report",
        "DIR",
        nargs="?",
        const=EMBEDDED,
    )
    quality: int | None = option(
        f"of models of all rates, {LOWEST} to {HIGHEST}: at which they are measured here (default: {DEFAULT_QUALITY})",
        "N",
        whole(LOWEST, HIGHEST),
        short="-q",
    )
    no_memory: bool = option("do not start the processes that measure memory", default=False)
    layers: bool = option("a table of each model's layers", default=False)
    settings: bool = option(
        "a row for every unit and number of threads, not for the main one only", default=False
    )
    save: Path | None = option(
        "write the records to DIR/TARGET/MODEL.json, for `hwkd compare`", "DIR"
    )
    save_target: str | None = option(
        "make this machine a target: writes NAME.toml with constants from the measured layers",
        "NAME",
    )


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options to `parser`."""
    ProfileOptions.add_to(parser)


def run(args: argparse.Namespace) -> int:
    """Profile, print, and return the exit code.

    Raises:
        InputError: a name, number or sensor does not exist, or options contradict each other; raised before anything is
            measured.
    """
    options = ProfileOptions.of(args)
    records: list[Record] = []

    def keep(record: Record) -> None:
        # Kept as soon as it is known: later steps may fail, or be interrupted.
        records.append(record)
        if options.save:
            write_record(record_path(options.save, record), record)

    try:
        profile_each(options, shlex.join(["hwkd", *args.argv]), keep, says=True)
    except BaseException:
        if records:
            emit_all(_tables(records, options), options, first=_first_tables(records, options))
        raise
    emit_all(_tables(records, options), options, first=_first_tables(records, options))
    if options.save_target:
        _save_target(options.save_target, records)
    return 0


def profile_each(
    options: ProfileOptions,
    command: str,
    keep: Callable[[Record], None],
    *,
    says: bool = False,
) -> None:
    """Call `keep` with a record for each model and each machine or target that `options` name. Raises as `run`.

    Args:
        command: the command that the records name.
        says: whether standard error gets the expected duration, and each step if no bar is drawn.
    """
    width, height = parse_size(options.size)
    refuse_unknown(options.models)
    texts = list(dict.fromkeys(options.models or default_models()))
    threads = parse_threads(options.threads)
    bits = _bits(options.bits, texts)
    targets = {text: _targets(options.target, is_bare=is_architecture(text)) for text in texts}
    on_host = [text for text, (is_on_host, _) in targets.items() if is_on_host]
    _check_options(options, on_host)
    check_torch(texts)
    meter, why_no_meter = _meter(options.energy, has_host=bool(on_host))
    images = None
    if options.evaluate is not None:
        images = open_images(None if options.evaluate is EMBEDDED else options.evaluate).readable()

    # Torch is loaded only now: wrong input was already reported.
    subjects = [load_model(text, width, height, bits) for text in texts]
    check_names(subjects)
    if options.quality is not None:
        check_quality_of(options.quality, subjects)
    quality = DEFAULT_QUALITY if options.quality is None else options.quality
    wanted = ProfilePlan(
        threads=threads,
        runtimes=present_runtimes(),
        seconds=options.seconds,
        meter=meter,
        country=options.country,
        memory=not options.no_memory,
        why_no_meter=why_no_meter,
        quality=quality,
    )
    check_runtimes([subject for subject in subjects if subject.text in on_host], wanted)
    if images is not None:
        with stderr_console().status("evaluating"):
            subjects = [evaluated_model(subject, images, quality) for subject in subjects]
    if on_host and says:
        default = None if options.models else texts[0]
        stderr_console().print(_duration(subjects, targets, wanted, default), soft_wrap=True)
    _profile(subjects, targets, width, height, wanted, command, keep, says)


def record_path(folder: Path, record: Record) -> Path:
    """DIR/TARGET/MODEL.json; characters of the model's name that a file name may not have are replaced."""
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


def _check_options(options: ProfileOptions, on_host: Sequence[str]) -> None:
    """Refuse options that would fail, or have no effect, after the measurements.

    Args:
        on_host: the models measured here.
    """
    if options.save is not None and options.save.exists() and not options.save.is_dir():
        raise InputError(f"--save {options.save} is a file, records need a folder: give another")
    if options.save_target is not None:
        if not on_host:
            raise InputError("--save-target needs measurements of this machine: add --target host")
        if all(map(is_bundle, on_host)):
            raise InputError(
                "--save-target needs the times of layers, and a bundle is measured whole: add a model in torch, as "
                "hyperprior:N=64,M=192"
            )
        check_name(options.save_target)
        place = Path(f"{options.save_target}.toml")
        if place.exists():
            # Its owner may have filled in the power that a meter at the plug showed.
            raise InputError(
                f"--save-target would write over {place}: give another name, or move the file away"
            )
    if options.country is not None:
        if options.energy == NONE or not on_host:
            raise InputError(
                "--country turns energy measured on this machine into emissions: add --target host, and leave out "
                "--energy none"
            )
        _check_country(options.country)


def _check_country(code: str) -> None:
    # codecarbon, which knows the countries, takes a second to import.
    from hwkd.measure.energy.codecarbon import emissions_g_per_1000

    emissions_g_per_1000(0.0, code)


def _meter(kind: str, *, has_host: bool) -> tuple[OpenedMeter | None, str]:
    """(the sensor, the reason if the search for one found none).

    A sensor that the user named must exist, even if it is not used.
    """
    if kind == NONE or (kind == AUTO and not has_host):
        return None, ""
    try:
        return open_meter(kind), ""
    except InputError as error:
        if kind != AUTO:
            raise
        return None, str(error)


def _profile(
    subjects: Sequence["Model"],
    targets: Targets,
    width: int,
    height: int,
    wanted: ProfilePlan,
    command: str,
    keep: Callable[[Record], None],
    says: bool,
) -> None:
    """Call `keep` with a record for each model and each machine or target, this machine first."""
    total = 0
    for subject in subjects:
        on_host, others = targets[subject.text]
        total += len(others) + (host_steps_of(subject, wanted) if on_host else 0)
    with _Steps(total, says) as steps:

        def step(subject: Profiled, what: str) -> None:
            steps.step(f"{subject.facts.name}: {what}", takes_long=True)

        for subject in subjects:
            on_host, others = targets[subject.text]
            if on_host:
                say = partial(step, subject)
                keep(profile_here(subject, width, height, wanted, command, say))
            for target in others:
                steps.step(f"{subject.facts.name}: {target.name}", takes_long=False)
                keep(profile_target(subject, width, height, target, command))


def _save_target(name: str, records: Sequence[Record]) -> None:
    like = load_target(look().processor.target or FALLBACK)
    target = target_from(name, records, like, host_facts())
    comment = (
        f"Written by {records[0].provenance.command}, {records[0].provenance.created}.\n"
        "Fill in idle_w and load_w from a meter at the plug, and predictions have energy as well."
    )
    write_target(Path(f"{name}.toml"), target, comment)


def _tables(records: Sequence[Record], options: ProfileOptions) -> tuple[Table, ...]:
    tables = [size_table(records), cost_table(records, is_every_setting=options.settings)]
    tables += [stage_table(record) for record in records if record.is_host]
    if options.layers:
        by_model = {record.model.name: record for record in reversed(records)}
        hosts = {record.model.name: record for record in records if record.is_host}
        tables += [layer_table((by_model | hosts)[name]) for name in reversed(by_model)]
    return tuple(tables)


def _first_tables(
    records: Sequence[Record], options: ProfileOptions
) -> tuple[tuple[Table, ...], tuple[str, ...]]:
    """The most important of `_tables`, and what is left out. Tables that an option requests are always included."""
    size, cost, *others = _tables(records, options)
    shown = [size, cost if options.settings else glance_table(records)]
    left_out = [] if options.settings else ["intervals", "the networks alone"]
    stages = sum(record.is_host for record in records)
    if len(records) > FEW:
        left_out += ["the stages of coding"] * (stages > 0)
        others = others[stages:]
    return (*shown, *others), tuple(left_out)


def _duration(
    subjects: Sequence["Model"], targets: Targets, wanted: ProfilePlan, default: str | None
) -> str:
    """The approximate duration, in words."""
    here = [subject for subject in subjects if targets[subject.text][0]]
    seconds = sum(
        host_steps_of(subject, wanted)
        * (2 * wanted.seconds + (BUNDLE_STEP_S if isinstance(subject, BundleSubject) else STEP_S))
        for subject in here
    )
    about = f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{max(seconds, 1):.0f} seconds"
    what = ", ".join(subject.facts.name for subject in here)
    which = "" if default is None else f"no MODEL is given, so this is {default}; "
    return (
        f"profile: {which}measuring {what} on this machine takes about {about}, longer where it is busy; without "
        "measuring: --target all"
    )


class _Steps:
    """The progress of a profile: a bar on a terminal; elsewhere a line for each step if `says`."""

    def __init__(self, total: int, says: bool) -> None:
        self._console = stderr_console(quiet=not says)
        self._bar = _progress()
        self._total, self._done = total, 0
        self._task = self._bar.add_task("profile", total=total)

    def __enter__(self) -> "_Steps":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def step(self, what: str, *, takes_long: bool) -> None:
        """Announce the next step."""
        self._done += 1
        self._bar.update(self._task, description=what, advance=1)
        if self._bar.disable and takes_long:
            self._console.print(f"{self._done} of {self._total}: {what}", soft_wrap=True)


def _progress() -> Progress:
    console = stderr_console()
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:.0f} of {task.total:.0f}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        # Without a terminal, rich would leave an empty line.
        disable=not console.is_terminal,
    )


# From the texts of some options to values.

MOST_SIDE = 16384


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


# The models of `hwkd profile`, in torch or as bundles: loaded, evaluated and measured each in its own way.
#
# Torch is imported only for a model that needs it.


def default_models() -> list[str]:
    """The newest run in runs/, or else the default teacher. Raises as `check_torch`."""
    check_torch(("the default model",))
    from hwkd.measure.eager.models import newest_run
    from hwkd.models.teacher import DEFAULT

    return [newest_run() or DEFAULT]


def check_torch(texts: Sequence[str]) -> None:
    """Refuse a model that needs torch if torch is not installed.

    Raises:
        InputError: there is one among `texts`.
    """
    others = [text for text in texts if not is_bundle(text)]
    if others and installed_version("torch") is None:
        raise InputError(
            f'{others[0]} takes torch, which is not installed: pip install "hwkd[train]", or give a bundle '
            f"({BUNDLE_SUFFIX})"
        )


def load_model(text: str, width: int, height: int, bits: BitPlan | None) -> "Model":
    """The model that `text` names, for images of width x height; a bare architecture as quantized to `bits`.

    Raises:
        InputError: as hwkd.measure.bundles.load_bundle_subject, or hwkd.measure.eager.models.load_subject.
    """
    if is_bundle(text):
        return load_bundle_subject(text, width, height)
    from hwkd.measure.eager.models import load_subject, quantized

    subject = load_subject(text, width, height)
    return subject if bits is None else quantized(subject, bits)


def check_quality_of(quality: int, subjects: Sequence["Model"]) -> None:
    """Refuse a given quality if a model of all rates lacks it, or if there is no such model."""
    of_all_rates = [(s.facts.name, s.qualities) for s in subjects if s.qualities is not None]
    if not of_all_rates:
        raise InputError(
            f"{subjects[0].facts.name} codes at one rate and takes no quality; leave --quality out, or give a model of all "
            "rates"
        )
    for name, qualities in of_all_rates:
        check_within(name, qualities, quality)


def evaluated_model(subject: "Model", images: ImageSource, quality: int) -> "Model":
    """`subject` with its quality measured on `images`; a model of all rates is measured at `quality`."""
    own = None if subject.qualities is None else quality
    if isinstance(subject, BundleSubject):
        return evaluated_bundle(subject, images, own)
    from hwkd.measure.eager.models import evaluated

    return evaluated(subject, images, own)


def check_names(subjects: Sequence[Profiled]) -> None:
    """Refuse two models of one name: the tables and --save distinguish models by their names."""
    found: dict[str, Profiled] = {}
    for subject in subjects:
        other = found.setdefault(file_name(subject.facts.name), subject)
        if other is not subject:
            raise InputError(
                f"{other.text} and {subject.text} are both called {subject.facts.name}, so that their rows and files "
                "could not be told apart: profile one at a time, or rename a folder"
            )


def file_name(model: str) -> str:
    """A model's name as a file name: in small letters, with forbidden characters replaced."""
    kept = [c if c.isalnum() or c in "._-" else " " for c in model.lower()]
    return "-".join("".join(kept).split())


def check_runtimes(subjects: Sequence["Model"], wanted: ProfilePlan) -> None:
    """Refuse a bundle that no runtime of `wanted` can run."""
    for subject in subjects:
        if isinstance(subject, BundleSubject):
            runtimes_for(subject, wanted)


def host_steps_of(subject: "Model", wanted: ProfilePlan) -> int:
    """The number of times that `profile_here` calls its progress."""
    if isinstance(subject, BundleSubject):
        return bundle_steps(wanted)
    from hwkd.measure.eager.profile import host_steps

    return host_steps(wanted)


def profile_here(
    subject: "Model",
    width: int,
    height: int,
    wanted: ProfilePlan,
    command: str,
    progress: Callable[[str], None],
) -> Record:
    """`subject` measured on this machine, as hwkd.measure.bundles or hwkd.measure.eager.profile."""
    if isinstance(subject, BundleSubject):
        return profile_bundle(subject, width, height, wanted, command, progress)
    from hwkd.measure.eager.profile import profile_host

    return profile_host(subject, width, height, wanted, command, progress)
