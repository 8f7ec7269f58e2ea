import hashlib
import io
import json
import lzma
import os
import pickle
import random
import struct
import tracemalloc
import warnings
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from hwkd.errors import InputError
from hwkd.runtime import bundle
from hwkd.runtime import bundle as bundle_module
from hwkd.runtime.bundle import (
    arrays,
    pack_arrays,
    read_bundle,
    unpack_arrays,
    write_bundle,
    write_zip,
)
from hwkd.runtime.manifest import GUARD, MANIFEST

GIVE = "; give a bundle, a .hwkd file that `hwkd export` wrote"
AGAIN = "; copy it again, or export it again"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.hwkd"


@pytest.fixture
def entries(path, manifest, parts):
    """The entries of a right bundle's zip by name, to be changed; `path` holds that bundle."""
    write_bundle(path, manifest, parts)
    with zipfile.ZipFile(path) as held:
        return {name: held.read(name) for name in held.namelist()}


def zipped(entries, compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as made, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # two entries of one name
        for name, content in entries.items() if isinstance(entries, dict) else entries:
            made.writestr(name, content)
    return file.getvalue()


def with_manifest(entries, **changes):
    """`entries` with a changed manifest and the guard that it needs."""
    content = json.dumps(json.loads(entries[MANIFEST]) | changes).encode()
    return {**entries, MANIFEST: content, GUARD: hashlib.sha256(content).hexdigest()}


def with_parts(entries, parts):
    """`entries` with other parts, in the order given, and the index that they need."""
    return {
        **entries,
        "parts.index": "".join(f"{len(part)} {name}\n" for name, part in parts.items()),
        "parts.xz": lzma.compress(b"".join(parts.values()), preset=0),
    }


def refusal(path, content=None):
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_bundle(path)
    message = str(caught.value)
    assert message.isprintable()
    return message.removeprefix(f"{path}: ")


def test_what_is_written_is_read_back(path, manifest, parts):
    written = write_bundle(path, manifest, parts)
    found = read_bundle(path)
    assert found == written
    assert found.parts == parts
    assert found.manifest == replace(
        manifest, parts={name: hashlib.sha256(c).hexdigest() for name, c in parts.items()}
    )


def test_the_file_is_a_zip_of_stored_entries(path, entries, parts):
    with zipfile.ZipFile(path) as held:
        assert held.testzip() is None
        assert {e.compress_type for e in held.infolist()} == {zipfile.ZIP_STORED}
        assert held.namelist() == ["manifest.json", "manifest.sha256", "parts.index", "parts.xz"]


def test_the_parts_are_one_xz_stream_sorted_by_name(path, entries, parts):
    names = sorted(parts)
    assert lzma.decompress(entries["parts.xz"]) == b"".join(parts[name] for name in names)
    assert entries["parts.index"].decode() == "".join(f"{len(parts[n])} {n}\n" for n in names)


def test_the_id_is_the_start_of_the_manifests_hash_which_guards_it(path, entries):
    digest = hashlib.sha256(entries["manifest.json"])
    found = read_bundle(path)
    assert found.id == digest.digest()[:8]
    assert found.id_hex == digest.hexdigest()[:16]
    assert entries["manifest.sha256"] == digest.hexdigest().encode()


def test_equal_content_makes_an_equal_file_in_whatever_order(tmp_path, manifest, parts):
    first = write_bundle(tmp_path / "a", manifest, parts)
    second = write_bundle(tmp_path / "b", manifest, dict(reversed(parts.items())))
    assert first.id == second.id
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_another_part_or_another_field_makes_another_id(tmp_path, manifest, parts):
    ids = {
        write_bundle(tmp_path / "a", manifest, parts).id,
        write_bundle(tmp_path / "a", manifest, parts | {"hyper.onnx": b"other"}).id,
        write_bundle(tmp_path / "a", replace(manifest, silent_index=None), parts).id,
    }
    assert len(ids) == 3


def test_hashes_that_were_there_before_are_made_anew(path, manifest, parts):
    old = replace(manifest, parts={"gone.onnx": "0" * 64})
    assert write_bundle(path, old, parts).manifest.parts.keys() == parts.keys()


def test_arrays_of_a_part_are_read_by_name(path, manifest, parts):
    table = np.arange(6, dtype=np.int32).reshape(2, 3)
    packed = parts | {"tables.npz": pack_arrays({"cdf": table})}
    found = arrays(write_bundle(path, manifest, packed), "tables.npz")
    assert list(found) == ["cdf"]
    assert found["cdf"].dtype == np.int32
    np.testing.assert_array_equal(found["cdf"], table)


def test_a_part_that_holds_no_arrays_is_named(path, manifest, parts):
    with pytest.raises(InputError) as caught:
        arrays(write_bundle(path, manifest, parts), "tables.npz")
    assert str(caught.value) == (
        "the part tables.npz holds no arrays that can be read (File is not a zip file); "
        "export the bundle again"
    )


def test_a_bundle_that_was_zipped_again_without_compression_is_the_same(path, entries):
    original = read_bundle(path)
    path.write_bytes(zipped(dict(reversed(entries.items()))))
    assert read_bundle(path) == original


def test_parts_packed_again_with_other_settings_in_another_order_are_the_same(path, entries, parts):
    original = read_bundle(path)
    path.write_bytes(zipped(with_parts(entries, dict(reversed(parts.items())))))
    assert read_bundle(path) == original


@pytest.mark.parametrize("name", ["manifest.json", "manifest.sha256", "a/b", "../a", "A", ""])
def test_a_name_that_is_none_for_a_part_is_not_written(path, manifest, parts, name):
    with pytest.raises(InputError, match=r"^parts: .* is no name for a part"):
        write_bundle(path, manifest, parts | {name: b"x"})
    assert not path.exists()


@pytest.mark.parametrize("name", ["tables.npz", "decoder.onnx"])
def test_a_bundle_without_a_part_that_it_needs_is_not_written(path, manifest, parts, name):
    del parts[name]
    with pytest.raises(InputError, match=f"parts: '{name}' is missing"):
        write_bundle(path, manifest, parts)
    assert not path.exists()


def test_a_file_that_is_not_there(path):
    assert refusal(path) == f"cannot read {path}: No such file or directory{GIVE}"


def test_a_folder_or_a_pipe_is_no_bundle(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path, tmp_path / "pipe"):
        assert refusal(place) == f"{place} is a folder or a device{GIVE}"


def test_a_file_that_may_not_be_read(path, entries, monkeypatch):
    def denied(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "open", denied)
    assert refusal(path) == f"cannot read {path}: Permission denied{GIVE}"


@pytest.mark.parametrize(
    ("content", "begins"),
    [
        (b"", "is empty"),
        (b"PK", "starts with b'PK'"),
        (b"\x89PNG\r\n\x1a\n", "starts with b'\\x89PNG'"),
        (zipped({}), "starts with b'PK\\x05\\x06'"),
    ],
)
def test_what_is_no_bundle_is_told_by_its_first_bytes(path, content, begins):
    assert refusal(path, content) == f"not a bundle: it {begins}{GIVE}"


def test_another_zip_is_no_bundle(path):
    message = refusal(path, zipped({"word/document.xml": "x"}, zipfile.ZIP_DEFLATED))
    assert message == f"a zip, but not a bundle: it holds no manifest.json{GIVE}"


def test_every_truncation_is_refused(path, entries):
    content = path.read_bytes()
    for length in range(4, len(content), 7):
        assert refusal(path, content[:length]).startswith("damaged or cut short: ")
    assert refusal(path, content[:-1]) == (f"damaged or cut short: File is not a zip file{AGAIN}")


def test_a_missing_part_is_named(path, entries, parts):
    del parts["hyper.onnx"]
    assert refusal(path, zipped(with_parts(entries, parts))) == (
        f"damaged or cut short: the part 'hyper.onnx' is listed in manifest.json and missing{AGAIN}"
    )


def test_a_part_that_is_not_listed_is_named(path, entries, parts):
    assert refusal(path, zipped(with_parts(entries, parts | {"more.onnx": b""}))) == (
        f"damaged or cut short: the part 'more.onnx' is not listed in manifest.json{AGAIN}"
    )


def test_a_changed_part_is_named(path, entries, parts):
    changed = parts | {"tables.npz": b"content of Tables.npz"}
    assert refusal(path, zipped(with_parts(entries, changed))) == (
        f"damaged or cut short: the part tables.npz is not what manifest.json says{AGAIN}"
    )


@pytest.mark.parametrize("name", ["manifest.sha256", "parts.index", "parts.xz"])
def test_a_bundle_without_one_of_its_entries_is_refused(path, entries, name):
    del entries[name]
    assert refusal(path, zipped(entries)) == f"damaged or cut short: {name} is missing{AGAIN}"


def test_an_entry_too_many_is_named(path, entries):
    assert refusal(path, zipped({**entries, "more\x1b.onnx": b""})) == (
        f"damaged or cut short: it holds 'more\\x1b.onnx', which is no entry of a bundle{AGAIN}"
    )


def test_a_damaged_stream_or_index_is_damage_of_the_bundle(path, entries):
    assert refusal(path, zipped({**entries, "parts.xz": b"no xz stream at all"})) == (
        f"damaged or cut short: parts.xz: Input format not supported by decoder{AGAIN}"
    )
    assert refusal(path, zipped({**entries, "parts.index": b"none"})) == (
        f"damaged or cut short: 'none' in parts.index is no size and name{AGAIN}"
    )


def test_a_bundle_of_format_1_is_told_by_its_manifest(path, entries, parts):
    old = {name: entries[name] for name in ("manifest.json", "manifest.sha256")} | parts
    assert refusal(path, zipped(with_manifest(old, format=1))) == (
        "a bundle of format 1, which an earlier hwkd wrote; this hwkd reads format 3: get the bundle again, or export it "
        "again"
    )


def test_a_changed_manifest_is_found_by_its_guard(path, entries):
    changed = entries[MANIFEST].replace(b'"silent_index": 0', b'"silent_index": 1')
    assert changed != entries[MANIFEST]
    assert refusal(path, zipped({**entries, MANIFEST: changed})) == (
        f"damaged or cut short: manifest.json is not what manifest.sha256 says{AGAIN}"
    )


def test_two_entries_of_one_name_are_refused(path, entries):
    twice = [*entries.items(), ("parts.xz", entries["parts.xz"])]
    assert refusal(path, zipped(twice)) == (
        f"damaged or cut short: it holds two entries of one name{AGAIN}"
    )


def test_compressed_entries_are_refused(path, entries):
    assert refusal(path, zipped(entries, zipfile.ZIP_DEFLATED)).endswith(
        "is compressed, and a bundle's entries are stored; export it again"
    )


def test_a_newer_format_says_to_update(path, entries):
    assert refusal(path, zipped(with_manifest(entries, format=4))) == (
        "a bundle of format 4; this hwkd reads format 3: update hwkd"
    )


def test_a_field_that_cannot_be_is_named_with_the_file(path, entries):
    assert refusal(path, zipped(with_manifest(entries, M="12"))) == (
        "manifest.json: M: got '12'; a whole number is accepted; export the bundle again"
    )


def refused_both_ways(path, manifest, parts):
    """The one message with which the bundle at `path` is not read, and its content not written."""
    message = refusal(path)
    new = path.with_name("new")
    with pytest.raises(InputError) as caught:
        write_bundle(new, manifest, parts)
    assert str(caught.value) == message
    assert not new.exists()
    return message


def test_a_part_over_the_limit_is_neither_read_nor_written(
    path, entries, manifest, parts, monkeypatch
):
    # "content of encoder.openvino.onnx" has 32 letters, every other part fewer.
    monkeypatch.setattr(bundle_module, "MAX_PART_BYTES", 31)
    assert refused_both_ways(path, manifest, parts) == (
        "'encoder.openvino.onnx' has 32 bytes, and 31 are accepted; export a smaller model"
    )


def test_a_manifest_over_the_limit_is_neither_read_nor_written(
    path, entries, manifest, parts, monkeypatch
):
    size = len(entries[MANIFEST])
    monkeypatch.setattr(bundle_module, "MAX_MANIFEST_BYTES", size - 1)
    assert refused_both_ways(path, manifest, parts) == (
        f"'manifest.json' has {size} bytes, and {size - 1} are accepted; export a smaller model"
    )


def test_parts_over_the_limit_together_are_neither_read_nor_written(
    path, entries, manifest, parts, monkeypatch
):
    size = sum(map(len, parts.values()))
    monkeypatch.setattr(bundle_module, "MAX_BYTES", size)
    assert read_bundle(path).parts == parts
    monkeypatch.setattr(bundle_module, "MAX_BYTES", size - 1)
    assert refused_both_ways(path, manifest, parts) == (
        f"the parts have {size} bytes, and {size - 1} are accepted; export a smaller model"
    )


def test_a_file_far_over_the_limit_is_not_looked_into(path, entries):
    with path.open("r+b") as file:
        file.truncate(144 * 2**20 + 1)  # sparse: it takes no room on the disk
    assert refusal(path) == (
        "too large for a bundle: it has 150994945 bytes, and its parts may have 134217728" + GIVE
    )


def test_an_index_over_the_limit_is_not_read(path, entries, monkeypatch):
    monkeypatch.setattr(bundle_module, "MAX_MANIFEST_BYTES", len(entries[MANIFEST]))
    size = len(entries[MANIFEST]) + 1
    assert refusal(path, zipped({**entries, "parts.index": b"1" * size})) == (
        f"'parts.index' has {size} bytes, and {size - 1} are accepted; export a smaller model"
    )


def peak_bytes_of_refusal(path, content):
    path.write_bytes(content)
    tracemalloc.start()
    try:
        message = refusal(path)
        return message, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_size_that_is_only_claimed_takes_no_memory(path, entries):
    content = bytearray(path.read_bytes())
    # The directory's entry of parts.xz: its sizes stand 26 and 22 bytes before its name.
    name = content.rindex(b"parts.xz")
    content[name - 26 : name - 18] = struct.pack("<II", 100 * 2**20, 100 * 2**20)
    message, peak_bytes = peak_bytes_of_refusal(path, content)
    total = 100 * 2**20 + sum(len(c) for n, c in entries.items() if n != "parts.xz")
    assert message == (
        f"damaged or cut short: its entries take {total} bytes, and it has {len(content)}{AGAIN}"
    )
    assert peak_bytes < 1_000_000


def test_a_part_that_is_only_claimed_to_be_large_takes_no_memory(path, entries, parts):
    right = entries["parts.index"].decode()
    claimed = right.replace(f"{len(parts['tables.npz'])} tables.npz", f"{2**26} tables.npz")
    assert claimed != right
    message, peak_bytes = peak_bytes_of_refusal(path, zipped({**entries, "parts.index": claimed}))
    assert message == f"damaged or cut short: parts.xz ends before the part tables.npz does{AGAIN}"
    assert peak_bytes < 10_000_000  # the dictionary of the stream has 8 MiB


def test_a_stream_that_unpacks_to_more_than_the_index_says_takes_no_memory(path, entries, parts):
    large = with_parts(entries, parts | {"tables.npz": bytes(2**26)})
    small = {**large, "parts.index": entries["parts.index"]}
    message, peak_bytes = peak_bytes_of_refusal(path, zipped(small))
    assert message.startswith("damaged or cut short: ")
    assert peak_bytes < 1_000_000


def test_an_entry_whose_two_sizes_differ_is_refused(path, entries):
    content = bytearray(path.read_bytes())
    name = content.rindex(b"parts.xz")
    content[name - 26 : name - 22] = struct.pack("<I", 100 * 2**20)
    assert refusal(path, content) == f"damaged or cut short: 'parts.xz' has two sizes{AGAIN}"


def mutated(content, chance):
    """`content` with one to three pieces flipped, deleted, inserted or swapped, or its end cut off."""
    data = bytearray(content)
    for _ in range(chance.randint(1, 3)):
        place, other = sorted(chance.sample(range(len(data)), 2))
        length = chance.choice((1, 2, 4, 16))
        match chance.choice(("flip", "delete", "insert", "truncate", "swap")):
            case "flip":
                data[place] ^= 1 << chance.randrange(8)
            case "delete":
                del data[place : place + length]
            case "insert":
                data[place:place] = chance.randbytes(length)
            case "truncate":
                del data[max(other, len(data) // 2) :]
            case "swap":
                data[place], data[other] = data[other], data[place]
    return bytes(data)


def test_a_mutated_bundle_is_refused_or_means_the_same(path, entries):
    chance = random.Random(0)
    original, content = read_bundle(path), path.read_bytes()
    refused = 0
    for _ in range(500):
        path.write_bytes(mutated(content, chance))
        try:
            assert read_bundle(path) == original
        except InputError as error:
            assert str(error).startswith(f"{path}: ") and str(error).isprintable()
            refused += 1
    assert refused > 400


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


def refusal_array_part(content: bytes) -> str:
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
    assert refusal_array_part(npz(a=npy(header, trap))).startswith("no arrays that can be read (")
    assert not (tmp_path / "sprung").exists()
    pickle.loads(trap)
    assert (tmp_path / "sprung").exists()


@pytest.mark.parametrize("shape", ["(10**12,)", "(1000000000000,)", "(4,)", "(2,)", "(-3,)"])
def test_a_header_that_claims_another_size_is_refused_before_memory_is_taken(shape):
    content = npz(a=npy(f"{{'descr': '<i4', 'fortran_order': False, 'shape': {shape}}}", bytes(12)))
    tracemalloc.start()
    try:
        refusal_array_part(content)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 1_000_000


def test_more_than_the_limit_unpacked_is_refused(monkeypatch):
    file = io.BytesIO()
    np.savez_compressed(file, a=np.zeros(100_000, np.uint8))
    assert len(file.getvalue()) < 1000
    monkeypatch.setattr(bundle, "MAX_UNPACKED_BYTES", 100_000)
    # 128 bytes of header.
    assert refusal_array_part(file.getvalue()) == (
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


def test_entries_are_stored_sorted_and_of_one_time():
    file = io.BytesIO()
    write_zip(file, {"b": b"two" * 100, "a": b"one"})
    with zipfile.ZipFile(file) as made:
        held = [
            (e.filename, e.date_time, e.compress_type, e.compress_size, e.create_system)
            for e in made.infolist()
        ]
        assert made.read("b") == b"two" * 100
    time = (1980, 1, 1, 0, 0, 0)
    assert held == [("a", time, zipfile.ZIP_STORED, 3, 3), ("b", time, zipfile.ZIP_STORED, 300, 3)]
