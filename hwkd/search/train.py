"""A short distillation of a candidate: from the teacher's filters, compared at rungs in the bits that it would run in."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from hwkd.bits import BitPlan
from hwkd.distill.batches import PooledBatches, Teaching
from hwkd.distill.data import TrainingImages, whole_image
from hwkd.distill.losses import LossWeights, Projections
from hwkd.distill.rates import LAST_RATE
from hwkd.distill.start import Origin, new_student
from hwkd.distill.step import NotFinite, Stepper
from hwkd.distill.validate import bpp_and_mse
from hwkd.errors import HwkdError
from hwkd.models.base import HyperpriorCodec
from hwkd.models.spec import Spec
from hwkd.models.teacher import Teacher
from hwkd.quantize.ptq import post_training_quantize
from hwkd.search.bits import chosen_bits
from hwkd.search.halving import rungs
from hwkd.search.settings import Settings

CALIBRATION_BATCHES = 4
HELD_OUT_SIDE = 256
"""The middle of each held-out image, in pixels: larger, and comparing costs as much as training."""
# Offsets of the study's seed, so that each use of chance has a sequence of its own.
SEED_POOL_CROPS, SEED_POOL, SEED_CALIBRATION = 1, 2, 3


class Diverged(HwkdError):
    """A candidate's loss is not finite; the message says where."""


@dataclass(frozen=True)
class Standing:
    """A candidate at a rung, quantized after training to `bits`: means over the held-out images, rounded latents, the rate
    estimated by likelihoods. rd_loss: bpp + lmbda * 255^2 * MSE."""

    steps: int
    rd_loss: float
    bpp: float
    psnr_db: float
    bits: BitPlan


class Trainer:
    """Trains candidates of one study, all on one pool of crops for each teacher.

    teachers: by family of the candidates. show: called with what takes long before the first step, in words.
    """

    def __init__(
        self,
        settings: Settings,
        teachers: Mapping[str, Teacher],
        images: TrainingImages,
        show: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._settings, self._teachers, self._images, self._show = settings, teachers, images, show
        self._pools: dict[str, PooledBatches] = {}
        self._held_out = [whole_image(image, at_most=HELD_OUT_SIDE) for _, image in images.held_out]
        crops = images.crops(settings.crop, settings.seed + SEED_CALIBRATION)
        self._calibration = [crops.batch(settings.batch) for _ in range(CALIBRATION_BATCHES)]

    def train(
        self,
        spec: Spec,
        seed: int,
        max_mib: float | None,
        goes_on: Callable[[Standing], bool],
    ) -> Standing:
        """Train a student of `spec`; where it stands after the last rung that it has reached.

        Args:
            seed: of its chance.
            max_mib: of its stored weights, which get bits by layer for it; None: as many as the kernels take.
            goes_on: asked at each rung but the last.
        Raises:
            Diverged: the loss of a step or of the held-out images is not finite.
        """
        settings, teacher = self._settings, self._teachers[spec.family]
        batches = self._pool(spec.family)
        batches.start_over(seed)
        torch.manual_seed(seed)
        student, _ = new_student(
            spec,
            settings.lmbda,
            Origin(teacher.model, teacher.name, teacher.lmbda),
            self._images.crops(settings.crop, seed),
            settings.crop,
            settings.batch,
        )
        student.to(memory_format=torch.channels_last)
        projections = Projections((student.M, student.Z), (teacher.model.M, teacher.model.Z))
        stepper = Stepper(
            student,
            projections,
            lmbda=settings.lmbda,
            loss=LossWeights(),
            lr=settings.lr,
            key=(seed,),
        )
        stops = rungs(settings.steps)
        student.train()
        for step in range(settings.steps):
            stepper.set_rate(rate_share(step, settings.steps))
            try:
                stepper.step(step, batches.next(), bf16=False)
            except NotFinite as error:
                raise Diverged(f"the loss is not finite at step {step}") from error
            if step + 1 in stops:
                plan = BitPlan(settings.weight_bits)
                if max_mib is not None:
                    plan = chosen_bits(student, spec, stepper, batches, plan, max_mib)
                standing = self._standing(student, plan, step + 1)
                if step + 1 == settings.steps or not goes_on(standing):
                    break
        return standing

    def _pool(self, family: str) -> PooledBatches:
        teacher, settings = self._teachers[family], self._settings
        if teacher.name not in self._pools:
            self._show(f"the teacher {teacher.name} codes {settings.pool} crops")
            teacher.model.to(memory_format=torch.channels_last)
            self._pools[teacher.name] = PooledBatches(
                self._images.crops(settings.crop, settings.seed + SEED_POOL_CROPS),
                Teaching(teacher.model, None),
                settings.batch,
                "cpu",
                bf16=False,
                pool=settings.pool,
                seed=settings.seed + SEED_POOL,
            )
        return self._pools[teacher.name]

    def _standing(self, student: HyperpriorCodec, plan: BitPlan, steps: int) -> Standing:
        student.eval()
        # Calibration takes numbers for granted.
        before = bpp_and_mse(student, self._calibration[0])
        student.train()
        if not all(map(math.isfinite, before)):
            raise Diverged(f"the loss is not finite after {steps} steps")
        quantized = post_training_quantize(student, plan, self._calibration, keeps_weights=True)
        found = [bpp_and_mse(quantized, x) for x in self._held_out]
        bpp = sum(bpp for bpp, _ in found) / len(found)
        mse = sum(mse for _, mse in found) / len(found)
        psnr_db = sum(-10 * math.log10(max(mse, 1e-12)) for _, mse in found) / len(found)
        rd_loss = bpp + self._settings.lmbda * 255**2 * mse
        if not math.isfinite(rd_loss):
            raise Diverged(f"the loss on held-out images is not finite after {steps} steps")
        return Standing(steps, rd_loss, bpp, psnr_db, plan)


def rate_share(step: int, steps: int) -> float:
    """The share of the peak rate: a linear warm-up as long as the first rung, times half a cosine down to LAST_RATE.

    The 200 steps of warm-up that `hwkd distill` takes are most of so short a training: after 128 steps the loss of a patch
    student of 32 channels was 1.67 with them and 1.46 with 16.
    """
    warm_up = min(1.0, (step + 1) / rungs(steps)[0])
    return warm_up * (LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * step / steps)))
