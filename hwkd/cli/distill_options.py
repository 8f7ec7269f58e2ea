"""The options of `hwkd distill`."""

import argparse
from pathlib import Path

from hwkd.cli.options import LAST_SEED, MOST, MOST_CHANNELS, above_0, crop, from_0, whole

DEFAULT_MINUTES = 3.0
"""A demonstration's length; real training says --minutes or --steps."""

TAKES_PLACE_OF = {
    "quality": ("lmbda", "all_rates"),
    "lmbda": ("quality", "all_rates"),
    "all_rates": ("quality", "lmbda"),
    "steps": ("minutes",),
    "minutes": ("steps",),
    "ptq": ("qat_steps",),
}
"""What a recipe says of the others is left out where the command line has the first: they contradict each other."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the options, in groups."""
    what = parser.add_argument_group("what to make")
    what.add_argument(
        "--recipe",
        metavar="NAME",
        help="a shipped recipe, or a .toml file whose keys are options of this command (qat_steps = 150); options "
        "given here win over its own",
    )
    what.add_argument("--recipes", action="store_true", help="list the shipped recipes, and stop")
    what.add_argument(
        "--target", metavar="NAME", help="see `hwkd targets`; needed unless a recipe has it"
    )
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
        "--family", metavar="F", help="gdn, relu or patch (default: patch, or that of --start)"
    )
    what.add_argument(
        "--width",
        metavar="N[,N..]",
        help="channels: gdn, relu: N or one for each of three layers; patch: trunk, or one for each block",
    )
    channels = whole(1, MOST_CHANNELS)
    what.add_argument(
        "--latent", type=channels, metavar="M", help="channels of y (default: teacher's)"
    )
    what.add_argument("--hyper", type=channels, metavar="H", help="channels inside h_a and h_s")
    what.add_argument("--hyper-latent", type=channels, metavar="Z", help="channels of z")
    what.add_argument(
        "--post",
        metavar="W[,W..]",
        help="patch: channels inside each deblocking pair, at 1/4 of the resolution (default: one, a quarter of the "
        "trunk's)",
    )
    rate = what.add_mutually_exclusive_group()
    rate.add_argument(
        "--quality",
        type=whole(1, 8),
        metavar="Q",
        help="1 to 8, for CompressAI's lambda of that quality",
    )
    rate.add_argument(
        "--lmbda",
        type=above_0,
        metavar="L",
        help="of bpp + L 255^2 MSE (default: teacher's)",
    )
    rate.add_argument(
        "--all-rates",
        action="store_true",
        help="patch: one student for every quality from 1 to 100 (default where the teacher is one)",
    )
    what.add_argument(
        "--strict", action="store_true", help="refuse a target that would not compute in these bits"
    )
    teach = parser.add_argument_group("who teaches, and how")
    teach.add_argument(
        "--teacher",
        metavar="T",
        help="a shipped model, bmshj2018-hyperprior:5, a checkpoint, a run, recipe:NAME for the run of a recipe "
        "(default: the shipped one)",
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
        type=from_0,
        metavar="W",
        help="of the rate-distortion term (default: 0.6, alone 1)",
    )
    teach.add_argument(
        "--start",
        default="teacher",
        metavar="S",
        help="first weights: teacher, random, a shipped model, or the float student of a run or of recipe:NAME "
        "(default: teacher)",
    )
    how = parser.add_argument_group("training")
    how.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="images: a folder, one of .tar shards as webdataset writes them, or a .tar file; shards are always streamed "
        "(default: embedded photographs)",
    )
    how.add_argument(
        "--stream",
        action="store_true",
        help="read the images of --data while training, where decoded they would not fit in memory",
    )
    how.add_argument(
        "--data-workers",
        type=whole(0, 256),
        metavar="W",
        help="processes that decode what is streamed, for each one that trains; 0: it decodes itself (default: 2, with "
        "fewer than 3 cores all but one)",
    )
    length = how.add_mutually_exclusive_group()
    length.add_argument(
        "--steps", type=whole(0, MOST), metavar="S", help="of the float phase, 0 for none"
    )
    length.add_argument(
        "--minutes",
        type=above_0,
        metavar="M",
        help=f"in place of --steps: as many as fit (default: {DEFAULT_MINUTES:g})",
    )
    how.add_argument(
        "--qat-steps",
        type=whole(0, MOST),
        metavar="S",
        help="of the quantized phase (default: a quarter of --steps)",
    )
    how.add_argument(
        "--ptq", action="store_true", help="quantize after training, do not train in bits"
    )
    how.add_argument(
        "--crop",
        type=crop,
        default=256,
        metavar="PIXELS",
        help="side, a multiple of 64 (default: 256)",
    )
    how.add_argument(
        "--batch",
        type=whole(1, 4096),
        default=4,
        metavar="B",
        help="crops a step, of all processes together (default: 4)",
    )
    how.add_argument(
        "--accumulate",
        type=whole(1, 4096),
        default=1,
        metavar="K",
        help="pass a process's share of the batch in K parts, to save memory; the result is the same (default: 1)",
    )
    how.add_argument(
        "--lr",
        type=above_0,
        default=5e-4,
        metavar="RATE",
        help="peak rate of Adam (default: 5e-4)",
    )
    how.add_argument(
        "--qat-lr",
        type=above_0,
        default=5e-5,
        metavar="RATE",
        help="of the quantized phase (default: 5e-5)",
    )
    how.add_argument(
        "--schedule",
        default="wsd",
        metavar="S",
        help="wsd (warm-up, constant, a linear fall over the last third; may be made longer on --resume), cosine, or the "
        "paper's plateau (default: wsd)",
    )
    how.add_argument(
        "--optimizer",
        default="auto",
        metavar="O",
        help="muon (for matrices, with adam for the rest), adam, or auto: muon for family patch (default: auto)",
    )
    how.add_argument(
        "--precision",
        default="auto",
        metavar="P",
        help="bf16, fp32 or auto, of the float phase (default: auto)",
    )
    how.add_argument(
        "--threads",
        type=whole(1, 4096),
        metavar="T",
        help="of torch on the CPU (default: torch's)",
    )
    how.add_argument(
        "--seed",
        type=whole(0, LAST_SEED),
        default=0,
        metavar="N",
        help="of all chance (default: 0)",
    )
    how.add_argument(
        "--cache-crops",
        type=whole(0, MOST),
        default=0,
        metavar="K",
        help="train on K fixed crops whose teacher outputs are computed once (default: new crops at every step)",
    )
    how.add_argument(
        "--checkpoint-every",
        type=whole(1, MOST),
        default=200,
        metavar="S",
        help="steps between checkpoints (default: 200)",
    )
    out = parser.add_argument_group("output")
    out.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="DIR",
        help="run folder (default: runs/TARGET-FAMILY-BITS, or runs/RECIPE)",
    )
    out.add_argument("--resume", action="store_true", help="continue the run in the output folder")
    out.add_argument("--force", action="store_true", help="start over where the folder holds a run")
    out.add_argument(
        "--evaluate",
        type=Path,
        metavar="DIR",
        help="images of the report, never trained on (default: embedded ones)",
    )
