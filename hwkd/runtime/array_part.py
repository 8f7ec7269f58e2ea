"""Arrays as one part of a bundle: an npz that is equal for equal arrays, and read without trust."""

import io
import math
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from hwkd.errors import InputError
from hwkd.runtime.stored_zip import write_zip

MAX_UNPACKED_BYTES = 256 * 2**20

Array = npt.NDArray[Any]

_npy: Any = np.lib.format  # its functions carry no types


def pack_arrays(arrays: Mapping[str, Array]) -> bytes:
    """An npz as numpy.savez makes it, but without the time that savez stores, so that equal arrays hash equal."""
    entries = {}
    for name, array in arrays.items():
        stream = io.BytesIO()
        np.save(stream, array, allow_pickle=False)
        entries[f"{name}.npy"] = stream.getvalue()
    packed = io.BytesIO()
    write_zip(packed, entries)
    return packed.getvalue()


def unpack_arrays(content: bytes) -> dict[str, Array]:
    """The arrays by name in an npz, compressed or not. Nothing is unpickled.

    Raises:
        InputError: not an npz, an array of objects or not of the size that its header says, or more than
            MAX_UNPACKED_BYTES unpacked.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as held:
            entries = held.infolist()
            unpacked_bytes = sum(entry.file_size for entry in entries)
            if unpacked_bytes > MAX_UNPACKED_BYTES:
                raise ValueError(f"{unpacked_bytes} bytes unpacked, {MAX_UNPACKED_BYTES} accepted")
            return {e.filename.removesuffix(".npy"): _unpack(held.read(e)) for e in entries}
    # zipfile, zlib and numpy's reader of headers raise a dozen classes on wrong bytes, some of them private.
    except Exception as error:
        cause = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"no arrays that can be read ({cause:.200})") from error


def _unpack(content: bytes) -> Array:
    stream = io.BytesIO(content)
    version = _npy.read_magic(stream)
    read_header = _npy.read_array_header_1_0 if version == (1, 0) else _npy.read_array_header_2_0
    shape, _, dtype = read_header(stream)
    # numpy takes memory for what a header says before it looks whether so much is there.
    if math.prod(shape) * dtype.itemsize != len(content) - stream.tell():
        raise ValueError("an array is not of the size that its header says")
    stream.seek(0)
    array: Array = np.load(stream, allow_pickle=False)
    return array
