"""The output of `hwkd profile`: a model's size and computation, then latency and energy here and on each target. Pure."""

from collections.abc import Mapping, Sequence

from hwkd.measure.record import Entry, Record, Setting
from hwkd.quantity import BRACKETS, MIB, NA, Quantity, quantity_text, three_digits
from hwkd.report.table import Table, figure, missing, number, number_in_words, numbers

_MARKS = "Marks: ^ predicted from the target's file, ~ estimated; without a mark measured."
_KEY = f"[low, high]: 95 % interval where measured or estimated, 90 % where predicted. {_MARKS}"
_PARTS = {"networks": "of the networks alone", "end_to_end": "from end to end"}
_COSTS = ("encode_ms", "decode_ms", "encode_mj", "decode_mj")


def size_table(records: Sequence[Record]) -> Table:
    """One row for each model: counted figures, which are the same on every machine."""
    rows = []
    notes = []
    for record in _one_a_model(records):
        size, macs, model = record.size, record.macs, record.model
        quality = record.quality
        why = "" if quality else _no_quality(record)
        rows.append(
            (
                model.name,
                model.architecture,
                number(size.parameters / 1e6, ".2f"),
                number(size.weight_bytes_fp32 / MIB, ".2f"),
                number(size.weight_bytes / MIB, ".2f"),
                number_in_words(model.weight_bits),
                number(size.buffer_bytes / MIB, ".2f"),
                number(macs.encode_macs / 1e9, ".2f"),
                number(macs.decode_macs / 1e9, ".2f"),
                number(macs.total_macs / 1e9, ".2f"),
                number(macs.total_macs / record.pixels / 1e3, ".2f"),
                number(quality.psnr_db if quality else None, ".2f", why),
                number(quality.bpp if quality else None, ".3f", why),
            )
        )
        if macs.not_counted:
            missed = ", ".join(f"{name} x{n}" for name, n in macs.not_counted.items())
            notes.append(f"Not counted in {model.name}: {missed}.")
        if quality is None:
            notes.append(f"psnr_db and bpp of {model.name} are n/a: {why}.")
        else:
            notes.append(f"psnr_db and bpp of {model.name}: {quality.on}, by {quality.source}.")
    columns = (
        *("model", "architecture", "parameters_m", "fp32_mib", "weight_mib", "weight_bits"),
        *("buffers_mib", "encode_gmacs", "decode_gmacs", "total_gmacs", "kmac_per_pixel"),
        *("psnr_db", "bpp"),
    )
    first = records[0]
    notes.append(
        f"MACs of the float model by fvcore at {first.width}x{first.height}; encode: g_a, h_a, h_s; decode: h_s, g_s; total: "
        "each network once. fp32_mib: all parameters in float32; weight_mib: those of the four networks at their stored "
        "bits; ReLU, clamping and entropy coding are in no MAC count."
    )
    least = (
        *("architecture", "buffers_mib", "fp32_mib", "weight_bits", "encode_gmacs", "decode_gmacs"),
        *("parameters_m", "total_gmacs"),
    )
    return Table("Size and computation", columns, tuple(rows), tuple(notes), least)


def glance_table(records: Sequence[Record]) -> Table:
    """A row for each record and runtime, without intervals: end to end if that is known, else of the networks."""
    rows = []
    for record in records:
        best = {setting: part for setting, part in _settings_and_parts(record, False)[::-1]}
        for setting in _settings(record, is_every=False):
            found = [
                _entry(record, setting, best[setting], name, side)
                for name in ("latency_ms", "energy_mj")
                for side in ("encode", "decode")
            ]
            cells = [
                NA if e is None else quantity_text(e.quantity, interval=None, is_marked=True)
                for e in found
            ]
            runtime = f"{setting.runtime.partition(' ')[0]} {setting.precision}"
            rows.append((record.model.name, record.target, runtime, best[setting], *cells))
    columns = ("model", "target", "runtime", "part", *_COSTS)
    first = records[0]
    title = f"Latency and energy for one image of {first.width}x{first.height}"
    parts = {row[3] for row in rows}
    # Runtimes distinguish the rows of one machine.
    least = ("part",) * (len(parts) == 1) + ("runtime",) * (not any(r.is_host for r in records))
    said = (f"All figures are {_PARTS[min(parts)]}.",) if len(parts) == 1 else ()
    return Table(title, columns, tuple(rows), (*said, _MARKS), least)


def _no_quality(record: Record) -> str:
    return "it was not evaluated" if record.model.is_trained else "it has no trained weights"


def cost_table(records: Sequence[Record], *, is_every_setting: bool) -> Table:
    """A row for each record, setting and part: latency and energy of each side.

    If the whole way was measured, its networks alone have a row below, for comparison with the other rows.

    Args:
        is_every_setting: a row for each setting; else for the first of each record, and every runtime of the host.
    """
    rows = []
    reasons: dict[str, list[str]] = {}
    notes: list[str] = []
    for record in records:
        for setting, part in _settings_and_parts(record, is_every_setting):
            cells = []
            for name in ("latency_ms", "energy_mj"):
                for side in ("encode", "decode"):
                    entry = _entry(record, setting, part, name, side)
                    cells.append(_cell(entry.quantity) if entry else missing("not measured"))
                    if entry is None:
                        whose = reasons.setdefault("not measured", [])
                        whose.append(
                            f"{name} of part {part} in {setting.runtime} on {record.target}"
                        )
                    elif entry.quantity.value is None:
                        whose = reasons.setdefault(entry.quantity.reason, [])
                        whose.append(f"{name} on {record.target}")
            rows.append((record.model.name, record.target, str(setting), part, *cells))
        shown = {s.unit for s in _settings(record, is_every_setting)}
        notes += record.notes_on(shown)
    sensors = dict.fromkeys(
        f"Energy on {r.target}: {e.quantity.by}."
        for r in records
        for e in r.entries
        if e.name == "energy_mj" and e.quantity.value is not None
    )
    columns = (
        *("model", "target", "setting", "part"),
        *_COSTS,
    )
    first = records[0]
    title = f"Latency and energy for one image of {first.width}x{first.height}"
    all_notes = (_KEY, *sensors, *_said(reasons), *dict.fromkeys(notes))
    least = ("part", "setting", "encode_mj", "decode_mj")
    return Table(title, columns, tuple(rows), all_notes, least)


def stage_table(record: Record) -> Table:
    """The latency of each stage on the host: a row for each stage, and a column for each setting that has any.

    A cell is empty if the setting has no such stage.
    """
    stages = [e for e in record.entries if e.name == "latency_ms" and e.part != "layer"]
    places = {(e.side, e.part, e.setting): e for e in stages}
    settings = list(dict.fromkeys(e.setting for e in stages))
    none = missing("no such stage in this setting", "")
    rows = []
    for side, part in dict.fromkeys((e.side, e.part) for e in stages):
        found = [places.get((side, part, setting)) for setting in settings]
        rows.append((side, part, *(none if e is None else _with_p95(e) for e in found)))
    runs = sorted({e.quantity.runs for e in stages if e.quantity.runs})
    unknown: dict[str, list[str]] = {}
    for e in stages:
        if e.quantity.value is None:
            unknown.setdefault(e.quantity.reason, []).append(f"{e.side} {e.part}")
    memory = [
        f"{e.side}: {e.name} {_cell(e.quantity)} ({e.quantity.by or e.quantity.reason})."
        for e in record.entries
        if e.name in ("peak_mib", "growth_mib_per_mpx")
    ]
    emissions = [
        f"{e.side}: {e.name} {_cell(e.quantity)} ({e.quantity.by})."
        for e in record.entries
        if e.name == "emissions_g_per_1000"
    ]
    title = f"{record.model.name} on {record.target}: milliseconds by stage"
    notes = (
        f"Median [95 % interval of the median] p95, of {', '.join(map(str, runs))} runs.",
        *_said(unknown),
        f"Host: {record.provenance.host}.",
        *memory,
        *emissions,
    )
    return Table(title, ("side", "part", *map(str, settings)), tuple(rows), notes)


def layer_table(record: Record) -> Table:
    """One row for each layer: shape, MACs, weights, and its time in the main setting if it was measured."""
    timed = [e for e in record.entries if e.part == "layer"]
    times = {e.layer: e for e in timed if e.setting == timed[0].setting}
    rows = tuple(
        (
            layer.name,
            layer.operator,
            numbers(f"{layer.c_in} to {layer.c_out}", layer.c_in, layer.c_out),
            numbers(f"{layer.kernel} / {layer.stride}", layer.kernel, layer.stride),
            number(layer.macs / 1e6, ",.2f"),
            number(layer.weights, ","),
            number(layer.out_values, ","),
            _cell(times[layer.name].quantity) if layer.name in times else missing("not measured"),
        )
        for layer in record.layers
    )
    columns = (
        *("layer", "operator", "channels", "kernel_stride", "mega_macs", "weights", "out_values"),
        "latency_ms",
    )
    note = f"latency_ms: {timed[0].setting}." if timed else "latency_ms: n/a, not measured here."
    least = ("out_values", "operator", "weights", "channels")
    return Table(f"{record.model.name}: layers", columns, rows, (note,), least)


def _said(unknown: Mapping[str, Sequence[str]]) -> list[str]:
    """A sentence for each reason.

    Args:
        unknown: by reason, the figures that are n/a because of it.
    """
    return [f"n/a: {', '.join(dict.fromkeys(what))}: {why}." for why, what in unknown.items()]


def _one_a_model(records: Sequence[Record]) -> list[Record]:
    return list({record.model.name: record for record in reversed(records)}.values())[::-1]


def _settings(record: Record, is_every: bool) -> list[Setting]:
    """The settings with latency or energy of a whole side: all of them, or the first one and the host's runtimes."""
    found = dict.fromkeys(
        e.setting
        for e in record.entries
        if e.name in ("latency_ms", "energy_mj") and e.part in ("networks", "end_to_end")
    )
    settings = list(found)
    if is_every or not settings:
        return settings
    if record.is_host:
        return [s for s in settings if s.threads == settings[0].threads]
    return settings[:1]


def _settings_and_parts(record: Record, is_every: bool) -> list[tuple[Setting, str]]:
    """The settings, each with end_to_end if both of its sides have that, and with networks."""
    found = []
    for setting in _settings(record, is_every):
        whole = {
            e.side
            for e in record.entries
            if (e.name, e.part, e.setting) == ("latency_ms", "end_to_end", setting)
            and e.quantity.value is not None
        }
        parts = ("end_to_end", "networks") if whole >= {"encode", "decode"} else ("networks",)
        found += [(setting, part) for part in parts]
    return found


def _entry(record: Record, setting: Setting, part: str, name: str, side: str) -> Entry | None:
    found = [
        e
        for e in record.entries
        if (e.setting, e.name, e.side, e.part) == (setting, name, side, part)
    ]
    return found[0] if found else None


def _cell(quantity: Quantity) -> str:
    return figure(_text(quantity), quantity)


def _text(quantity: Quantity) -> str:
    return quantity_text(quantity, interval=BRACKETS, is_marked=True)


def _with_p95(entry: Entry) -> str:
    text = _text(entry.quantity)
    if entry.p95 is not None:
        text += f" p95 {three_digits(entry.p95)}"
    return figure(text, entry.quantity, p95=entry.p95)
