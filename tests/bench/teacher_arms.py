"""What a teacher is worth to a patch student of all rates: curve against curve, one thing changed at a time.

    python tests/bench/teacher_arms.py --data photos/ --evaluate kodak/ [--model small] [--steps 300] [--seeds 0 1 2]

And, shorter, to the paper's kind of student: relu of width 32, of one rate, with hyperprior-64 as its teacher.

Each arm is a run of `hwkd distill` below --runs; one that is finished is not run again. All arms of a seed see the same crops
in the same order. Figures: BD-rate in PSNR, of real bytes, against the student without a teacher of the same seed, for each
image and over the qualities of QUALITIES, of relu the change of rd_loss; the mean over images and seeds, with the 95 %
interval of the mean over images (Student's t; an image's value is its mean over seeds), and the mean of each seed beside it.
"""

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median, stdev

import torch
from scipy.stats import t as student_t

from hwkd.cli.tables import TableOptions, emit
from hwkd.distill.run_folder import load_run, read_state
from hwkd.files import write_text
from hwkd.images import open_images
from hwkd.measure.machine import host_facts
from hwkd.measure.quality import evaluate
from hwkd.metrics import Curve, bd_rate_percent
from hwkd.qualities import lmbda_at
from hwkd.report.table import Table

QUALITIES = (10, 40, 70, 95)
LMBDA = 0.025
"""Of relu."""
SHAPES = {
    "small": ("--all-rates", "--width", "32,32,32", "--hyper", "24", "--hyper-latent", "24"),
    "medium": ("--all-rates", "--width", "96,96,96", "--hyper", "48", "--hyper-latent", "48"),
    "relu": ("--family", "relu", "--width", "32", "--lmbda", str(LMBDA)),
}
TEACHERS = {"small": "patch-large-float", "medium": "patch-large-float", "relu": "hyperprior-64"}
UNTAUGHT, EQ_1, TAUGHT = "no teacher", "Eq. 1", "filters and Eq. 1"
ALONE = ("--kd", "none", "--start", "random")


@dataclass(frozen=True)
class Arm:
    """One kind of run.

    Attributes:
        options: of `hwkd distill`, beside those of all arms.
        as_long_as: the arm whose time it takes, in place of its steps.
        stage: the model whose `TAUGHT` run of the same seed teaches, in place of that of TEACHERS.
        bits: of the weights, in a run that starts from the `TAUGHT` one; None for a float run. Fewer than 8 are a mean: each
            layer has those that `hwkd sensitivity` gives it for a model of that size.
    """

    name: str
    options: tuple[str, ...] = ()
    as_long_as: str | None = None
    stage: str | None = None
    bits: int | None = None


def arms(model: str) -> Iterator[Arm]:
    """In the order of the table; the first is what the others are compared with."""
    yield Arm(UNTAUGHT, ALONE)
    yield Arm(EQ_1, ("--start", "random"))
    yield Arm(f"{UNTAUGHT}, as long as Eq. 1", ALONE, as_long_as=EQ_1)
    if model == "relu":
        return
    yield Arm("filters alone", ("--kd", "none"))
    yield Arm(TAUGHT)
    if model == "small":
        yield Arm(f"{TAUGHT}, by medium", stage="medium")
    for bits in (8, 6, 4):
        yield Arm(f"{TAUGHT}, PTQ {bits}/8", ("--ptq",), bits=bits)
        yield Arm(f"{TAUGHT}, QAT {bits}/8", bits=bits)


def folder_of(model: str, arm: Arm, seed: int, args: argparse.Namespace) -> Path:
    words = "".join(c if c.isalnum() else " " for c in arm.name).lower().split()
    return Path(args.runs) / f"{model}-{'-'.join(words)}-{seed}"


def run_arm(model: str, arm: Arm, seed: int, args: argparse.Namespace) -> Path:
    """Run or continue `arm`, and first what it starts from or is taught by; its folder."""
    folder = folder_of(model, arm, seed, args)
    if (folder / "report.json").exists():
        return folder
    of = {one.name: one for one in arms(model)}
    steps, teacher = args.steps, TEACHERS[model]
    if arm.as_long_as is not None:
        ratio = [
            read_state(run_arm(model, of[arm.as_long_as], other, args)).seconds
            / read_state(run_arm(model, of[UNTAUGHT], other, args)).seconds
            for other in args.seeds
        ]
        steps = round(args.steps * median(ratio))
    if arm.stage is not None:
        taught = next(one for one in arms(arm.stage) if one.name == TAUGHT)
        teacher = str(run_arm(arm.stage, taught, seed, args))
    options = [
        "--quiet",
        "--target",
        "x86-avx2",
        "--data",
        args.data,
        "--teacher",
        teacher,
        "--seed",
        seed,
    ]
    options += ["--threads", args.threads, "--batch", args.batch, "--precision", args.precision]
    if arm.bits is None:
        options += [*SHAPES[model], "--bits", "none", "--steps", steps]
    else:
        start = f"{run_arm(model, of[TAUGHT], seed, args)}:float"
        qat_steps = 0 if "--ptq" in arm.options else args.qat_steps
        options += bits_of(model, arm.bits, args)
        options += ["--start", start, "--steps", 0, "--qat-steps", qat_steps]
    if (folder / "checkpoint" / "state.pt").exists():
        options.append("--resume")
    command = [sys.executable, "-m", "hwkd", "distill", *options, *arm.options, "-o", folder]
    print(f"{model}: {arm.name}, seed {seed}, {steps} steps", file=sys.stderr, flush=True)
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
    return folder


def bits_of(model: str, bits: int, args: argparse.Namespace) -> list[object]:
    """The options of `hwkd distill` for so many bits; what each layer's bits cost is measured on the first seed's student."""
    if bits == 8:
        return ["--bits", "8/8"]
    folder = Path(args.runs) / f"{model}-sensitivity"
    recipe = folder / f"allocated-{bits}.toml"
    if not recipe.exists():
        taught = next(arm for arm in arms(model) if arm.name == TAUGHT)
        student = f"{run_arm(model, taught, args.seeds[0], args)}:float"
        print(f"{model}: what each layer's bits cost", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", "hwkd", "sensitivity", student, "--data", args.data]
        command = [str(word) for word in (*command, "-o", folder)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return ["--recipe", recipe]


Points = dict[str, dict[str, list[float]]]
"""By image: bpp, psnr_db and mse of each quality, or of the one rate."""


def points(folder: Path, args: argparse.Namespace) -> Points:
    """What a run reaches on each image, kept beside it."""
    kept = folder / "points.json"
    if not kept.exists():
        codec = load_run(folder).codec
        found: Points = {}
        for lmbda in map(lmbda_at, QUALITIES) if codec.serves_all_rates else (LMBDA,):
            codec.set_lmbda(lmbda)
            for image in evaluate(codec, open_images(args.evaluate)).images:
                of_image = found.setdefault(image.name, {"bpp": [], "psnr_db": [], "mse": []})
                for name, values in of_image.items():
                    values.append(getattr(image, name))
        write_text(kept, json.dumps(found) + "\n")
    read: Points = json.loads(kept.read_text())
    return read


def change_percent(anchor: Points, own: Points, name: str) -> float:
    """BD-rate of an image's curve against the anchor's; where there is one rate, the change of rd_loss."""
    both = [of[name] for of in (anchor, own)]
    if len(both[0]["bpp"]) > 1:
        first, second = (Curve(name, tuple(of["bpp"]), tuple(of["psnr_db"])) for of in both)
        return bd_rate_percent(first, second)
    before, after = (of["bpp"][0] + LMBDA * 255**2 * of["mse"][0] for of in both)
    return 100 * (after / before - 1)


def row(model: str, arm: Arm, args: argparse.Namespace) -> tuple[str, ...]:
    """The arm's row: against the first arm of the same seed, image by image."""
    first = next(iter(arms(model)))
    folders = [run_arm(model, arm, seed, args) for seed in args.seeds]
    own = [points(folder, args) for folder in folders]
    anchors = [points(run_arm(model, first, seed, args), args) for seed in args.seeds]
    steps = json.loads((folders[0] / "config.json").read_text())
    minutes = fmean(read_state(folder).seconds for folder in folders) / 60
    taken = steps["float_steps"] if arm.bits is None else steps["qat_steps"]
    if arm == first:
        return (model, arm.name, str(taken), f"{minutes:.1f}", "0", "")
    by_seed = [
        {name: change_percent(anchor, found, name) for name in found}
        for anchor, found in zip(anchors, own, strict=True)
    ]
    by_image = [fmean(of_seed[name] for of_seed in by_seed) for name in by_seed[0]]
    half = student_t.ppf(0.975, len(by_image) - 1) * stdev(by_image) / math.sqrt(len(by_image))
    mean = fmean(by_image)
    seeds = ", ".join(f"{fmean(of_seed.values()):+.2f}" for of_seed in by_seed)
    interval = f"{mean:+.2f} ({mean - half:+.2f} to {mean + half:+.2f})"
    return (model, arm.name, str(taken), f"{minutes:.1f}", interval, seeds)


def main() -> None:
    """Run what is missing, evaluate, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="to train on")
    parser.add_argument("--evaluate", type=Path, required=True, help="Kodak; never trained on")
    parser.add_argument("--runs", type=Path, default=Path("runs/teacher-arms"))
    parser.add_argument("--model", action="append", choices=sorted(SHAPES))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--qat-steps", type=int, default=75)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--arm", action="append", help="only these arms, by name")
    TableOptions.add_to(parser)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    wanted = [
        (model, arm)
        for model in args.model or SHAPES
        for arm in arms(model)
        if args.arm is None or arm.name in args.arm
    ]
    columns = ("model", "arm", "steps", "minutes", "change in %", "of each seed")
    notes = (
        f"Against {UNTAUGHT}, at qualities {', '.join(map(str, QUALITIES))}; seeds {', '.join(map(str, args.seeds))}; "
        f"batches of {args.batch} crops of 256x256 of {args.data.name}; images of {args.evaluate.name}, real bytes.",
        f"Change: BD-rate in PSNR; of relu, which has one rate, rd_loss at lmbda {LMBDA}.",
        "Teacher: patch-large-float (relu: hyperprior-64), or the medium student of the same seed that it taught. Quantized "
        "arms start from the float "
        f"student of {TAUGHT}. minutes: of training, on a machine that other work shared.",
        f"Host: {host_facts()}.",
    )
    emit(
        Table("Arms", columns, tuple(row(model, arm, args) for model, arm in wanted), notes),
        TableOptions.of(args),
    )


if __name__ == "__main__":
    main()
