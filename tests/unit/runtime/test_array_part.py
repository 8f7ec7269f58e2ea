import io
import os
import pickle
import random
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from hwkd.errors import InputError
from hwkd.runtime import array_part
from hwkd.runtime.array_part import pack_arrays, unpack_arrays

ARRAYS = {
    "cdf": np.arange(12, dtype=np.int32).reshape(3, 4),
    "turned": np.asfortranarray(np.arange(6, dtype=np.uint8).reshape(2, 3)),
    "hash": np.array("ab12"),
    "none": np.zeros((0, 3), np.int16),
}


def npz(**entries: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        for name, content in entries.items():
            made.writestr(f"{name}.npy", content)
    return file.getvalue()


def npy(header: str, body: bytes = b"") -> bytes:
    """An array's file as numpy's format 1.0 describes it."""
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header.encode() + body


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(
        a[k].dtype == b[k].dtype and np.array_equal(a[k], b[k]) for k in a
    )


def refusal(content: bytes) -> str:
    with pytest.raises(InputError) as caught:
        unpack_arrays(content)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_packed_is_unpacked_and_may_be_written_to():
    found = unpack_arrays(pack_arrays(ARRAYS))
    assert same(found, ARRAYS)
    found["cdf"][0, 0] = 5


def test_it_is_an_npz_to_numpy():
    with np.load(io.BytesIO(pack_arrays(ARRAYS)), allow_pickle=False) as found:
        assert same(dict(found), ARRAYS)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_numpys_own_npz_is_read_too(save):
    file = io.BytesIO()
    save(file, **ARRAYS)
    assert same(unpack_arrays(file.getvalue()), ARRAYS)


def test_equal_arrays_make_equal_bytes_whatever_their_order():
    assert pack_arrays(dict(reversed(ARRAYS.items()))) == pack_arrays(ARRAYS)


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def test_objects_are_not_unpickled(tmp_path):
    trap = pickle.dumps(Trap(tmp_path / "sprung"))
    trap += b"." * (-len(trap) % 8)
    # As many pointers of 8 bytes as the pickle is long, so that the sizes agree.
    header = f"{{'descr': '|O', 'fortran_order': False, 'shape': ({len(trap) // 8},)}}"
    assert refusal(npz(a=npy(header, trap))).startswith("no arrays that can be read (")
    assert not (tmp_path / "sprung").exists()
    pickle.loads(trap)
    assert (tmp_path / "sprung").exists()


@pytest.mark.parametrize("shape", ["(10**12,)", "(1000000000000,)", "(4,)", "(2,)", "(-3,)"])
def test_a_header_that_claims_another_size_is_refused_before_memory_is_taken(shape):
    content = npz(a=npy(f"{{'descr': '<i4', 'fortran_order': False, 'shape': {shape}}}", bytes(12)))
    tracemalloc.start()
    try:
        refusal(content)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 1_000_000


def test_more_than_the_limit_unpacked_is_refused(monkeypatch):
    file = io.BytesIO()
    np.savez_compressed(file, a=np.zeros(100_000, np.uint8))
    assert len(file.getvalue()) < 1000
    monkeypatch.setattr(array_part, "MAX_UNPACKED_BYTES", 100_000)
    # 128 bytes of header.
    assert refusal(file.getvalue()) == (
        "no arrays that can be read (100128 bytes unpacked, 100000 accepted)"
    )


def test_damaged_bytes_end_in_an_error_or_in_arrays():
    chance = random.Random(0)
    original = pack_arrays(ARRAYS)
    refused = 0
    for _ in range(500):
        damaged = bytearray(original)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        try:
            unpack_arrays(bytes(damaged))
        except InputError:
            refused += 1
    assert refused > 250
