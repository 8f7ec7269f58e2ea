"""What a model is made of: a student's spec from few numbers, an architecture in words, CompressAI's quality levels."""

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from hwkd.errors import InputError, unknown
from hwkd.qualities import MOST_ANCHORS

# What a student is made of: family and widths, in a form that is printed, stored and built from.

FAMILIES = ("gdn", "relu", "patch")
"""Families of students; teachers may also be of family "mean" (mbt2018-mean)."""

PATCH = 16
"""Side of the patches of family `patch`, in pixels."""
PATCH_VALUES = 3 * PATCH * PATCH


@dataclass(frozen=True)
class HyperpriorSpec:
    """A scale hyperprior of stride-2 convolutions (Balle et al. 2018), or mbt2018-mean as a teacher.

    family: gdn (the paper's), relu (ReLU in place of GDN), mean (mbt2018-mean: GDN, and means beside the scales).
    widths: channels after the first three layers of g_a; g_s mirrors them.
    M: channels of y. H: channels inside h_a and h_s. Z: channels of z.
    """

    family: str
    widths: tuple[int, int, int]
    M: int
    H: int
    Z: int

    def __post_init__(self) -> None:
        if self.family not in ("gdn", "relu", "mean"):
            raise unknown("family", self.family, FAMILIES)
        if len(self.widths) != 3:
            raise InputError(
                f"family {self.family} takes one width or three, got {len(self.widths)}: {self.widths}"
            )
        _check_positive(self)

    @property
    def serves_all_rates(self) -> bool:
        """A codec of these families has one rate."""
        return False

    def __str__(self) -> str:
        n = self.widths[0] if len(set(self.widths)) == 1 else "-".join(map(str, self.widths))
        return f"{self.family} N={n} M={self.M} H={self.H} Z={self.Z}"


@dataclass(frozen=True)
class PatchSpec:
    """A `patch` codec (hwkd/models/patch.py); g_s mirrors g_a.

    C: channels of the trunk at 1/16 of the resolution; widths: hidden width of each of its blocks.
    post: hidden widths of the deblocking pairs at 1/4.
    M: channels of y. H: channels inside h_a and h_s. Z: channels of z.
    hyper_kernel: side of the first convolution of h_a and of the last of h_s, 1 or 3.
    context: channels of y whose means are predicted from their neighbours, and the width of what predicts them; ()
    for none.
    anchors: lambdas at which the gains of a codec of all rates are learned; 0: a codec of one rate, without gains.
    """

    M: int
    H: int
    Z: int
    C: int
    widths: tuple[int, ...]
    post: tuple[int, ...]
    anchors: int = 0
    context: tuple[int, ...] = ()
    hyper_kernel: int = 3
    family: str = "patch"

    def __post_init__(self) -> None:
        _check_positive(self)
        if type(self.anchors) is not int or self.anchors not in (0, *range(2, MOST_ANCHORS + 1)):
            raise InputError(
                f"anchors must be 0 (one rate) or 2 to {MOST_ANCHORS} (all rates), got {self.anchors}"
            )
        if self.hyper_kernel not in (1, 3):
            raise InputError(f"hyper_kernel must be 1 or 3, got {self.hyper_kernel}")
        if self.context and (len(self.context) != 2 or self.context[0] > self.M):
            raise InputError(
                f"context must be two numbers, channels of y (at most M, {self.M}) and a width, got {self.context}"
            )
        for name in ("M", "C"):
            if getattr(self, name) > PATCH_VALUES:
                raise InputError(
                    f"{name} of family patch must be 1 to {PATCH_VALUES} channels (the values of a 16x16 patch), "
                    f"got {getattr(self, name)}"
                )

    @property
    def serves_all_rates(self) -> bool:
        """Whether one model codes at every quality of hwkd/qualities.py."""
        return self.anchors > 0

    def __str__(self) -> str:
        parts = [f"M={self.M} H={self.H} Z={self.Z} C={self.C}"]
        for name in ("widths", "post", "context"):
            values = getattr(self, name)
            if values:
                parts.append(f"{name}={'-'.join(map(str, values))}")
        if self.hyper_kernel != 3:
            parts.append(f"hyper_kernel={self.hyper_kernel}")
        if self.anchors:
            parts.append(f"anchors={self.anchors}")
        return f"patch {' '.join(parts)}"


Spec = HyperpriorSpec | PatchSpec
_LISTS = ("widths", "post", "context")


def spec_to_json(spec: Spec) -> str:
    """One line of JSON that `spec_from_json` reads back."""
    return json.dumps(asdict(spec), sort_keys=True)


def spec_from_json(text: str) -> Spec:
    """The spec that `spec_to_json` wrote. Raises InputError for anything else."""
    try:
        raw: dict[str, Any] = json.loads(text)
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()}
        return PatchSpec(**fields) if fields.get("family") == "patch" else HyperpriorSpec(**fields)
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(f"not the description of a model: {text[:120]!r} ({error})") from error


def _check_positive(spec: Spec) -> None:
    for name, value in asdict(spec).items():
        if name in ("family", "anchors"):
            continue
        values = value if name in _LISTS and isinstance(value, tuple) else (value,)
        if not all(type(v) is int and 1 <= v <= 4096 for v in values):
            raise InputError(f"{name} must be 1 to 4096 channels, got {value}")


# From the few numbers a user gives to the full description of a student.

DEFAULT_WIDTH = {"patch": 96, "gdn": 64, "relu": 64}
PATCH_BLOCKS = 3
PATCH_HYPER, PATCH_HYPER_LATENT = 96, 64
PATCH_ANCHORS = 5
PATCH_CONTEXT = 48
"""Channels of y whose means a student of all rates predicts, through a layer of twice as many."""
PATCH_LATENT_OF_ALL_RATES = 320
"""Of a patch's 768 values: with 192 a linear codec ends at 37.5 dB on Kodak, with 320 at 46.2 dB."""
PATCH_POST_SHARE = 4
"""The deblocking pair works at 16 times the pixels of the trunk: it gets a quarter of its channels."""


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
    if family not in FAMILIES:
        raise unknown("family", family, FAMILIES)
    widths = width or (DEFAULT_WIDTH[family],)
    if family == "patch":
        C = max(widths)
        return PatchSpec(
            M=M,
            H=_first(hyper, PATCH_HYPER),
            Z=_first(hyper_latent, hyper, PATCH_HYPER_LATENT),
            C=C,
            widths=widths if len(widths) > 1 else widths * PATCH_BLOCKS,
            post=post or (max(1, C // PATCH_POST_SHARE),),
            anchors=PATCH_ANCHORS if all_rates else 0,
            context=_context(M) if all_rates else (),
            hyper_kernel=1 if all_rates else 3,
        )
    if all_rates:
        raise _has_one_rate(family)
    if post is not None:
        raise InputError(
            f"--post is for family patch, family {family} has no deblocking pairs: leave it out"
        )
    if len(widths) not in (1, 3):
        raise InputError(
            f"family {family} takes one width or three (--width 64 or --width 32,48,64), got {len(widths)}"
        )
    n1, n2, n3 = widths if len(widths) == 3 else widths * 3
    H = _first(hyper, n3)
    return HyperpriorSpec(family, (n1, n2, n3), M, H, _first(hyper_latent, H))


def with_rates(spec: Spec, *, all_rates: bool) -> Spec:
    """`spec` for all rates, or for one; as it is where it is that already.

    Raises:
        InputError: all rates of a family that has one.
    """
    if spec.serves_all_rates == all_rates:
        return spec
    if not isinstance(spec, PatchSpec):
        raise _has_one_rate(spec.family)
    if not all_rates:
        return replace(spec, anchors=0, context=())
    return replace(spec, anchors=PATCH_ANCHORS, context=_context(spec.M))


def _has_one_rate(family: str) -> InputError:
    return InputError(
        f"family {family} has one rate: give --quality or --lmbda, or --family patch for one student of all rates"
    )


def _context(M: int) -> tuple[int, int]:
    channels = min(PATCH_CONTEXT, M)
    return channels, 2 * channels


def _first(*given: int | None) -> int:
    """The first that was given; a 0 was, and is refused by the spec."""
    return next(n for n in given if n is not None)


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
