"""`hwkd distill`: trains a small quantized student from a teacher, and writes its report."""

import argparse
import shlex
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from hwkd.bits import BitPlan, parse_bits, parse_layer_bits
from hwkd.cli.tables import ScreenOptions, printed, terminal_width
from hwkd.cli.talk import stderr_console
from hwkd.cli.training.progress import TrainingBar
from hwkd.distill.options import (
    DEFAULT_MINUTES,
    DEFAULT_RD_WEIGHT,
    NO_BITS,
    DistillOptions,
    parse_channels,
    parse_kd,
)
from hwkd.distill.recipe import MODELS, OF_RECIPE, RUNS, read_recipe, recipe_names, with_recipe
from hwkd.errors import InputError
from hwkd.images import ImageSource, also_among, find_images, open_images
from hwkd.models.shipped import SHIPPED_START, shipped_names
from hwkd.options import option
from hwkd.quantize.precision import plan_precision
from hwkd.report.table import Table
from hwkd.runtime.session import usable_cores
from hwkd.target import load_target

if TYPE_CHECKING:
    from hwkd.distill.config import RunConfig
    from hwkd.distill.data import TrainingImages
    from hwkd.distill.distributed import Processes
    from hwkd.distill.losses import LossWeights
    from hwkd.models.base import HyperpriorCodec
    from hwkd.models.spec import Spec
    from hwkd.models.teacher import Teacher
    from hwkd.report.run import Assembled

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


@dataclass(frozen=True, kw_only=True)
class RecipesOptions(ScreenOptions):
    """The options of `hwkd distill` for its list of recipes, which are not options of a run."""

    recipes: bool = option("list the shipped recipes, and stop", default=False)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options to `parser`, in groups."""
    DistillOptions.add_to(parser, {"recipe": RecipesOptions.add_to})


def recipes_table() -> Table:
    """The recipes that ship: for each, its product, its steps, and the recipes that must run first."""
    rows = []
    for name in recipe_names():
        recipe = read_recipe(name)
        options = recipe.given()
        steps = [f"{options[key]:,}" for key in ("steps", "qat_steps") if options.get(key)]
        runs = [str(options.get(key, "")) for key in MODELS]
        needed = [text.removeprefix(OF_RECIPE) for text in runs if text.startswith(OF_RECIPE)]
        rows.append((name, recipe.description, " + ".join(steps), ", ".join(needed) or "nothing"))
    notes = (
        "steps: of the float phase + of the quantized phase.",
        f"needs: runs of other recipes, looked for beside the new one ({RUNS}/NAME unless -o says so).",
        "Make one: hwkd distill --recipe NAME --data DIR; options given beside it win over the recipe's.",
    )
    columns = ("recipe", "makes", "steps", "needs")
    return Table("Recipes", columns, tuple(rows), notes, ("steps",))


# From the options of `hwkd distill` to the run's configuration, and back to a command line.


@dataclass(frozen=True)
class Planned:
    """The bits of a run, as the target allows them.

    Attributes:
        bits: the bits to train in; None for float.
        sentences: the precision plan, in sentences.
        folder: the default run folder.
    """

    bits: BitPlan | None
    sentences: list[str]
    folder: Path


def planned(options: DistillOptions) -> Planned:
    """The bits that the target's kernels can hold, and its precision plan.

    Raises:
        InputError: an unknown target, bits out of range, or a target that --strict refuses.
    """
    target = load_target(options.named_target)
    name = f"{target.name}-{options.student_family}"
    if options.bits == NO_BITS:
        if options.strict:
            raise InputError(
                "--strict needs bits to be strict about: got --bits none; give --bits 8"
            )
        sentence = f"The student stays in float32 (--bits none): no plan for {target.name}."
        return Planned(None, [sentence], Path("runs") / f"{name}-float")
    asked = parse_bits(options.bits)
    layers = tuple(parse_layer_bits(text) for text in options.layer_bits)
    plan = plan_precision(
        target,
        asked.weight_bits,
        asked.act_bits,
        family=options.student_family,
        strict=options.strict,
    )
    # If 8-bit weights would saturate, as on x86 without VNNI, the student is trained in bits that fit.
    fitting = min(asked.weight_bits, plan.preferred("encoder").weight_storage_bits)
    bits = BitPlan(fitting, asked.act_bits, layers)
    tag = f"w{bits.weight_bits}a{bits.act_bits}"
    return Planned(bits, plan.sentences(), Path("runs") / f"{name}-{tag}")


def loss_weights(options: DistillOptions) -> "LossWeights":
    """The weights of the loss. Raises InputError."""
    from hwkd.distill.losses import LossWeights

    weights = parse_kd(options.kd)
    rd = options.rd_weight
    if rd is None:
        rd = DEFAULT_RD_WEIGHT if any(weights.values()) else 1.0
    return LossWeights(rd=rd, distance=options.kd_loss, **weights)


@dataclass(frozen=True)
class Start:
    """The source of the student's first weights.

    Attributes:
        codec: None for random weights.
    """

    codec: "HyperpriorCodec | None"
    name: str
    sha256: str
    spec: "Spec | None" = None
    """Spec of a run's student or of a shipped model. The new run continues it unless the options give other widths."""
    lmbda: float | None = None
    """The lambda of its training; None if it is not known."""


def load_start(text: str, teacher: "Teacher") -> Start:
    """The model that `--start` names. Raises InputError if it is not a model to start from."""
    if text == "random":
        return Start(None, "random", "")
    if text == "teacher":
        return Start(
            teacher.model, f"teacher {teacher.name}", teacher.sha256 or "", None, teacher.lmbda
        )
    if text in shipped_names():
        from hwkd.models.teacher import load_teacher

        shipped = load_teacher(text)
        return Start(
            shipped.model,
            f"{SHIPPED_START}{text}",
            shipped.sha256 or "",
            shipped.spec,
            shipped.lmbda,
        )
    folder = Path(text.removesuffix(":float"))
    if not folder.is_dir():
        raise InputError(
            f"--start {text!r} is no run folder: give teacher, random, recipe:NAME, a shipped model "
            f"({', '.join(shipped_names())}), or a folder that `hwkd distill` wrote"
        )
    from hwkd.distill.run_folder import load_run

    loaded = load_run(folder, as_float=True)
    return Start(loaded.codec, f"run {loaded.name}", loaded.sha256 or "", loaded.spec, loaded.lmbda)


def run_config(
    options: DistillOptions,
    bits: BitPlan | None,
    loss: "LossWeights",
    teacher: "Teacher",
    second: "Teacher | None",
    images: "TrainingImages",
    start: Start,
    processes: "Processes",
) -> "RunConfig":
    """The run's configuration: the options together with the models and images that they name.

    Raises:
        InputError: no lambda is known, or the family does not take this number of widths.
    """
    import torch

    from hwkd.distill.config import RunConfig

    qat_steps = options.qat_steps
    if qat_steps is None and options.steps is not None:
        qat_steps = options.steps // 4 if bits is not None and not options.ptq else 0
    device = "cuda" if torch.cuda.is_available() else "cpu"
    lmbda = _lmbda(options, teacher)
    return RunConfig(
        spec=_spec(options, teacher, start, all_rates=lmbda is None),
        lmbda=lmbda,
        target=options.named_target,
        bits=bits,
        teacher=teacher.name,
        teacher_sha256=teacher.sha256 or "",
        second_teacher="" if second is None else second.name,
        second_teacher_sha256="" if second is None else second.sha256 or "",
        start=start.name,
        start_sha256=start.sha256,
        data=f"{images.source}: {len(images.train_names)} images, {images.pixels / 1e6:.1f} Mpx, "
        f"{len(images.held_out)} held out",
        float_steps=options.steps,
        qat_steps=qat_steps,
        minutes=None if options.steps is not None else options.minutes or DEFAULT_MINUTES,
        ptq=options.ptq,
        loss=loss,
        crop=options.crop,
        batch=options.batch,
        lr=options.lr,
        qat_lr=options.qat_lr,
        optimizer=_optimizer(options),
        schedule=options.schedule,
        precision=_precision(options.precision, device),
        device=device,
        threads=options.threads or min(torch.get_num_threads(), usable_cores()),
        seed=options.seed,
        cached_crops=options.cache_crops,
        checkpoint_every=options.checkpoint_every,
        processes=processes.count,
        accumulate=options.accumulate,
    )


def _optimizer(options: DistillOptions) -> str:
    from hwkd.models.families.family import student_family

    if options.optimizer != "auto":
        return str(options.optimizer)
    return student_family(options.student_family).optimizer


def _spec(options: DistillOptions, teacher: "Teacher", start: Start, *, all_rates: bool) -> "Spec":
    """The student's spec. Without a given width: the spec of the run that it starts from."""
    from hwkd.models.spec import student_spec, with_rates

    widths = {options.width, options.latent, options.hyper, options.hyper_latent, options.post}
    if start.spec is not None and start.spec.family == options.student_family and widths == {None}:
        return with_rates(start.spec, all_rates=all_rates)
    return student_spec(
        options.student_family,
        _channels("--width", options.width),
        _latent(options, teacher, all_rates=all_rates),
        options.hyper,
        options.hyper_latent,
        _channels("--post", options.post),
        all_rates=all_rates,
    )


def _channels(flag: str, text: str | None) -> tuple[int, ...] | None:
    return None if text is None else parse_channels(flag, text)


def _latent(options: DistillOptions, teacher: "Teacher", *, all_rates: bool) -> int:
    """Channels of y: the teacher's. For all rates from a teacher of one rate: as many as the highest quality needs."""
    from hwkd.models.families.family import student_family

    if options.latent is not None:
        return int(options.latent)
    if all_rates and not teacher.spec.serves_all_rates:
        return student_family(options.student_family).latent_of_all_rates or teacher.spec.M
    return teacher.spec.M


def _lmbda(options: DistillOptions, teacher: "Teacher") -> float | None:
    """The student's lambda; None for a student of all rates."""
    from hwkd.models.families.family import student_family
    from hwkd.models.spec import lmbda_of

    is_given = (options.quality, options.lmbda) != (None, None)
    has_all_rates = student_family(options.student_family).has_all_rates
    if options.all_rates or (not is_given and has_all_rates and teacher.spec.serves_all_rates):
        return None
    lmbda: float | None = options.lmbda if options.quality is None else lmbda_of(options.quality)
    if lmbda is None:
        lmbda = teacher.lmbda
    if lmbda is None:
        raise InputError(
            f"the teacher {teacher.name} does not say its lambda: give --lmbda or --quality"
        )
    return lmbda


def _precision(text: str, device: str) -> str:
    """The precision that the user named. Otherwise bf16 if the processor computes in it, else fp32."""
    if text != "auto":
        return text
    import torch

    if device == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    has_bf16: Any = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return "bf16" if has_bf16() else "fp32"


def command_again(given: Mapping[str, Any], config: "RunConfig", folder: Path) -> str:
    """The command line that repeats the run: the given options, and every value that the machine decided.

    Args:
        config: the run's configuration, with its steps (hwkd.distill.run.with_steps).
    """
    launcher = ["hwkd"]
    if config.processes > 1:
        launcher = ["torchrun", "--nproc-per-node", str(config.processes), "-m", "hwkd"]
    again = {
        **given,
        "minutes": None,
        "steps": config.float_steps,
        "qat_steps": config.qat_steps,
        "threads": config.threads,
        "precision": config.precision,
        "output": None,
        "resume": False,
        "force": False,
    }
    words = [*launcher, "distill", *DistillOptions.words(again)]
    return shlex.join([*words, "-o", f"{folder}-again"])


def run(args: argparse.Namespace) -> int:
    """Check the input, train, evaluate, write and print the report; with --recipes, print their table."""
    listing = RecipesOptions.of(args)
    if listing.recipes:
        print(printed((recipes_table(),), terminal_width(), is_full=listing.full))
        return 0
    done = distilled(DistillOptions.given_in(args))
    if done is not None:
        folder, assembled = done
        print(assembled.terminal(terminal_width(), None if listing.full else folder))
        print(f"written: {folder}/student.safetensors, report.md, report.json")
    return 0


def distilled(given: Mapping[str, Any]) -> "tuple[Path, Assembled] | None":
    """Train, and write the run's folder and its report. Progress goes to standard error.

    Args:
        given: fields of DistillOptions. A recipe's values and the defaults are added to them.

    Returns:
        The run's folder and its report; None in every process but the first.
    """
    options = with_recipe(given)
    options.check()
    plan = planned(options)
    folder = options.output or plan.folder
    evaluation = open_images(options.evaluate)

    # torch takes seconds to import, so every check that does not need it comes first.
    from hwkd.distill.distributed import LostProcess, joined, started_processes
    from hwkd.distill.run_folder import Event, append_event

    processes = started_processes()
    processes.check_batch(options.batch, options.accumulate)
    try:
        with joined(processes) as connected:
            options = after_restart(options, folder, connected)
            return _run(options, given, plan, folder, evaluation, connected)
    except LostProcess:
        if processes.is_first and (folder / "config.json").is_file():
            append_event(folder, Event("lost", processes.count, processes.launcher))
        raise


def _run(
    options: DistillOptions,
    given: Mapping[str, Any],
    plan: Planned,
    folder: Path,
    evaluation: ImageSource,
    processes: "Processes",
) -> "tuple[Path, Assembled] | None":
    import torch

    from hwkd.distill.batches import Teaching
    from hwkd.distill.run import distill, with_steps
    from hwkd.distill.run_folder import check_folder, read_events
    from hwkd.models.teacher import load_teacher
    from hwkd.report.run import assemble

    console = stderr_console(quiet=not processes.is_first)
    say = partial(console.print, markup=False, highlight=False, soft_wrap=True)
    processes.by_first(lambda: check_folder(folder, resume=options.resume, force=options.force))
    loss = loss_weights(options)
    teacher = load_teacher(options.teacher)
    second = None if options.second_teacher is None else load_teacher(options.second_teacher)
    start = load_start(options.start, teacher)
    say(f"teacher: {teacher.name} ({teacher.spec}; {teacher.source})")
    images = training_images(options, console)
    if processes.is_first:
        for _ in evaluation:
            pass  # a damaged image is found now, not after the training
    config = run_config(options, plan.bits, loss, teacher, second, images, start, processes)
    left_out = images.notes
    for note in (*left_out, *_trained_on(evaluation, images, options.data)):
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
            resume=options.resume,
            force=options.force,
            show=bar.show,
            wants_to_stop=wants_to_stop,
            processes=processes,
        )
    if outcome is None:
        return None
    history = tuple(event.sentence() for event in read_events(folder))
    if len(history) == 2:  # started and finished
        history = ()
    for note in (*images.notes[len(left_out) :], *outcome.notes, *history):
        say(f"note: {note}")
    say(f"evaluating on {evaluation}")
    config = with_steps(config, outcome.steps)
    assembled = assemble(
        config,
        replace(outcome, notes=(*outcome.notes, *_trained_on(evaluation, images, options.data))),
        teacher,
        plan.sentences,
        evaluation,
        folder.resolve().name,
        command_again(given, config, folder),
        history,
    )
    assembled.write(folder)
    return folder, assembled


def _trained_on(
    evaluation: ImageSource, images: "TrainingImages", data: Path | None
) -> tuple[str, ...]:
    """A note if the student was trained on images of the report."""
    if data is None:
        return ()
    known = len(also_among(evaluation.paths, [data / name for name in images.train_names]))
    if not known:
        return ()
    return (
        f"{known} of the {len(evaluation.paths)} images of --evaluate were trained on: "
        "the figures say little about other images",
    )


@contextmanager
def _stop_on_interrupt() -> "Iterator[Any]":
    """Ctrl-C stops the loop after the current step; a second Ctrl-C stops at once."""
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


# The images that `hwkd distill` trains on: in memory, or streamed.

WORKERS = 2
"""Two workers keep up with a training that leaves the cores to them."""


def training_images(options: DistillOptions, console: Console) -> "TrainingImages":
    """The images of --data, --stream and --data-workers. A long read of headers shows its progress on `console`.

    Raises:
        InputError: as `load_images` and `open_stream`; images do not fit in memory, or workers for images that do fit.
    """
    from hwkd.distill.catalogue import check_fits, has_shards_only
    from hwkd.distill.data import load_images, open_stream

    if options.data is None or not (options.stream or has_shards_only(options.data)):
        if options.data_workers is not None:
            raise InputError(
                f"--data-workers {options.data_workers} decode what is streamed, and these images are held in memory: add "
                "--stream, or leave it out"
            )
        if options.data is not None:
            check_fits(options.data, find_images(options.data), options.crop)
        return load_images(options.data, options.crop, options.seed, lambda _name: None)
    workers = options.data_workers
    if workers is None:
        workers = min(WORKERS, usable_cores() - 1)
    seen = 0
    with console.status("reading the headers of images") as status:

        def tell(_name: str) -> None:
            nonlocal seen
            seen += 1
            if seen % 100 == 0:
                status.update(f"reading the headers of images: {seen}")

        return open_stream(options.data, options.crop, options.seed, workers, tell)


# `hwkd distill` under torchrun's elastic restart: the same command continues from the last checkpoint.


def after_restart(options: DistillOptions, folder: Path, processes: "Processes") -> DistillOptions:
    """`options` unchanged; changed to continue the run in `folder` if torchrun has restarted the processes.

    Raises:
        InputError: another launch began the run in `folder`, so this one may neither continue it nor start it over.
    """
    if not processes.restarts:
        return options
    resume, force = processes.by_first(lambda: _how(options, folder, processes.launcher))
    return replace(options, resume=resume, force=force)


def _how(options: DistillOptions, folder: Path, launcher: str) -> tuple[bool, bool]:
    """(whether to resume, whether to start over)."""
    from hwkd.distill.run_folder import read_events, state_path

    if not (folder / "config.json").is_file():
        return options.resume, options.force
    events = read_events(folder)
    if not any(event.launcher == launcher for event in events):
        raise InputError(
            f"{folder} holds a run that this torchrun did not start: continue it with --resume, start it over with "
            "--force, or give another -o"
        )
    has_state = state_path(folder).exists()
    return has_state, not has_state
