"""What a student is made of: family and widths, in a form that is printed, stored and built from."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from hwkd.errors import InputError, unknown
from hwkd.qualities import MOST_ANCHORS

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
