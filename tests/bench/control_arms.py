"""What each part of the recipe is worth: students at equal steps on equal data, with one thing changed at a time.

    python tests/bench/control_arms.py --data photos/ --evaluate kodak/ [--steps 200] [--qat-steps 60]

Each arm is a run of `hwkd distill` below --runs; one that is finished is not run again, one that was stopped goes on.
All arms of a model see the same crops in the same order (--seed), at the same rates. Quantized arms start from the
distilled student (Eq. 1). One seed: how far two seeds differ is not known from this.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from hwkd.distill.run_folder import load_run, read_config
from hwkd.files import write_text
from hwkd.images import open_images
from hwkd.measure.quality import evaluate

DISTILLED = "distilled, Eq. 1"
LMBDA = 0.025
AT_RANDOM = ("--start", "random")
POOL = 400
"""Crops whose teacher outputs are computed once; the arms without a teacher take the same ones."""


@dataclass(frozen=True)
class Arm:
    """One run. options: of `hwkd distill`, beside those of all arms. quantized: starts from the distilled student."""

    model: str
    name: str
    options: tuple[str, ...]
    quantized: bool = False

    @property
    def folder(self) -> str:
        """A folder's name that is this arm's alone."""
        words = "".join(c if c.isalnum() else " " for c in self.name).split()
        return f"{self.model}-{'-'.join(words)}".lower()


def arms(hyperprior: str) -> Iterator[Arm]:
    """All arms, in the order of the table; the first of each model is what the others are compared with.

    hyperprior: the teacher of the convolutional students; that of the patch students is patch-q5.
    """
    patch = ("--teacher", "patch-q5", "--family", "patch")
    models = {
        "patch-medium": (*patch, "--width", "96", "--hyper", "48", "--hyper-latent", "48"),
        "patch-small": (*patch, "--width", "32,32,32", "--hyper", "24", "--hyper-latent", "24"),
        "gdn-32": ("--teacher", hyperprior, "--family", "gdn", "--width", "32"),
    }
    for model, shape in models.items():
        yield Arm(model, "no distillation", (*shape, "--kd", "none"))
        yield Arm(model, DISTILLED, shape)
        yield Arm(model, "distilled, Eq. 2", (*shape, "--kd", "latent,output,hyper"))
        yield Arm(model, "distilled, Eq. 1 by KLD", (*shape, "--kd-loss", "kld"))
        start = "start: PCA" if model.startswith("patch") else "start: random"
        yield Arm(model, f"no distillation, {start}", (*shape, "--kd", "none", *AT_RANDOM))
        for bits in ("8/8", "4/8"):
            yield Arm(model, f"Eq. 1 + PTQ {bits}", ("--bits", bits, "--ptq"), quantized=True)
            yield Arm(model, f"Eq. 1 + QAT {bits}", ("--bits", bits), quantized=True)
    # At the MACs of gdn-32, and like its last float arm from no teacher's filters.
    relu = ("--teacher", hyperprior, "--family", "relu", "--width", "32", "--kd", "none")
    yield Arm("relu-32", "no distillation, start: random", (*relu, *AT_RANDOM))
    equal = (*patch, "--width", "128", "--hyper", "64", "--hyper-latent", "64", "--kd", "none")
    yield Arm("patch-128", "no distillation, start: PCA", (*equal, *AT_RANDOM))


def run_arm(arm: Arm, args: argparse.Namespace) -> Path:
    """Run or continue `arm`; its folder."""
    folder = args.runs / arm.folder
    if (folder / "report.json").exists():
        return folder
    options = ["--target", args.target, "--data", str(args.data), "--lmbda", str(LMBDA)]
    # As the arms that ship were trained, whatever the defaults are now.
    options += ["--schedule", "cosine", "--optimizer", "adam"]
    options += [
        "--seed",
        str(args.seed),
        "--threads",
        str(args.threads),
        "--cache-crops",
        str(POOL),
    ]
    if arm.quantized:
        base = args.runs / Arm(arm.model, DISTILLED, ()).folder
        qat_steps = 0 if "--ptq" in arm.options else args.qat_steps
        options += ["--start", str(base), "--steps", "0", "--qat-steps", str(qat_steps)]
        options += ["--kd", "none", "--qat-lr", str(args.qat_lr)]
    else:
        options += ["--bits", "none", "--steps", str(args.steps)]
    if (folder / "checkpoint" / "state.pt").exists():
        options.append("--resume")
    command = [sys.executable, "-m", "hwkd", "distill", *options, *arm.options, "-o", str(folder)]
    print(f"{arm.model}: {arm.name}", file=sys.stderr, flush=True)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder


def row(arm: Arm, folder: Path, args: argparse.Namespace) -> dict[str, object]:
    """The arm's figures on the images of --evaluate, kept beside its run."""
    kept = folder / "arm.json"
    if not kept.exists():
        config = read_config(folder)
        found = evaluate(load_run(folder).codec, open_images(args.evaluate))
        figures = {
            "steps": args.steps + (config.qat_steps or 0),
            "psnr_db": found.psnr_db,
            "ms_ssim": found.ms_ssim,
            "bpp": found.bpp,
            "rd_loss": found.rd_loss(LMBDA),
        }
        write_text(kept, json.dumps(figures) + "\n")
    return {"model": arm.model, "arm": arm.name, **json.loads(kept.read_text()), "note": None}


def main() -> None:
    """Run what is missing, evaluate, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="to train on")
    parser.add_argument("--evaluate", type=Path, required=True, help="Kodak; never trained on")
    parser.add_argument("--runs", type=Path, default=Path("runs/arms"))
    parser.add_argument("--hyperprior", default="hyperprior-64", help="teacher of gdn and relu")
    parser.add_argument("--target", default="raspberry-pi-4", help="one whose kernels take 8 bits")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--qat-steps", type=int, default=60)
    parser.add_argument("--qat-lr", type=float, default=2e-4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", action="append", help="only these models (may be given again)")
    parser.add_argument("-o", "--output", type=Path, help="profiles/results/control-arms.json")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    wanted = [arm for arm in arms(args.hyperprior) if args.model is None or arm.model in args.model]
    rows = [row(arm, run_arm(arm, args), args) for arm in wanted]
    content = {
        "description": f"{args.steps} steps of four 256x256 crops each, out of the same {POOL}; quantized arms "
        f"{args.qat_steps} more at a peak rate of {args.qat_lr:g} (PTQ: none); lmbda {LMBDA}; one seed ({args.seed}); "
        f"means over {sum(1 for _ in open_images(args.evaluate))} images of {args.evaluate.name}, bpp of real bytes",
        "arms": rows,
    }
    text = json.dumps(content, indent=1) + "\n"
    if args.output is None:
        print(text, end="")
    else:
        write_text(args.output, text)


if __name__ == "__main__":
    main()
