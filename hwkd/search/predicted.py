"""A candidate's cost on a target that is not here: latency and energy predicted from its layers."""

from dataclasses import replace

from hwkd.bits import BitPlan
from hwkd.errors import InputError
from hwkd.measure.predict.target import predicted_entries
from hwkd.measure.record import Entry
from hwkd.models.spec import FAMILIES, Spec
from hwkd.quantity import Quantity
from hwkd.quantize.precision import plan_precision
from hwkd.search.cost import MIB, Cost
from hwkd.search.layers import macs_per_pixel, stored_bytes, student_layers
from hwkd.target import Target

WIDTH, HEIGHT = 768, 512
"""Of the image that costs are for, in pixels."""
ACT_BITS = 8
MOST_BITS = 8
LEAST_BITS = 4
"""Of a weight, where the budget limits what is stored."""


def kernel_bits(target: Target) -> int:
    """The most bits of a weight that the target's kernels take: more would saturate there, or be held to that."""
    plan = plan_precision(target, MOST_BITS, ACT_BITS, family=FAMILIES[0])
    return plan.preferred("encoder").weight_storage_bits


def stored_mib(spec: Spec, weight_bits: int) -> float:
    """Of the weights, all layers at `weight_bits`."""
    return stored_bytes(spec, BitPlan(weight_bits, ACT_BITS)) / MIB


class Predicted:
    """Costs on `target`, in the setting that `hwkd compare` takes: the first that has constants.

    setting, notes: in what the networks run, and how far to trust that.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self.weight_bits = kernel_bits(target)
        self.setting = ""
        self.notes: tuple[str, ...] = ()

    def __call__(self, spec: Spec) -> Cost:
        """What the student of `spec` costs.

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
        self.notes = tuple(n for n in notes if n.startswith(f"{self._target.name}, {setting.unit}"))
        chosen = [e for e in entries if e.setting == setting]
        return Cost(
            macs_per_pixel(layers, WIDTH, HEIGHT) / 1000,
            greater(chosen, "latency_ms"),
            greater(chosen, "energy_mj"),
            stored_mib(spec, LEAST_BITS),
            stored_mib(spec, self.weight_bits),
        )


def greater(entries: list[Entry], name: str) -> Quantity:
    """The greater of encode's and decode's figure; `by` tells which."""
    of_name = [e for e in entries if e.name == name]
    unknown = next((e.quantity for e in of_name if e.quantity.value is None), None)
    if unknown is not None:
        return unknown
    found = max(of_name, key=lambda e: e.quantity.value or 0.0)
    return replace(found.quantity, by=f"{found.side}: {found.quantity.by}")
