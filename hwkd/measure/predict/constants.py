"""From the fitted population to the constants of the targets that ship."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwkd.constants import Constants
from hwkd.errors import InputError
from hwkd.measure.layers import TERMS, LayerCost, work
from hwkd.measure.left_out import LeftOut
from hwkd.measure.predict.fit import Array, Fit
from hwkd.measure.predict.published import Population
from hwkd.target import ExecutionUnit, Target

RUNTIME = "ncnn"
CLASS_THREADS = 4
"""For a class of machines, whose cores nobody knows: a small instance, or a share of a large one."""
DECIMALS = 4


def _reference(kernel: int, stride: int) -> LayerCost:
    """A layer from 128 to 128 channels with 64x64 outputs."""
    c, outputs = 128, 64 * 64
    weights = c * c * kernel**2
    return LayerCost(
        name=f"{kernel}x{kernel} stride {stride}",
        network="",
        operator="conv",
        c_in=c,
        c_out=c,
        kernel=kernel,
        stride=stride,
        groups=1,
        in_values=c * outputs * stride**2,
        out_values=c * outputs,
        weights=weights,
        macs=weights * outputs,
    )


REFERENCE_LAYERS = (_reference(1, 1), _reference(3, 1), _reference(5, 2))
"""One of each kind of dense convolution, between as many channels and at the size that a codec's layers have."""


@dataclass(frozen=True)
class Fitted:
    """A population, how it fits as a whole, and how it fits with a network left out."""

    left_out: LeftOut
    fit: Fit


def constants_of(target: Target, source: str, fitted: Sequence[Fitted]) -> tuple[Constants, ...]:
    """The constants of every unit of `target` that has published timings.

    Of a CPU: with as many threads as it has cores (or the next lower number that was timed), and with one; in float and
    in int8. Of a GPU: in float.

    Args:
        source: of the timings. fitted: the CPUs and the GPUs.

    Raises:
        InputError: a unit names a device that the timings do not hold.
    """
    found: list[Constants] = []
    for unit in target.units:
        if unit.timings is None:
            continue
        kind = "GPU" if unit.kind == "gpu" else "CPU"
        (of_kind,) = (f for f in fitted if f.left_out.population.name == kind)
        population = of_kind.left_out.population
        for row in _rows(population, unit):
            for is_int8 in sorted({is_int8 for _, is_int8 in population.terms}):
                if not is_int8 or unit.arithmetic.int8.is_there:
                    found.append(_constants(unit, source, of_kind, row, is_int8))
    return tuple(found)


def _rows(population: Population, unit: ExecutionUnit) -> list[int]:
    """The rows of the unit's device: the one with its number of threads, then the one with a single thread."""
    assert unit.timings is not None
    device = unit.timings.device
    rows = {
        c.threads: i
        for i, c in reversed(list(enumerate(population.configurations)))
        if c.device == device
    }
    if not rows:
        raise InputError(
            f"the published timings hold no {population.name} of {device!r}, which unit {unit.name} names"
        )
    if unit.kind == "gpu":
        # The threads of a GPU's row are those of the CPU beside it.
        return [rows[max(rows)]]
    cores = int(unit.cores.value) if unit.cores.value is not None else CLASS_THREADS
    most = max((t for t in rows if t <= cores), default=min(rows))
    return [rows[t] for t in dict.fromkeys((most, min(rows)))]


def _constants(
    unit: ExecutionUnit, source: str, of_kind: Fitted, row: int, is_int8: bool
) -> Constants:
    assert unit.timings is not None
    errors, fitted = of_kind.left_out, of_kind.fit
    population = errors.population
    of_block = _block(population, is_int8)
    columns = population.is_int8 == is_int8
    rows = np.zeros(len(population.configurations), bool)
    rows[row] = True
    accuracy = errors.accuracy(rows, columns)
    configuration = population.configurations[row]
    theta = fitted.theta[row, of_block]
    # ms to ns, for whole numbers of about the size people know.
    ln_ns = {
        term: round(float(t + np.log(1e6)), DECIMALS) for term, t in zip(TERMS, theta, strict=True)
    }
    covariance = fitted.covariance[row][np.ix_(of_block, of_block)]
    number = np.isfinite(population.ln_times[row, columns]).sum()
    if is_int8 and number == 0:
        number = np.isfinite(population.ln_times[row]).sum()
    return Constants(
        unit=unit.name,
        precision="int8" if is_int8 else _float_precision(unit),
        threads=configuration.threads,
        runtime=RUNTIME,
        device=configuration.device,
        is_same_device=unit.timings.is_same_device,
        source=source,
        scheme="kinds",
        networks=int(number),
        sigma=round(fitted.sigma, DECIMALS),
        unseen=round(_spread_of_kinds(fitted.theta[:, of_block]), DECIMALS),
        ln_ns=ln_ns,
        covariance=tuple(tuple(round(float(v), DECIMALS) for v in line) for line in covariance),
        error_percent=_rounded(accuracy.median_error_percent),
        coverage=_rounded(accuracy.coverage),
        note=unit.timings.note,
    )


def _block(population: Population, is_int8: bool) -> list[int]:
    """The places of TERMS in this precision; of a term that no int8 network has (nonlinear), the float one's."""
    has_work = population.work.sum(0) > 0
    places = []
    for term in TERMS:
        place = population.terms.index((term, is_int8))
        places.append(place if has_work[place] else population.terms.index((term, False)))
    return places


def _float_precision(unit: ExecutionUnit) -> str:
    """ncnn computes in fp16 wherever the processor can."""
    return "fp16" if unit.arithmetic.fp16.is_there else "fp32"


def _spread_of_kinds(theta: Array) -> float:
    """How far the time of a MAC differs between kinds of dense convolution: the standard deviation of its logarithm over
    REFERENCE_LAYERS, as root mean square over the devices. A kind that nobody timed is taken to lie as far off.

    theta: [D, K], of TERMS.
    """
    amounts = np.zeros((len(REFERENCE_LAYERS), len(TERMS)))
    for n, layer in enumerate(REFERENCE_LAYERS):
        for term, amount in work(layer).items():
            amounts[n, TERMS.index(term)] = amount / layer.macs
    ln_time = np.log(np.exp(theta) @ amounts.T)
    return float(np.sqrt(np.mean(np.var(ln_time, axis=1, ddof=1))))


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 2)
