"""What Muon, all rates in one model, and the context of the means are worth: one thing changed at a time.

    python tests/bench/rate_arms.py --data photos/ --evaluate kodak/ [--steps 400] [--seeds 0 1 2]

Patch students from the principal components of patches, without a teacher, in float. Arms at equal steps, and where a step
takes another time also at equal time: as many steps of each as take the time of the first arm's, by a measurement before
the runs. Figures are of real bytes. The interval holds the mean difference to the first arm over seeds with 95 % (Student's
t; seeds are few, so it is wide).
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev

import torch
from scipy.stats import t as student_t

from hwkd.cli.tables import TableOptions, emit
from hwkd.distill.config import RunConfig
from hwkd.distill.data import ImageSet, load_images
from hwkd.distill.losses import LossWeights
from hwkd.distill.run import distill
from hwkd.distill.run_folder import load_run
from hwkd.files import write_text
from hwkd.images import open_images
from hwkd.measure.machine import host_facts
from hwkd.measure.quality import evaluate
from hwkd.measure.timing import measure_in_turn
from hwkd.models.spec import PatchSpec, student_spec
from hwkd.report.table import Table

LMBDAS = (0.0067, 0.025)


@dataclass(frozen=True)
class Arm:
    """One kind of training. lmbda: None for all rates. is_as_long: as many steps as take the first arm's time."""

    name: str
    optimizer: str = "muon"
    lmbda: float | None = None
    has_context: bool = True
    is_as_long: bool = False


def arms() -> Iterator[Arm]:
    """The first is what the others are compared with."""
    first = Arm("all rates, Muon, means by context")
    yield first
    yield replace(first, name="Adam", optimizer="adam")
    yield replace(first, name="Adam, equal time", optimizer="adam", is_as_long=True)
    yield replace(first, name="zero means", has_context=False)
    yield replace(first, name="zero means, equal time", has_context=False, is_as_long=True)
    for lmbda in LMBDAS:
        yield replace(first, name=f"one rate, lmbda {lmbda}", lmbda=lmbda)


def spec_of(arm: Arm) -> PatchSpec:
    """patch-small's widths, with as many latents and the same hyper networks in every arm."""
    spec = student_spec("patch", (32,) * 3, 320, 24, 24, all_rates=True)
    assert isinstance(spec, PatchSpec)
    return replace(
        spec,
        anchors=spec.anchors if arm.lmbda is None else 0,
        context=spec.context if arm.has_context else (),
    )


def config_of(arm: Arm, seed: int, steps: int, args: argparse.Namespace) -> RunConfig:
    """The run of one arm with one seed."""
    return RunConfig(
        spec=spec_of(arm),
        lmbda=arm.lmbda,
        target="x86-avx2",
        bits=None,
        teacher="",
        teacher_sha256="",
        second_teacher="",
        second_teacher_sha256="",
        start="random",
        start_sha256="",
        data=args.data.name,
        float_steps=steps,
        qat_steps=0,
        minutes=None,
        loss=LossWeights(1, 0, 0, 0),
        crop=256,
        batch=args.batch,
        lr=5e-4 if arm.optimizer == "muon" else args.adam_lr,
        optimizer=arm.optimizer,
        precision=args.precision,
        threads=args.threads,
        seed=seed,
    )


def step_ms(images: ImageSet, args: argparse.Namespace) -> dict[str, float]:
    """The median time of a step of each arm, measured in turn."""
    from bench_training import step_of  # beside this file

    runs = {
        arm.name: step_of(
            spec_of(arm), arm.optimizer, args.batch, "cpu", bf16=args.precision == "bf16"
        )
        for arm in arms()
        if arm.lmbda is None
    }
    timed = measure_in_turn(runs, warmup=1, repeats=7)
    return {name: found.median_ms for name, found in timed.items()}


def run_arm(
    arm: Arm, seed: int, steps: int, images: ImageSet, args: argparse.Namespace
) -> dict[str, float]:
    """rd_loss by lambda, kept beside the run."""
    name = "".join(c if c.isalnum() else "-" for c in arm.name)
    folder = args.runs / f"{name}-{seed}"
    kept = folder / "arm.json"
    if kept.exists():
        return dict(json.loads(kept.read_text()))
    print(f"{arm.name}, seed {seed}, {steps} steps", file=sys.stderr, flush=True)
    distill(
        config_of(arm, seed, steps, args),
        folder,
        images,
        None,
        None,
        resume=False,
        force=True,
        show=lambda _: None,
        wants_to_stop=lambda: False,
    )
    codec = load_run(folder).codec
    found = {}
    for lmbda in LMBDAS if arm.lmbda is None else (arm.lmbda,):
        codec.set_lmbda(lmbda)
        figures = evaluate(codec, open_images(args.evaluate))
        found[f"{lmbda}"] = figures.rd_loss(lmbda)
        found[f"{lmbda} psnr_db"], found[f"{lmbda} bpp"] = figures.psnr_db, figures.bpp
    write_text(kept, json.dumps({"steps": steps, **found}) + "\n")
    return {"steps": steps, **found}


def change(first: list[float], own: list[float]) -> str:
    """The mean change in percent over seeds, paired, with its interval."""
    changes = [100 * (b / a - 1) for a, b in zip(first, own, strict=True)]
    if len(changes) < 2:
        return f"{changes[0]:+.2f} (one seed)"
    half = student_t.ppf(0.975, len(changes) - 1) * stdev(changes) / math.sqrt(len(changes))
    mean = fmean(changes)
    return f"{mean:+.2f} ({mean - half:+.2f} to {mean + half:+.2f})"


def main() -> None:
    """Run what is missing, evaluate, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="to train on")
    parser.add_argument("--evaluate", type=Path, required=True, help="Kodak; never trained on")
    parser.add_argument("--runs", type=Path, default=Path("runs/rate-arms"))
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--adam-lr", type=float, default=5e-4)
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--threads", type=int, default=1)
    TableOptions.add_to(parser)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    images = load_images(args.data, 256, 0, lambda _: None)
    ms = step_ms(images, args)
    first_ms = next(iter(ms.values()))
    rows, reference = [], {}
    for arm in arms():
        steps = args.steps
        if arm.is_as_long:
            steps = round(args.steps * first_ms / ms[arm.name])
        found = [run_arm(arm, seed, steps, images, args) for seed in args.seeds]
        for lmbda in LMBDAS if arm.lmbda is None else (arm.lmbda,):
            key = f"{lmbda}"
            own = [one[key] for one in found]
            reference.setdefault(key, own)
            is_first = own is reference[key]
            rows.append(
                (
                    arm.name,
                    str(int(found[0]["steps"])),
                    f"{ms[arm.name]:.0f}" if arm.name in ms else "n/a",
                    key,
                    f"{fmean(one[f'{key} psnr_db'] for one in found):.3f}",
                    f"{fmean(one[f'{key} bpp'] for one in found):.4f}",
                    f"{fmean(own):.4f}",
                    "" if is_first else change(reference[key], own),
                )
            )
    columns = ("arm", "steps", "step_ms", "lmbda", "psnr_db", "bpp", "rd_loss", "rd change in %")
    notes = (
        f"Means over seeds {', '.join(map(str, args.seeds))}; batches of {args.batch} crops of 256x256, "
        f"{images.pixels / 1e6:.0f} megapixels of {args.data.name}; {args.evaluate.name}, real bytes.",
        "rd change: against the first arm, mean over seeds with the 95 % interval of the mean. step_ms of an arm of one "
        "rate is not measured.",
        f"Host: {host_facts()}.",
    )
    emit(Table("Arms", columns, tuple(rows), notes), TableOptions.of(args))


if __name__ == "__main__":
    main()
