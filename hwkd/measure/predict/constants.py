"""A target's constants: from published timings or a profile on the board, and saved in its file."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hwkd.errors import InputError
from hwkd.measure.layers import AMOUNTS, ANY, REST, TERMS, LayerCost, amounts, shape, work
from hwkd.measure.machine import HostFacts
from hwkd.measure.predict.fit import Array, Fit, predict
from hwkd.measure.predict.published import NCNN, CrossValidation, Population
from hwkd.measure.record import Record, Setting
from hwkd.target import ANY_OF_CLASS, NAME, Carried, Constants, ExecutionUnit, Fact, Target

# From the fitted population to the constants of the targets that ship.

RUNTIME_NAMES = {"TensorRT": "tensorrt"}
"""The targets' names for runtimes of published tables."""
FLOAT_OF = {"onnxruntime": "fp32", "openvino": "fp32"}
"""The precision in which a runtime computes float networks on a CPU, whatever another runtime uses there."""
CLASS_THREADS = 4
"""For a class of machines, where the number of cores is not known: a small instance, or a share of a large one."""
SMALL_CORES = 2.0
"""A device with large and small cores may stand twice in a table with as many threads. Rows that take so many times as long
as the fastest of them are of the small ones, which a target leaves idle: 3 to 3.4 times on the RK3588, where rows of the same
cores are 1.1 to 1.6 times apart."""
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

    left_out: CrossValidation
    fit: Fit


def constants_of(target: Target, source: str, fitted: Sequence[Fitted]) -> tuple[Constants, ...]:
    """The constants of every unit of `target` that has published timings.

    Of a CPU: with as many threads as it has cores (or the next lower number that was timed), and with one; in float and
    in int8. Of a GPU: in float.

    Args:
        source: source of the timings.
        fitted: the CPUs and the GPUs.

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
        for row in _rows(population, unit, unit.timings.device):
            for is_int8 in sorted({is_int8 for _, is_int8 in population.terms}):
                if not is_int8 or unit.arithmetic.int8.is_there:
                    of_precision = row
                    if is_int8:
                        of_precision = _int8_row(population, unit, row)
                    found.append(_constants(unit, source, of_kind, of_precision, is_int8))
    return tuple(found)


def _int8_row(population: Population, unit: ExecutionUnit, row: int) -> int:
    """The row of the unit's int8_device with as many threads as `row`; `row` itself where there is none."""
    assert unit.timings is not None
    for i, c in enumerate(population.configurations):
        if (c.device, c.threads) == (
            unit.timings.int8_device,
            population.configurations[row].threads,
        ):
            return i
    return row


def class_step(unit: ExecutionUnit, is_int8: bool, of_kind: Fitted) -> Carried | None:
    """The step from the timed machine to any machine of its class; None where the unit names no other machines.

    A machine is compared with those that were timed with the same number of threads: by ln(time) of REFERENCE_LAYERS.
    Machines of one chip count as one. The factor leads from the unit's device to the mean of each group that it is in. The
    spread is that within the groups, for one more machine.
    """
    timings = unit.timings
    if timings is None or not timings.peers:
        return None
    population, theta = of_kind.left_out.population, of_kind.fit.theta
    place = _block(population, is_int8, NCNN)
    rows: dict[int, list[tuple[str, float]]] = {}
    for row, c in enumerate(population.configurations):
        if c.device in (timings.device, *timings.peers):
            ms = np.exp(theta[row, place]) @ _amounts().T
            rows.setdefault(c.threads, []).append((c.device, float(np.mean(np.log(ms)))))
    machines = {device for of_threads in rows.values() for device, _ in of_threads}
    groups = [_by_chip(_large_cores(of_threads), timings.one_chip) for of_threads in rows.values()]
    squares, free, shifts = 0.0, 0, []
    for group in groups:
        mean = float(np.mean([x for _, x in group]))
        squares += sum((x - mean) ** 2 for _, x in group)
        free += len(group) - 1
        mine = [x for device, x in group if device == timings.device]
        if mine and len(group) > len(mine):
            # Of a device that stands twice in the table the first row is the one that is fitted.
            shifts.append(mean - mine[0])
    if not free:
        return None
    chips = {chip for group in groups for chip, _ in group}
    sd = math.sqrt(squares / free * (1 + 1 / len(chips)))
    of_chips = f", of {len(chips)} chips," if timings.one_chip else ""
    return Carried(
        ANY_OF_CLASS,
        round(float(np.mean(shifts)) if shifts else 0.0, DECIMALS),
        round(sd, DECIMALS),
        len(machines),
        f"{len(machines)} machines of the class{of_chips} in {NCNN}'s table, with as many threads",
    )


def _large_cores(rows: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """The rows (device, ln time) that are not of a device's small cores."""
    fastest: dict[str, float] = {}
    for device, ln_time in rows:
        fastest[device] = min(ln_time, fastest.get(device, ln_time))
    return [row for row in rows if row[1] < fastest[row[0]] + math.log(SMALL_CORES)]


def _by_chip(rows: Sequence[tuple[str, float]], one_chip: Sequence[str]) -> list[tuple[str, float]]:
    """(device, ln time), the devices of `one_chip` as one, at their mean."""
    shared = [ln_time for device, ln_time in rows if device in one_chip]
    apart = [row for row in rows if row[0] not in one_chip]
    return [*apart, (one_chip[0], float(np.mean(shared)))] if shared else apart


def at_class(
    target: Target, constants: Sequence[Constants], fitted: Sequence[Fitted]
) -> tuple[Constants, ...]:
    """`constants` of one machine for any machine of its class: with `class_step`, where their unit names other machines.

    What others timed on a third machine of the class is to be compared with these, so that the machine's difference stands
    in one step only.
    """
    units = {unit.name: unit for unit in target.units}
    (cpus,) = (f for f in fitted if f.left_out.population.name == "CPU")
    found = []
    for c in constants:
        unit = units[c.unit]
        of_class = class_step(unit, c.precision == "int8", cpus) if unit.kind == "cpu" else None
        found.append(replace(c, carried=(of_class,)) if of_class else c)
    return tuple(found)


def carried_on(
    target: Target,
    constants: Sequence[Constants],
    runtime_step: Callable[[str, ExecutionUnit, Constants], Carried],
) -> tuple[Constants, ...]:
    """`constants` with the step to the unit's own runtime (another version of it, if it was timed), before those that they
    have.

    Args:
        runtime_step: the step from the constants to the runtime of the unit.
    """
    units = {unit.name: unit for unit in target.units}
    found = []
    for c in constants:
        unit = units[c.unit]
        steps = list(c.carried)
        steps.insert(0, _rounded_step(runtime_step(target.name, unit, c)))
        is_float = c.precision != "int8" and unit.runtime.name != c.runtime
        precision = FLOAT_OF.get(unit.runtime.name, c.precision) if is_float else c.precision
        predicts = unit.runtime.name if unit.runtime.name != c.runtime else ""
        found.append(replace(c, precision=precision, predicts=predicts, carried=tuple(steps)))
    return tuple(found)


def _rounded_step(step: Carried) -> Carried:
    return replace(step, ln_factor=round(step.ln_factor, DECIMALS), sd=round(step.sd, DECIMALS))


def _rows(population: Population, unit: ExecutionUnit, device: str) -> list[int]:
    """The rows of the device: the one with the unit's number of threads, then the one with a single thread."""
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
    of_block = _block(population, is_int8, population.configurations[row].runtime)
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
    # A codec's networks are in no fit.
    widening = float(errors.widening[row])
    covariance = widening**2 * fitted.covariance[row][np.ix_(of_block, of_block)]
    number = np.isfinite(population.ln_times[row, columns]).sum()
    if is_int8 and number == 0:
        number = np.isfinite(population.ln_times[row]).sum()
    return Constants(
        unit=unit.name,
        precision="int8" if is_int8 else _float_precision(unit),
        threads=configuration.threads,
        runtime=RUNTIME_NAMES.get(configuration.runtime, configuration.runtime),
        device=configuration.device,
        is_same_device=unit.timings.is_same_device,
        source=configuration.source or source,
        scheme="kinds",
        networks=int(number),
        sigma=round(widening * float(fitted.sigma[row]), DECIMALS),
        unseen=round(_spread_of_kinds(fitted.theta[:, of_block]), DECIMALS),
        ln_ns=ln_ns,
        covariance=tuple(tuple(round(float(v), DECIMALS) for v in line) for line in covariance),
        error_percent=_rounded(accuracy.median_error_percent),
        coverage=_rounded(accuracy.coverage),
        note=unit.timings.note,
    )


def _block(population: Population, is_int8: bool, runtime: str) -> list[int]:
    """The places of TERMS in this precision; of a term that no int8 network timed with `runtime` has (nonlinear in ncnn's
    benchmark), the float one's."""
    is_timed = np.isfinite(population.ln_times[population.rows_of(runtime)]).any(0)
    has_work = population.work[is_timed].sum(0) > 0
    places = []
    for term in TERMS:
        place = population.terms.index((term, is_int8))
        places.append(place if has_work[place] else population.terms.index((term, False)))
    return places


def _float_precision(unit: ExecutionUnit) -> str:
    """ncnn on a CPU, and TensorRT, compute in fp16 wherever the processor can."""
    return "fp16" if unit.arithmetic.fp16.is_there else "fp32"


def _spread_of_kinds(theta: Array) -> float:
    """How far the time of a MAC differs between kinds of dense convolution: the standard deviation of its logarithm over
    REFERENCE_LAYERS, as root mean square over the devices. A kind that nobody timed is taken to lie as far off.

    Args:
        theta: [D, K], devices and TERMS.
    """
    ln_time = np.log(np.exp(theta) @ _amounts().T)
    return float(np.sqrt(np.mean(np.var(ln_time, axis=1, ddof=1))))


def _amounts() -> Array:
    """[layers, terms] of REFERENCE_LAYERS, for one MAC."""
    amounts = np.zeros((len(REFERENCE_LAYERS), len(TERMS)))
    for n, layer in enumerate(REFERENCE_LAYERS):
        for term, amount in work(layer).items():
            amounts[n, TERMS.index(term)] = amount / layer.macs
    return amounts


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 2)


# From profiles of a machine, layer by layer, to constants that predict other models there.

FEWEST_SIGMA = 0.03
"""The least difference of two profiles of one machine, from one run to the next."""


def constants_from(records: Sequence[Record], unit: str = "cpu") -> tuple[Constants, ...]:
    """The constants of the machine that `records` were measured on, one for each setting with layers.

    Every shape of layer has a time for a MAC, for a value read or written and for a call, none below 0, fitted so that
    the relative errors of its layers' times are least (non-negative least squares). What runs between the layers is
    taken as proportional to the values they write. All is then scaled by one factor, so that the networks as a whole
    take what they took without the layers' clocks.

    sigma: the root mean square ln error of the networks' times. unseen: the same of single layers when one rate for a
    MAC and one for a value stand for all shapes, which is what a shape that was not profiled gets.

    Raises:
        InputError: no record of a machine with layer times.
    """
    settings = dict.fromkeys(
        e.setting for r in records if r.is_host for e in r.entries if e.part == "layer"
    )
    if not settings:
        raise InputError(
            "none of the records has measured layers: make them with `hwkd profile --target host`"
        )
    return tuple(_board_constants(records, setting, unit) for setting in settings)


def _board_constants(records: Sequence[Record], setting: Setting, unit: str) -> Constants:
    timed: list[tuple[LayerCost, float]] = []
    rest_ms = rest_values = 0.0
    used = []
    for record in records:
        times = _times(record, setting)
        if not times:
            continue
        used.append(record)
        timed += [(layer, times[layer.name]) for layer in record.layers if layer.name in times]
        rest_ms += sum(ms for name, ms in times.items() if name.endswith(".rest"))
        rest_values += sum(layer.out_values for layer in record.layers)
    ns: dict[str, float] = {}
    by_shape: dict[str, list[tuple[LayerCost, float]]] = defaultdict(list)
    for layer, ms in timed:
        by_shape[shape(layer)].append((layer, ms))
    for name, of_shape in by_shape.items():
        ns |= _rates(name, of_shape)
    together = _rates(ANY, timed)
    ns |= together
    if rest_ms > 0:
        ns[REST] = 1e6 * rest_ms / rest_values
    draft = _built(ns, setting, unit, used, 0.0, 0.0)
    ratios = [
        np.log(measured / predict(layers, draft).ms)
        for record in used
        for layers, measured in _networks(record, setting)
    ]
    if ratios:
        factor = float(np.exp(np.mean(ratios)))
        ns = {term: rate * factor for term, rate in ns.items()}
    sigma = float(np.sqrt(np.mean(np.square(ratios - np.mean(ratios))))) if ratios else 0.0
    unseen = float(
        np.sqrt(np.mean([np.log(_ms(together, layer) / ms) ** 2 for layer, ms in timed]))
    )
    return _built(ns, setting, unit, used, max(sigma, FEWEST_SIGMA), unseen)


def _built(
    ns: Mapping[str, float],
    setting: Setting,
    unit: str,
    used: Sequence[Record],
    sigma: float,
    unseen: float,
) -> Constants:
    models = ", ".join(record.model.name for record in used)
    return Constants(
        unit=unit,
        precision=setting.precision,
        threads=setting.threads or 1,
        runtime=setting.runtime,
        device=used[0].target,
        is_same_device=True,
        source=f"measured by `{used[0].provenance.command}`, {used[0].provenance.created}: {models}",
        scheme="shapes",
        networks=len(used),
        sigma=round(sigma, DECIMALS),
        unseen=round(unseen, DECIMALS),
        ln_ns={term: round(float(np.log(rate)), DECIMALS) for term, rate in ns.items()},
    )


def _times(record: Record, setting: Setting) -> dict[str, float]:
    return {
        e.layer: e.quantity.value
        for e in record.entries
        if e.part == "layer" and e.setting == setting and e.quantity.value is not None
    }


def _networks(record: Record, setting: Setting) -> Iterable[tuple[list[LayerCost], float]]:
    """(layers, measured ms) of encode and of decode."""
    for side, names in (("encode", ("g_a", "h_a", "h_s")), ("decode", ("h_s", "g_s"))):
        for e in record.entries:
            key = (e.name, e.side, e.part, e.setting)
            if key == ("latency_ms", side, "networks", setting) and e.quantity.value is not None:
                yield [layer for layer in record.layers if layer.network in names], e.quantity.value


def _rates(name: str, timed: Sequence[tuple[LayerCost, float]]) -> dict[str, float]:
    """Nanoseconds for a unit of each of AMOUNTS, those of 0 left out."""
    from scipy.optimize import nnls

    work: Array = np.array([amounts(layer) for layer, _ in timed], float)
    ns = np.array([1e6 * ms for _, ms in timed])
    # Relative errors: every row is divided by its time, so that all of them are 1.
    scale = work.max(0)
    rates, _ = nnls(work / scale / ns[:, None], np.ones(len(ns)))
    return {
        f"{name}.{amount}": float(rate)
        for amount, rate in zip(AMOUNTS, rates / scale, strict=True)
        if rate > 0
    }


def _ms(rates: Mapping[str, float], layer: LayerCost) -> float:
    """The layer's time by the rates of ANY."""
    parts = zip(AMOUNTS, amounts(layer), strict=True)
    return sum(rates.get(f"{ANY}.{name}", 0.0) * value for name, value in parts) / 1e6


# A machine's own profile becomes a target that others can be predicted for.

SOURCE = "/proc of the machine, read by hwkd profile"


def target_from(name: str, records: Sequence[Record], like: Target, facts: HostFacts) -> Target:
    """A target called `name` with the constants of this machine.

    What no profile can find (arithmetic, runtime, quantization) is taken from `like`; its power and limits are not, they
    belong to another board.

    Raises:
        InputError: as `check_name`, or records without measured layers.
    """
    check_name(name)
    cpu = replace(
        like.cpu,
        model=facts.cpu,
        cores=Fact(value=float(facts.cores), confidence="S", source=SOURCE),
        clock_ghz=_clock(facts),
        timings=None,
    )
    unknown = Fact(unknown="not measured: a meter at the plug would tell")
    return Target(
        name=name,
        description=f"{facts.cpu}, {facts.cores} cores, as profiled; arithmetic and runtime as {like.name}",
        preferred_unit=cpu.name,
        idle_w=unknown,
        load_w=unknown,
        units=(cpu,),
        int8_alternative=like.int8_alternative,
        constants=constants_from(records, cpu.name),
    )


def check_name(name: str) -> None:
    """Refuse what cannot be a target's name and the name of its file.

    Raises:
        InputError: a name that no target may have, or one with a dot, which would pass for a file's.
    """
    if not NAME.fullmatch(name) or "." in name:
        raise InputError(
            f"--save-target {name!r} is no name for a target; give letters, digits and dashes, as my-board"
        )


def _clock(facts: HostFacts) -> Fact:
    if facts.clock_mhz is None:
        return Fact(unknown="the system does not tell")
    return Fact(value=round(facts.clock_mhz / 1e3, 3), confidence="S", source=SOURCE)
