"""From the options of `hwkd distill` to the run's configuration, and back to a command line."""

import argparse
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwkd.bits import BitPlan, parse_bits, parse_layer_bits
from hwkd.cli.distill_options import DEFAULT_MINUTES
from hwkd.cli.options import DEFAULT_RD_WEIGHT, parse_channels, parse_kd
from hwkd.errors import InputError
from hwkd.models.shipped import shipped_names
from hwkd.quantize.precision import plan_precision
from hwkd.target import load_target

if TYPE_CHECKING:
    from hwkd.distill.config import RunConfig
    from hwkd.distill.data import TrainingImages
    from hwkd.distill.distributed import Processes
    from hwkd.distill.losses import LossWeights
    from hwkd.models.base import HyperpriorCodec
    from hwkd.models.spec import Spec
    from hwkd.models.teacher import Teacher


@dataclass(frozen=True)
class Planned:
    """What the target makes of the bits: those to train in (None: float), the plan's sentences, a default folder."""

    bits: BitPlan | None
    sentences: list[str]
    folder: Path


def planned(args: argparse.Namespace) -> Planned:
    """The bits that the target's kernels can hold, and its precision plan.

    Raises:
        InputError: an unknown target, bits out of range, or a target that --strict refuses.
    """
    target = load_target(args.target)
    name = f"{target.name}-{args.family}"
    if args.bits == "none":
        if args.strict:
            raise InputError(
                "--strict needs bits to be strict about: got --bits none; give --bits 8"
            )
        sentence = f"The student stays in float32 (--bits none): no plan for {target.name}."
        return Planned(None, [sentence], Path("runs") / f"{name}-float")
    asked = parse_bits(args.bits)
    layers = tuple(parse_layer_bits(text) for text in args.layer_bits)
    plan = plan_precision(
        target, asked.weight_bits, asked.act_bits, family=args.family, strict=args.strict
    )
    # Where 8-bit weights would saturate, as on x86 without VNNI, the student is trained in what fits.
    fitting = min(asked.weight_bits, plan.preferred("encoder").weight_storage_bits)
    bits = BitPlan(fitting, asked.act_bits, layers)
    tag = f"w{bits.weight_bits}a{bits.act_bits}"
    return Planned(bits, plan.sentences(), Path("runs") / f"{name}-{tag}")


def loss_weights(args: argparse.Namespace) -> "LossWeights":
    """The weights of the loss. Raises InputError."""
    from hwkd.distill.losses import LossWeights

    weights = parse_kd(args.kd)
    rd = args.rd_weight
    if rd is None:
        rd = DEFAULT_RD_WEIGHT if any(weights.values()) else 1.0
    return LossWeights(rd=rd, distance=args.kd_loss, **weights)


@dataclass(frozen=True)
class Start:
    """What the student inherits its first weights from; `codec` is None for random ones."""

    codec: "HyperpriorCodec | None"
    name: str
    sha256: str
    spec: "Spec | None" = None
    """Of a run's student or a shipped model, which is continued unless other widths are asked for."""
    lmbda: float | None = None
    """What it was trained for; None where that is not known."""


def load_start(text: str, teacher: "Teacher") -> Start:
    """What `--start` names. Raises InputError where that is nothing to start from."""
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
            shipped.model, f"shipped {text}", shipped.sha256 or "", shipped.spec, shipped.lmbda
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
    args: argparse.Namespace,
    bits: BitPlan | None,
    loss: "LossWeights",
    teacher: "Teacher",
    second: "Teacher | None",
    images: "TrainingImages",
    start: Start,
    processes: "Processes",
) -> "RunConfig":
    """The configuration that the options and what they name amount to.

    Raises:
        InputError: no lambda is known, or a number of widths that the family does not take.
    """
    import torch

    from hwkd.distill.config import RunConfig

    qat_steps = args.qat_steps
    if qat_steps is None and args.steps is not None:
        qat_steps = args.steps // 4 if bits is not None and not args.ptq else 0
    device = "cuda" if torch.cuda.is_available() else "cpu"
    lmbda = _lmbda(args, teacher)
    return RunConfig(
        spec=_spec(args, teacher, start, all_rates=lmbda is None),
        lmbda=lmbda,
        target=args.target,
        bits=bits,
        teacher=teacher.name,
        teacher_sha256=teacher.sha256 or "",
        second_teacher="" if second is None else second.name,
        second_teacher_sha256="" if second is None else second.sha256 or "",
        start=start.name,
        start_sha256=start.sha256,
        data=f"{images.source}: {len(images.train_names)} images, {images.pixels / 1e6:.1f} Mpx, "
        f"{len(images.held_out)} held out",
        float_steps=args.steps,
        qat_steps=qat_steps,
        minutes=None if args.steps is not None else args.minutes or DEFAULT_MINUTES,
        ptq=args.ptq,
        loss=loss,
        crop=args.crop,
        batch=args.batch,
        lr=args.lr,
        qat_lr=args.qat_lr,
        optimizer=_optimizer(args),
        schedule=args.schedule,
        precision=_precision(args.precision, device),
        device=device,
        threads=args.threads or torch.get_num_threads(),
        seed=args.seed,
        cached_crops=args.cache_crops,
        checkpoint_every=args.checkpoint_every,
        processes=processes.count,
        accumulate=args.accumulate,
    )


def _optimizer(args: argparse.Namespace) -> str:
    """Muon's gains were measured for family patch alone."""
    if args.optimizer != "auto":
        return str(args.optimizer)
    return "muon" if args.family == "patch" else "adam"


def _spec(args: argparse.Namespace, teacher: "Teacher", start: Start, *, all_rates: bool) -> "Spec":
    """The student's: that of the run it starts from, where no width is given."""
    from hwkd.models.student import student_spec, with_rates

    widths = {args.width, args.latent, args.hyper, args.hyper_latent, args.post}
    if start.spec is not None and start.spec.family == args.family and widths == {None}:
        return with_rates(start.spec, all_rates=all_rates)
    return student_spec(
        args.family,
        parse_channels("--width", args.width),
        _latent(args, teacher, all_rates=all_rates),
        args.hyper,
        args.hyper_latent,
        parse_channels("--post", args.post),
        all_rates=all_rates,
    )


def _latent(args: argparse.Namespace, teacher: "Teacher", *, all_rates: bool) -> int:
    """Channels of y: the teacher's; for all rates from a teacher of one, as many as the highest quality needs."""
    from hwkd.models.student import PATCH_LATENT_OF_ALL_RATES

    if args.latent is not None:
        return int(args.latent)
    if all_rates and not teacher.spec.serves_all_rates:
        return PATCH_LATENT_OF_ALL_RATES
    return teacher.spec.M


def _lmbda(args: argparse.Namespace, teacher: "Teacher") -> float | None:
    """None for a student of all rates."""
    from hwkd.models.quality import lmbda_of

    is_given = (args.quality, args.lmbda) != (None, None)
    if args.all_rates or (
        not is_given and args.family == "patch" and teacher.spec.serves_all_rates
    ):
        return None
    lmbda: float | None = args.lmbda if args.quality is None else lmbda_of(args.quality)
    if lmbda is None:
        lmbda = teacher.lmbda
    if lmbda is None:
        raise InputError(
            f"the teacher {teacher.name} does not say its lambda: give --lmbda or --quality"
        )
    return lmbda


def _precision(text: str, device: str) -> str:
    """bf16 where the processor computes in it, else fp32; what the user named otherwise."""
    if text != "auto":
        return text
    import torch

    if device == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    has_bf16: Any = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return "bf16" if has_bf16() else "fp32"


REPLACED = ("--minutes", "--steps", "--qat-steps", "--threads", "--precision", "-o", "--output")


def command_again(argv: list[str], config: "RunConfig", folder: Path) -> str:
    """The line that makes the run again beside the first: as given, with all that the machine decided spelt out.

    config: with its steps (hwkd.distill.run.with_steps).
    """
    kept = ["hwkd"]
    if config.processes > 1:
        kept = ["torchrun", "--nproc-per-node", str(config.processes), "-m", "hwkd"]
    is_value = False
    for word in argv:
        if is_value:
            is_value = False
        elif word in REPLACED:
            is_value = True
        elif word not in ("--resume", "--force") and not word.startswith(
            ("-o", *(f"{option}=" for option in REPLACED))
        ):
            kept.append(word)
    kept += ["--steps", str(config.float_steps), "--qat-steps", str(config.qat_steps)]
    kept += ["--threads", str(config.threads), "--precision", config.precision]
    return shlex.join([*kept, "-o", f"{folder}-again"])
