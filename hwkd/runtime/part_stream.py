"""A bundle's parts in one xz stream, so that weights which two of its graphs share take their room once.

    parts.index    one line a part, in the stream's order: "SIZE NAME", the size in bytes
    parts.xz       the parts one after the other, as one xz stream

No size is taken from the stream itself: a reader checks those of the index first, and unpacks that much at most.
"""

import lzma
import re
from collections.abc import Iterator, Mapping

INDEX, STREAM = "parts.index", "parts.xz"

_DICTIONARY_BYTES = 8 * 2**20
"""How far back equal bytes are found, and the memory that unpacking takes besides the parts. Two graphs of one network
are neighbours in the order of names, so this holds for networks of 8 MiB."""

# Weights are close to their entropy already: no other lc, lp and pb made all of five bundles smaller than the defaults.
_FILTERS = (
    {
        "id": lzma.FILTER_LZMA2,
        "preset": 9 | lzma.PRESET_EXTREME,
        "dict_size": _DICTIONARY_BYTES,
    },
)
_UNPACKING_BYTES = _DICTIONARY_BYTES + 2**20

_LINE = re.compile(r"([0-9]{1,10}) ([!-~]{1,100})")


def pack_index(parts: Mapping[str, bytes]) -> bytes:
    """parts.index for `parts`, name -> content."""
    return "".join(f"{len(content)} {name}\n" for name, content in parts.items()).encode()


def pack_stream(parts: Mapping[str, bytes]) -> bytes:
    """parts.xz for `parts`: equal for equal parts in equal order, as long as liblzma packs in the same way."""
    return lzma.compress(b"".join(parts.values()), check=lzma.CHECK_CRC32, filters=[*_FILTERS])


def unpack_index(index: bytes) -> dict[str, int]:
    """The size of each part by name, in the stream's order.

    Raises:
        ValueError: a line of another form, or a name twice.
    """
    sizes: dict[str, int] = {}
    for line in index.decode("ascii").removesuffix("\n").split("\n"):
        found = _LINE.fullmatch(line)
        if found is None:
            raise ValueError(f"{line[:80]!r} in {INDEX} is no size and name")
        size, name = found.groups()
        if name in sizes:
            raise ValueError(f"{INDEX} has {name!r} twice")
        sizes[name] = int(size)
    return sizes


def unpack_stream(stream: bytes, sizes: Mapping[str, int]) -> Iterator[tuple[str, bytes]]:
    """Each part of `sizes` with its content, one by one; the stream's end is checked after the last.

    Takes memory for what `sizes` says and no more, whatever the stream would unpack to.

    Raises:
        ValueError: not an xz stream, a damaged one, one whose dictionary is larger than `pack_stream` makes it, one
            that is shorter or longer than `sizes` says, or bytes after it.
    """
    decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_UNPACKING_BYTES)
    pending = stream
    for name, size in sizes.items():
        pieces, missing = [], size
        while missing:
            if decoder.eof or (decoder.needs_input and not pending):
                raise ValueError(f"{STREAM} ends before the part {name} does")
            pieces.append(_unpacked(decoder, pending, missing))
            pending = b""
            missing -= len(pieces[-1])
        yield name, b"".join(pieces)
    surplus = b"" if decoder.eof else _unpacked(decoder, pending, 1)
    if surplus or decoder.unused_data:
        raise ValueError(f"{STREAM} goes on after the last part")
    if not decoder.eof:
        raise ValueError(f"{STREAM} has no end")


def _unpacked(decoder: lzma.LZMADecompressor, data: bytes, most: int) -> bytes:
    try:
        return decoder.decompress(data, most)
    except lzma.LZMAError as error:
        raise ValueError(f"{STREAM}: {error}") from error
