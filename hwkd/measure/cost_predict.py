"""From layers and a device's constants to a time with its interval."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hwkd.constants import Constants
from hwkd.errors import InputError
from hwkd.measure.layer_shapes import shape_work
from hwkd.measure.layers import TERMS, UNSEEN, LayerCost, work

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
    (unseen x share)^2 for layers of a kind that no timing speaks for.

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
    variance = constants.sigma**2 + (constants.unseen * unseen_ms / ms) ** 2
    for a, row in zip(shares, constants.covariance, strict=False):
        variance += sum(a * b * c for b, c in zip(shares, row, strict=True))
    return Prediction(ms, math.sqrt(variance), unseen_ms / ms)


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
