"""The costs of a candidate, counted or predicted, and how it is made to fit a budget."""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from hwkd.bits import BitPlan
from hwkd.errors import InputError
from hwkd.measure.layers import LayerCost
from hwkd.measure.predict.target import predicted_entries
from hwkd.measure.record import Entry
from hwkd.models.families.family import BLOCK, Layer, Spec, family_of
from hwkd.models.spec import FAMILIES
from hwkd.quantity import MIB, Quantity, as_written
from hwkd.quantize.precision import plan_precision
from hwkd.search.space import FamilySpace, Space, Values
from hwkd.target import Target

# What a candidate costs, and the budget that it must keep.


@dataclass(frozen=True)
class Cost:
    """One student's cost for one image.

    Attributes:
        kmac_per_pixel: 1000 multiply-accumulates per pixel of all four networks, each once, counted.
        latency_ms: latency of the slower of encode and decode, from end to end (of the networks where no more is known).
        energy_mj: the greater energy of encode and decode.
        least_mib: size of its weights at the fewest bits that may be chosen.
        full_mib: size of its weights at the most bits that the kernels take.
    """

    kmac_per_pixel: float
    latency_ms: Quantity
    energy_mj: Quantity
    least_mib: float
    full_mib: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a study, which `cost_from_dict` reads back."""
        return asdict(self, dict_factory=as_written)


def cost_from_dict(raw: Mapping[str, Any]) -> Cost:
    """The cost that `Cost.to_dict` wrote."""
    latency_ms, energy_mj = Quantity(**raw["latency_ms"]), Quantity(**raw["energy_mj"])
    return Cost(raw["kmac_per_pixel"], latency_ms, energy_mj, raw["least_mib"], raw["full_mib"])


@dataclass(frozen=True)
class Budget:
    """The most that a student may cost; None: no limit.

    Attributes:
        max_mib: limit of the stored weights. It requires bits per layer.
    """

    max_ms: float | None
    max_mj: float | None
    max_mib: float | None

    def __post_init__(self) -> None:
        if (self.max_ms, self.max_mj, self.max_mib) == (None, None, None):
            raise InputError(
                "a search needs a budget: give --max-ms, --max-mj or --max-mib, or several of them"
            )

    def shares(self, cost: Cost) -> Iterator[tuple[str, float, float]]:
        """(option, the cost's value, the share of the budget that it takes), for each limit.

        Raises:
            InputError: a limit on a cost that is not known; the message has the reason.
        """
        for option, most, found in (
            ("--max-ms", self.max_ms, cost.latency_ms),
            ("--max-mj", self.max_mj, cost.energy_mj),
        ):
            if most is not None:
                if found.value is None:
                    raise InputError(f"{option} {most:g} cannot be held: {found.reason}")
                yield option, found.value, found.value / most
        if self.max_mib is not None:
            yield "--max-mib", cost.least_mib, cost.least_mib / self.max_mib

    def excess(self, cost: Cost) -> float:
        """The largest share of the budget that `cost` takes: above 1 it does not fit. Raises as `shares`."""
        return max(share for _, _, share in self.shares(cost))

    def fits(self, cost: Cost) -> bool:
        """Whether `cost` is within the budget. Raises as `shares`."""
        return self.excess(cost) <= 1

    def fits_in_full(self, cost: Cost) -> bool:
        """Whether `cost` is within the budget without a layer giving up bits. Raises as `shares`."""
        return self.fits(cost) and (self.max_mib is None or cost.full_mib <= self.max_mib)

    def __str__(self) -> str:
        limits = (("ms", self.max_ms), ("mJ", self.max_mj), ("MiB", self.max_mib))
        return ", ".join(f"{most:g} {unit}" for unit, most in limits if most is not None)


def rounded(value: float) -> str:
    """Three significant digits, all before the point where those are more."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


# The layers of a student and the bytes of its weights, from its spec alone: no model is built.
#
# A search weighs hundreds of candidates, and tracing a model of each takes a tenth of a second; these closed forms take
# microseconds. Tests hold them to `hwkd.measure.eager.macs.codec_layers` and `hwkd.quantize.integer.weight_bytes`.

_FLOAT_BYTES = 4


def student_layers(spec: Spec, width: int, height: int) -> tuple[LayerCost, ...]:
    """The layers of g_a, h_a, h_s and g_s for one image of width x height, in the order they run."""
    blocks = math.ceil(width / BLOCK) * math.ceil(height / BLOCK)
    return tuple(_cost(layer).times(blocks) for layer in family_of(spec).layers(spec))


def macs_per_pixel(layers: tuple[LayerCost, ...], width: int, height: int) -> float:
    """Multiply-accumulates of all four networks, each once, for a pixel of the image."""
    return sum(layer.macs for layer in layers) / (width * height)


def weight_names(spec: Spec) -> dict[str, int]:
    """The number of weights of each convolution, biases not among them, by the layer's name."""
    layers = student_layers(spec, BLOCK, BLOCK)
    return {layer.name: layer.weights for layer in layers if layer.operator != "gdn"}


def stored_bytes(spec: Spec, bits: BitPlan) -> int:
    """Bytes of the weights of the student quantized to `bits`, as `hwkd.quantize.integer.weight_bytes` counts them."""
    total = 0
    # Their inputs lie on a grid as they are (hwkd/quantize/qat.py): all others have a learned scale.
    given = {"h_s.0", *family_of(spec).given_inputs(spec)}
    unbiased = {layer.name for layer in family_of(spec).layers(spec) if not layer.bias}
    for layer in student_layers(spec, BLOCK, BLOCK):
        if layer.operator == "gdn":
            total += _FLOAT_BYTES * (layer.weights + layer.c_out)
            continue
        is_learned = layer.name not in given
        # A scale for each output channel, and a bias.
        total += math.ceil(layer.weights * bits.bits_for(layer.name)[0] / 8)
        total += _FLOAT_BYTES * (layer.c_out + is_learned)
        total += 0 if layer.name in unbiased else _FLOAT_BYTES * layer.c_out
    return total


def _cost(layer: Layer) -> LayerCost:
    """The layer's cost in one block. MACs of a transposed convolution count by its input, those of others by their output."""
    area = layer.stride**2
    over = layer.at * area if layer.operator == "transposed" else layer.at // area
    weights = layer.kernel**2 * layer.c_in * layer.c_out // layer.groups
    return LayerCost(
        name=layer.name,
        network=layer.name.partition(".")[0],
        operator=layer.operator,
        c_in=layer.c_in,
        c_out=layer.c_out,
        kernel=layer.kernel,
        stride=layer.stride,
        groups=layer.groups,
        in_values=layer.c_in * layer.at,
        out_values=layer.c_out * over,
        weights=weights,
        macs=weights * min(layer.at, over),
    )


# A candidate's cost on a target that is not here: latency and energy predicted from its layers.

WIDTH, HEIGHT = 768, 512
"""Size of the image that costs are for, in pixels."""
ACT_BITS = 8
MOST_BITS = 8
LEAST_BITS = 4
"""Least bits of a weight, where the budget limits the stored size."""


def kernel_bits(target: Target) -> int:
    """The most bits of a weight that the target's kernels take: more would saturate there, or be held to that."""
    plan = plan_precision(target, MOST_BITS, ACT_BITS, family=FAMILIES[0])
    return plan.preferred("encoder").weight_storage_bits


def stored_mib(spec: Spec, weight_bits: int) -> float:
    """MiB of the stored weights, with all layers at `weight_bits`."""
    return stored_bytes(spec, BitPlan(weight_bits, ACT_BITS)) / MIB


class PredictedCosts:
    """Costs on `target`, in the setting that `hwkd compare` takes: the first that has constants.

    Attributes:
        setting: the setting in which the networks run.
        notes: how far to trust the predictions.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self.weight_bits = kernel_bits(target)
        self.setting = ""
        self.notes: tuple[str, ...] = ()

    def __call__(self, spec: Spec) -> Cost:
        """The cost of the student of `spec`.

        Raises:
            InputError: nothing is known of the target's speed.
        """
        layers = student_layers(spec, WIDTH, HEIGHT)
        plan = plan_precision(self._target, self.weight_bits, ACT_BITS, family=spec.family)
        entries, notes = predicted_entries(layers, self._target, plan)
        known = [e for e in entries if e.name == "latency_ms" and e.quantity.value is not None]
        if not known:
            raise InputError(
                f"a search for {self._target.name} has nothing to go by: {entries[0].quantity.reason}; give a target "
                "with constants (`hwkd targets`), or search on the board itself with --target host"
            )
        setting = known[0].setting
        self.setting = str(setting)
        chosen = [e for e in entries if e.setting == setting]
        self.notes = tuple(n for n in notes if n.startswith(f"{self._target.name}, {setting.unit}"))
        if _part(chosen, "latency_ms") == NETWORKS:
            self.notes += (
                f"latency_ms, energy_mj: of the networks alone; what entropy coding takes on {self._target.name} is not known.",
            )
        return Cost(
            macs_per_pixel(layers, WIDTH, HEIGHT) / 1000,
            greater(chosen, "latency_ms"),
            greater(chosen, "energy_mj"),
            stored_mib(spec, LEAST_BITS),
            stored_mib(spec, self.weight_bits),
        )


def greater(entries: list[Entry], name: str) -> Quantity:
    """The greater of encode's and decode's figure, from end to end where that is there; `by` has which."""
    of_name = [e for e in entries if (e.name, e.part) == (name, _part(entries, name))]
    unknown = next((e.quantity for e in of_name if e.quantity.value is None), None)
    if unknown is not None:
        return unknown
    found = max(of_name, key=lambda e: e.quantity.value or 0.0)
    return replace(found.quantity, by=f"{found.side}: {found.quantity.by}")


NETWORKS = "networks"


def _part(entries: list[Entry], name: str) -> str:
    """The part of coding that the figures `name` count by: all of it, or the networks."""
    return next((e.part for e in entries if (e.name, e.part) == (name, "end_to_end")), NETWORKS)


# Making candidates fit a budget: shrunk until they do, the widest that does, the nearest where none does.

Costing = Callable[[Spec], Cost]
Fits = Callable[[Spec], bool]

SHARES = 16
"""Number of steps on the way from a candidate to the cheapest student of its family."""

_UNITS = {"--max-ms": "ms", "--max-mj": "mJ", "--max-mib": "MiB"}


def shrunk(part: FamilySpace, values: Values, fits: Fits) -> dict[str, int]:
    """`values`, or the first student on the way from them to the cheapest of the family that fits.

    Every candidate of a search is so trained, and most lie where the best ones do: just inside the budget. What is
    rejected instead would have to be drawn again and again where little of the space fits.

    Args:
        fits: True for the cheapest student; where a student fits, so do those on the way from it to the cheapest.
    """
    if fits(part.spec(values)):
        return dict(values)
    low, high = 0, SHARES
    while high - low > 1:
        middle = (low + high) // 2
        if fits(part.spec(part.towards_cheapest(values, middle / SHARES))):
            low = middle
        else:
            high = middle
    return part.towards_cheapest(values, low / SHARES)


def widest_uniform(part: FamilySpace, fits: Fits) -> dict[str, int] | None:
    """The widest student with equal widths that fits; None where not even the narrowest does."""
    students = [part.uniform(width) for width in part.uniform_widths()]
    place = bisect_left(students, True, key=lambda values: not fits(part.spec(values)))
    return students[place - 1] if place else None


def uniform_students(
    space: Space, budget: Budget, costing: Costing
) -> tuple[tuple[FamilySpace, dict[str, int]], ...]:
    """The widest student with equal widths of each family that keeps `budget`, what a user would try without a search: all
    of its layers have the kernels' bits, if one of the family fits so. Families without one are left out."""
    found = []
    for part in space.families:
        values = widest_uniform(part, lambda spec: budget.fits_in_full(costing(spec)))
        values = values or widest_uniform(part, lambda spec: budget.fits(costing(spec)))
        if values is not None:
            found.append((part, values))
    return tuple(found)


def within(space: Space, budget: Budget, costing: Costing, where: str) -> Space:
    """`space` without the families that have no student within `budget`.

    Args:
        where: the target's name, for the message.
    Raises:
        InputError: no family has one; the nearest student is named. As `Budget.shares`.
    """
    cheapest = {part.family: part.spec(part.cheapest()) for part in space.families}
    costs = {family: costing(spec) for family, spec in cheapest.items()}
    kept = tuple(part for part in space.families if budget.fits(costs[part.family]))
    if kept:
        return Space(kept)
    nearest = min(costs, key=lambda family: budget.excess(costs[family]))
    raise InputError(
        f"no student of the search keeps the budget of {budget} on {where}: the nearest that can be had is "
        f"{cheapest[nearest]}, with {_in_words(budget, costs[nearest])}; give "
        f"{_enough(budget, costs[nearest])}, or another target"
    )


def fits_budget(budget: Budget, costing: Costing) -> Fits:
    """Whether a student keeps `budget`, by `costing`."""
    return lambda spec: budget.fits(costing(spec))


def _in_words(budget: Budget, cost: Cost) -> str:
    return ", ".join(
        f"{rounded(value)} {_UNITS[option]}" for option, value, _ in budget.shares(cost)
    )


def _enough(budget: Budget, cost: Cost) -> str:
    """The options that would let it pass."""
    wanted: Mapping[str, float] = {
        option: value for option, value, share in budget.shares(cost) if share > 1
    }
    return " and ".join(f"{option} {_above(value):g} or more" for option, value in wanted.items())


def _above(value: float) -> float:
    """`value` rounded up to three significant digits."""
    step = 10.0 ** (math.floor(math.log10(value)) - 2)
    return float(f"{math.ceil(value / step) * step:.3g}")
