"""Training and measuring a search's candidates: what of hwkd.search loads torch."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hwkd.bits import BitPlan
from hwkd.distill.batches import PooledBatches, Teaching
from hwkd.distill.data import TrainingImages, load_images, whole_image
from hwkd.distill.losses import LossWeights, Projections, bpp_and_mse
from hwkd.distill.run import Origin, new_student
from hwkd.distill.train import LAST_RATE, NotFinite, Stepper
from hwkd.errors import HwkdError, InputError
from hwkd.export.export import Source, export, prepare
from hwkd.measure.coder import Coder, int8_setting, open_coders, stage_latencies
from hwkd.measure.energy.meter import Meter
from hwkd.measure.energy.sensors import open_meter
from hwkd.measure.profile import energy_entries, photograph
from hwkd.measure.record import Setting
from hwkd.measure.timing import pinned
from hwkd.models.base import HyperpriorCodec
from hwkd.models.spec import Spec
from hwkd.models.teacher import Teacher
from hwkd.quantity import MIB, Quantity, not_known
from hwkd.quantize.allocate import LayerChoice, allocate, monotone
from hwkd.quantize.ptq import post_training_quantize
from hwkd.quantize.qat import Layer, conv_layers
from hwkd.runtime.bundle import Bundle
from hwkd.runtime.session import preferred_runtimes, runtime_label
from hwkd.search.cost import (
    HEIGHT,
    LEAST_BITS,
    WIDTH,
    Cost,
    greater,
    kernel_bits,
    macs_per_pixel,
    stored_bytes,
    stored_mib,
    student_layers,
    weight_names,
)
from hwkd.search.settings import Settings
from hwkd.search.trial import rungs
from hwkd.target import Target

# A short distillation of a candidate: from the teacher's filters, compared at rungs in the bits that it would run in.

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
    estimated by likelihoods.

    Attributes:
        rd_loss: bpp + lmbda * 255^2 * MSE.
    """

    steps: int
    rd_loss: float
    bpp: float
    psnr_db: float
    bits: BitPlan


class Trainer:
    """Trains candidates of one study, all on one pool of crops for each teacher.

    Attributes:
        teachers: teacher by family of the candidates.
        show: called with slow work before the first step, in words.
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
        """Train a student of `spec`; return where it stands after the last rung that it has reached.

        Args:
            seed: seed of its random numbers.
            max_mib: limit of its stored weights; bits are then chosen by layer. None: as many as the kernels take.
            goes_on: called at each rung but the last; returns whether the training continues.
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


# Bits by layer for a student that must fit a size: what each layer's rounding would cost, by the Fisher information.
# The loss changes by 1/2 sum_i F_ii (w_q - w)_i^2, with F the Fisher information of the weights. Its diagonal is taken from
# squared gradients (FIT: Zandonati et al. 2022, arXiv 2210.08502, section 3).

FISHER_BATCHES = 8


def chosen_bits(
    student: HyperpriorCodec,
    spec: Spec,
    stepper: Stepper,
    batches: PooledBatches,
    most: BitPlan,
    max_mib: float,
) -> BitPlan:
    """`most` with fewer bits for the layers that lose least by it, so that the weights are stored in `max_mib`.

    Gradients are taken on FISHER_BATCHES of the pool; neither the weights nor the order of the batches change.

    Args:
        student: a float model in training mode; `stepper` trains it.
        most: the bits that the kernels take, of every layer alike.
        max_mib: limit of the stored size. LEAST_BITS in every layer must fit into it.
    """
    if stored_bytes(spec, most) <= max_mib * MIB:
        return most
    counts = weight_names(spec)
    # Scales, biases and GDN are stored whatever the weights have.
    rest = stored_bytes(spec, most) - sum(
        LayerChoice(name, n, {}).stored_bytes(most.weight_bits) for name, n in counts.items()
    )
    fisher = _fisher(student, stepper, batches)
    choices = [
        LayerChoice(name, counts[name], monotone(_losses(layer, fisher[name], most.weight_bits)))
        for name, layer in conv_layers(student).items()
    ]
    chosen = allocate(choices, int(max_mib * MIB) - rest)
    fewer = {name: bits for name, bits in chosen.items() if bits < most.weight_bits}
    return BitPlan(
        most.weight_bits,
        most.act_bits,
        tuple((name, bits, most.act_bits) for name, bits in fewer.items()),
    )


def _fisher(
    student: HyperpriorCodec, stepper: Stepper, batches: PooledBatches
) -> dict[str, Tensor]:
    """The mean squared gradient of each convolution's weights, in their shapes."""
    layers = conv_layers(student)
    sums = {name: torch.zeros_like(layer.weight) for name, layer in layers.items()}
    where = batches.state()
    for number in range(FISHER_BATCHES):
        stepper.gradients(number, batches.next(), bf16=False)
        for name, layer in layers.items():
            assert layer.weight.grad is not None
            sums[name] += layer.weight.grad.square()
    batches.restore(where)
    return {name: total / FISHER_BATCHES for name, total in sums.items()}


@torch.no_grad()
def _losses(layer: Layer, fisher: Tensor, most: int) -> dict[int, float]:
    """The cost to the loss, to second order, for each number of bits of the weights."""
    return {
        bits: 0.5 * float((fisher * (_rounded(layer, bits) - layer.weight).square()).sum())
        for bits in range(LEAST_BITS, most + 1)
    }


def _rounded(layer: Layer, bits: int) -> Tensor:
    """The weights on a signed, narrow grid of `bits`, a scale for each output channel (hwkd/quantize/qat.py)."""
    axis = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
    others = [d for d in range(layer.weight.dim()) if d != axis]
    limit = 2 ** (bits - 1) - 1
    scale = layer.weight.abs().amax(others, keepdim=True).clamp_min(1e-12) / limit
    rounded: Tensor = (layer.weight / scale).round() * scale
    return rounded


# A candidate's cost on this machine: exported as int8 graphs and timed, its energy by a sensor where there is one.

SENSORS = ("ina3221", "rapl")
"""Sensors that measure. An estimate is not used: it would share a column with measured figures."""
SECONDS = 1.0
"""Seconds for the timed runs of one candidate, and for the energy of each side."""
SIDE = 256
"""Side of the crops that a candidate is calibrated and checked on, in pixels."""


class Measured:
    """Costs on this machine, each student measured once.

    A student is measured before its training, with its teacher's filters: how long a network takes does not depend on its
    weights. Nothing else should run meanwhile, nor another worker.

    Attributes:
        like: the target that describes the machine best.
        teacher_of: returns the teacher of a family.
        threads: number of threads of the networks.
    """

    def __init__(self, like: Target, teacher_of: Callable[[str], Teacher], threads: int) -> None:
        runtimes = preferred_runtimes()
        if not runtimes:
            raise InputError(
                'nothing can be measured here, no runtime is installed: pip install "hwkd[runtime]", or predict with '
                "--target NAME"
            )
        self._like, self._teacher_of, self._threads = like, teacher_of, threads
        self._runtime = runtimes[0]
        self._meter, self._no_meter = _meter()
        self._images = load_images(None, SIDE, 0, lambda _name: None)
        self._known: dict[Spec, Cost] = {}
        self.weight_bits = kernel_bits(like)
        self.setting = str(int8_setting(runtime_label(self._runtime), threads))
        self.notes: tuple[str, ...] = (
            "Measured with each teacher's filters before training: a network takes as long with any weights, entropy "
            "coding a little longer where more bits are written.",
        )
        if self._meter is not None:
            self.notes += ("energy_mj: above idle.",)

    def __call__(self, spec: Spec) -> Cost:
        """The cost of the student of `spec`.

        Raises:
            InputError, HwkdError: as the export and the measurements.
        """
        if spec not in self._known:
            self._known[spec] = self._measure(spec)
        return self._known[spec]

    def _measure(self, spec: Spec) -> Cost:
        bundle = self._bundle(spec)
        # OpenVINO counts cores once for the whole process: opened before the cores are fixed.
        coders = open_coders(bundle, [self._runtime], photograph(WIDTH, HEIGHT), self._threads)
        entries = stage_latencies(coders, threads=self._threads, seconds=SECONDS)
        (coder,) = coders.values()
        assert isinstance(coder, Coder)  # `open_coders` raises where no runtime runs the bundle
        layers = student_layers(spec, WIDTH, HEIGHT)
        return Cost(
            macs_per_pixel(layers, WIDTH, HEIGHT) / 1000,
            greater(entries, "latency_ms"),
            self._energy(coder, entries[0].setting),
            stored_mib(spec, LEAST_BITS),
            stored_mib(spec, self.weight_bits),
        )

    def _energy(self, coder: Coder, setting: Setting) -> Quantity:
        if self._meter is None:
            return not_known(self._no_meter)
        with pinned(self._threads):
            entries = energy_entries(
                {"encode": coder.encode, "decode": coder.decode},
                self._meter,
                "end_to_end",
                setting,
                pixels=WIDTH * HEIGHT,
                seconds=SECONDS,
                country=None,
            )
        return greater(entries, "energy_mj")

    def _bundle(self, spec: Spec) -> Bundle:
        teacher = self._teacher_of(spec.family)
        lmbda = teacher.lmbda or 0.025
        bits = BitPlan(self.weight_bits)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            origin = Origin(teacher.model, teacher.name, lmbda)
            crops = self._images.crops(SIDE, 0)
            student, _ = new_student(spec, lmbda, origin, crops, SIDE, 2)
        codec = post_training_quantize(student, bits, [crops.batch(2)], keeps_weights=True)
        checked_on = {"photograph": photograph(SIDE, SIDE)}
        source = Source("candidate", codec, spec, lmbda, bits, {})
        return export(prepare(source, self._like, checked_on), checked_on, lambda _: None)


def _meter() -> tuple[Meter | None, str]:
    """(the first sensor that works here, why there is none)."""
    reasons = []
    for kind in SENSORS:
        try:
            return open_meter(kind).meter, ""
        except InputError as error:
            reasons.append(str(error))
    return None, f"no sensor measures energy here: {' | '.join(reasons)}"
