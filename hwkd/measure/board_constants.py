"""From profiles of a machine, layer by layer, to constants that predict other models there."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from hwkd.constants import Constants
from hwkd.errors import InputError
from hwkd.measure.cost_predict import predict
from hwkd.measure.layer_shapes import AMOUNTS, ANY, REST, amounts, shape
from hwkd.measure.layers import LayerCost
from hwkd.measure.predict.fit import Array
from hwkd.measure.record import Record, Setting

DECIMALS = 4
FEWEST_SIGMA = 0.03
"""What two profiles of one machine differ by from one run to the next, at least."""


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
    return tuple(_constants(records, setting, unit) for setting in settings)


def _constants(records: Sequence[Record], setting: Setting, unit: str) -> Constants:
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
    """By the rates of ANY."""
    parts = zip(AMOUNTS, amounts(layer), strict=True)
    return sum(rates.get(f"{ANY}.{name}", 0.0) * value for name, value in parts) / 1e6
