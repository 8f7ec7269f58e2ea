"""Tiny runs: a few steps on crops of 64 pixels, stopped and resumed at will."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hwkd.bits import BitPlan
from hwkd.distill import run as run_module
from hwkd.distill import train as rates_module
from hwkd.distill.batches import Teaching
from hwkd.distill.config import RunConfig
from hwkd.distill.data import ImageSet
from hwkd.distill.losses import LossWeights
from hwkd.distill.run import Outcome, distill
from hwkd.models.base import HyperpriorCodec
from hwkd.models.build import build
from hwkd.models.spec import HyperpriorSpec


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """Schedules on the scale of ten steps, so that each of their parts is met."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(rates_module, "WARM_UP_STEPS", 2)
        patched.setattr(rates_module, "EPOCH_STEPS", 2)
        patched.setattr(rates_module, "PLATEAU_PATIENCE", 0)
        patched.setattr(rates_module, "AUX_EVERY", 2)
        patched.setattr(rates_module, "TIMED_STEPS", 2)
        patched.setattr(run_module, "CALIBRATION_BATCHES", 2)
        yield


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """A run sets the number of threads; the next test shall have its own again."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def images(photo) -> ImageSet:
    """Three images to train on and one held out."""
    named = [(f"{i}.png", photo(96, 128, i)) for i in range(4)]
    return ImageSet("photos", tuple(named[:3]), (named[3],), ())


@pytest.fixture(scope="session")
def teaching() -> Teaching:
    """A teacher with more channels than the tiny students have, its latents not all zero."""
    torch.manual_seed(5)
    teacher = build(HyperpriorSpec("gdn", (8, 8, 8), 16, 8, 10)).eval().requires_grad_(False)
    for transform in (teacher.g_a, teacher.h_a):
        for module in transform.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.weight.mul_(3)
    return Teaching(teacher, None)


@pytest.fixture(scope="session")
def config(tiny_specs) -> RunConfig:
    """Eight steps in float, four quantized, all terms of the loss on, a checkpoint at every third step."""
    return RunConfig(
        spec=tiny_specs["gdn"],
        lmbda=0.025,
        target="jetson-nano",
        bits=BitPlan(),
        teacher="a teacher",
        teacher_sha256="",
        second_teacher="",
        second_teacher_sha256="",
        start="random",
        start_sha256="",
        data="photos",
        float_steps=8,
        qat_steps=4,
        minutes=None,
        loss=LossWeights(0.5, 0.2, 0.2, 0.1),
        crop=64,
        batch=2,
        precision="fp32",
        checkpoint_every=3,
    )


Run = Callable[..., Outcome]


@pytest.fixture(scope="session")
def run(images: ImageSet, teaching: Teaching, config: RunConfig) -> Run:
    """run(folder, ...): distil into `folder`.

    stop_after: ask to stop after so many steps of this call. each_step: called after every step with their number.
    Other names change the configuration.
    """

    def start(
        folder: Path,
        *,
        resume: bool = False,
        stop_after: int | None = None,
        each_step: Callable[[int], None] | None = None,
        inherits: HyperpriorCodec | None = None,
        start_lmbda: float | None = None,
        **changes: Any,
    ) -> Outcome:
        asked = 0

        def wants_to_stop() -> bool:
            nonlocal asked
            asked += 1
            if each_step is not None:
                each_step(asked)
            return asked == stop_after

        chosen = replace(config, **changes)
        return distill(
            chosen,
            folder,
            images,
            teaching if chosen.loss.needs_teacher else None,
            inherits,
            start_lmbda=start_lmbda,
            resume=resume,
            show=lambda _progress: None,
            wants_to_stop=wants_to_stop,
        )

    return start
