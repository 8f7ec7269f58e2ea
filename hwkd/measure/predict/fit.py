"""Costs of layers fitted to timings, and predicted with their uncertainty."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hwkd.errors import InputError
from hwkd.measure.layers import TERMS, UNSEEN, LayerCost, shape_work, work
from hwkd.target import Constants

# Fitting devices' constants to timings of whole networks: one hierarchical model over all devices.
#
#     ln t[d, n] = ln sum_k exp(theta[d, k]) F[n, k] + e,    theta[d] ~ Normal(mu, S),    e ~ Normal(0, sigma[d]^2)
#
# F[n, k]: work of network n in term k. theta[d]: the device's constants, all of which the few timings of one device
# cannot determine; what they leave open comes from the other devices through mu and S. mu, S and sigma are fitted by
# expectation maximization, theta by Gauss-Newton steps within it, its covariance by Laplace's approximation (Bishop,
# Pattern Recognition and Machine Learning, sections 4.4 and 9.4). A device timed in two precisions has the terms twice, so
# that what is known of one speaks for the other. One sigma serves both: the few int8 timings of a device can nearly be
# reproduced by its terms, which would make a sigma of their own far too small (68 % of left-out truths in 90 % intervals).
#
# sigma differs between devices by more than a factor of ten: 0.05 on one core of a Raspberry Pi 4, 0.8 on 224 threads of a
# Xeon Phi. Its square is shrunk towards those of the other devices, which are taken to have a scaled inverse chi-square
# distribution (Smyth 2004, Linear models and empirical Bayes methods, section 6.2).

Array = npt.NDArray[np.float64]

ROUNDS = 20
NEWTON_STEPS = 4
LARGEST_STEP = 1.0
"""A Gauss-Newton step in ln is cut to a factor of e: from a poor start it would overshoot."""
PRIOR_FLOOR = 0.01
"""Added to the prior's variances: devices differ by 10 % in every constant at least."""
FIRST_SIGMA = 0.2
HALF_FREE = (1e-3, 1e6)
"""The range of half the prior's degrees of freedom: hardly any shrinking, and one sigma for all."""


@dataclass(frozen=True)
class Fit:
    """The fitted model.

    theta: [D, K], ln of the time for a unit of work. covariance: [D, K, K], of theta. sigma: [D], of the error e.
    """

    theta: Array
    covariance: Array
    sigma: Array

    def predict(self, work: Array) -> tuple[Array, Array]:
        """([D] ln time, [D] its standard deviation, sigma included) of `work`, [K]."""
        parts = np.exp(self.theta) * work
        total = parts.sum(1)
        share = parts / total[:, None]
        variance = np.einsum("dk,dkl,dl->d", share, self.covariance, share) + self.sigma**2
        return np.log(total), np.sqrt(variance)


def fit(work: Array, ln_times: Array) -> Fit:
    """Fit the model.

    Args:
        work: [N, K], 0 or more, of each column of times in each term; no column of times without work.
        ln_times: [D, N]; nan where a device has no timing.

    Raises:
        InputError: a device without any timing, a column without work, or shapes that do not fit.
    """
    if ln_times.shape[1] != len(work):
        raise InputError(
            f"{ln_times.shape[1]} columns of times do not fit {len(work)} rows of work"
        )
    if not (work.sum(1) > 0).all():
        raise InputError("a network without work cannot be fitted: leave it out")
    is_timed = np.isfinite(ln_times)
    if not is_timed.any(1).all():
        raise InputError("a device without timings cannot be fitted: leave it out")
    scale = work.sum(0)
    # A term that occurs nowhere disturbs no other; its own theta says nothing.
    scale = np.where(scale > 0, scale, 1.0)
    scaled = work / scale
    D, K = len(ln_times), work.shape[1]
    even = np.where(is_timed, ln_times - np.log(scaled.sum(1)), np.nan)
    theta = np.repeat(np.nanmean(even, axis=1)[:, None], K, axis=1)
    mu = theta.mean(0)
    S = np.cov(theta.T) + np.eye(K) if D > 1 else np.eye(K)
    sigma2 = np.full(D, FIRST_SIGMA**2)
    number = is_timed.sum(1)
    covariance = np.zeros((D, K, K))
    for _ in range(ROUNDS):
        precision = np.linalg.inv(S)
        weight = is_timed / sigma2[:, None]
        for _ in range(NEWTON_STEPS):
            share, residual = _linear(theta, scaled, ln_times)
            hessian = np.einsum("dnk,dn,dnl->dkl", share, weight, share) + precision
            gradient = (
                np.einsum("dnk,dn,dn->dk", share, weight, residual) - (theta - mu) @ precision
            )
            step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
            theta = theta + np.clip(step, -LARGEST_STEP, LARGEST_STEP)
        share, residual = _linear(theta, scaled, ln_times)
        hessian = np.einsum("dnk,dn,dnl->dkl", share, weight, share) + precision
        covariance = np.linalg.inv(hessian)
        mu = theta.mean(0)
        away = theta - mu
        S = (away.T @ away + covariance.sum(0)) / D + PRIOR_FLOOR * np.eye(K)
        squares = residual**2 + np.einsum("dnk,dkl,dnl->dn", share, covariance, share)
        sigma2 = _shrunk((squares * is_timed).sum(1), number)
    return Fit(theta - np.log(scale), covariance, np.sqrt(sigma2))


def _shrunk(squares: Array, number: Array) -> Array:
    """[D], the variance of each device's errors, shrunk towards those of the others.

    The prior's scale and degrees of freedom follow from mean and variance of the logarithms of the devices' own variances.

    Args:
        squares: [D], the sum of each device's squared errors.
        number: [D], of how many errors.
    """
    from scipy.optimize import brentq
    from scipy.special import digamma, polygamma

    own: Array = squares / number
    if len(own) == 1:
        return own
    ln_own = np.log(own) - digamma(number / 2) + np.log(number / 2)
    beyond = float(np.var(ln_own, ddof=1) - np.mean(polygamma(1, number / 2)))
    if beyond <= 0:
        # They differ by chance only: one variance, that of all errors.
        return np.full(len(own), squares.sum() / number.sum())
    # The trigamma function falls from infinity to 0: half the degrees of freedom lie where it is `beyond`.
    half = brentq(lambda x: float(polygamma(1, x)) - beyond, *HALF_FREE)
    scale = math.exp(float(np.mean(ln_own) + digamma(half)) - math.log(half))
    shrunk: Array = (squares + 2 * half * scale) / (number + 2 * half)
    return shrunk


def _linear(theta: Array, scaled: Array, ln_times: Array) -> tuple[Array, Array]:
    """([D, N, K] each term's share of the time, [D, N] ln residuals, 0 where there is no timing)."""
    parts = np.exp(theta)[:, None, :] * scaled[None]
    total = parts.sum(2)
    residual = ln_times - np.log(total)
    return parts / total[..., None], np.where(np.isfinite(residual), residual, 0.0)


# From layers and a device's constants to a time with its interval.

Z90 = 1.6449
"""Half the width of a normal distribution's central 90 %, in standard deviations."""
LEVEL = 0.9


@dataclass(frozen=True)
class Prediction:
    """A time as a log-normal distribution: its median in milliseconds and the standard deviation of its logarithm.

    unseen_share: the share of the time that goes to layers of a kind nobody timed there.
    """

    ms: float
    ln_sd: float
    unseen_share: float

    @property
    def low(self) -> float:
        """Lower end of the 90 % interval, in ms."""
        return self.ms * math.exp(-Z90 * self.ln_sd)

    @property
    def high(self) -> float:
        """Upper end of the 90 % interval, in ms."""
        return self.ms * math.exp(Z90 * self.ln_sd)


def predict(layers: Sequence[LayerCost], constants: Constants) -> Prediction:
    """How long `layers` take one after the other.

    The variance of ln(time) is that of the constants, plus sigma^2 for what the terms cannot explain, plus
    (unseen x share)^2 for layers of a kind that no timing speaks for, plus those of the steps to another runtime or to
    the other machines of a class.

    Raises:
        InputError: no layers, or constants that lack a term which the layers have.
    """
    if not layers:
        raise InputError("nothing to predict: got no layers")
    total: Counter[str] = Counter()
    unseen_ms = 0.0
    for layer in layers:
        terms, is_seen = _work(layer, constants)
        total.update(terms)
        if not is_seen:
            unseen_ms += _ms(terms, constants)
    ms = _ms(total, constants)
    if ms == 0:
        raise InputError(f"ln_ns of the constants of {constants} has no term of these layers")
    names = list(constants.ln_ns)
    shares = [math.exp(constants.ln_ns[name]) * total[name] / 1e6 / ms for name in names]
    variance = (
        constants.sigma**2 + constants.carried_variance + (constants.unseen * unseen_ms / ms) ** 2
    )
    for a, row in zip(shares, constants.covariance, strict=False):
        variance += sum(a * b * c for b, c in zip(shares, row, strict=True))
    return Prediction(ms * math.exp(constants.ln_factor), math.sqrt(variance), unseen_ms / ms)


def together(parts: Sequence[Prediction]) -> Prediction:
    """The time of several parts one after the other.

    Their errors are taken to go the same way (standard deviations add): parts of one device mostly share the causes.
    """
    ms = sum(part.ms for part in parts)
    ln_sd = sum(part.ms * part.ln_sd for part in parts) / ms
    unseen = sum(part.ms * part.unseen_share for part in parts) / ms
    return Prediction(ms, ln_sd, unseen)


def _work(layer: LayerCost, constants: Constants) -> tuple[Mapping[str, float], bool]:
    if constants.scheme == "shapes":
        return shape_work(layer, constants.ln_ns)
    terms = work(layer)
    missing = [term for term in terms if term not in constants.ln_ns]
    if missing:
        raise InputError(
            f"ln_ns of the constants of {constants} lacks {', '.join(missing)}, which layer {layer.name} has; "
            f"scheme kinds needs all of {', '.join(TERMS)}"
        )
    return terms, layer.operator not in UNSEEN


def _ms(terms: Mapping[str, float], constants: Constants) -> float:
    return sum(math.exp(constants.ln_ns[name]) * amount for name, amount in terms.items()) / 1e6
