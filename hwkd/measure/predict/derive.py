"""Derive the constants of all shipped targets from published timings, and what tests their predictions."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hwkd.files import data_folder
from hwkd.measure.layers import LayerCost
from hwkd.measure.predict.constants import Fitted, at_class, carried_on, constants_of
from hwkd.measure.predict.fit import Prediction, fit, predict
from hwkd.measure.predict.other_runtimes import (
    POOLED_DEVICE,
    Network,
    OtherTiming,
    base_prediction,
    pooled_table,
    read_other,
)
from hwkd.measure.predict.published import (
    INT8,
    NCNN,
    TENSORRT,
    CrossValidation,
    Population,
    TimingTable,
    leave_networks_out,
    merged,
    population,
    read_timings,
    size_of,
)
from hwkd.measure.predict.runtime_steps import Evidence, column_of, evidence
from hwkd.measure.predict.target import guessed_int8
from hwkd.target import Carried, Constants, ExecutionUnit, Target, list_targets, load_target

Bars = Callable[[str, int], Callable[[], None]]
"""Given what is done and of how many parts, starts a bar of progress; what it returns is called after each part."""


@dataclass(frozen=True)
class Derived:
    """What follows from the timings.

    Attributes:
        constants: constants of each shipped target.
        others, found, layers, left_out: what the second set needs.
    """

    fitted: tuple[Fitted, ...]
    targets: Mapping[str, Target]
    constants: Mapping[str, tuple[Constants, ...]]
    others: tuple[OtherTiming, ...]
    found: Evidence
    layers: Mapping[Network, tuple[LayerCost, ...]]
    left_out: Mapping[tuple[str, bool], Prediction]


def derive(path: Path | None, bars: Bars, *, needs_targets: bool = True) -> Derived:
    """Everything that follows from the timings: those that ship, or the table at `path` alone.

    Args:
        needs_targets: False if the caller needs only the errors of the fit.
    Raises:
        InputError: the timings cannot be read, or lack the device of a target.
    """
    others = () if path else read_other()
    tables = [read_timings(path)]
    if path is None:
        tables += [read_timings(data_folder("profiles") / TENSORRT), pooled_table(others)]
    timings = merged(tables)
    fitted = tuple(
        Fitted(leave_out(p, bars), fit(p.work, p.ln_times)) for p in populations(timings, bars)
    )
    nothing = Evidence((), ())
    if not needs_targets:
        return Derived(fitted, {}, {}, (), nothing, {}, {})
    targets = {name: load_target(name) for name in list_targets()}
    source = timings.source
    if path:
        alone = {name: constants_of(target, source, fitted) for name, target in targets.items()}
        return Derived(fitted, targets, alone, (), nothing, {}, {})

    def fit_on(target: Target) -> tuple[Constants, ...]:
        return at_class(target, constants_of(target, source, fitted), fitted)

    base = {name: fit_on(target) for name, target in targets.items()}
    plain = {name: fit_on(_without_int8_device(target)) for name, target in targets.items()}
    from hwkd.measure.eager.other_networks import other_layers

    layers = other_layers(row.network for row in others)
    left_out = _left_out_of(fitted[0].left_out)
    both = {name: (*base[name], *plain[name]) for name in base}
    found = evidence(others, targets, layers, both, left_out)

    def step(name: str, unit: ExecutionUnit, c: Constants) -> Carried:
        return found.step(name, unit, c, unit.runtime.name)

    constants = {name: carried_on(target, base[name], step) for name, target in targets.items()}
    return Derived(fitted, targets, constants, others, found, layers, left_out)


@dataclass(frozen=True)
class CheckedTiming:
    """A published time beside its prediction. The step to its runtime is found without the network; the constants below
    it may be fitted on that network in another runtime or precision.

    Attributes:
        unit: a unit of the target.
        ln_error: logarithm of predicted over published time.
        ln_sd: the prediction's own standard deviation.
        is_apart: whether something else ran than was predicted, as it seems (`OtherTiming.is_apart`).
        from_fit: whether it is among the times that the constants are fitted on, each network left out in turn.
        without_source: (ln_error, ln_sd) of the prediction with the step found without the row's source too, as for a version
            and a day of which nobody knows anything; None where no step depends on it.
    """

    target: str
    unit: str
    network: str
    precision: str
    runtime: str
    ln_error: float
    ln_sd: float
    is_apart: bool = False
    from_fit: bool = False
    without_source: tuple[float, float] | None = None


def check(
    rows: Sequence[OtherTiming],
    targets: Mapping[str, Target],
    layers: Mapping[Network, Sequence[LayerCost]],
    constants: Mapping[str, Sequence[Constants]],
    found: Evidence,
    left_out: Mapping[tuple[str, bool], Prediction],
    of_gpu: Callable[[Sequence[LayerCost], Sequence[Constants], OtherTiming], Prediction],
) -> tuple[CheckedTiming, ...]:
    """Every row with constants for its target and unit.

    The step to the row's runtime is found anew without the row's network, and once more without its source too. The spread
    of a class is as in `constants`.
    """
    checked = []
    for row in rows:
        if row.device not in targets:
            continue
        target = targets[row.device]
        unit = next(u for u in target.units if u.name == row.unit)
        mine = [c for c in constants[row.device] if c.unit == row.unit]
        of_row = layers[row.network]
        if unit.kind == "gpu":
            prediction = of_gpu(of_row, mine, row)
            every = [(0.0, 0.0)]
        else:
            bare = [replace(c, carried=()) for c in mine]
            base = base_prediction(row, of_row, bare)
            if base is None:
                continue
            alike = [c for c in mine if (c.precision == "int8") == row.is_int8]
            used = min(alike, key=lambda c: abs(math.log(c.threads / row.threads)))
            if used.device == POOLED_DEVICE:
                base = left_out.get((column_of(row), row.is_int8), base)
            prediction = base
            kept = [s for s in used.carried if s.to != used.predicted_runtime]
            every = []
            for source in (False, True):
                # The runtime of the constants itself needs no step, but another version of it on another day is a little off.
                fresh = found.without(row, source=source).step(row.device, unit, used, row.family)
                steps = (fresh, *kept)
                every.append((sum(s.ln_factor for s in steps), sum(s.sd**2 for s in steps)))
        errors = [
            (
                math.log(prediction.ms / row.ms) + ln_factor,
                math.sqrt(prediction.ln_sd**2 + variance),
            )
            for ln_factor, variance in every
        ]
        checked.append(
            CheckedTiming(
                row.device,
                row.unit,
                f"{row.network[0]} {row.network[1]}x{row.network[2]}",
                row.precision,
                row.runtime,
                *errors[0],
                row.is_apart,
                without_source=errors[1] if len(errors) > 1 else None,
            )
        )
    return tuple(checked)


def checked_others(derived: Derived) -> tuple[CheckedTiming, ...]:
    """The second set: every time of another runtime, and TensorRT's with the network left out."""

    def of_gpu(
        layers: Sequence[LayerCost], constants: Sequence[Constants], row: OtherTiming
    ) -> Prediction:
        floats = predict(layers, constants[0])
        return guessed_int8(floats) if row.is_int8 else floats

    checked = check(
        derived.others,
        derived.targets,
        derived.layers,
        derived.constants,
        derived.found,
        derived.left_out,
        of_gpu,
    )
    return (*checked, *_from_fit(derived))


def _from_fit(derived: Derived) -> list[CheckedTiming]:
    """TensorRT's times that the GPUs' constants are fitted on, each network left out; with the spread that the target's
    prediction has for another version."""
    of_gpus = derived.fitted[1].left_out
    places = {
        unit.timings.device: (name, unit.name)
        for name, target in derived.targets.items()
        for unit in target.units
        if unit.timings and unit.timings.is_same_device and unit.kind == "gpu"
    }
    found = []
    for d, c in enumerate(of_gpus.population.configurations):
        if c.device not in places or c.runtime == NCNN:
            continue
        target, unit = places[c.device]
        used = next(of for of in derived.constants[target] if of.unit == unit)
        for n, (column, _) in enumerate(of_gpus.population.columns):
            error, sd = float(of_gpus.ln_error[d, n]), float(of_gpus.ln_sd[d, n])
            if math.isfinite(error):
                name = column.replace("@", " ")
                sd = math.sqrt(sd**2 + used.carried_variance)
                found.append(
                    CheckedTiming(target, unit, name, "fp16", c.runtime, error, sd, from_fit=True)
                )
    return found


def _left_out_of(cpus: CrossValidation) -> dict[tuple[str, bool], Prediction]:
    """The prediction for each network of `pooled_table`, by a fit without that network."""
    found: dict[tuple[str, bool], Prediction] = {}
    for d, c in enumerate(cpus.population.configurations):
        if c.device != POOLED_DEVICE:
            continue
        for n, column in enumerate(cpus.population.columns):
            error = cpus.ln_error[d, n]
            if np.isfinite(error):
                ms = math.exp(cpus.population.ln_times[d, n] + error)
                found[column] = Prediction(ms, float(cpus.ln_sd[d, n]), 0.0)
    return found


def _without_int8_device(target: Target) -> Target:
    units = tuple(
        replace(unit, timings=replace(unit.timings, int8_device="")) if unit.timings else unit
        for unit in target.units
    )
    return replace(target, units=units)


def populations(timings: TimingTable, bars: Bars) -> tuple[Population, Population]:
    """CPUs and GPUs, the networks counted first."""
    from hwkd.measure.eager.benchmark_networks import NETWORKS, benchmark_layers
    from hwkd.measure.eager.other_networks import other_layers

    advance = bars("counting networks", len(NETWORKS))
    layers = dict(benchmark_layers(lambda _: advance()))
    named = {name.removesuffix(INT8): size_of(name) for name in timings.networks}
    sizes = {name: size for name, size in named.items() if size is not None}
    counted = other_layers(sizes.values())
    layers |= {name: counted[size] for name, size in sizes.items()}
    return population(timings, layers, of_gpus=False), population(timings, layers, of_gpus=True)


def leave_out(of: Population, bars: Bars) -> CrossValidation:
    """The errors over a population, with a bar."""
    networks = {name for name, _ in of.columns}
    advance = bars(f"{of.name}s without each network", len(networks))
    return leave_networks_out(of, lambda _: advance())
