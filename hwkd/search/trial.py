"""What a study has found, which of it no other beats, and which trials go on. Pure, without Optuna."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hwkd.bits import BitPlan
from hwkd.models.spec import Spec, spec_from_json, spec_to_json
from hwkd.quantity import as_written
from hwkd.search.cost import Cost, cost_from_dict

# What a study has found, one record a trial, and which of them no other beats. Pure, without Optuna.

SEARCHED, UNIFORM, REFERENCE = "searched", "uniform", "reference"
"""How a student came to be tried: proposed by the search; the widest of its family with equal widths that fits the
budget; the paper's, for comparison."""

COMPLETE, STOPPED, FAILED, RUNNING = "complete", "stopped early", "failed", "running"


@dataclass(frozen=True)
class Trial:
    """One trial.

    kind: SEARCHED, UNIFORM or REFERENCE. state: of COMPLETE, STOPPED, FAILED, RUNNING; reason: of a failure.
    is_within: the student keeps the budget. steps: of training, after which the figures below were taken: on the held-out
    images, quantized to `bits` after training, the rate estimated; all None before the first rung.
    """

    number: int
    kind: str
    spec: Spec
    cost: Cost
    is_within: bool
    state: str = RUNNING
    reason: str = ""
    steps: int | None = None
    bits: BitPlan | None = None
    stored_mib: float | None = None
    rd_loss: float | None = None
    bpp: float | None = None
    psnr_db: float | None = None
    seconds: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a study, which `trial_from_dict` reads back; the state it knows itself."""
        raw = asdict(self, dict_factory=as_written)
        del raw["state"], raw["number"]
        return {**raw, "spec": spec_to_json(self.spec)}


def trial_from_dict(raw: Mapping[str, Any], number: int, state: str) -> Trial:
    """The record that `Trial.to_dict` wrote."""
    bits = raw["bits"]
    if bits is not None:
        bits = BitPlan(**{**bits, "layers": tuple(map(tuple, bits["layers"]))})
    made = {
        "spec": spec_from_json(raw["spec"]),
        "cost": cost_from_dict(raw["cost"]),
        "bits": bits,
    }
    return Trial(**{**raw, **made, "number": number, "state": state})


def completed(found: Sequence[Trial]) -> tuple[Trial, ...]:
    """Those that were trained for all steps: only their losses compare."""
    return tuple(one for one in found if one.state == COMPLETE)


def best_of(found: Sequence[Trial]) -> Trial | None:
    """The least loss among the complete ones within the budget; None where there is none."""
    within = [one for one in completed(found) if one.is_within]
    return min(within, key=_loss, default=None)


Axis = Callable[[Trial], float | None]

AXES: Mapping[str, Axis] = {
    "kmac_per_pixel": lambda one: one.cost.kmac_per_pixel,
    "latency_ms": lambda one: one.cost.latency_ms.value,
    "energy_mj": lambda one: one.cost.energy_mj.value,
    "stored_mib": lambda one: one.stored_mib,
}
"""The costs, of all of which less is better, as of the loss."""


def front_of(found: Sequence[Trial], axes: Sequence[str]) -> tuple[Trial, ...]:
    """Of the complete ones, those that no other beats: as good in loss and on every axis, and better in one.

    axes: of AXES; one that is not known of a student does not count between it and another. The least loss stands last.
    """
    candidates = completed(found)
    front = [one for one in candidates if not any(_beats(o, one, axes) for o in candidates)]
    return tuple(sorted(front, key=_loss, reverse=True))


def _loss(one: Trial) -> tuple[float, int]:
    assert one.rd_loss is not None  # of a complete trial
    return one.rd_loss, one.number


def _beats(a: Trial, b: Trial, axes: Sequence[str]) -> bool:
    pairs = [(a.rd_loss, b.rd_loss), *((AXES[axis](a), AXES[axis](b)) for axis in axes)]
    known = [(x, y) for x, y in pairs if x is not None and y is not None]
    return all(x <= y for x, y in known) and any(x < y for x, y in known)


# Successive halving: at each rung a trial goes on only if it is among the better half of those that came so far, or on
# their front of loss and cost.
#
# Optuna's own pruner takes the last step that a trial ever reported for the one that it stands at, which is wrong for a
# trial that starts over after its worker died, and compares with references, which are never stopped. It knows the loss
# alone, and would stop every student that is cheaper than the best and a little worse.

SHARE = 2
"""One of so many goes on (eta of Li et al. 2020, arXiv 1810.05934)."""
RUNGS = 4
ALIKE = 1.1
"""Costs within this factor are one: near the budget nearly all are, and every other would be on a front."""


@dataclass(frozen=True)
class AtRung:
    """A trial at a rung. cost: the share of the budget that it takes."""

    loss: float
    cost: float


def rungs(steps: int) -> tuple[int, ...]:
    """At how many steps trials are compared, the last at all of them: 32, 64, 128, 256 of 256."""
    return tuple(sorted({max(1, round(steps / SHARE**k)) for k in range(RUNGS)}))


def goes_on(one: AtRung, others: Sequence[AtRung]) -> bool:
    """Whether `one` is within the better 1 / SHARE of itself and `others`, rounded down but one at least, or all others
    of a smaller loss cost more, by more than ALIKE.

    others: all trials that have reached the same rung, whatever became of them (asynchronous).
    """
    better = [other for other in others if other.loss < one.loss]
    kept = max(1, (len(others) + 1) // SHARE)
    return len(better) < kept or all(other.cost > ALIKE * one.cost for other in better)
