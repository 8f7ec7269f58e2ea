"""The options of `hwkd distill`, and how their texts become values."""

import argparse
from pathlib import Path

from hwkd.errors import InputError

TERMS = ("latent", "hyper", "output")
DEFAULT_WEIGHTS = {"latent": 0.2, "hyper": 0.2, "output": 0.2}
"""The paper's (arXiv 2509.10366, section 4, and its code)."""
DEFAULT_RD_WEIGHT = 0.6
DEFAULT_MINUTES = 3.0
"""A demonstration's length; real training says --minutes or --steps."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the options, in groups."""
    what = parser.add_argument_group("what to make")
    what.add_argument("--target", required=True, metavar="NAME", help="see `hwkd targets`")
    what.add_argument(
        "--bits",
        default="8",
        metavar="W[/A]",
        help="bits of weights (2 to 8) and activations (4 to 8): 8, 4/8; none stays in float (default: 8)",
    )
    what.add_argument(
        "--layer-bits",
        action="append",
        default=[],
        metavar="LAYER=W/A",
        help="other bits for some layers, wildcards allowed: 'g_a.0=8/8'; may be given again",
    )
    what.add_argument(
        "--family", default="patch", metavar="F", help="gdn, relu or patch (default: patch)"
    )
    what.add_argument(
        "--width",
        metavar="N[,N..]",
        help="channels: gdn, relu: N or one for each of three layers; patch: trunk, or one for each block",
    )
    what.add_argument("--latent", type=int, metavar="M", help="channels of y (default: teacher's)")
    what.add_argument("--hyper", type=int, metavar="H", help="channels inside h_a and h_s")
    what.add_argument("--hyper-latent", type=int, metavar="Z", help="channels of z")
    rate = what.add_mutually_exclusive_group()
    rate.add_argument(
        "--quality", type=int, metavar="Q", help="1 to 8, for CompressAI's lambda of that quality"
    )
    rate.add_argument(
        "--lmbda", type=float, metavar="L", help="of bpp + L 255^2 MSE (default: teacher's)"
    )
    what.add_argument(
        "--strict", action="store_true", help="refuse a target that would not compute in these bits"
    )
    teach = parser.add_argument_group("who teaches, and how")
    teach.add_argument(
        "--teacher",
        metavar="T",
        help="a shipped model, bmshj2018-hyperprior:5, a checkpoint, a run (default: the shipped one)",
    )
    teach.add_argument(
        "--second-teacher", metavar="T", help="the paper's hybrid: z_hat is learnt from this one"
    )
    teach.add_argument(
        "--kd",
        default="latent,output",
        metavar="TERMS",
        help="terms of the distillation, weights after '=': latent=0.2,hyper=0.2,output=0.2; none for none "
        "(default: latent,output: Eq. 1; with hyper: Eq. 2)",
    )
    teach.add_argument(
        "--kd-loss", default="mse", metavar="D", help="mse or kld, for the latents (default: mse)"
    )
    teach.add_argument(
        "--rd-weight",
        type=float,
        metavar="W",
        help="of the rate-distortion term (default: 0.6, alone 1)",
    )
    teach.add_argument(
        "--start",
        default="teacher",
        metavar="S",
        help="first weights: teacher, random, or a run's float student (default: teacher)",
    )
    how = parser.add_argument_group("training")
    how.add_argument(
        "--data", type=Path, metavar="DIR", help="images (default: embedded photographs)"
    )
    how.add_argument("--steps", type=int, metavar="S", help="of the float phase")
    how.add_argument(
        "--qat-steps",
        type=int,
        metavar="S",
        help="of the quantized phase (default: a quarter of --steps)",
    )
    how.add_argument(
        "--minutes",
        type=float,
        metavar="M",
        help=f"in place of --steps: as many as fit (default: {DEFAULT_MINUTES:g})",
    )
    how.add_argument(
        "--ptq", action="store_true", help="quantize after training, do not train in bits"
    )
    how.add_argument(
        "--crop", type=int, default=256, help="side in pixels, a multiple of 64 (default: 256)"
    )
    how.add_argument("--batch", type=int, default=4, help="crops a step (default: 4)")
    how.add_argument("--lr", type=float, default=5e-4, help="peak rate of Adam (default: 5e-4)")
    how.add_argument(
        "--qat-lr", type=float, default=5e-5, help="of the quantized phase (default: 5e-5)"
    )
    how.add_argument(
        "--schedule", default="cosine", help="cosine, or the paper's plateau (default: cosine)"
    )
    how.add_argument(
        "--precision", default="auto", help="bf16, fp32 or auto, of the float phase (default: auto)"
    )
    how.add_argument(
        "--threads", type=int, metavar="T", help="of torch on the CPU (default: torch's)"
    )
    how.add_argument("--seed", type=int, default=0, help="default: 0")
    how.add_argument(
        "--cache-crops",
        type=int,
        default=0,
        metavar="K",
        help="train on K fixed crops whose teacher outputs are computed once (default: new crops at every step)",
    )
    how.add_argument(
        "--checkpoint-every", type=int, default=200, metavar="S", help="default: 200 steps"
    )
    out = parser.add_argument_group("output")
    out.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="run folder (default: runs/...)"
    )
    out.add_argument("--resume", action="store_true", help="continue the run in the output folder")
    out.add_argument("--force", action="store_true", help="start over where the folder holds a run")
    out.add_argument(
        "--evaluate",
        type=Path,
        metavar="DIR",
        help="images of the report, never trained on (default: embedded ones)",
    )


def parse_widths(text: str | None) -> tuple[int, ...] | None:
    """The widths in "64" or "32,48,64". Raises InputError for anything else."""
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.replace("-", ",").split(","))
    except ValueError as error:
        raise InputError(
            f"--width {text!r} is not a list of channel counts: give 64, or 32,48,64"
        ) from error


def parse_kd(text: str) -> dict[str, float]:
    """The weights of the terms in "latent=0.2,output"; terms that are left out weigh 0.

    Raises:
        InputError: an unknown term, or a weight that is no number.
    """
    weights = dict.fromkeys(TERMS, 0.0)
    if text == "none":
        return weights
    for part in text.split(","):
        name, equals, number = part.strip().partition("=")
        if name not in TERMS:
            raise InputError(
                f"--kd: unknown term {name!r}: known are {', '.join(TERMS)}, or none (--kd latent=0.2,output=0.2)"
            )
        try:
            weights[name] = float(number) if equals else DEFAULT_WEIGHTS[name]
        except ValueError as error:
            raise InputError(f"--kd: the weight of {name} is not a number: {number!r}") from error
    return weights
