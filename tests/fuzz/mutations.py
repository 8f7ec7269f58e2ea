"""Streams and bundles as nobody should write them, from one seeded generator; and how each of them ends.

Every stream must end in an image of the size that its header says, or in InputError; every bundle in a codec that works,
or in an error with one line.
"""

import hashlib
import io
import json
import lzma
import struct
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from hwkd.codec import entropy
from hwkd.codec.codec import Codec
from hwkd.codec.networks import EXACT, failures, open_hyper
from hwkd.codec.stream import Stream, header_bytes, number_of_segments, pack, unpack
from hwkd.errors import HwkdError, InputError
from hwkd.runtime.bundle import (
    INDEX,
    STREAM,
    pack_arrays,
    read_bundle,
    unpack_arrays,
    unpack_index,
    unpack_stream,
    write_zip,
)
from hwkd.runtime.manifest import GUARD, MANIFEST

MAX_PIXELS = 2**18
"""Of a mutated stream's image, so that none takes long to decode."""

ARRAY_PARTS = ("tables.npz", "hyper.npz", "selftest.npz", "gains.npz")
"""The last of bundles of all rates alone."""


@dataclass
class Endings:
    """How often what ended how; and the most CPU time that one took."""

    count: Counter[tuple[str, str]] = field(default_factory=Counter)
    most_cpu_s: float = 0.0

    def add(self, kind: str, run: Callable[[], str]) -> None:
        """Run one case; anything but a HwkdError goes on to whoever asked."""
        start = time.process_time()
        try:
            ending = run()
        except InputError:
            ending = "InputError"
        except HwkdError as error:
            # One line for the user, though not the exit code of wrong input.
            assert "\n" not in str(error)
            ending = "HwkdError"
        self.most_cpu_s = max(self.most_cpu_s, time.process_time() - start)
        self.count[kind, ending] += 1

    def lines(self) -> list[str]:
        """A table of the counts."""
        width = max(len(kind) for kind, _ in self.count)
        return [
            f"{kind:{width}}  {ending:10}  {count:6}"
            for (kind, ending), count in sorted(self.count.items())
        ]


def with_bytes_changed(data: bytes, chance: Random) -> bytes:
    """`data` with one to three pieces flipped, set, deleted, inserted, swapped or repeated, or its end cut off."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 3)):
        if not changed:
            return chance.randbytes(chance.randrange(8))
        place, other = (chance.randrange(len(changed)) for _ in range(2))
        length = chance.choice((1, 2, 4, 16))
        match chance.choice(("flip", "set", "delete", "insert", "swap", "repeat", "truncate")):
            case "flip":
                changed[place] ^= 1 << chance.randrange(8)
            case "set":
                changed[place : place + length] = bytes([chance.choice((0, 127, 128, 255))]) * len(
                    changed[place : place + length]
                )
            case "delete":
                del changed[place : place + length]
            case "insert":
                changed[place:place] = chance.randbytes(length)
            case "swap":
                changed[place], changed[other] = changed[other], changed[place]
            case "repeat":
                changed[place:place] = changed[place : place + length]
            case "truncate":
                del changed[place:]
    return bytes(changed)


@dataclass(frozen=True)
class Streams:
    """Right streams of one codec, and what can be made of them."""

    codec: Codec
    right: tuple[bytes, ...]

    def kinds(self) -> dict[str, Callable[[Random], bytes]]:
        """How a stream is mutated, by name."""
        return {
            "any bytes": lambda chance: with_bytes_changed(chance.choice(self.right), chance),
            "cut short": self._cut_short,
            "any bytes, CRC right": self._with_crc,
            "payload, all else right": self._payload,
            "header, all else right": self._header,
            "symbols from nowhere": self._symbols,
        }

    def end(self, data: bytes) -> str:
        """Decode `data`: "the same" as a right stream, or an "image" of the size that it says."""
        found = self.codec.decode(data, MAX_PIXELS)
        stream = unpack(data, MAX_PIXELS)
        assert found.shape == (stream.height, stream.width, 3) and found.dtype == np.uint8
        return "the same" if data in self.right else "image"

    def _cut_short(self, chance: Random) -> bytes:
        data = chance.choice(self.right)
        return data[: chance.randrange(len(data))]

    def _with_crc(self, chance: Random) -> bytes:
        """The CRC at the place that the header gives it, of all else as it now is."""
        changed = bytearray(with_bytes_changed(chance.choice(self.right), chance))
        if len(changed) < header_bytes(1):
            return bytes(changed)
        width, height = struct.unpack_from("<II", changed, 7)
        tile_px = struct.unpack_from("<H", changed, 23)[0]
        at = header_bytes(number_of_segments(width, height, tile_px)) - 4
        if at + 4 <= len(changed):
            struct.pack_into(
                "<I", changed, at, zlib.crc32(changed[at + 4 :], zlib.crc32(changed[:at]))
            )
        return bytes(changed)

    def _payload(self, chance: Random) -> bytes:
        stream = unpack(chance.choice(self.right), MAX_PIXELS)
        segments = list(stream.segments)
        if chance.randrange(3) == 0:
            return pack(replace(stream, z=with_bytes_changed(stream.z, chance)))
        at = chance.randrange(len(segments))
        segments[at] = with_bytes_changed(segments[at], chance)
        return pack(replace(stream, segments=tuple(segments)))

    def _header(self, chance: Random) -> bytes:
        """Another size, tile, model or quality; as many segments as that takes."""
        stream = unpack(chance.choice(self.right), MAX_PIXELS)
        sizes = (
            1,
            2,
            63,
            64,
            65,
            127,
            500,
            4096,
            2**18,
            2**31,
            2**32 - 1,
            chance.randrange(1, 300),
        )
        width = chance.choice((stream.width, chance.choice(sizes)))
        height = chance.choice((stream.height, chance.choice(sizes)))
        tile_px = chance.choice((stream.tile_px, 0, 64, 128, 65472))
        count = number_of_segments(width, height, tile_px)
        if count > 4096:
            tile_px, count = 0, 1
        segments = tuple(chance.choice(stream.segments) for _ in range(count))
        model_id = chance.choice((stream.model_id,) * 9 + (chance.randbytes(8),))
        quality = chance.choice((stream.quality, 0, 1, 50, 100, chance.randrange(101)))
        return pack(Stream(width, height, model_id, tile_px, stream.z, segments, quality))

    def _symbols(self, chance: Random) -> bytes:
        """Rightly coded symbols that no image has; some beyond what there can be."""
        codec = self.codec
        rng = np.random.default_rng(chance.randrange(2**32))
        rows, columns = chance.randint(1, 3), chance.randint(1, 3)
        spread = chance.choice((0.5, 8, 60, 127, 2000, 2**20))
        z = _drawn(rng, (codec.bundle.manifest.Z, rows, columns), chance.choice((4, 127, spread)))
        quality = chance.choice((1, 50, 100)) if codec.bundle.manifest.qualities else None
        index = codec._networks.indexes(z, codec._rate_of(quality))
        y = _drawn(rng, index.shape, spread)
        # Some with the indexes of another z, as from a machine that computes them differently.
        if chance.randrange(4) == 0:
            index = rng.permutation(index.ravel()).reshape(index.shape)
        return pack(
            Stream(
                64 * columns - chance.randrange(64),
                64 * rows - chance.randrange(64),
                codec.bundle.id,
                0,
                codec._write_z(z),
                (entropy.encode(y.ravel(), index.ravel(), codec._y_tables, codec._silent),),
                quality or 0,
            )
        )


def _drawn(rng: np.random.Generator, shape: tuple[int, ...], spread: float) -> np.ndarray:
    symbols = rng.laplace(0, spread, shape).round()
    return np.clip(symbols, -(2**20), 2**20).astype(np.int32)


@dataclass(frozen=True)
class Bundles:
    """One right bundle, and what can be made of it.

    path: where each mutated one is written. image: to encode and decode with those that are read. runtime: to do it in.
    """

    content: bytes
    path: Path
    image: np.ndarray
    runtime: str

    def kinds(self) -> dict[str, Callable[[Random], bytes]]:
        """How a bundle is mutated, by name."""
        return {
            "any bytes": lambda chance: with_bytes_changed(self.content, chance),
            "a part, hashes wrong": self._part,
            "bytes of the xz stream": self._stream_bytes,
            "xz by other settings": self._stream_settings,
            "bytes across the parts, packed again": self._across_parts,
            "bytes of the index": self._index_bytes,
            "sizes in the index": self._index_sizes,
            "large parts of few bytes, hashes right": self._large_parts,
            "bytes of the manifest, hashes right": self._manifest_bytes,
            "fields of the manifest, hashes right": self._manifest_fields,
            "graphs taken for others, hashes right": self._graphs,
            "bytes of arrays, hashes right": self._array_bytes,
            "arrays, hashes right": self._arrays,
            "gains, hashes right": self._gains,
        }

    def end(self, content: bytes) -> str:
        """Read `content`, encode and decode: "works"."""
        self.path.write_bytes(content)
        bundle = read_bundle(self.path)
        codec = Codec.load(bundle, self.runtime, 1)
        is_exact = failures(bundle, open_hyper(bundle, EXACT, 1)) == []
        found = codec.decode(codec.encode(self.image))
        assert found.shape == self.image.shape
        return "works" if is_exact else "works, exact path differs"

    def _held(self) -> dict[str, bytes]:
        """The entries of the zip."""
        with zipfile.ZipFile(io.BytesIO(self.content)) as held:
            return {name: held.read(name) for name in held.namelist()}

    def _entries(self) -> dict[str, bytes]:
        """manifest.json, its hash and the parts."""
        held = self._held()
        parts = unpack_stream(held[STREAM], unpack_index(held[INDEX]))
        return {MANIFEST: held[MANIFEST], GUARD: held[GUARD], **dict(parts)}

    def _stream_bytes(self, chance: Random) -> bytes:
        held = self._held()
        held[STREAM] = with_bytes_changed(held[STREAM], chance)
        return _written(held)

    def _stream_settings(self, chance: Random) -> bytes:
        """The parts packed as another program may: with more memory, more filters, two streams or another format."""
        held = self._held()
        content = b"".join(_parts(self._entries()).values())
        # More than 8 MiB are refused.
        last = {
            "id": lzma.FILTER_LZMA2,
            "preset": 0,
            "dict_size": chance.choice((2**12, 2**20, 2**23, 2**24)),
        }
        before = chance.choice(
            ([], [{"id": lzma.FILTER_DELTA, "dist": 4}], [{"id": lzma.FILTER_X86}])
        )
        check = chance.choice((lzma.CHECK_NONE, lzma.CHECK_CRC32, lzma.CHECK_SHA256))
        packed = lzma.compress(content, check=check, filters=[*before, last])
        match chance.randrange(8):
            case 0:
                packed = lzma.compress(content, format=lzma.FORMAT_ALONE, preset=0)
            case 1:
                packed = _packed(content[:1000]) + _packed(content[1000:])
            case 2:
                packed += chance.choice((bytes(4), packed[:12], _packed(b""), b"x"))
        held[STREAM] = packed
        return _written(held)

    def _across_parts(self, chance: Random) -> bytes:
        """The stream's content changed wherever it is, in place of its sizes."""
        held = self._held()
        content = with_bytes_changed(b"".join(_parts(self._entries()).values()), chance)
        held[STREAM] = _packed(content)
        return _written(held)

    def _index_bytes(self, chance: Random) -> bytes:
        held = self._held()
        held[INDEX] = with_bytes_changed(held[INDEX], chance)
        return _written(held)

    def _index_sizes(self, chance: Random) -> bytes:
        """Sizes moved between parts, too large, or the parts in another order."""
        held = self._held()
        sizes = unpack_index(held[INDEX])
        one, other = (chance.choice(sorted(sizes)) for _ in range(2))
        many = chance.choice((1, 8, 100_000, 60 * 2**20, 9_999_999_999))
        match chance.choice(("move", "more", "less", "order", "without", "twice")):
            case "move":
                sizes[one], sizes[other] = sizes[other], sizes[one]
            case "more":
                sizes[one] += many
            case "less":
                sizes[one] = max(0, sizes[one] - many)
            case "order":
                sizes = dict(chance.sample(sorted(sizes.items()), len(sizes)))
            case "without":
                del sizes[one]
            case "twice":
                sizes[f"{one}.2"] = sizes[one]
        held[INDEX] = _index(sizes)
        return _written(held)

    def _large_parts(self, chance: Random) -> bytes:
        """Parts of up to the largest size, of one byte again and again; the index true or not."""
        entries = self._entries()
        name = chance.choice(sorted(_parts(entries)))
        large = chance.choice((2**16, 2**20, 16 * 2**20, 65 * 2**20))
        entries[name] = (
            chance.choice((b"", entries[name])) + chance.choice((b"\0", b"\xff")) * large
        )
        said = self._entries()[name] if chance.randrange(2) else entries[name]
        return _zipped(_hashed(entries), {name: len(said)})

    def _part(self, chance: Random) -> bytes:
        entries = self._entries()
        name = chance.choice([n for n in entries if n != GUARD])
        before = entries[name]
        while entries[name] == before:  # equal bytes may have changed places
            entries[name] = with_bytes_changed(before, chance)
        return _zipped(entries)

    def _manifest_bytes(self, chance: Random) -> bytes:
        entries = self._entries()
        entries[MANIFEST] = with_bytes_changed(entries[MANIFEST], chance)
        return _zipped(_guarded(entries))

    def _manifest_fields(self, chance: Random) -> bytes:
        entries = self._entries()
        manifest = json.loads(entries[MANIFEST])
        for _ in range(chance.randint(1, 2)):
            _change_one(manifest, chance)
        entries[MANIFEST] = json.dumps(manifest).encode()
        return _zipped(_guarded(entries))

    def _graphs(self, chance: Random) -> bytes:
        entries = self._entries()
        manifest = json.loads(entries[MANIFEST])
        graphs = manifest["graphs"][chance.choice(sorted(manifest["graphs"]))]
        graphs[self.runtime] = chance.choice([name for name in entries if name.endswith(".onnx")])
        for name in chance.choice(((), ("M",), ("Z",), ("M", "Z"))):
            manifest[name] += chance.choice((-1, 1))
        entries[MANIFEST] = json.dumps(manifest).encode()
        return _zipped(_guarded(entries))

    def _array_bytes(self, chance: Random) -> bytes:
        entries = self._entries()
        name = chance.choice([part for part in ARRAY_PARTS if part in entries])
        entries[name] = with_bytes_changed(entries[name], chance)
        return _zipped(_hashed(entries))

    def _gains(self, chance: Random) -> bytes:
        """Gains other than the bundle's, or one rate in place of all and all in place of one."""
        entries = self._entries()
        if "gains.npz" in entries and chance.randrange(4):
            return self._arrays(chance, "gains.npz")
        manifest = json.loads(entries[MANIFEST])
        of_all = manifest["qualities"] is None
        manifest["qualities"] = [1, 100] if of_all else None
        manifest["lmbda"] = None
        if of_all:
            gains = {
                "anchors": np.zeros((2, manifest["M"]), np.int16),
                "narrow_from": np.array(0, np.int32),
            }
            entries["gains.npz"] = pack_arrays(gains)
            manifest["parts"]["gains.npz"] = ""
        elif chance.randrange(2):
            del entries["gains.npz"], manifest["parts"]["gains.npz"]
        entries[MANIFEST] = json.dumps(manifest).encode()
        return _zipped(_hashed(entries))

    def _arrays(self, chance: Random, part: str | None = None) -> bytes:
        entries = self._entries()
        part = part or chance.choice([name for name in ARRAY_PARTS if name in entries])
        arrays = unpack_arrays(entries[part])
        name = chance.choice(sorted(arrays))
        changed = _changed_array(arrays.pop(name), chance)
        if changed is not None:
            arrays[chance.choice((name,) * 8 + ("z_0", "more"))] = changed
        entries[part] = pack_arrays(arrays)
        return _zipped(_hashed(entries))


def _changed_array(array: np.ndarray, chance: Random) -> np.ndarray | None:
    """One value, a type, a shape or a part of it changed; or None for no array."""
    extremes = (0, 1, -1, 2, 63, 64, 127, -128, 255, 65536, 2**20, 2**31 - 1, -(2**31), 2**62)
    match chance.choice(("value",) * 6 + ("type", "shape", "cut", "longer", "all", "none")):
        case "value" if array.size and array.dtype.kind in "iu":
            flat = array.ravel().copy()
            value = chance.choice((*extremes, int(flat[0]) + 1, int(flat[-1]) - 1))
            flat[chance.randrange(flat.size)] = np.array(value).astype(array.dtype)
            return flat.reshape(array.shape)
        case "value":
            return array[::-1] if array.ndim else array
        case "type":
            kinds = (np.int8, np.int16, np.int32, np.int64, np.uint32, np.uint64, np.float32, bool)
            kind = chance.choice(kinds)
            return array.astype(kind) if array.dtype.kind in "iu" else np.zeros(array.shape, kind)
        case "shape":
            return chance.choice((array.ravel(), array[None], array.reshape(-1, 1)))
        case "cut":
            return array[: chance.randrange(len(array))] if array.ndim else None
        case "longer":
            return np.concatenate([array, array]) if array.ndim else array[None]
        case "all" if array.dtype.kind in "iu":
            return np.full(array.shape, chance.choice(extremes)).astype(array.dtype)
    return None


def _change_one(manifest: dict[str, Any], chance: Random) -> None:
    """One value anywhere in nested JSON replaced or removed, or a field added."""
    place: Any = manifest
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys or chance.randrange(12) == 0:
            if isinstance(place, dict):
                place["more"] = 1
            else:
                place.append(chance.choice((1, "a", None)))
            return
        key = chance.choice(keys)
        if isinstance(place[key], dict | list) and chance.randrange(6):
            place = place[key]
            continue
        if chance.randrange(8) == 0:
            del place[key]
            return
        numbers = (0, 1, -1, 7, 8, 13, 63, 64, 127, 128, 4096, 2**20, 2**31, 10**400, 0.5, 1e308)
        names = ("encoder.onnx", "hyper.onnx", "decoder.onnx", "tables.npz", "", "\n", "a" * 200)
        others: tuple[Any, ...] = (None, True, [], {}, [1], {"a": 1}, "0" * 64)
        place[key] = chance.choice(
            (chance.choice(numbers), chance.choice(names), chance.choice(others))
        )
        return


def _hashed(entries: dict[str, bytes]) -> dict[str, bytes]:
    """`entries` with the hash of every part, and of the manifest, as they now are."""
    manifest = json.loads(entries[MANIFEST])
    for name in manifest["parts"]:
        manifest["parts"][name] = hashlib.sha256(entries[name]).hexdigest()
    return _guarded({**entries, MANIFEST: json.dumps(manifest).encode()})


def _guarded(entries: dict[str, bytes]) -> dict[str, bytes]:
    return {**entries, GUARD: hashlib.sha256(entries[MANIFEST]).hexdigest().encode()}


def _parts(entries: dict[str, bytes]) -> dict[str, bytes]:
    return {name: part for name, part in entries.items() if name not in (MANIFEST, GUARD)}


def _index(sizes: dict[str, int]) -> bytes:
    return "".join(f"{size} {name}\n" for name, size in sizes.items()).encode()


def _packed(content: bytes) -> bytes:
    """Quickly, which is not how bundles are packed."""
    return lzma.compress(content, preset=0)


def _zipped(entries: dict[str, bytes], said: dict[str, int] | None = None) -> bytes:
    """The bundle of a manifest, its hash and parts, of which the index says their sizes, except for those in `said`."""
    parts = _parts(entries)
    sizes = {name: len(part) for name, part in parts.items()} | (said or {})
    return _written(
        {
            MANIFEST: entries[MANIFEST],
            GUARD: entries[GUARD],
            INDEX: _index(sizes),
            STREAM: _packed(b"".join(parts.values())),
        }
    )


def _written(held: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    write_zip(made, held)
    return made.getvalue()
