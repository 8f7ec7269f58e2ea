"""Quality of an image, and the distance of two rate-distortion curves."""

import math
from dataclasses import dataclass
from itertools import pairwise
from types import ModuleType
from typing import cast

import numpy as np
import numpy.typing as npt

from hwkd.errors import HwkdError, InputError

BD_METHOD = "PCHIP on log10(bpp) over the shared range"
"""How BD figures are made here, for the line below a table."""

PSNR, MS_SSIM = "psnr_db", "ms_ssim"
"""What two curves can be held equal in."""

_PEAK = 255.0
_NOT_INSTALLED = '{} is not installed: pip install "hwkd[report]"'


def mse(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> float:
    """Mean squared error of two uint8 images of one shape, over all samples, on the 0..255 scale."""
    if a.shape != b.shape or a.dtype != np.uint8 or b.dtype != np.uint8:
        raise ValueError(
            f"two uint8 images of one shape, got {a.shape} {a.dtype}, {b.shape} {b.dtype}"
        )
    difference = a.astype(np.float64) - b
    return float(np.mean(difference * difference))


def psnr_db(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> float:
    """10 log10(255^2 / MSE) in dB, the MSE over all RGB samples at once; inf for identical images."""
    error = mse(a, b)
    return math.inf if error == 0 else 10 * math.log10(_PEAK**2 / error)


@dataclass(frozen=True)
class Curve:
    """A rate-distortion curve: one point per quality, averaged over a data set.

    Attributes:
        bpp: bits per pixel, > 0.
        psnr_db: PSNR in dB.
        ms_ssim: 0..1 (some published files give dB), or None if not known.

    Raises:
        InputError: no points, lists of different lengths, a bpp that is not positive, a value that is not finite.
    """

    name: str
    bpp: tuple[float, ...]
    psnr_db: tuple[float, ...]
    ms_ssim: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        ms_ssim = self.psnr_db if self.ms_ssim is None else self.ms_ssim
        if not len(self.bpp) == len(self.psnr_db) == len(ms_ssim) >= 1:
            raise InputError(
                f"curve {self.name!r} has {len(self.bpp)} rates, {len(self.psnr_db)} PSNRs and {len(ms_ssim)} "
                "MS-SSIMs; give as many of each, at least one"
            )
        if not all(math.isfinite(v) for v in (*self.bpp, *self.psnr_db, *ms_ssim)):
            raise InputError(
                f"curve {self.name!r} has a value that is not finite; take its point out"
            )
        if min(self.bpp) <= 0:
            raise InputError(
                f"curve {self.name!r} has a rate of {min(self.bpp)} bpp; rates must be above 0"
            )


def shared_range(anchor: Curve, test: Curve, equal: str = PSNR) -> tuple[float, float]:
    """The PSNRs in dB, or the MS-SSIMs, 0..1, that both curves reach: what `bd_rate_percent` averages over.

    Args:
        equal: PSNR or MS_SSIM.
    Raises:
        InputError: a curve with fewer than two points or without MS-SSIM, or nothing shared.
    """
    unit = "dB" if equal == PSNR else "in MS-SSIM"
    return _shared(unit, anchor, _values(anchor, equal), test, _values(test, equal))


def bd_rate_percent(anchor: Curve, test: Curve, equal: str = PSNR) -> float:
    """Mean change of rate from `anchor` to `test` at equal quality, in percent; negative means `test` is cheaper.

    (10 ^ mean(log10 bpp_test(q) - log10 bpp_anchor(q)) - 1) * 100 over the qualities q that both reach, each curve
    interpolated by PCHIP (Bjontegaard, VCEG-M33, with the monotone interpolation now usual; library `bjontegaard`). q is
    the PSNR in dB, or -10 log10(1 - MS-SSIM) of the mean MS-SSIM.

    Args:
        equal: PSNR or MS_SSIM.
    Raises:
        InputError: as `shared_range`; a quality that does not rise with the rate.
        HwkdError: the library is not installed.
    """
    shared_range(anchor, test, equal)
    points = (*_rising(anchor, equal), *_rising(test, equal))
    return float(_bjontegaard().bd_rate(*points, "pchip", False, min_overlap=0))


def bd_psnr_db(anchor: Curve, test: Curve) -> float:
    """Mean change of PSNR from `anchor` to `test` at equal rate, in dB; positive means `test` is better.

    mean(psnr_test(r) - psnr_anchor(r)) over the r = log10(bpp) that both reach, PCHIP as in `bd_rate_percent`.
    Raises as `bd_rate_percent`.
    """
    _shared("bpp", anchor, anchor.bpp, test, test.bpp)
    points = (*_rising(anchor), *_rising(test))
    return float(_bjontegaard().bd_psnr(*points, "pchip", False, min_overlap=0))


def rate_change_percent(anchor: Curve, bpp: float, psnr_db: float) -> float:
    """Change of rate from `anchor` to one point at the point's own PSNR, in percent; negative means the point is cheaper.

    (bpp / bpp_anchor(psnr_db) - 1) * 100, log10 of the anchor's rate interpolated by PCHIP over its PSNRs, as in
    `bd_rate_percent`. It is no BD-rate: it averages over nothing.

    Raises:
        InputError: a PSNR that the anchor does not reach or goes above, an anchor of one point, or an anchor with a PSNR
            that does not rise with the rate.
        HwkdError: scipy is not installed.
    """
    _check_points(anchor)
    rates, psnrs = _rising(anchor)
    if not psnrs[0] <= psnr_db <= psnrs[-1]:
        raise InputError(
            f"{psnr_db:.2f} dB is outside of {anchor.name}'s {psnrs[0]:.2f} to {psnrs[-1]:.2f} dB"
        )
    try:
        from scipy.interpolate import PchipInterpolator
    except ImportError as error:
        raise HwkdError(_NOT_INSTALLED.format("scipy")) from error
    log_rate = float(PchipInterpolator(psnrs, np.log10(rates))(psnr_db))
    return 100 * (bpp / 10**log_rate - 1)


def _bjontegaard() -> ModuleType:
    """The library, which imports matplotlib: only where it is needed."""
    try:
        import bjontegaard
    except ImportError as error:
        raise HwkdError(_NOT_INSTALLED.format("bjontegaard")) from error
    return cast(ModuleType, bjontegaard)


def _check_points(curve: Curve) -> None:
    if len(curve.bpp) < 2:
        raise InputError(
            f"curve {curve.name!r} has one point; a BD figure needs two or more, "
            "so evaluate models of several qualities"
        )


def _shared(
    unit: str, anchor: Curve, a: tuple[float, ...], test: Curve, t: tuple[float, ...]
) -> tuple[float, float]:
    for curve in (anchor, test):
        _check_points(curve)
    low, high = max(min(a), min(t)), min(max(a), max(t))
    if low >= high:
        raise InputError(
            f"{test.name!r} ({min(t):.3f} to {max(t):.3f} {unit}) and {anchor.name!r} ({min(a):.3f} to "
            f"{max(a):.3f} {unit}) share no range, so there is no BD figure; add qualities until they overlap"
        )
    return low, high


def _values(curve: Curve, equal: str) -> tuple[float, ...]:
    """The PSNRs or MS-SSIMs of a curve."""
    if equal == PSNR:
        return curve.psnr_db
    if curve.ms_ssim is None:
        raise InputError(f"curve {curve.name!r} tells no MS-SSIM")
    if max(curve.ms_ssim) >= 1:
        raise InputError(
            f"curve {curve.name!r} has an MS-SSIM of {max(curve.ms_ssim):g}; below 1 is accepted: take its point out"
        )
    return curve.ms_ssim


def _rising(curve: Curve, equal: str = PSNR) -> tuple[list[float], list[float]]:
    """The rates in order, and the PSNR of each, or its MS-SSIM, in dB."""
    name = "PSNR" if equal == PSNR else "MS-SSIM"
    values = _values(curve, equal)
    if equal == MS_SSIM:
        values = tuple(-10 * math.log10(1 - value) for value in values)
    points = sorted(zip(curve.bpp, values, strict=True))
    for (r0, d0), (r1, d1) in pairwise(points):
        if r1 <= r0 or d1 <= d0:
            raise InputError(
                f"curve {curve.name!r} does not rise from ({r0:.3f} bpp, {d0:.2f} dB) to ({r1:.3f} bpp, {d1:.2f} dB); "
                f"a BD figure needs {name} that grows with the rate: take one of the two points out"
            )
    return [r for r, _ in points], [d for _, d in points]
