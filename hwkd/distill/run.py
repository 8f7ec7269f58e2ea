"""A distillation run from its configuration to the finished student: prepare, float phase, quantized phase."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from hwkd.distill.checkpoint import TrainState, read_state
from hwkd.distill.config import RunConfig, differences
from hwkd.distill.data import Crops, ImageSet, whole_image
from hwkd.distill.losses import Projections
from hwkd.distill.runs import check_folder, forget_run, load_run, read_config
from hwkd.distill.teaching import Batches, LiveBatches, PooledBatches, Teaching
from hwkd.distill.train import Loop, Phase, Progress
from hwkd.errors import InputError
from hwkd.files import write_text
from hwkd.models.base import HyperpriorCodec
from hwkd.models.build import build
from hwkd.models.fit_to_data import fit_to_data
from hwkd.models.hyperprior import ConvHyperprior
from hwkd.models.inherit import has_gdn, inherit, same_shapes
from hwkd.models.patch import PatchCodec
from hwkd.models.spec import PATCH_VALUES
from hwkd.models.teacher import FLOAT_STUDENT, STUDENT
from hwkd.models.weights import save_weights
from hwkd.quantize.brevitas_qat import quantize, round_medians
from hwkd.quantize.calibrate import calibrate
from hwkd.quantize.inputs import layer_inputs

QAT_SHARE = 0.25
"""Of the minutes, what the quantized phase gets."""
CALIBRATION_BATCHES = 16
START_BATCHES = 16
# Offsets of the run's seed, so that each use of chance has a sequence of its own.
SEED_CROPS, SEED_START, SEED_CALIBRATION, SEED_POOL = 1, 2, 3, 4


@dataclass(frozen=True)
class Outcome:
    """A finished run. steps: done in each phase, by name. notes: what a user should know about the start."""

    student: HyperpriorCodec
    float_student: HyperpriorCodec
    steps: dict[str, int]
    seconds: float
    notes: tuple[str, ...]


def distill(
    config: RunConfig,
    folder: Path,
    images: ImageSet,
    teaching: Teaching | None,
    start: HyperpriorCodec | None,
    *,
    start_lmbda: float | None = None,
    resume: bool,
    show: Callable[[Progress], None],
    wants_to_stop: Callable[[], bool],
    force: bool = False,
) -> Outcome:
    """Train the student that `config` describes, in `folder`.

    Args:
        teaching: None where no term of the loss needs a teacher.
        start: what the student inherits its first weights from; None: from random, fitted to the data.
        start_lmbda: what `start` was trained for; None where it is not known.
        resume: continue `folder`'s run, which must have the same configuration.
        force: start over where `folder` holds a run.
    Raises:
        InputError: as `check_folder`; a run of another configuration; a pattern of the bits that matches no layer.
            Nothing has been written or removed then.
        Interrupted, HwkdError: as `Loop.run`.
    """
    if config.bits is not None:
        config.bits.check_patterns(layer_inputs(build(config.spec)))
    check_folder(folder, resume=resume, force=force)
    state = _open(config, folder, resume)
    torch.manual_seed(config.seed)
    torch.set_num_threads(config.threads)
    student, notes = _new_student(config, images, start, start_lmbda)
    student.to(config.device, memory_format=torch.channels_last)
    projections, about = _projections(config, student, teaching)
    phases = _phases(config)
    batches = _batches(config, images, teaching)
    loop = Loop(
        config,
        folder,
        student,
        projections,
        batches,
        [whole_image(image) for _, image in images.held_out],
        show,
        wants_to_stop,
    )
    if state is None or state.phase == "float":
        loop.run(phases[0], state)
        state = None
        student.update(force=True)  # those inherited from the start no longer fit
        save_weights(folder / FLOAT_STUDENT, student, half=False, metadata=_metadata(config))
    float_student = _float_copy(config, folder)
    if config.bits is not None:
        quantize(student, config.bits)
        student.to(config.device)  # Brevitas makes its scales on the CPU
        if state is None:
            calibrate(student, _calibration(config, images))
        loop.run(phases[1], state)
    student.eval()
    round_medians(student)
    student.update(force=True)
    save_weights(folder / STUDENT, student, half=False, metadata=_metadata(config))
    return Outcome(student, float_student, dict(loop.steps), loop.seconds, notes + about)


def _open(config: RunConfig, folder: Path, resume: bool) -> TrainState | None:
    """Claim `folder` for a new run, or read where the old one stands."""
    if resume:
        stored = read_config(folder)
        changed = differences(stored, config)
        if changed:
            raise InputError(
                f"{folder} was started with another configuration: {'; '.join(changed)}. "
                "Give the old values, or another -o for a new run"
            )
        state = read_state(folder)
        _forget_later_rows(folder / "metrics.jsonl", state)
        return state
    forget_run(folder)
    write_text(folder / "config.json", config.to_json())
    return None


def _forget_later_rows(path: Path, state: TrainState) -> None:
    """Drop the rows that a killed run logged after its last checkpoint, and half a line; they will be logged again."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        # A phase that is not in the state's steps has not begun for it.
        if row["phase"] in state.steps and (
            row["phase"] != state.phase or row["step"] <= state.step
        ):
            kept.append(line + "\n")
    write_text(path, "".join(kept))


def _new_student(
    config: RunConfig,
    images: ImageSet,
    start: HyperpriorCodec | None,
    start_lmbda: float | None,
) -> tuple[HyperpriorCodec, tuple[str, ...]]:
    student = build(config.spec)
    crops = Crops(images.train, config.crop, config.seed + SEED_START)
    notes: list[str] = []
    inherited = () if start is None else inherit(student, start)
    if start is not None and same_shapes(student, start):
        student.load_state_dict(start.state_dict())
        notes.append(f"the student starts as a copy of {config.start}")
    elif inherited:
        notes.append(f"the student inherits {', '.join(inherited)} from {config.start}")
        if isinstance(student, ConvHyperprior) and has_gdn(start) and not has_gdn(student):
            fit_to_data(student, crops.batch(2 * config.batch))
            notes.append("its filters are rescaled on one batch, because GDN's gain is missing")
    elif isinstance(student, PatchCodec):
        patches = config.crop**2 * 3 // PATCH_VALUES
        count = max(START_BATCHES * config.batch, 2 * PATCH_VALUES // patches)
        student.start_from_pca(crops.batch(count), config.lmbda)
        notes.append("the student starts from the principal components of the training patches")
    elif isinstance(student, ConvHyperprior):
        fit_to_data(student, crops.batch(2 * config.batch))
        notes.append("the student starts from random filters, scaled on one batch")
    if (
        isinstance(student, PatchCodec)
        and inherited
        and start_lmbda is not None
        and start_lmbda != config.lmbda
    ):
        # Steps of quantization are as 1 / sqrt(lmbda) at high rate (see `PatchCodec.start_from_pca`).
        student.scale_latents(math.sqrt(config.lmbda / start_lmbda))
        notes.append(f"its latents are scaled from lmbda {start_lmbda:g} to {config.lmbda:g}")
    if start is not None and not inherited:
        notes.append(f"nothing could be inherited from {config.start}: its layers do not fit")
    round_medians(student)
    return student, tuple(notes)


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


def _batches(config: RunConfig, images: ImageSet, teaching: Teaching | None) -> Batches:
    live = LiveBatches(
        Crops(images.train, config.crop, config.seed + SEED_CROPS),
        teaching,
        config.batch,
        config.device,
        bf16=config.precision == "bf16",
    )
    if not config.cached_crops:
        return live
    return PooledBatches(live, config.cached_crops, config.batch, config.seed + SEED_POOL)


def _calibration(config: RunConfig, images: ImageSet) -> list[torch.Tensor]:
    crops = Crops(images.train, config.crop, config.seed + SEED_CALIBRATION)
    return [crops.batch(config.batch).to(config.device) for _ in range(CALIBRATION_BATCHES)]


def _float_copy(config: RunConfig, folder: Path) -> HyperpriorCodec:
    return load_run(folder, as_float=True).codec


def _metadata(config: RunConfig) -> dict[str, str]:
    return {"lmbda": repr(config.lmbda), "teacher": config.teacher, "data": config.data}


def with_steps(config: RunConfig, steps: dict[str, int]) -> RunConfig:
    """The configuration that repeats this run step for step, whatever the machine's speed."""
    return replace(config, minutes=None, float_steps=steps["float"], qat_steps=steps.get("qat", 0))
