"""What a model is made of: a student's spec from few numbers, an architecture in words, CompressAI's quality levels."""

import json
from dataclasses import asdict
from typing import Any

from hwkd.errors import InputError, unknown
from hwkd.models.families.family import Spec as Spec
from hwkd.models.families.family import (
    all_families,
    family_of,
    in_words,
    student_families,
    student_family,
    student_names,
)
from hwkd.models.families.hyperprior import HyperpriorSpec as HyperpriorSpec
from hwkd.models.families.patch import PatchSpec as PatchSpec

# What a model is made of, in a form that is printed, stored and built from.

FAMILIES = student_names()
"""Families of students; teachers may also be of family "mean" (mbt2018-mean)."""


def spec_to_json(spec: Spec) -> str:
    """One line of JSON that `spec_from_json` reads back."""
    return json.dumps(asdict(spec), sort_keys=True)


def spec_from_json(text: str) -> Spec:
    """The spec that `spec_to_json` wrote. Raises InputError for anything else."""
    try:
        raw: dict[str, Any] = json.loads(text)
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()}
        known = (f.spec_type for f in all_families() if f.name == fields.get("family"))
        return next(known, HyperpriorSpec)(**fields)  # which refuses an unknown family
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(f"not the description of a model: {text[:120]!r} ({error})") from error


# From the few numbers a user gives to the full description of a student.


def student_spec(
    family: str,
    width: tuple[int, ...] | None,
    M: int,
    hyper: int | None,
    hyper_latent: int | None,
    post: tuple[int, ...] | None = None,
    *,
    all_rates: bool = False,
) -> Spec:
    """The student of this family.

    Args:
        family: gdn, relu or patch.
        width: gdn, relu: N, or one value for each of the three layers inside g_a. patch: the trunk's channels, or
            the hidden width of each block (the trunk takes the largest). None: the family's default.
        M: channels of y.
        hyper: channels inside h_a and h_s; None: N as in the paper (patch: 96).
        hyper_latent: channels of z; None: as `hyper` (patch: 64).
        post: patch: hidden widths of the deblocking pairs; None: one pair, of a quarter of the trunk's channels.
        all_rates: patch: one student for every quality of hwkd/qualities.py.
    Raises:
        InputError: an unknown family, a number of widths that it does not take, or `post` for one that has none.
    """
    kind = student_family(family)
    if all_rates and not kind.has_all_rates:
        raise _has_one_rate(family)
    if post is not None and not kind.takes_post:
        have = in_words([f.name for f in student_families() if f.takes_post], "or")
        raise InputError(
            f"--post is for family {have}, family {family} has no deblocking pairs: leave it out"
        )
    widths = width or (kind.default_width,)
    return kind.student(widths, M, hyper, hyper_latent, post, all_rates=all_rates)


def with_rates(spec: Spec, *, all_rates: bool) -> Spec:
    """`spec` for all rates, or for one; as it is where it is that already.

    Raises:
        InputError: all rates of a family that has one.
    """
    if spec.serves_all_rates == all_rates:
        return spec
    kind = family_of(spec)
    if not kind.has_all_rates:
        raise _has_one_rate(kind.name)
    return kind.with_rates(spec, all_rates=all_rates)


def _has_one_rate(family: str) -> InputError:
    have = in_words([f.name for f in student_families() if f.has_all_rates], "or")
    return InputError(
        f"family {family} has one rate: give --quality or --lmbda, or --family {have} for one student of all rates"
    )


# A bare architecture in words, `hyperprior:N=64,M=192`: enough for what it costs, without weights.

PREFIX = "hyperprior"
DEFAULT_FAMILY = "gdn"
"""The paper's: `hyperprior:N=128,M=192` is bmshj2018-hyperprior as CompressAI builds it."""
DEFAULT_M = 192
_KEYS = ("N", "M", "family", "H", "Z")
EXAMPLE = "hyperprior:N=64,M=192,family=relu"


def is_architecture(text: str) -> bool:
    """Whether `text` is meant as a bare architecture rather than as a model's name or place."""
    return text == PREFIX or text.startswith(f"{PREFIX}:")


def parse_architecture(text: str) -> Spec:
    """The spec that `text` describes: `hyperprior:N=..[,M=..][,family=..][,H=..][,Z=..]`.

    N: channels, one number or one for each layer as 32-48-64 (patch: of the trunk's blocks). M: channels of y, 192
    unless given. family: gdn unless given. H: channels inside the hyper networks, as N unless given; Z: of z, as H unless
    given (patch: 96 and 64 where neither is).

    Raises:
        InputError: not of that form, a key or family that is none, or a number of channels that no model has.
    """
    _, colon, described = text.partition(":")
    if not colon or not described:
        raise InputError(f"{text!r} does not say how wide: give {EXAMPLE}")
    values: dict[str, str] = {}
    for part in described.split(","):
        key, equals, value = (word.strip() for word in part.partition("="))
        if not equals or not value:
            raise InputError(f"{part!r} in {text!r} is not KEY=VALUE: give {EXAMPLE}")
        if key not in _KEYS:
            raise unknown(f"key in {text!r}", key, _KEYS)
        if key in values:
            raise InputError(f"{key} stands twice in {text!r}: give it once, as in {EXAMPLE}")
        values[key] = value
    if "N" not in values:
        raise InputError(f"{text!r} lacks N, the number of channels: give {EXAMPLE}")
    family = values.get("family", DEFAULT_FAMILY)
    if family not in FAMILIES:
        raise unknown("family", family, FAMILIES)
    widths = tuple(_channels("N", part, text) for part in values["N"].split("-"))
    single = {key: _channels(key, values[key], text) for key in ("M", "H", "Z") if key in values}
    return student_spec(
        family, widths, single.get("M", DEFAULT_M), single.get("H"), single.get("Z")
    )


def _channels(key: str, value: str, text: str) -> int:
    if not (value.isascii() and value.isdigit()):
        raise InputError(f"{key}={value} in {text!r} is not a number of channels: give {EXAMPLE}")
    return int(value)


# CompressAI's quality levels and the lmbda that each was trained with.

LMBDA_MSE = (0.0018, 0.0035, 0.0067, 0.0130, 0.0250, 0.0483, 0.0932, 0.1800)
"""Lambda of qualities 1..8 in R + lmbda * 255^2 * MSE (CompressAI's documentation, model zoo, "Training")."""


def lmbda_of(quality: int) -> float:
    """The lmbda that CompressAI's models of this quality, 1..8, optimized for MSE were trained with.

    Raises:
        InputError: quality outside 1..8.
    """
    if not 1 <= quality <= len(LMBDA_MSE):
        raise InputError(
            f"no quality {quality}: it is 1 (smallest files) to {len(LMBDA_MSE)} (best images); "
            "for anything between give the lambda itself"
        )
    return LMBDA_MSE[quality - 1]
