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
from hwkd.measure.predict.runtime_steps import CheckedTiming, Evidence, check, evidence
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
    return (*checked, *_from_fit(derived.fitted[1].left_out, derived.targets))


def _from_fit(of_gpus: CrossValidation, targets: Mapping[str, Target]) -> list[CheckedTiming]:
    """TensorRT's times that the GPUs' constants are fitted on, each network left out."""
    places = {
        unit.timings.device: (name, unit.name)
        for name, target in targets.items()
        for unit in target.units
        if unit.timings and unit.timings.is_same_device and unit.kind == "gpu"
    }
    found = []
    for d, c in enumerate(of_gpus.population.configurations):
        if c.device not in places or c.runtime == NCNN:
            continue
        target, unit = places[c.device]
        for n, (column, _) in enumerate(of_gpus.population.columns):
            error, sd = float(of_gpus.ln_error[d, n]), float(of_gpus.ln_sd[d, n])
            if math.isfinite(error):
                name = column.replace("@", " ")
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
