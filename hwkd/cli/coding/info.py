"""`hwkd info`: describes a bundle or a stream, without torch and without running it."""

import argparse
import sys
from contextlib import nullcontext
from dataclasses import MISSING, dataclass
from pathlib import Path

from hwkd.cli.coding.jobs import STANDARD
from hwkd.cli.model_names import SHIPPED_FIRST
from hwkd.cli.tables import TableOptions, emit_all
from hwkd.codec.shipped import SHIPPED, BundleIndex, shipped
from hwkd.codec.stream import MAGIC, Stream, header_bytes, unpack
from hwkd.errors import InputError
from hwkd.options import option
from hwkd.report.bundles import bundle_tables, first_tables, parts_table
from hwkd.report.table import Table, Valued, missing, number
from hwkd.runtime.bundle import Bundle, bundle_of

HELP = "say what a bundle (.hwkd) or a stream (.hwk) is, and check it for damage"

EXAMPLES = """examples:
  hwkd info small.hwkd
  hwkd info photo.hwk --format json
  hwkd info - < photo.hwk
"""

_ANY_PIXELS = 2**64
"""No memory is taken for pixels, so an image may be as large as a header allows."""

# The first bytes of a zip, which a bundle is, and the common start of the magic numbers of our streams.
_BUNDLE_START, _STREAM_START = b"PK", MAGIC[:3]


@dataclass(frozen=True, kw_only=True)
class InfoOptions(TableOptions):
    """The options of `hwkd info`."""

    file: str = option(
        "a bundle, a stream, the name of a bundle that ships (see `hwkd models`), or - for standard input; "
        f"{SHIPPED_FIRST}",
        "FILE",
        default=MISSING,
        positional=True,
    )


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `hwkd info` to `parser`."""
    InfoOptions.add_to(parser)


def run(args: argparse.Namespace) -> int:
    """Print the tables of the file."""
    options = InfoOptions.of(args)
    path = None if options.file == STANDARD else shipped().get(options.file, Path(options.file))
    tables, bundle = _tables(path)
    if bundle is None:
        emit_all(tables, options, "OK: whole, its CRC-32 holds")
        return 0
    said = f"OK: whole, each of its {len(bundle.parts)} parts has the sha256 that its manifest says"
    emit_all(tables, options, said, first_tables(bundle))
    return 0


def _tables(path: Path | None) -> tuple[tuple[Table, ...], Bundle | None]:
    """The tables of the file, and the bundle if it is one.

    Args:
        path: None for standard input.
    """
    name = "standard input" if path is None else str(path)
    try:
        with nullcontext(sys.stdin.buffer) if path is None else path.open("rb") as file:
            content = file.read(len(MAGIC))
            # A file that is neither is not read further: it may have no end.
            if content.startswith((_BUNDLE_START, _STREAM_START)):
                content += file.read()
    except OSError as error:
        raise InputError(
            f"cannot read {name}: {error.strerror or error}; give a bundle (.hwkd) or a stream (.hwk)"
        ) from error
    start = content[: len(MAGIC)]
    if start.startswith(_BUNDLE_START):
        bundle = bundle_of(content, name)
        return (*bundle_tables(bundle), parts_table(bundle)), bundle
    if start.startswith(_STREAM_START):
        return (_of_stream(content, path, name),), None
    begins = f"starts with {start!r}" if start else "is empty"
    raise InputError(
        f"{name} is neither a bundle nor a stream: it {begins}; give a file that `hwkd export` or `hwkd encode` wrote"
    )


def _of_stream(content: bytes, path: Path | None, name: str) -> Table:
    try:
        stream = unpack(content, _ANY_PIXELS)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    beside = Path() if path is None else path.parent
    title = name if path is None else path.name
    found = BundleIndex().find(stream.model_id, (SHIPPED, beside, Path()))
    if found is None:
        return stream_table(title, stream, None)
    is_shipped = found.parent == SHIPPED
    return stream_table(title, stream, found.stem if is_shipped else str(found))


# A stream as a table: its contents and the use of its bytes.


def stream_table(name: str, stream: Stream, model: str | None) -> Table:
    """The facts of a stream.

    Args:
        name: name of the file.
        model: name of its bundle; None if it is not known.
    """
    pixels = stream.width * stream.height
    header = header_bytes(len(stream.segments))
    y = sum(map(len, stream.segments))
    total = header + len(stream.z) + y
    rows = (
        ("size", f"{stream.width}x{stream.height}"),
        ("bytes", number(total, ",")),
        ("bpp", number(8 * total / pixels, ".3f")),
        ("model id", stream.model_id.hex()),
        ("model", missing("no bundle of this id was found") if model is None else model),
        ("quality", number(stream.quality or None, "", "the model codes at one rate")),
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
    return Valued(f"{part:,} ({100 * part / total:.1f} %)", part)
