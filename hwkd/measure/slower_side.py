"""What a model is predicted to take on a target, as one figure: the slower of encoding and decoding."""

from collections.abc import Sequence

from hwkd.errors import InputError
from hwkd.measure.layers import LayerCost
from hwkd.measure.predict.target import SIDES, predicted_entries
from hwkd.measure.record import Entry
from hwkd.quantize.precision import PrecisionPlan
from hwkd.target import Target


def slower_side(layers: Sequence[LayerCost], target: Target, plan: PrecisionPlan) -> Entry:
    """The latency of the slower side, in the first setting of the target that has a figure: its preferred unit's where
    anybody timed that.

    Raises:
        InputError: no setting has one.
    """
    entries, _ = predicted_entries(layers, target, plan)
    times = [entry for entry in entries if entry.name == "latency_ms"]
    for setting in dict.fromkeys(entry.setting for entry in times):
        mine = [entry for entry in times if entry.setting == setting]
        values = [entry.quantity.value for entry in mine if entry.quantity.value is not None]
        if len(values) == len(SIDES):
            return next(entry for entry in mine if entry.quantity.value == max(values))
    raise InputError(
        f"no latency on {target.name} can be predicted: {times[0].quantity.reason}; leave --target out, or give "
        "another (see `hwkd targets`)"
    )
