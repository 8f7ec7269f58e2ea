"""`hwkd distill`: from a teacher to a small quantized student and its report."""

import argparse
import shlex
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from hwkd.cli.distill_options import (
    DEFAULT_MINUTES,
    DEFAULT_RD_WEIGHT,
    configure,
    parse_kd,
    parse_widths,
)
from hwkd.cli.training_bar import TrainingBar
from hwkd.deploy.plan import plan_precision
from hwkd.errors import InputError, unknown
from hwkd.images import open_images
from hwkd.models.spec import FAMILIES
from hwkd.quantize.bits import BitPlan, parse_bits, parse_layer_bits
from hwkd.target import load_target

if TYPE_CHECKING:
    from hwkd.distill.config import RunConfig
    from hwkd.distill.data import ImageSet
    from hwkd.distill.losses import LossWeights
    from hwkd.models.base import HyperpriorCodec
    from hwkd.models.teacher import Teacher

__all__ = ["EXAMPLES", "HELP", "configure", "run"]

HELP = "distil a small quantized student from a teacher, for a target"

EXAMPLES = """examples:
  hwkd distill --target jetson-nano --bits 8
  hwkd distill --target raspberry-pi-4 --bits 8 --data photos/ --minutes 60 -o runs/pi
  hwkd distill --target x86-vnni --family gdn --width 32 --teacher bmshj2018-hyperprior:5 --data photos/ --steps 200000
  hwkd distill --target raspberry-pi-4 --bits 8 --data photos/ --minutes 60 -o runs/pi --resume
"""


def run(args: argparse.Namespace) -> int:
    """Check the input, train, evaluate, write and print the report."""
    console = Console(stderr=True)
    bits = _bits(args)
    if args.family not in FAMILIES:
        raise unknown("family", args.family, FAMILIES)
    weights = parse_kd(args.kd)
    bits, plan = _planned(args, bits)

    # torch takes seconds to import: after everything that can be refused without it.
    from hwkd.distill.data import load_images
    from hwkd.distill.run import distill, with_steps
    from hwkd.distill.teaching import Teaching
    from hwkd.models.teacher import load_teacher
    from hwkd.report.assemble import assemble

    loss = _loss(args, weights)
    teacher = load_teacher(args.teacher)
    second = None if args.second_teacher is None else load_teacher(args.second_teacher)
    console.print(f"teacher: {teacher.name} ({teacher.spec}; {teacher.source})")
    images = load_images(args.data, args.crop, args.seed, lambda _name: None)
    for note in images.notes:
        console.print(f"note: {note}", soft_wrap=True)
    evaluation = open_images(args.evaluate)
    start, start_name, start_sha256 = _start(args.start, teacher)
    config = _config(args, bits, loss, teacher, second, images, start_name, start_sha256)
    folder = args.output or Path("runs") / f"{args.target}-{args.family}-{_tag(bits)}"
    if args.force and not args.resume:
        _forget_run(folder)
    console.print(f"student: {config.spec}, lmbda {config.lmbda:g}, on {images.source}")
    teaching = None
    if loss.needs_teacher:
        models = [t.model.to(config.device) for t in (teacher, second) if t is not None]
        teaching = Teaching(models[0], models[1] if len(models) > 1 else None)
    with TrainingBar(console) as bar, _stop_on_interrupt() as wants_to_stop:
        outcome = distill(
            config,
            folder,
            images,
            teaching,
            start,
            resume=args.resume,
            show=bar.show,
            wants_to_stop=wants_to_stop,
        )
    for note in outcome.notes:
        console.print(f"note: {note}", soft_wrap=True)
    console.print(f"evaluating on {evaluation}")
    assembled = assemble(
        with_steps(config, outcome.steps),
        outcome,
        teacher,
        plan,
        evaluation,
        folder.name,
        _command(args, outcome.steps),
    )
    assembled.write(folder)
    print(assembled.terminal())
    print("precision plan:", *(f"  - {sentence}" for sentence in plan), sep="\n")
    print(f"written: {folder}/student.safetensors, report.md, report.json")
    return 0


def _bits(args: argparse.Namespace) -> BitPlan | None:
    if args.bits == "none":
        if args.layer_bits:
            raise InputError("--layer-bits needs bits: got --bits none; give --bits 8, say")
        return None
    plan = parse_bits(args.bits)
    layers = tuple(parse_layer_bits(text) for text in args.layer_bits)
    return BitPlan(plan.weight_bits, plan.act_bits, layers)


def _planned(args: argparse.Namespace, bits: BitPlan | None) -> tuple[BitPlan | None, list[str]]:
    """The bits that the target's kernels can hold, and its precision plan in sentences."""
    target = load_target(args.target)
    if bits is None:
        if args.strict:
            raise InputError(
                "--strict needs bits to be strict about: got --bits none; give --bits 8"
            )
        return None, [f"The student stays in float32 (--bits none): no plan for {target.name}."]
    plan = plan_precision(
        target, bits.weight_bits, bits.act_bits, family=args.family, strict=args.strict
    )
    # Where 8-bit weights would saturate, as on x86 without VNNI, the student is trained in what fits.
    fitting = min(bits.weight_bits, plan.preferred("encoder").weight_storage_bits)
    return BitPlan(fitting, bits.act_bits, bits.layers), plan.sentences()


def _tag(bits: BitPlan | None) -> str:
    return "float" if bits is None else f"w{bits.weight_bits}a{bits.act_bits}"


def _loss(args: argparse.Namespace, weights: dict[str, float]) -> "LossWeights":
    from hwkd.distill.losses import LossWeights

    rd = args.rd_weight
    if rd is None:
        rd = DEFAULT_RD_WEIGHT if any(weights.values()) else 1.0
    return LossWeights(rd=rd, distance=args.kd_loss, **weights)


def _start(text: str, teacher: "Teacher") -> "tuple[HyperpriorCodec | None, str, str]":
    """What the student inherits from: the model, its name, its sha256."""
    if text == "random":
        return None, "random", ""
    if text == "teacher":
        return teacher.model, f"teacher {teacher.name}", teacher.sha256 or ""
    from hwkd.distill.runs import load_run

    loaded = load_run(Path(text), as_float=True)
    return loaded.codec, f"run {loaded.name}", loaded.sha256 or ""


def _config(
    args: argparse.Namespace,
    bits: BitPlan | None,
    loss: "LossWeights",
    teacher: "Teacher",
    second: "Teacher | None",
    images: "ImageSet",
    start: str,
    start_sha256: str,
) -> "RunConfig":
    import torch

    from hwkd.distill.config import RunConfig
    from hwkd.models.quality import lmbda_of
    from hwkd.models.student import student_spec

    lmbda = args.lmbda if args.quality is None else lmbda_of(args.quality)
    if lmbda is None:
        lmbda = teacher.lmbda
    if lmbda is None:
        raise InputError(
            f"the teacher {teacher.name} does not say its lambda: give --lmbda or --quality"
        )
    if args.minutes is not None and args.steps is not None:
        raise InputError("give --steps or --minutes, not both")
    if args.minutes is not None and args.minutes <= 0:
        raise InputError(f"--minutes must be above 0, got {args.minutes:g}")
    for name in ("steps", "qat_steps"):
        value = getattr(args, name)
        if value is not None and value < 0:
            raise InputError(f"--{name.replace('_', '-')} must be 0 or more, got {value}")
    trains_quantized = bits is not None and not args.ptq
    qat_steps = args.qat_steps
    if qat_steps is None and args.steps is not None:
        qat_steps = args.steps // 4 if trains_quantized else 0
    device = "cuda" if torch.cuda.is_available() else "cpu"
    pixels = sum(a.shape[0] * a.shape[1] for _, a in images.train)
    return RunConfig(
        spec=student_spec(
            args.family,
            parse_widths(args.width),
            args.latent or teacher.spec.M,
            args.hyper,
            args.hyper_latent,
        ),
        lmbda=lmbda,
        target=args.target,
        bits=bits,
        teacher=teacher.name,
        teacher_sha256=teacher.sha256 or "",
        second_teacher="" if second is None else second.name,
        second_teacher_sha256="" if second is None else second.sha256 or "",
        start=start,
        start_sha256=start_sha256,
        data=f"{images.source}: {len(images.train)} images, {pixels / 1e6:.1f} Mpx, {len(images.held_out)} held out",
        float_steps=args.steps,
        qat_steps=qat_steps,
        minutes=None if args.steps is not None else args.minutes or DEFAULT_MINUTES,
        ptq=args.ptq,
        loss=loss,
        crop=args.crop,
        batch=args.batch,
        lr=args.lr,
        qat_lr=args.qat_lr,
        schedule=args.schedule,
        precision=_precision(args.precision, device),
        device=device,
        threads=args.threads or torch.get_num_threads(),
        seed=args.seed,
        cached_crops=args.cache_crops,
        checkpoint_every=args.checkpoint_every,
    )


def _precision(text: str, device: str) -> str:
    """bf16 where the processor computes in it, else fp32; what the user named otherwise."""
    if text != "auto":
        return text
    import torch

    if device == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    has_bf16: Any = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return "bf16" if has_bf16() else "fp32"


def _forget_run(folder: Path) -> None:
    """Remove what a run writes, and nothing else, from `folder`."""
    for name in ("config.json", "metrics.jsonl", "float.safetensors", "student.safetensors"):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "checkpoint", ignore_errors=True)


def _command(args: argparse.Namespace, steps: dict[str, int]) -> str:
    """The line that makes the same run again: as given, with the steps in place of the minutes."""
    words = ["hwkd", *sys.argv[1:]]
    kept: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word in ("--minutes", "--steps", "--qat-steps"):
            skip = True
        elif word not in ("--resume", "--force") and not word.startswith(
            ("--minutes=", "--steps=", "--qat-steps=")
        ):
            kept.append(word)
    kept += ["--steps", str(steps["float"]), "--qat-steps", str(steps.get("qat", 0))]
    return shlex.join(kept)


@contextmanager
def _stop_on_interrupt() -> "Iterator[Any]":
    """Ctrl-C asks the loop to stop after this step; a second one stops at once."""
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
