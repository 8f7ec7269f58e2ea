"""A distillation run from its configuration to the finished student: prepare, float phase, quantized phase."""

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from hwkd.distill.batches import Batches, LiveBatches, PooledBatches, Teaching
from hwkd.distill.config import RunConfig, differences
from hwkd.distill.data import CropSource, TrainingImages, whole_image
from hwkd.distill.distributed import ALONE, Processes
from hwkd.distill.losses import Projections
from hwkd.distill.run_folder import (
    Event,
    TrainState,
    append_event,
    check_folder,
    forget_run,
    load_run,
    read_config,
    read_state,
)
from hwkd.distill.train import Loop, Phase, TrainProgress
from hwkd.errors import InputError, Interrupted
from hwkd.files import claimed, write_text
from hwkd.models.base import HyperpriorCodec
from hwkd.models.build import build
from hwkd.models.checkpoint import save_weights
from hwkd.models.inherit import inherit, same_shapes
from hwkd.models.spec import Spec
from hwkd.models.teacher import FLOAT_STUDENT, STUDENT
from hwkd.qualities import DEFAULT_QUALITY, lmbda_at
from hwkd.quantize.ptq import balance_stream, round_weights
from hwkd.quantize.qat import calibrate, layer_inputs, quantize, round_medians

QAT_SHARE = 0.25
"""Share of the minutes for the quantized phase."""
CALIBRATION_BATCHES = 16
# Offsets of the run's seed, so that each use of chance has a sequence of its own.
SEED_CROPS, SEED_START, SEED_CALIBRATION, SEED_POOL, SEED_LAMBDAS = 1, 2, 3, 4, 5


@dataclass(frozen=True)
class Outcome:
    """A finished run.

    Attributes:
        steps: the steps done in each phase, by its name.
        notes: what a user should know about the start.
    """

    student: HyperpriorCodec
    float_student: HyperpriorCodec
    steps: dict[str, int]
    seconds: float
    notes: tuple[str, ...]


def distill(
    config: RunConfig,
    folder: Path,
    images: TrainingImages,
    teaching: Teaching | None,
    start: HyperpriorCodec | None,
    *,
    start_lmbda: float | None = None,
    resume: bool,
    show: Callable[[TrainProgress], None],
    wants_to_stop: Callable[[], bool],
    force: bool = False,
    processes: Processes = ALONE,
) -> Outcome | None:
    """Train the student that `config` describes, in `folder`.

    Args:
        teaching: None where no term of the loss needs a teacher.
        start: the model from which the student inherits its first weights. None: random weights, fitted to the data.
        start_lmbda: the lambda that `start` was trained for; None where it is not known.
        resume: continue `folder`'s run, which must have the same configuration.
        force: start over where `folder` holds a run.
        processes: the processes that train it together, inside `joined`. Each calls with the same arguments; the first one
            writes.
    Returns:
        None in every process but the first.
    Raises:
        InputError: as `check_folder`; another process is at work in `folder`; a run of another configuration; a pattern of the bits that matches no layer;
            a batch that the processes cannot share. Nothing has been written or removed then.
        Interrupted, HwkdError: as `Loop.run`.
    """
    processes.check_batch(config.batch, config.accumulate)
    if config.bits is not None:
        config.bits.check_patterns(layer_inputs(build(config.spec)))

    with ExitStack() as held:

        def claim() -> TrainState | None:
            check_folder(folder, resume=resume, force=force)
            held.enter_context(claimed(folder))
            # Another run may have come and gone since.
            check_folder(folder, resume=resume, force=force)
            return _open(config, folder, resume, processes)

        state = processes.by_first(claim)
        return _trained(
            config,
            folder,
            images,
            teaching,
            start,
            start_lmbda,
            state,
            show,
            wants_to_stop,
            processes,
        )


def _trained(
    config: RunConfig,
    folder: Path,
    images: TrainingImages,
    teaching: Teaching | None,
    start: HyperpriorCodec | None,
    start_lmbda: float | None,
    state: TrainState | None,
    show: Callable[[TrainProgress], None],
    wants_to_stop: Callable[[], bool],
    processes: Processes,
) -> Outcome | None:
    """As `distill`, in a folder that is claimed.

    Args:
        state: the state of a run that goes on.
    """
    torch.manual_seed(config.seed)
    torch.set_num_threads(config.threads)
    origin = None if start is None else Origin(start, config.start, start_lmbda)
    crops = images.crops(config.crop, config.seed + SEED_START)
    student, notes = new_student(
        config.spec, config.lmbda, origin, crops, config.crop, config.batch
    )
    student.to(config.device, memory_format=torch.channels_last)
    projections, about = _projections(config, student, teaching)
    phases = _phases(config)
    batches = _batches(config, images, teaching, processes)
    loop = Loop(
        config,
        folder,
        student,
        projections,
        batches,
        [whole_image(image) for _, image in images.held_out],
        show,
        wants_to_stop,
        processes,
    )
    if state is None or state.phase == "float":
        _told(loop, phases[0], state, folder, processes)
        state = None
        student.update(force=True)  # those inherited from the start no longer fit
        if processes.is_first:
            save_weights(folder / FLOAT_STUDENT, student, half=False, metadata=_metadata(config))
    if config.bits is not None:
        calibration = [] if state is not None else _calibration(config, images)
        balance_stream(student, config.bits, calibration)
        quantize(student, config.bits)
        student.to(config.device)  # Brevitas makes its scales on the CPU
        if calibration:
            calibrate(student, calibration)
            round_weights(student, calibration)
        _told(loop, phases[1], state, folder, processes)
    if not processes.is_first:
        return None
    student.eval()
    if student.serves_all_rates:
        student.set_lmbda(lmbda_at(DEFAULT_QUALITY))  # training left that of its last crops
    round_medians(student)
    student.update(force=True)
    save_weights(folder / STUDENT, student, half=False, metadata=_metadata(config))
    append_event(folder, Event("finished", processes.count, processes.launcher))
    float_student = load_run(folder, as_float=True).codec
    return Outcome(student, float_student, dict(loop.steps), loop.seconds, notes + about)


def _told(
    loop: Loop, phase: Phase, state: TrainState | None, folder: Path, processes: Processes
) -> None:
    """Run the phase; an interruption goes into the diary."""
    try:
        loop.run(phase, state)
    except Interrupted:
        if processes.is_first:
            append_event(folder, Event("interrupted", processes.count, processes.launcher))
        raise


def _open(config: RunConfig, folder: Path, resume: bool, processes: Processes) -> TrainState | None:
    """Claim `folder` for a new run, or read where the old one stands."""
    if not resume:
        forget_run(folder)
        write_text(folder / "config.json", config.to_json())
        append_event(folder, Event("started", processes.count, processes.launcher))
        return None
    stored = read_config(folder)
    changed = differences(stored, config)
    if changed:
        raise InputError(
            f"{folder} was started with another configuration: {'; '.join(changed)}. "
            "Give the old values, or another -o for a new run"
        )
    if stored != config:
        write_text(folder / "config.json", config.to_json())
    state = read_state(folder)
    _forget_later_rows(folder / "metrics.jsonl", state)
    kind = "restarted" if processes.restarts else "resumed"
    where = (state.phase, state.step)
    append_event(folder, Event(kind, processes.count, processes.launcher, *where))
    return state


def _forget_later_rows(path: Path, state: TrainState) -> None:
    """Drop the rows that a killed run logged after its last checkpoint, and half a line; they will be logged again."""
    if not path.exists():
        return
    kept = []
    # A machine that lost its power leaves bytes of any kind.
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
            phase, step = row["phase"], row["step"]
            is_known = phase != state.phase or step <= state.step
        except (ValueError, TypeError, KeyError):
            continue
        # A phase that is not in the state's steps has not begun for it.
        if phase in state.steps and is_known:
            kept.append(line + "\n")
    write_text(path, "".join(kept))


def _projections(
    config: RunConfig, student: HyperpriorCodec, teaching: Teaching | None
) -> tuple[Projections | None, tuple[str, ...]]:
    if teaching is None:
        return None, ()
    z_teacher = teaching.second or teaching.teacher
    notes: list[str] = []
    if config.loss.latent and student.M != teaching.teacher.M:
        notes.append(
            f"y has {student.M} channels, the teacher's {teaching.teacher.M}: "
            "the latent term goes through a learnt 1x1 projection"
        )
    if config.loss.hyper and student.Z != z_teacher.Z:
        notes.append(
            f"z has {student.Z} channels, the teacher's {z_teacher.Z}: "
            "the hyper term goes through a learnt 1x1 projection"
        )
    projections = Projections((student.M, student.Z), (teaching.teacher.M, z_teacher.Z))
    return projections.to(config.device), tuple(notes)


def _phases(config: RunConfig) -> tuple[Phase, Phase]:
    minutes = config.minutes
    trains_quantized = config.bits is not None and not config.ptq
    float_share = 1 - QAT_SHARE if trains_quantized else 1.0
    return (
        Phase(
            "float",
            config.float_steps,
            None if minutes is None else minutes * float_share,
            config.lr,
            config.precision == "bf16",
        ),
        Phase(
            "qat",
            config.qat_steps if trains_quantized else 0,
            None if minutes is None else minutes * QAT_SHARE,
            config.qat_lr,
            False,  # bf16 would round the grids that this phase is about
        ),
    )


def _batches(
    config: RunConfig, images: TrainingImages, teaching: Teaching | None, processes: Processes
) -> Batches:
    bf16 = config.precision == "bf16"
    lmbda_key = None if config.lmbda is not None else (config.seed, SEED_LAMBDAS)
    crops = images.crops(
        config.crop,
        config.seed + SEED_CROPS,
        is_long=not config.cached_crops,
        device=config.device,
    )
    if not config.cached_crops:
        return LiveBatches(
            crops,
            teaching,
            config.batch,
            config.device,
            bf16=bf16,
            processes=processes,
            accumulate=config.accumulate,
            lmbda_key=lmbda_key,
        )
    return PooledBatches(
        crops,
        teaching,
        config.batch,
        config.device,
        bf16=bf16,
        pool=config.cached_crops,
        seed=config.seed + SEED_POOL,
        processes=processes,
        accumulate=config.accumulate,
        lmbda_key=lmbda_key,
    )


def _calibration(config: RunConfig, images: TrainingImages) -> list[torch.Tensor]:
    crops = images.crops(config.crop, config.seed + SEED_CALIBRATION)
    return [crops.batch(config.batch).to(config.device) for _ in range(CALIBRATION_BATCHES)]


def _metadata(config: RunConfig) -> dict[str, str]:
    lmbda = {} if config.lmbda is None else {"lmbda": repr(config.lmbda)}
    return {**lmbda, "teacher": config.teacher, "data": config.data}


def with_steps(config: RunConfig, steps: dict[str, int]) -> RunConfig:
    """The configuration that repeats this run step for step, whatever the machine's speed."""
    return replace(config, minutes=None, float_steps=steps["float"], qat_steps=steps.get("qat", 0))


# A student before its first step: inherited from another model, or fitted to the data.


@dataclass(frozen=True)
class Origin:
    """The model from which a student inherits its first weights.

    Attributes:
        name: its name in the notes.
        lmbda: the lambda that it was trained for, if known.
    """

    codec: HyperpriorCodec
    name: str
    lmbda: float | None


def new_student(
    spec: Spec, lmbda: float | None, origin: Origin | None, crops: CropSource, crop: int, batch: int
) -> tuple[HyperpriorCodec, tuple[str, ...]]:
    """The student of `spec` before its training for `lmbda`, and what a user should know about its start.

    Args:
        lmbda: None for a student of all rates.
        origin: what the student inherits from. None: it starts from random filters, or from the principal components of
            patches, fitted to `crops`.
        crops: the source of the patches; one batch, or several, are taken.
        crop: side of a crop in pixels.
    """
    student = build(spec)
    notes: list[str] = []
    start = None if origin is None else origin.codec
    name = "" if origin is None else origin.name
    inherited = () if start is None else inherit(student, start)
    if start is not None and same_shapes(student, start):
        student.load_state_dict(start.state_dict())
        notes.append(f"the student starts as a copy of {name}")
    elif inherited:
        notes.append(f"the student inherits {', '.join(inherited)} from {name}")
    else:
        notes.append(student.start(crops.batch, crop, batch, lmbda))
    if origin is not None and inherited:
        notes += student.adapt(origin.codec, crops.batch, batch, lmbda, origin.lmbda)
    if start is not None and not inherited:
        notes.append(f"nothing could be inherited from {name}: its layers do not fit")
    round_medians(student)
    return student, tuple(notes)
