"""What ships, at a glance: one small table of computation, size, rate and time. Pure."""

from collections.abc import Sequence

from hwkd.errors import InputError
from hwkd.measure.record import Record
from hwkd.metrics import bd_rate_percent
from hwkd.report.cells import NA, Cell
from hwkd.report.compare.rows import Wanted
from hwkd.report.compared import compare
from hwkd.report.numbers import three_digits
from hwkd.report.published_curves import HYPERPRIOR, PublishedCurves
from hwkd.report.result_files import ResultFiles
from hwkd.report.table import Table
from hwkd.results import Result
from hwkd.runtime.bundle import BUNDLE_SUFFIX

BOARDS = ("raspberry-pi-4", "raspberry-pi-5", "jetson-orin-nano")
"""Whose predictions are shown: a slow processor, a faster one, a GPU with int8."""

ARCHITECTURE = "hyperprior:N=128,M=192"
"""Of the published scale hyperprior of qualities 1 to 5, as records name it."""

AGAINST = ("JPEG", "WebP")
HIGHEST = "q5"
"""The rate whose bundle stands for a student of single rates: its networks are those of the other rates."""

RUNTIME = "openvino"
"""That both the float architecture and the bundles were measured in."""


def glance_table(
    records: Sequence[Record], files: ResultFiles, published: PublishedCurves
) -> Table:
    """The published scale hyperprior, and every student that ships at several rates, the largest first.

    Times are those of the networks alone, for one image; nothing but the float architecture is known of the first row.

    Raises:
        InputError: the records hold no machine that was measured.
    """
    measured = [record for record in records if record.is_host]
    if not measured:
        raise InputError("no record of a machine that was measured; make one with `hwkd profile`")
    host = measured[0].target
    places = (host, *BOARDS)
    hyperprior = published.named(HYPERPRIOR).curve
    named = [(HYPERPRIOR, "float", ARCHITECTURE, hyperprior)]
    named += [
        (stem, "int8", bundle_of(stem, result), result.curve)
        for stem, result in files.shipped.items()
        if len(result.curve.bpp) > 1
    ]
    rows = []
    for name, precision, model, curve in named:
        cells = [_decode(records, model, place) for place in places]
        of_model = next(r for r in records if r.model.name == model)
        rates = [f"{bd_rate_percent(published.named(c).curve, curve):+.0f}" for c in AGAINST]
        kmac_per_pixel = of_model.macs.total_macs / of_model.pixels / 1e3
        mib = of_model.size.weight_bytes / 2**20
        rows.append(
            (name, precision, f"{kmac_per_pixel:.1f}", f"{mib:.2f}", *rates, *map(_text, cells))
        )
    columns = (
        *("model", "arithmetic", "kmac_per_pixel", "weight_mib"),
        *(f"rate against {codec}, %" for codec in AGAINST),
        f"decode_ms, measured on {host}",
        *(f"decode_ms, predicted for {board}" for board in BOARDS),
    )
    size = f"{measured[0].width}x{measured[0].height}"
    notes = (
        f"rate: BD-rate on Kodak, negative is fewer bits; of the first row as published, of the others measured from real "
        f"bytes. decode_ms: h_s and g_s for one image of {size}, without entropy coding, with the ends of the interval: of "
        f"the median at 95 % where measured ({RUNTIME}, 2 threads, {measured[0].provenance.host.split(',')[0]}), of the "
        "prediction at 90 %.",
        *(
            (f"{NA}: the model was not measured on {host}.",)
            if any(NA in row for row in rows)
            else ()
        ),
    )
    return Table("", columns, tuple(rows), notes)


def bundle_of(stem: str, result: Result) -> str:
    """The bundle whose records stand for the student of `result`: its own of all rates, or that of the highest rate."""
    has_all_rates = any(model.quality is not None for model in result.models)
    return f"{stem}{'' if has_all_rates else f'-{HIGHEST}'}{BUNDLE_SUFFIX}"


def _decode(records: Sequence[Record], model: str, place: str) -> Cell:
    """The networks' decoding time of `model` at `place`, on its preferred unit there."""
    found = [r for r in records if (r.model.name, r.target) == (model, place)]
    if not found:
        return Cell(None, "", reason="not measured there")
    wanted = Wanted(RUNTIME, 2) if found and found[0].is_host else Wanted()
    # A setting that was measured end to end has the networks' time too.
    (row,) = compare(found, wanted).rows
    entry = row.entry("latency_ms", "decode", "networks")
    if entry is None:
        return Cell(None, "", reason="not in the record")
    q = entry.quantity
    return Cell(q.value, q.found, low=q.low, high=q.high)


def _text(cell: Cell) -> str:
    if cell.value is None:
        return NA
    if cell.low is None or cell.high is None:
        return three_digits(cell.value)
    return f"{three_digits(cell.value)} ({three_digits(cell.low)} to {three_digits(cell.high)})"
