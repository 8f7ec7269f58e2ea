"""The options of `hwkd distill`, for the command, for recipes and for a program."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

from hwkd.bits import parse_bits, parse_layer_bits
from hwkd.errors import InputError, unknown
from hwkd.models.shipped import read_card, shipped_names
from hwkd.models.spec import FAMILIES
from hwkd.options import (
    LAST_SEED,
    MOST,
    Options,
    checked,
    crop,
    non_negative,
    one_of,
    option,
    positive,
    whole,
)

DEFAULT_MINUTES = 3.0
"""The length of a demonstration; real training sets --minutes or --steps."""
DEFAULT_WEIGHTS = {"latent": 0.2, "hyper": 0.2, "output": 0.2}
"""The paper's (arXiv 2509.10366, section 4, and its code)."""
DEFAULT_RD_WEIGHT = 0.6
MOST_CHANNELS = 4096
DEFAULT_FAMILY = "patch"
NO_BITS = "none"


def parse_kd(text: str) -> dict[str, float]:
    """The weights of the terms in "latent=0.2,output"; terms that are left out have weight 0.

    Raises:
        InputError: a term is unknown, or a weight is not a number.
    """
    weights = dict.fromkeys(DEFAULT_WEIGHTS, 0.0)
    if text == "none":
        return weights
    for part in text.split(","):
        name, equals, number = part.strip().partition("=")
        if name not in weights:
            raise unknown("--kd term", name, (*weights, "none"))
        try:
            weights[name] = float(number) if equals else DEFAULT_WEIGHTS[name]
        except ValueError as error:
            raise InputError(
                f"--kd: the weight of {name} is not a number: {number!r}; give {name}=0.2, say"
            ) from error
        if not 0 <= weights[name] < math.inf:
            raise InputError(f"--kd: the weight of {name} must be 0 or more, got {number}")
    return weights


def parse_channels(flag: str, text: str) -> tuple[int, ...]:
    """The channel counts in "64" or "32,48,64", the value of `flag`. Raises InputError for anything else."""
    try:
        counts = tuple(int(part) for part in text.replace("-", ",").split(","))
    except ValueError as error:
        raise InputError(
            f"{flag} {text!r} is not a list of channel counts: give 64, or 32,48,64"
        ) from error
    if not all(1 <= count <= MOST_CHANNELS for count in counts):
        raise InputError(f"{flag} takes 1 to {MOST_CHANNELS} channels each, got {text!r}")
    return counts


def _bits(text: str) -> None:
    if text != NO_BITS:
        parse_bits(text)


_CHANNELS = whole(1, MOST_CHANNELS)


@dataclass(frozen=True, kw_only=True)
class DistillOptions(Options):
    """The options of `hwkd.distill`. `hwkd distill --help` describes each one; None means that hwkd chooses.

    `hwkd.distill` checks the values, as the command does. A recipe's value holds if a field has its default.
    """

    recipe: str | None = option(
        "a shipped recipe, or a .toml file whose keys are options of this command (qat_steps = 150); options "
        "given here win over its own",
        "NAME",
        group="what to make",
    )
    target: str | None = option(
        "see `hwkd targets`; needed unless a recipe has it", "NAME", kw_only=False
    )
    bits: str = option(
        "bits of weights (2 to 8) and activations (4 to 8): 8, 4/8; none stays in float",
        "W[/A]",
        checked(_bits),
        default="8",
    )
    layer_bits: tuple[str, ...] = option(
        "other bits for some layers, wildcards allowed: 'g_a.0=8/8'; may be given again",
        "LAYER=W/A",
        checked(parse_layer_bits),
        default=(),
    )
    family: str | None = option(
        "gdn, relu or patch (default: patch, or that of --start)", "F", one_of("family", *FAMILIES)
    )
    width: str | None = option(
        "channels: gdn, relu: N or one for each of three layers; patch: trunk, or one for each block",
        "N[,N..]",
        checked(lambda text: parse_channels("--width", text)),
    )
    latent: int | None = option("channels of y (default: teacher's)", "M", _CHANNELS)
    hyper: int | None = option("channels inside h_a and h_s", "H", _CHANNELS)
    hyper_latent: int | None = option("channels of z", "Z", _CHANNELS)
    post: str | None = option(
        "patch: channels inside each deblocking pair, at 1/4 of the resolution (default: one, a quarter of the "
        "trunk's)",
        "W[,W..]",
        checked(lambda text: parse_channels("--post", text)),
    )
    quality: int | None = option(
        "1 to 8, for CompressAI's lambda of that quality", "Q", whole(1, 8), exclusive="rate"
    )
    lmbda: float | None = option(
        "of bpp + L 255^2 MSE (default: teacher's)", "L", positive, exclusive="rate"
    )
    all_rates: bool = option(
        "patch: one student for every quality from 1 to 100 (default where the teacher is one)",
        default=False,
        exclusive="rate",
    )
    strict: bool = option("refuse a target that would not compute in these bits", default=False)
    teacher: str | None = option(
        "a shipped model, bmshj2018-hyperprior:5, a checkpoint, a run, recipe:NAME for the run of a recipe "
        "(default: the shipped one)",
        "T",
        group="who teaches, and how",
    )
    second_teacher: str | None = option("the paper's hybrid: z_hat is learnt from this one", "T")
    kd: str = option(
        "terms of the distillation, weights after '=': latent=0.2,hyper=0.2,output=0.2; none for none "
        "(default: latent,output: Eq. 1; with hyper: Eq. 2)",
        "TERMS",
        checked(parse_kd),
        default="latent,output",
    )
    kd_loss: str = option(
        "mse or kld, for the latents", "D", one_of("--kd-loss", "mse", "kld"), default="mse"
    )
    rd_weight: float | None = option(
        "of the rate-distortion term (default: 0.6, alone 1)", "W", non_negative
    )
    start: str = option(
        "first weights: teacher, random, a shipped model, or the float student of a run or of recipe:NAME "
        "(default: teacher)",
        "S",
        default="teacher",
    )
    data: Path | None = option(
        "images: a folder, one of .tar shards as webdataset writes them, or a .tar file; shards are always streamed "
        "(default: embedded photographs)",
        "DIR",
        group="training",
    )
    stream: bool = option(
        "read the images of --data while training, where decoded they would not fit in memory",
        default=False,
    )
    data_workers: int | None = option(
        "processes that decode what is streamed, for each one that trains; 0: it decodes itself (default: 2, with "
        "fewer than 3 cores all but one)",
        "W",
        whole(0, 256),
    )
    steps: int | None = option(
        "of the float phase, 0 for none", "S", whole(0, MOST), exclusive="length"
    )
    minutes: float | None = option(
        f"in place of --steps: as many as fit (default: {DEFAULT_MINUTES:g})",
        "M",
        positive,
        exclusive="length",
    )
    qat_steps: int | None = option(
        "of the quantized phase (default: a quarter of --steps)", "S", whole(0, MOST)
    )
    ptq: bool = option("quantize after training, do not train in bits", default=False)
    crop: int = option("side, a multiple of 64", "PIXELS", crop, default=256)
    batch: int = option("crops a step, of all processes together", "B", whole(1, 4096), default=4)
    accumulate: int = option(
        "pass a process's share of the batch in K parts, to save memory; the result is the same",
        "K",
        whole(1, 4096),
        default=1,
    )
    lr: float = option("peak rate of Adam (default: 5e-4)", "RATE", positive, default=5e-4)
    qat_lr: float = option("of the quantized phase (default: 5e-5)", "RATE", positive, default=5e-5)
    schedule: str = option(
        "wsd (warm-up, constant, a linear fall over the last third; may be made longer on --resume), cosine, or the "
        "paper's plateau",
        "S",
        one_of("--schedule", "wsd", "cosine", "plateau"),
        default="wsd",
    )
    optimizer: str = option(
        "muon (for matrices, with adam for the rest), adam, or auto: muon for family patch",
        "O",
        one_of("--optimizer", "auto", "muon", "adam"),
        default="auto",
    )
    precision: str = option(
        "bf16, fp32 or auto, of the float phase",
        "P",
        one_of("--precision", "auto", "bf16", "fp32"),
        default="auto",
    )
    threads: int | None = option("of torch on the CPU (default: torch's)", "T", whole(1, 4096))
    seed: int = option("of all chance", "N", whole(0, LAST_SEED), default=0)
    cache_crops: int = option(
        "train on K fixed crops whose teacher outputs are computed once (default: new crops at every step)",
        "K",
        whole(0, 10**6),
        default=0,
    )
    checkpoint_every: int = option("steps between checkpoints", "S", whole(1, MOST), default=200)
    output: Path | None = option(
        "run folder (default: runs/TARGET-FAMILY-BITS, or runs/RECIPE)",
        "DIR",
        short="-o",
        group="output",
    )
    resume: bool = option("continue the run in the output folder", default=False)
    force: bool = option("start over where the folder holds a run", default=False)
    evaluate: Path | None = option(
        "images of the report, never trained on (default: embedded ones)", "DIR"
    )

    @property
    def named_target(self) -> str:
        """`target`. Raises InputError if there is none."""
        if self.target is None:
            raise InputError(
                "no target is given: name one with --target (see `hwkd targets`), or a --recipe that has one"
            )
        return self.target

    @property
    def student_family(self) -> str:
        """`family`, or the family of the run or shipped model that `start` names; the default if it names none."""
        if self.family is not None:
            return self.family
        if self.start in shipped_names():
            return read_card(self.start).spec.family
        try:
            config = Path(self.start.removesuffix(":float")) / "config.json"
            return str(json.loads(config.read_text(encoding="utf-8"))["spec"]["family"])
        except (OSError, ValueError, KeyError, TypeError):
            return DEFAULT_FAMILY  # an error in the folder is reported when it is loaded

    def check(self) -> None:
        """Refuse options that are missing or contradict each other. Raises InputError."""
        _ = self.named_target
        if self.bits == NO_BITS and self.layer_bits:
            raise InputError("--layer-bits needs bits, got --bits none; give --bits 8, say")
        if self.bits == NO_BITS and self.ptq:
            raise InputError("--ptq quantizes, --bits none does not: leave one out")
        if (self.bits == NO_BITS or self.ptq) and self.qat_steps:
            without = "--ptq" if self.ptq else "--bits none"
            raise InputError(
                f"--qat-steps {self.qat_steps} does not go with {without}, which has no quantized phase: leave one out"
            )
        if self.cache_crops and self.cache_crops < self.batch:
            raise InputError(
                f"--cache-crops {self.cache_crops} is less than a batch: give {self.batch} (--batch) or more, or 0"
            )
        if self.stream and self.data is None:
            raise InputError(
                "--stream reads the images of --data while training: give --data DIR, too"
            )
        if self.second_teacher is not None and not parse_kd(self.kd)["hyper"]:
            raise InputError(
                f"--second-teacher teaches z_hat, but --kd {self.kd} has no hyper term: give --kd latent,hyper,output"
            )
