"""Predict latency and energy of a model on a target that is not here, for each unit of its precision plan.

Latency is that of the networks, from the target's constants. Energy is that time at the board's power, idle included.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from hwkd.errors import InputError
from hwkd.measure.layers import LayerCost
from hwkd.measure.predict.fit import LEVEL, Z90, Prediction, predict, together
from hwkd.measure.predict.movement import coded, moved, movement
from hwkd.measure.record import Entry, Setting, note_on
from hwkd.quantity import Quantity, not_known
from hwkd.quantize.precision import PlanEntry, PrecisionPlan
from hwkd.target import Constants, ExecutionUnit, Target

SIDES = {"encode": ("encoder", "hyper"), "decode": ("hyper", "decoder")}
NETWORKS = {"encoder": ("g_a", "h_a"), "hyper": ("h_s",), "decoder": ("g_s",)}
"""The networks of the plan, and the transforms they are made of."""

FLOATS = ("fp16", "bf16", "fp32")

FASTEST_INT8 = 0.5
"""The least share of the float time, where nobody timed int8 on a unit that has it. The time then lies between the float
time and half of it, the ratio of the peak rates."""


@dataclass(frozen=True)
class Power:
    """The power of a board under load, in watts: a value, the range it may lie in, and how that is known."""

    value_w: float
    low_w: float
    high_w: float
    how: str


def predicted_entries(
    layers: Sequence[LayerCost], target: Target, plan: PrecisionPlan | None
) -> tuple[tuple[Entry, ...], tuple[str, ...]]:
    """(entries, notes): network latency and energy of encode and decode, on each unit and each number of threads that
    the target has constants for; the preferred unit first. Where there are none, entries without value and the reason.

    Args:
        plan: plan of the quantized model; None for a model in float.
    """
    entries: list[Entry] = []
    notes: list[str] = []
    for unit in _units(target):
        power = board_power(target, unit)
        arithmetic = _arithmetic(target, unit, plan)
        for threads in _threads(target, unit):
            of_cpu = threads if unit.kind == "cpu" else None
            setting = Setting(unit.name, _runtime(target, unit), arithmetic, of_cpu)
            for side in SIDES:
                time = _side(side, layers, target, unit, plan, threads)
                entries += _both(time, side, "networks", setting, power, target)
                if plan is not None and not isinstance(time, str):
                    entries += _end_to_end(time, side, layers, setting, power, target)
            notes += _notes(target, unit, plan)
    return tuple(entries), tuple(dict.fromkeys(notes))


def layer_times(
    layers: Sequence[LayerCost], target: Target, plan: PrecisionPlan | None, setting: Setting
) -> tuple[Prediction, ...] | str:
    """How long each of `layers` takes where `setting` of `predicted_entries` runs the transforms; the reason where
    nobody can say. They sum to the latency of the networks; their intervals are each for itself.

    Args:
        plan: plan of the quantized model; None for a model in float.
    """
    unit = next(unit for unit in target.units if unit.name == setting.unit)
    of_network = {transform: name for name, held in NETWORKS.items() for transform in held}
    amounts = _amounts(layers) if plan is not None else {}
    times = []
    for layer in layers:
        network = of_network[layer.network]
        time = _on_its_unit(network, [layer], target, unit, plan, setting.threads)
        if isinstance(time, str):
            return time
        moving = moved(
            amounts.get(layer.name, {}),
            unit,
            target.constants,
            setting.threads or _threads(target, unit)[0],
        )
        times.append(together([time, moving]) if moving else time)
    return tuple(times)


def _amounts(layers: Sequence[LayerCost]) -> dict[str, dict[str, float]]:
    """The moved data by layer. The hyper network runs apart in float and moves little: it is left out."""
    of_transforms = [layer for layer in layers if layer.network in ("g_a", "h_a", "g_s")]
    return movement(of_transforms)


def _moving(
    network: str,
    layers: Sequence[LayerCost],
    target: Target,
    unit: ExecutionUnit,
    threads: int,
) -> Prediction | None:
    """Data movement in one network of the plan."""
    if network == "hyper":
        return None
    total: Counter[str] = Counter()
    for of_layer in _amounts(layers).values():
        total.update(of_layer)
    return moved(total, unit, target.constants, threads)


def _end_to_end(
    networks: Prediction,
    side: str,
    layers: Sequence[LayerCost],
    setting: Setting,
    power: Power | str,
    target: Target,
) -> list[Entry]:
    """Entropy coding, and all of a side: what a user waits for."""
    # h_s writes a scale for every latent value.
    latents = next((x.out_values for x in reversed(layers) if x.network == "h_s"), 0)
    coding = coded(side, latents, target.cpu, target.constants)
    if coding is None:
        return []
    whole = together([networks, coding])
    by = f"{target.name}.toml, hwkd's coder in one thread"
    quantity = Quantity(coding.ms, "predicted", by, coding.low, coding.high, LEVEL)
    return [
        Entry("latency_ms", side, "entropy", setting, quantity),
        *_both(whole, side, "end_to_end", setting, power, target),
    ]


def board_power(target: Target, unit: ExecutionUnit) -> Power | str:
    """The power of the board while `unit` runs networks; the reason where it is not known."""
    measured = unit.load_w
    if measured is not None and measured.value is not None and measured.high is not None:
        return Power(
            (measured.value + measured.high) / 2,
            measured.value,
            measured.high,
            f"the board's power while its {unit.name} runs networks ({measured.source})",
        )
    load = target.load_w
    if load.value is not None and load.high is not None:
        return Power(
            (load.value + load.high) / 2,
            load.value,
            load.high,
            f"the board's power under load ({load.source})",
        )
    if target.power_modes:
        budgets = [mode.power_w for mode in target.power_modes]
        first, least = budgets[0], min(budgets)
        return Power(
            (first + least) / 2 if least < first else first,
            min(least, first),
            first,
            f"a power between the budgets of its smallest and its set mode, {least:g} and {first:g} W (no measured figure "
            f"of its {unit.name})",
        )
    return f"the power of {target.name} under load is unknown: {load.unknown}"


def _units(target: Target) -> list[ExecutionUnit]:
    return [target.preferred, *(u for u in target.units if u is not target.preferred)]


def _threads(target: Target, unit: ExecutionUnit) -> list[int]:
    return list(dict.fromkeys(c.threads for c in target.constants if c.unit == unit.name)) or [1]


def _runtime(target: Target, unit: ExecutionUnit) -> str:
    runtimes = {c.predicted_runtime for c in target.constants if c.unit == unit.name}
    return " or ".join(sorted(runtimes)) or unit.runtime.name


def _arithmetic(target: Target, unit: ExecutionUnit, plan: PrecisionPlan | None) -> str:
    """The arithmetic of the transforms on this unit: that of the plan, or the float that was timed there."""
    if plan is not None:
        return next(
            e.arithmetic for e in plan.entries if e.network == "encoder" and e.unit == unit.name
        )
    floats = _find(target, unit.name, FLOATS, _threads(target, unit)[0])
    if floats is not None:
        return floats.precision
    return next(p for p in FLOATS if unit.arithmetic.rate(p).is_there)


def _find(target: Target, unit: str, precisions: Sequence[str], threads: int) -> Constants | None:
    """The first constants of the unit in one of `precisions`, in their order, with that many threads."""
    for precision in precisions:
        for c in target.constants:
            if (c.unit, c.precision, c.threads) == (unit, precision, threads):
                return c
    return None


def _side(
    side: str,
    layers: Sequence[LayerCost],
    target: Target,
    unit: ExecutionUnit,
    plan: PrecisionPlan | None,
    threads: int,
) -> Prediction | str:
    """The time of one side when `unit` runs the transforms; the reason where it is not known."""
    by_network = {
        network: [layer for layer in layers if layer.network in NETWORKS[network]]
        for network in SIDES[side]
    }
    if plan is None:
        # In a float model h_s is one of the networks: all have the same constants, so their errors are not independent.
        chosen = [layer for of_network in by_network.values() for layer in of_network]
        return _network(chosen, target, unit, None, threads)
    parts = []
    for network, chosen in by_network.items():
        found = _on_its_unit(network, chosen, target, unit, plan, threads)
        if isinstance(found, str):
            return found
        parts.append(found)
        moving = _moving(network, chosen, target, unit, threads)
        if moving is not None:
            parts.append(moving)
    return together(parts)


def _on_its_unit(
    network: str,
    layers: list[LayerCost],
    target: Target,
    unit: ExecutionUnit,
    plan: PrecisionPlan | None,
    threads: int | None,
) -> Prediction | str:
    """The time of layers of one network of the plan: the integer entropy path of a quantized model runs on the CPU."""
    is_on_cpu = network == "hyper" and plan is not None
    entry = None if plan is None or is_on_cpu else _entry(plan, network, unit)
    on_unit = target.cpu if is_on_cpu else unit
    return _network(layers, target, on_unit, entry, threads if on_unit is unit else None)


def _network(
    layers: list[LayerCost],
    target: Target,
    unit: ExecutionUnit,
    entry: PlanEntry | None,
    threads: int | None,
) -> Prediction | str:
    """The time of one network on `unit`; the reason where it is not known.

    Args:
        entry: the plan's entry of a quantized network; None for one in float, or in integers held in float.
    """
    if threads is None:
        threads = _threads(target, unit)[0]
    floats = _find(target, unit.name, FLOATS, threads)
    int8 = _find(target, unit.name, ("int8",), threads)
    if floats is None:
        return f"nobody has published timings for the {unit.name} of {target.name}, and no profile of one was given"
    if entry is None or entry.arithmetic != "int8":
        return predict(layers, floats)
    in_float = [layer for layer in layers if layer.operator == "gdn" and entry.float_operations]
    in_int8 = [layer for layer in layers if layer not in in_float]
    parts = [predict(in_float, floats)] if in_float else []
    if in_int8:
        parts.append(predict(in_int8, int8) if int8 else guessed_int8(predict(in_int8, floats)))
    return together(parts)


def _entry(plan: PrecisionPlan, network: str, unit: ExecutionUnit) -> PlanEntry:
    return next(e for e in plan.entries if (e.network, e.unit) == (network, unit.name))


def guessed_int8(floats: Prediction) -> Prediction:
    """A time between FASTEST_INT8 of the float time and all of it, uniform on a logarithmic scale."""
    width = -math.log(FASTEST_INT8)
    sd = math.hypot(floats.ln_sd, width / math.sqrt(12))
    return Prediction(floats.ms * math.sqrt(FASTEST_INT8), sd, floats.unseen_share)


def _both(
    time: Prediction | str,
    side: str,
    part: str,
    setting: Setting,
    power: Power | str,
    target: Target,
) -> list[Entry]:
    by = f"{target.name}.toml, {setting.runtime}"
    if isinstance(time, str):
        latency = energy = not_known(time, "predicted")
    else:
        latency = Quantity(time.ms, "predicted", by, time.low, time.high, LEVEL)
        energy = _energy(time, power, by)
    return [
        Entry("latency_ms", side, part, setting, latency),
        Entry("energy_mj", side, part, setting, energy),
    ]


def _energy(time: Prediction, power: Power | str, by: str) -> Quantity:
    """ms x W is mJ. The power's range is taken as uniform, so that its 90 % is added to the time's in quadrature."""
    if isinstance(power, str):
        return not_known(power, "predicted")
    power_sd = (power.high_w - power.low_w) / math.sqrt(12) / power.value_w
    sd = math.hypot(time.ln_sd, power_sd)
    value = time.ms * power.value_w
    low, high = value * math.exp(-Z90 * sd), value * math.exp(Z90 * sd)
    return Quantity(
        value, "predicted", f"{by}: predicted time x {power.how}, idle included", low, high, LEVEL
    )


def _notes(target: Target, unit: ExecutionUnit, plan: PrecisionPlan | None) -> list[str]:
    """Notes on the origin of the times on `unit`: on the constants that predict the model's arithmetic."""
    of_unit = [c for c in target.constants if c.unit == unit.name]
    used = {
        kind: [c for c in of_unit if (c.precision == "int8") == (kind == "int8")]
        for kind in _kinds(target, unit, plan)
    }
    on_unit = note_on(target.name, unit.name)
    notes = []
    for kind, mine in used.items():
        if not mine:
            continue
        first = mine[0]
        in_kind = f" in {kind}" if plan is not None else ""
        if first.scheme == "kinds":
            error = (
                f", median error {first.error_percent:g} % there"
                if first.error_percent is not None
                else ""
            )
            notes.append(
                f"{on_unit}for {first.predicted_runtime}{in_kind}, fitted on {first.networks} networks that "
                f"{first.runtime} ran on {first.device}{error}."
            )
            if not first.is_same_device:
                notes.append(f"{on_unit}{first.device} is a stand-in ({first.note}).")
        if first.carried:
            steps = "; ".join(map(str, first.carried))
            notes.append(f"{on_unit}{kind} times carried over, all of it in the interval, {steps}.")
    if of_unit and "int8" in used and not used["int8"]:
        notes.append(
            f"{on_unit}nobody published int8 timings; taken between the float time and half of it."
        )
    return notes


def _kinds(target: Target, unit: ExecutionUnit, plan: PrecisionPlan | None) -> tuple[str, ...]:
    """The kinds of constants ("int8", "float") that give a model's times on `unit`: the main arithmetic first."""
    if plan is None or _arithmetic(target, unit, plan) != "int8":
        return ("float",)
    is_timed = any((c.unit, c.precision) == (unit.name, "int8") for c in target.constants)
    # The hyper network runs on the CPU, in integers held in float.
    has_float = unit is target.cpu or any(
        e.float_operations for e in plan.entries if e.unit == unit.name
    )
    return ("int8", "float") if has_float or not is_timed else ("int8",)


# What a model is predicted to take on a target, as one figure: the slower of encoding and decoding.


def slower_side(layers: Sequence[LayerCost], target: Target, plan: PrecisionPlan) -> Entry:
    """The latency of the slower side, in the first setting of the target that has a figure: its preferred unit's where
    anybody timed that.

    Raises:
        InputError: no setting has one.
    """
    entries, _ = predicted_entries(layers, target, plan)
    times = [e for e in entries if (e.name, e.part) == ("latency_ms", "networks")]
    for setting in dict.fromkeys(entry.setting for entry in times):
        mine = [entry for entry in times if entry.setting == setting]
        values = [entry.quantity.value for entry in mine if entry.quantity.value is not None]
        if len(values) == len(SIDES):
            return next(entry for entry in mine if entry.quantity.value == max(values))
    raise InputError(
        f"no latency on {target.name} can be predicted: {times[0].quantity.reason}; leave --target out, or give "
        "another (see `hwkd targets`)"
    )
