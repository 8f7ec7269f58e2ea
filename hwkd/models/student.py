"""From the few numbers a user gives to the full description of a student."""

from dataclasses import replace

from hwkd.errors import InputError, unknown
from hwkd.models.spec import FAMILIES, HyperpriorSpec, PatchSpec, Spec

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
