"""How long each layer of a record takes: as it was measured, or predicted layer by layer."""

from collections.abc import Mapping

from hwkd.errors import InputError
from hwkd.measure.cost_predict import LEVEL
from hwkd.measure.predict.target import layer_times
from hwkd.measure.record import Record, Setting
from hwkd.measure.shipped_records import FLOAT_BITS
from hwkd.quantity import Quantity
from hwkd.quantize.precision import PrecisionPlan, plan_precision
from hwkd.report.compare.rows import settings_of
from hwkd.target import Target

ACT_BITS = 8
"""Of activations; whether a unit computes in int8 does not depend on them."""

Found = tuple[Setting, dict[str, Quantity], tuple[str, ...]]
"""What the layers run on, the time of each in milliseconds, and how they were found."""


def measured_times(record: Record) -> Found | None:
    """In the first setting in which the record's layers were timed; None where they were not."""
    timed = [e for e in record.entries if e.part == "layer" and e.name == "latency_ms"]
    known = [e for e in timed if e.quantity.value is not None]
    if not known:
        return None
    setting = known[0].setting
    amounts = {e.layer: e.quantity for e in known if e.setting == setting}
    runs = amounts[known[0].layer].runs
    note = (
        f"Measured inside the whole network by {known[0].quantity.by}, {runs} runs; .rest: what a network takes outside "
        "its layers."
    )
    return setting, amounts, (note,)


def predicted_times(record: Record, boards: Mapping[str, Target]) -> Found | None:
    """In the record's first setting, from the file of its target, one of `boards`; None where that cannot be said."""
    target, settings = boards.get(record.target), settings_of(record)
    if record.is_host or target is None or not settings or not record.layers:
        return None
    setting = settings[0]
    if setting.unit not in {unit.name for unit in target.units}:
        return None
    try:
        times = layer_times(record.layers, target, _plan(record, target), setting)
    except InputError:
        # Constants that say nothing of one of the layers alone, though they do of the network as a whole.
        return None
    if isinstance(times, str):
        return None
    by = f"{target.name}.toml"
    amounts = {
        layer.name: Quantity(time.ms, "predicted", by, time.low, time.high, LEVEL)
        for layer, time in zip(record.layers, times, strict=True)
    }
    note = (
        f"Predicted by {by}; intervals of {100 * LEVEL:g} %, each for the layer alone: the errors of one device's layers "
        "mostly share a cause, so a sum is no surer."
    )
    return setting, amounts, (note,)


def _plan(record: Record, target: Target) -> PrecisionPlan | None:
    bits = record.model.weight_bits
    if bits == FLOAT_BITS:
        return None
    # "8 (h_s.* 6)" has the default first.
    return plan_precision(target, int(bits.split()[0]), ACT_BITS, family=record.model.family)
