"""How the texts of `hwkd distill`'s options become values, and what is refused before anything is loaded."""

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path

from hwkd.errors import InputError, unknown
from hwkd.models.shipped import read_card, shipped_names
from hwkd.models.spec import FAMILIES

TERMS = ("latent", "hyper", "output")
DEFAULT_WEIGHTS = {"latent": 0.2, "hyper": 0.2, "output": 0.2}
"""The paper's (arXiv 2509.10366, section 4, and its code)."""
DEFAULT_RD_WEIGHT = 0.6
MOST = 10**9
"""Of steps, and of whatever else has no bound of its own."""
MOST_CHANNELS = 4096
LAST_SEED = 2**32 - 1
DEFAULT_FAMILY = "patch"


def check_choices(args: argparse.Namespace) -> None:
    """Refuse names that are none, and options that are missing or contradict each other. Raises InputError."""
    if args.target is None:
        raise InputError(
            "no target is given: name one with --target (see `hwkd targets`), or a --recipe that has one"
        )
    for option, kind, known in (
        (args.family, "family", FAMILIES),
        (args.kd_loss, "--kd-loss", ("mse", "kld")),
        (args.schedule, "--schedule", ("wsd", "cosine", "plateau")),
        (args.optimizer, "--optimizer", ("auto", "muon", "adam")),
        (args.precision, "--precision", ("auto", "bf16", "fp32")),
    ):
        if option not in known:
            raise unknown(kind, option, known)
    if args.bits == "none" and args.layer_bits:
        raise InputError("--layer-bits needs bits, got --bits none; give --bits 8, say")
    if args.bits == "none" and args.ptq:
        raise InputError("--ptq quantizes, --bits none does not: leave one out")
    if (args.bits == "none" or args.ptq) and args.qat_steps:
        without = "--ptq" if args.ptq else "--bits none"
        raise InputError(
            f"--qat-steps {args.qat_steps} does not go with {without}, which has no quantized phase: leave one out"
        )
    if args.cache_crops and args.cache_crops < args.batch:
        raise InputError(
            f"--cache-crops {args.cache_crops} is less than a batch: give {args.batch} (--batch) or more, or 0"
        )
    if args.stream and args.data is None:
        raise InputError("--stream reads the images of --data while training: give --data DIR, too")
    if args.second_teacher is not None and not parse_kd(args.kd)["hyper"]:
        raise InputError(
            f"--second-teacher teaches z_hat, but --kd {args.kd} has no hyper term: give --kd latent,hyper,output"
        )


def family_of(start: str) -> str:
    """The family of the run or of the shipped model that `--start` names; the default where it names none."""
    if start in shipped_names():
        return read_card(start).spec.family
    try:
        config = Path(start.removesuffix(":float")) / "config.json"
        return str(json.loads(config.read_text(encoding="utf-8"))["spec"]["family"])
    except (OSError, ValueError, KeyError, TypeError):
        return DEFAULT_FAMILY  # what is wrong with the folder is said where it is loaded


def parse_channels(option: str, text: str | None) -> tuple[int, ...] | None:
    """The channel counts in "64" or "32,48,64", the value of `option`. Raises InputError for anything else."""
    if text is None:
        return None
    try:
        counts = tuple(int(part) for part in text.replace("-", ",").split(","))
    except ValueError as error:
        raise InputError(
            f"{option} {text!r} is not a list of channel counts: give 64, or 32,48,64"
        ) from error
    if not all(1 <= count <= MOST_CHANNELS for count in counts):
        raise InputError(f"{option} takes 1 to {MOST_CHANNELS} channels each, got {text!r}")
    return counts


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
            raise unknown("--kd term", name, (*TERMS, "none"))
        try:
            weights[name] = float(number) if equals else DEFAULT_WEIGHTS[name]
        except ValueError as error:
            raise InputError(
                f"--kd: the weight of {name} is not a number: {number!r}; give {name}=0.2, say"
            ) from error
        if not 0 <= weights[name] < math.inf:
            raise InputError(f"--kd: the weight of {name} must be 0 or more, got {number}")
    return weights


def whole(low: int, high: int) -> Callable[[str], int]:
    """An argparse type: a whole number from `low` to `high`."""

    def parse(text: str) -> int:
        accepted = f"{low} to {high}" if high != MOST else f"{low} or more"
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must be a whole number, {accepted}, got {text!r}")
        return value

    return parse


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def above_0(text: str) -> float:
    """An argparse type: a finite number above 0."""
    value = _number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text!r}")
    return value


def from_0(text: str) -> float:
    """An argparse type: a finite number, 0 or more."""
    value = _number(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number, 0 or more, got {text!r}")
    return value


def crop(text: str) -> int:
    """An argparse type: the side of a crop in pixels."""
    value = whole(64, MOST)(text)
    if value % 64:
        lower = value // 64 * 64
        raise argparse.ArgumentTypeError(
            f"must be a multiple of 64 (the stride of z), got {text!r}; try {lower} or {lower + 64}"
        )
    return value
