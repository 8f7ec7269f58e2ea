"""A stream as a table: what it holds and where its bytes go."""

from hwkd.codec.stream import Stream, header_bytes
from hwkd.report.table import Table


def stream_table(name: str, stream: Stream, model: str | None) -> Table:
    """The facts of a stream.

    Args:
        name: of the file.
        model: the name of its bundle; None where it is not known.
    """
    pixels = stream.width * stream.height
    header = header_bytes(len(stream.segments))
    y = sum(map(len, stream.segments))
    total = header + len(stream.z) + y
    rows = (
        ("size", f"{stream.width}x{stream.height}"),
        ("bytes", f"{total:,}"),
        ("bpp", f"{8 * total / pixels:.3f}"),
        ("model id", stream.model_id.hex()),
        ("model", "n/a" if model is None else model),
        ("quality", str(stream.quality) if stream.quality else "n/a"),
        ("tiles", _tiles(stream)),
        ("bytes of header", _share(header, total)),
        ("bytes of z", _share(len(stream.z), total)),
        ("bytes of y", _share(y, total)),
    )
    notes = ["bpp: of all bytes, the header's included. The header ends in a CRC-32, which holds."]
    if model is None:
        notes.append(
            "model is n/a: no bundle of this id comes with hwkd or lies beside the stream or in the current folder."
        )
    if not stream.quality:
        notes.append("quality is n/a: the model codes at one rate.")
    return Table(name, ("fact", "value"), rows, tuple(notes))


def _tiles(stream: Stream) -> str:
    if not stream.tile_px:
        return "none"
    columns = -(-stream.width // stream.tile_px)
    rows = -(-stream.height // stream.tile_px)
    return f"{columns}x{rows} of {stream.tile_px} px"


def _share(part: int, total: int) -> str:
    return f"{part:,} ({100 * part / total:.1f} %)"
