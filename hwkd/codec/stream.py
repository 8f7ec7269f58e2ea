"""The stream's form (.hwk): what stands around the coded z and y. Little-endian:

magic 4 bytes, version u8, flags u8, quality u8, width u32, height u32, model id 8 bytes, side of the tiles u16, length of
z u32, then the length of each segment of y u32, then a CRC-32 u32 of everything but itself; then z, then the segments.

That is 37 bytes around one segment and 4 more for each further one. How z and the segments are coded is not known
here: every byte of them is the entropy coder's.
"""

import struct
import zlib
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

from hwkd.errors import InputError
from hwkd.qualities import HIGHEST

MAGIC = b"HWK\x00"
VERSION = 2
TILE_STEP = 64
"""Sides of tiles are multiples of this many pixels: one position of z."""

_EVALUATION_MAGIC = b"HWKE"
_U16, _U32 = 0xFFFF, 0xFFFF_FFFF
_AGAIN = "copy it again, or encode the image again"


class _Field(NamedTuple):
    """One field of the fixed part; writer and reader hold it within low..high."""

    name: str
    code: str  # of struct
    low: Any
    high: Any


_FIELDS = (
    _Field("magic", "4s", MAGIC, MAGIC),
    _Field("version", "B", VERSION, VERSION),
    _Field("flags", "B", 0, 0),
    _Field("quality", "B", 0, HIGHEST),
    _Field("width", "I", 1, _U32),
    _Field("height", "I", 1, _U32),
    _Field("model_id", "8s", b"\x00" * 8, b"\xff" * 8),
    _Field("tile_px", "H", 0, _U16),
    _Field("z_length", "I", 0, _U32),
)
_FIXED = struct.Struct("<" + "".join(field.code for field in _FIELDS))
_LENGTH = struct.Struct("<I")
_CRC = struct.Struct("<I")


@dataclass(frozen=True)
class Stream:
    """An image, coded. What a stream says is checked here, whoever made it.

    width, height: of the image, in pixels. model_id: the first 8 bytes of the sha256 of its bundle's manifest.
    tile_px: side of the square tiles that y is cut into, in pixels of the image, a multiple of 64; 0 where y is one
    segment. z: z, coded. segments: y, coded, one a tile, row by row. quality: of hwkd/qualities.py; 0 where the bundle has one
    rate.

    Raises:
        InputError: a field outside what the format holds, or another number of segments than there are tiles.
    """

    width: int
    height: int
    model_id: bytes
    tile_px: int
    z: bytes
    segments: tuple[bytes, ...]
    quality: int = 0

    def __post_init__(self) -> None:
        if len(self.model_id) != 8:
            raise InputError(f"model_id must be 8 bytes, got {len(self.model_id)}")
        _check_fields(_fields_of(self))
        expected = number_of_segments(self.width, self.height, self.tile_px)
        if len(self.segments) != expected:
            raise InputError(
                f"{self.width}x{self.height} in tiles of {self.tile_px} takes {expected} segments, got "
                f"{len(self.segments)}"
            )
        for segment in self.segments:
            if len(segment) > _U32:
                raise InputError(f"a segment may have {_U32} bytes, got {len(segment)}")


def number_of_segments(width: int, height: int, tile_px: int) -> int:
    """Tiles of side `tile_px` over an image, those cut by its right and lower edge included; 1 where `tile_px` is 0."""
    return -(-width // tile_px) * -(-height // tile_px) if tile_px else 1


def header_bytes(number_of_segments: int) -> int:
    """Bytes of a stream that are neither z nor y."""
    return _FIXED.size + number_of_segments * _LENGTH.size + _CRC.size


LEAST_BYTES = header_bytes(1)
"""No stream has fewer."""


def pack(stream: Stream) -> bytes:
    """The bytes that `unpack` reads back."""
    lengths = struct.pack(f"<{len(stream.segments)}I", *map(len, stream.segments))
    header = _FIXED.pack(*_fields_of(stream).values()) + lengths
    payload = stream.z + b"".join(stream.segments)
    return header + _CRC.pack(zlib.crc32(payload, zlib.crc32(header))) + payload


def unpack(data: bytes, max_pixels: int) -> Stream:
    """The stream in `data`. Everything is checked before memory is taken for what the header claims.

    Args:
        max_pixels: images of more are refused; hwkd.images.MAX_PIXELS unless the user says otherwise.

    Raises:
        InputError: no stream, one of a newer format, damaged, cut short, grown, or of a larger image.
    """
    values = _read_fields(data)
    width, height, tile_px = values["width"], values["height"], values["tile_px"]
    if width * height > max_pixels:
        raise InputError(
            f"the stream holds an image of {width}x{height}, {width * height} pixels, and {max_pixels} are accepted; "
            f"if you trust it, use --max-pixels {width * height}"
        )
    count = number_of_segments(width, height, tile_px)
    start = header_bytes(count)
    if len(data) < start:
        raise _cut_short(len(data), f"at least {start}")
    lengths = struct.unpack_from(f"<{count}I", data, _FIXED.size)
    ends = list(accumulate(lengths, initial=start + values["z_length"]))
    expected = ends[-1]
    if len(data) < expected:
        raise _cut_short(len(data), str(expected))
    if len(data) > expected:
        raise InputError(
            f"the stream has grown: it has {len(data)} bytes where its header says {expected}; {_AGAIN}"
        )
    _check_crc(data, start - _CRC.size)
    segments = tuple(data[begin:end] for begin, end in pairwise(ends))
    z = data[start : ends[0]]
    return Stream(width, height, values["model_id"], tile_px, z, segments, values["quality"])


def read_size(start: bytes) -> tuple[int, int]:
    """(width, height) that a stream's first LEAST_BYTES bytes, or more, say; nothing after them is checked.

    Raises:
        InputError: no stream, one of another format, or cut short within them.
    """
    values = _read_fields(start)
    return values["width"], values["height"]


def _read_fields(data: bytes) -> dict[str, Any]:
    """The fixed part by the names of its fields, each within its range."""
    if data.startswith(_EVALUATION_MAGIC):
        raise InputError(
            "an evaluation stream of `hwkd evaluate`, which decodes only where it was written; "
            "write a stream with `hwkd encode`"
        )
    if not data.startswith(MAGIC):
        begins = f"starts with {data[:4]!r}" if data else "is empty"
        raise InputError(f"not a hwkd stream: it {begins}; give a file that `hwkd encode` wrote")
    if len(data) < header_bytes(1):
        raise _cut_short(len(data), f"at least {header_bytes(1)}")
    names = (field.name for field in _FIELDS)
    values = dict(zip(names, _FIXED.unpack_from(data), strict=True))
    if values["version"] < VERSION:
        raise InputError(
            f"a stream of version {values['version']}, which an earlier hwkd wrote; this hwkd reads version {VERSION}: "
            "decode it with that one, or encode the image again"
        )
    if values["version"] > VERSION:
        raise InputError(
            f"a stream of version {values['version']}; this hwkd reads version {VERSION}: update hwkd"
        )
    if values["flags"]:
        raise InputError(
            f"a stream with flags {values['flags']:#04x}, of a newer format; this hwkd reads flags 0x00: update hwkd"
        )
    try:
        _check_fields(values)
    except InputError as error:
        raise InputError(f"the stream is damaged: {error}; {_AGAIN}") from error
    return values


def _fields_of(stream: Stream) -> dict[str, Any]:
    """The fixed part of `stream`, in the order of the table."""
    values = {"magic": MAGIC, "version": VERSION, "flags": 0, "z_length": len(stream.z)}
    values |= vars(stream)
    return {field.name: values[field.name] for field in _FIELDS}


def _check_fields(values: dict[str, Any]) -> None:
    for field in _FIELDS:
        value = values[field.name]
        if not field.low <= value <= field.high:
            raise InputError(f"{field.name} must be {field.low} to {field.high}, got {value}")
    if values["tile_px"] % TILE_STEP:
        raise InputError(f"tile_px must be 0 or a multiple of {TILE_STEP}, got {values['tile_px']}")


def _check_crc(data: bytes, at: int) -> None:
    view = memoryview(data)  # slices of it are no copies
    if zlib.crc32(view[at + _CRC.size :], zlib.crc32(view[:at])) != _CRC.unpack_from(data, at)[0]:
        raise InputError(f"the stream is damaged: its CRC-32 differs; {_AGAIN}")


def _cut_short(received: int, expected: str) -> InputError:
    return InputError(f"the stream is cut short: it has {received} of {expected} bytes; {_AGAIN}")
