"""Codecs at one PSNR as a plot: bytes over time. Pure, but for the drawing of it."""

from collections.abc import Callable, Iterator
from pathlib import Path

from hwkd.measure.coder import SIDES
from hwkd.measure.equal_psnr import CodecAtPsnr, EqualPsnr
from hwkd.quantity import Quantity, three_digits
from hwkd.report.plots.figures import draw_plot
from hwkd.report.plots.plot import Point, Scatter, Series, exact
from hwkd.report.table import Table

KEY = "equal-psnr"
LATENCY: dict[str, Callable[[CodecAtPsnr], Quantity]] = {
    "encode": lambda row: row.encode_ms,
    "decode": lambda row: row.decode_ms,
}
assert tuple(LATENCY) == SIDES


def equal_psnr_plot(found: EqualPsnr) -> Scatter:
    """Bytes against JPEG's over the time of an encode and of a decode, on a logarithmic axis."""
    series = tuple(
        Series(f"{kind}, {side}", tuple(_points(found, is_bundle, side)))
        for kind, is_bundle in (("hwkd", True), ("others", False))
        for side in SIDES
    )
    return Scatter(
        key=KEY,
        title=f"Bytes and time at {found.psnr_db:g} dB",
        x_label="time for one image (ms, one machine, one run)",
        y_label=f"bytes at {found.psnr_db:g} dB, against {found.rows[0].name} (%)",
        series=series,
        caption=_caption(found),
        table=_table(found),
        notes=(f"Host: {found.host}.", *found.notes),
        is_x_log=True,
    )


def draw_equal_psnr(found: EqualPsnr, path: Path) -> None:
    """Write the plot to `path`, in the format that its suffix names. Raises as hwkd.report.plots.figures.draw_plot."""
    draw_plot(equal_psnr_plot(found), [path])


def _points(found: EqualPsnr, is_bundle: bool, side: str) -> Iterator[Point]:
    for row in found.rows:
        if row.is_bundle == is_bundle:
            latency = LATENCY[side](row)
            assert latency.value is not None
            yield Point(latency.value, found.rate_percent(row), row.name, latency.low, latency.high)


def _caption(found: EqualPsnr) -> str:
    codecs = "; ".join(
        f"{row.name} {found.rate_percent(row):+.0f} %, "
        f"{three_digits(row.encode_ms.value or 0)} and {three_digits(row.decode_ms.value or 0)} ms"
        for row in found.rows
    )
    return (
        f"Bytes against those of {found.rows[0].name} at the same PSNR of {found.psnr_db:g} dB, over the time of an encode and of "
        f"a decode, on a logarithmic axis: lower and further left is better. {found.images}. Encode and decode: {codecs}."
    )


def _table(found: EqualPsnr) -> Table:
    rows = tuple(
        (
            row.name,
            row.setting,
            exact(row.stream_bytes.value),
            exact(found.rate_percent(row)),
            exact(row.encode_ms.value),
            exact(row.decode_ms.value),
            "measured",
        )
        for row in found.rows
    )
    columns = (
        "codec",
        "setting",
        "stream_bytes",
        "rate_percent",
        "encode_ms",
        "decode_ms",
        "found",
    )
    return Table("Bytes and time at one PSNR", columns, rows)
