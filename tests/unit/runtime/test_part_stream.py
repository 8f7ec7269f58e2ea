import lzma
import random

import pytest

from hwkd.runtime.bundle import pack_index, pack_stream, unpack_index, unpack_stream

PARTS = {"b.onnx": b"first" * 20, "a.npz": b"", "c.json": b"\0last"}
SIZES = {"b.onnx": 100, "a.npz": 0, "c.json": 5}


def refusal(stream: bytes, sizes: dict[str, int] = SIZES) -> str:
    with pytest.raises(ValueError) as caught:
        list(unpack_stream(stream, sizes))
    return str(caught.value)


def test_parts_come_back_in_their_order() -> None:
    assert pack_index(PARTS) == b"100 b.onnx\n0 a.npz\n5 c.json\n"
    assert list(unpack_index(pack_index(PARTS)).items()) == list(SIZES.items())
    assert list(unpack_stream(pack_stream(PARTS), SIZES)) == list(PARTS.items())


def test_any_program_for_xz_reads_the_stream() -> None:
    assert lzma.decompress(pack_stream(PARTS), format=lzma.FORMAT_XZ) == b"".join(PARTS.values())


def test_what_two_parts_share_is_held_once() -> None:
    weights = random.Random(0).randbytes(100_000)
    other = random.Random(1).randbytes(1_000_000)
    once = len(pack_stream({"a": weights, "b": other}))
    twice = len(pack_stream({"a": weights, "b": other, "c": weights}))
    # A match of at most 273 bytes costs some bits: of 100,000 bytes less than 2,000 remain.
    assert once <= twice < once + 2_000


def test_parts_without_any_content_are_a_stream_too() -> None:
    assert list(unpack_stream(pack_stream({"a": b""}), {"a": 0})) == [("a", b"")]


@pytest.mark.parametrize(
    ("index", "line"),
    [
        (b"", ""),
        (b"5 a\n\n", ""),
        (b"5\n", "5"),
        (b"-5 a\n", "-5 a"),
        (b"5.0 a\n", "5.0 a"),
        (b"5  a\n", "5  a"),
        (b"5 a b\n", "5 a b"),
        (b"5 a\r\n", "5 a\r"),
        (b"12345678901 a\n", "12345678901 a"),
        (b"5 " + b"a" * 101, "5 " + "a" * 78),
    ],
)
def test_a_line_of_another_form_is_shown(index: bytes, line: str) -> None:
    with pytest.raises(ValueError) as caught:
        unpack_index(index)
    assert str(caught.value) == f"{line!r} in parts.index is no size and name"


def test_a_name_twice_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^parts\.index has 'a' twice$"):
        unpack_index(b"5 a\n6 a\n")


@pytest.mark.parametrize("index", [b"5 \xc3\xa4\n", b"\xff"])
def test_an_index_of_other_signs_is_refused(index: bytes) -> None:
    with pytest.raises(ValueError):
        unpack_index(index)


def test_a_stream_that_is_shorter_than_said_names_the_part() -> None:
    stream = pack_stream(PARTS)
    assert refusal(stream, SIZES | {"c.json": 6}) == "parts.xz ends before the part c.json does"
    assert refusal(stream, SIZES | {"d": 1}) == "parts.xz ends before the part d does"


def test_a_stream_that_is_longer_than_said_is_refused() -> None:
    shorter = SIZES | {"c.json": 4}
    assert refusal(pack_stream(PARTS), shorter) == "parts.xz goes on after the last part"


@pytest.mark.parametrize("more", [b"x", bytes(4), lzma.compress(b""), lzma.compress(b"more")])
def test_what_follows_the_stream_is_refused(more: bytes) -> None:
    assert refusal(pack_stream(PARTS) + more) == "parts.xz goes on after the last part"


def test_every_truncation_is_refused() -> None:
    stream = pack_stream(PARTS)
    for length in range(len(stream)):
        assert refusal(stream[:length]).startswith("parts.xz ")
    # Everything is there but the last byte of xz's own end.
    assert refusal(stream[:-1]) == "parts.xz has no end"


def test_every_byte_that_is_changed_is_found() -> None:
    stream = pack_stream(PARTS)
    for at in range(len(stream)):
        changed = bytearray(stream)
        changed[at] ^= 0x55
        assert refusal(bytes(changed)).startswith("parts.xz")


def test_a_wrong_check_is_refused() -> None:
    content = b"".join(PARTS.values())
    right = lzma.compress(content, check=lzma.CHECK_CRC32)
    # The CRC-32 of the block stands before xz's index and footer, 8 and 12 bytes with their CRCs.
    at = len(right) - 20 - 1
    changed = right[:at] + bytes([right[at] ^ 1]) + right[at + 1 :]
    assert refusal(changed) == "parts.xz: Corrupt input data"


def test_other_formats_of_lzma_are_refused() -> None:
    content = b"".join(PARTS.values())
    for other in (lzma.compress(content, format=lzma.FORMAT_ALONE), content):
        assert refusal(other) == "parts.xz: Input format not supported by decoder"


def test_a_larger_dictionary_than_ours_is_refused() -> None:
    content = b"".join(PARTS.values())

    def packed(dictionary_bytes: int) -> bytes:
        filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": dictionary_bytes}]
        return lzma.compress(content, filters=filters)

    assert dict(unpack_stream(packed(8 * 2**20), SIZES)) == PARTS
    assert refusal(packed(16 * 2**20)) == "parts.xz: Memory usage limit exceeded"


def test_parts_before_a_damage_come_out_before_it_is_met() -> None:
    """So that a part's hash is checked before the next part is unpacked."""
    found = unpack_stream(pack_stream(PARTS), SIZES | {"c.json": 6})
    assert next(found) == ("b.onnx", PARTS["b.onnx"])
