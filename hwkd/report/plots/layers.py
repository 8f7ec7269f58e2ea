"""The costs of each layer: multiply-accumulates of a model, and its times on a target. Pure."""

from collections.abc import Iterator, Mapping, Sequence

from hwkd.errors import InputError
from hwkd.measure.bundles import FLOAT_BITS
from hwkd.measure.layers import LayerCost
from hwkd.measure.predict.fit import LEVEL
from hwkd.measure.predict.target import layer_times
from hwkd.measure.record import Record, Setting
from hwkd.quantity import Quantity, three_digits
from hwkd.quantize.precision import PrecisionPlan, plan_precision
from hwkd.report.compare.rows import settings_of
from hwkd.report.plots.plot import Bar, Bars, Panel, counted, exact, short_name
from hwkd.report.table import Table
from hwkd.target import Target

SIDES = {"encoder": ("g_a", "h_a", "h_s"), "decoder": ("h_s", "g_s")}
MMAC = 1e6

LAYER_LATENCY = "layer-latency"
"""The key of the plots of layers' times."""


def layer_plots(records: Sequence[Record], targets: Sequence[Target]) -> tuple[Bars, ...]:
    """The MACs of every layer, once for each model; then the times of every layer, for each model on each target.

    Times: those that a record measured layer by layer, else predicted from the target's file; none on a machine that
    timed whole networks only.
    """
    every = {record.model.name for record in records}
    models = {short_name(r.model.name, every): r for r in reversed(records) if r.layers}
    boards = {target.name: target for target in targets}
    return (
        *(_macs_plot(name, models[name]) for name in reversed(models)),
        *(
            plot
            for record in records
            for plot in _times_plot(short_name(record.model.name, every), record, boards)
        ),
    )


def layer_words(layer: LayerCost) -> str:
    """A layer in words: "conv 5x5 /2 64->64"."""
    channels = f"{layer.c_in}->{layer.c_out}"
    match layer.operator:
        case "gdn":
            return f"GDN {layer.c_out}"
        case "conv" | "transposed":
            is_depthwise = layer.groups == layer.c_in > 1
            kind = "depthwise" if is_depthwise else layer.operator
            stride = f" /{layer.stride}" if layer.stride > 1 else ""
            groups = f" in {layer.groups} groups" if layer.groups > 1 and not is_depthwise else ""
            return f"{kind} {layer.kernel}x{layer.kernel}{stride} {channels}{groups}"
    return f"{layer.operator} {channels}"


def _macs_plot(name: str, record: Record) -> Bars:
    amounts = {
        layer.name: Quantity(layer.macs / MMAC, "counted", "fvcore") for layer in record.layers
    }
    size = f"an image of {record.width}x{record.height}"
    return _bars(
        key="layer-macs",
        title=f"Multiply-accumulates of each layer of {name}",
        what=f"Multiply-accumulates of each layer of {name} for {size}",
        x_label="counted multiply-accumulates (MMAC)",
        unit="MMAC",
        layers=record.layers,
        amounts=amounts,
        notes=(f"Counted on the float model for {size}, padded to whole blocks.",),
        choices={"model": name},
    )


def _times_plot(name: str, record: Record, boards: Mapping[str, Target]) -> Iterator[Bars]:
    found = measured_times(record) or predicted_times(record, boards)
    if found is None:
        return
    setting, amounts, notes = found
    way = next(iter(amounts.values())).found
    where = f"{name} on {record.target}"
    yield _bars(
        key=LAYER_LATENCY,
        title=f"{way.capitalize()} latency of each layer of {where}",
        what=f"{way.capitalize()} latency of each layer of {where} for an image of {record.width}x{record.height}",
        x_label=f"{way} latency (ms)",
        unit="ms",
        layers=record.layers,
        amounts=amounts,
        notes=(f"Runs on {setting}.", *notes),
        choices={"model": name, "target": record.target},
    )


def _bars(
    key: str,
    title: str,
    what: str,
    x_label: str,
    unit: str,
    layers: Sequence[LayerCost],
    amounts: Mapping[str, Quantity],
    notes: tuple[str, ...],
    choices: Mapping[str, str],
) -> Bars:
    words = {layer.name: layer_words(layer) for layer in layers}
    by_side = {
        side: [
            (network, layer, amount)
            for network in networks
            for layer, amount in amounts.items()
            if layer.partition(".")[0] == network
        ]
        for side, networks in SIDES.items()
    }
    panels = tuple(
        Panel(side, tuple(_bar(network, layer, words, amount) for network, layer, amount in held))
        for side, held in by_side.items()
        if held
    )
    rows = tuple(
        (
            *(side, network, layer, words.get(layer, "outside the layers")),
            *(exact(amount.value), exact(amount.low), exact(amount.high), amount.found),
        )
        for side, held in by_side.items()
        for network, layer, amount in held
    )
    columns = ("side", "network", "layer", "kind", unit, f"{unit}, low", f"{unit}, high", "found")
    return Bars(
        key=key,
        title=title,
        x_label=x_label,
        panels=panels,
        caption=_caption(what, panels, unit),
        table=Table(title, columns, rows),
        notes=(*notes, "h_s runs in the encoder and in the decoder, and stands in both."),
        choices=choices,
    )


def _bar(network: str, layer: str, words: Mapping[str, str], amount: Quantity) -> Bar:
    name = f"{layer}: {words[layer]}" if layer in words else layer
    return Bar(name, amount.value or 0.0, network, amount.low, amount.high)


def _caption(what: str, panels: Sequence[Panel], unit: str) -> str:
    parts = []
    for panel in panels:
        total = sum(bar.value for bar in panel.bars)
        largest = sorted(panel.bars, key=lambda bar: -bar.value)[:3]
        listed = ", ".join(
            f"{bar.name} ({three_digits(bar.value)} {unit}, {100 * bar.value / total:.0f} %)"
            for bar in largest
            if total
        )
        parts.append(
            f"{panel.title.capitalize()}: {three_digits(total)} {unit} in {counted(len(panel.bars), 'layer')}, most in {listed}."
        )
    return f"{what}, in the order in which they run. {' '.join(parts)}"


# How long each layer of a record takes: as it was measured, or predicted layer by layer.

ACT_BITS = 8
"""Bits of activations; whether a unit computes in int8 does not depend on them."""

Found = tuple[Setting, dict[str, Quantity], tuple[str, ...]]
"""The setting in which the layers run, the time of each in milliseconds, and notes on how the times were found."""


def measured_times(record: Record) -> Found | None:
    """The times in the first setting in which the record's layers were timed; None where they were not."""
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
    """Predicted times in the record's first setting, from the file of its target, one of `boards`; None where it is not known."""
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
