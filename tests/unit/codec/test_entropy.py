import hashlib
import random
import subprocess
import sys
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwkd.codec import entropy
from hwkd.codec.entropy import MANY, DamagedStream, decode, encode
from hwkd.codec.loops import loops
from hwkd.codec.tables import MAX_SYMBOL, Tables
from hwkd.errors import InputError

HALVES = [0, 32768, 65536]


PLAIN, COMPILED = 1 << 60, 0
"""Symbols left to plain Python: more than any test has, and none."""


@pytest.fixture(scope="module", params=[PLAIN, COMPILED], ids=["plain", "compiled"], autouse=True)
def coder(request):
    """Which loops every test of this file is held to."""
    with left_to_plain(request.param):
        yield request.param


def left_to_plain(symbols):
    return mock.patch.object(entropy._budget, "left", symbols)


def make_tables(*pairs):
    """From pairs of a table's numbers and its offset."""
    lengths = [len(cdf) for cdf, _ in pairs]
    return Tables(
        np.concatenate([np.array(cdf, np.uint32) for cdf, _ in pairs]),
        np.concatenate([[0], np.cumsum(lengths)]),
        np.array([offset for _, offset in pairs], np.int32),
    )


def bell(reach):
    """A table from -reach to reach that falls off to both sides, and its offset."""
    weights = np.array(
        [1000 * 2.0 ** (-8 * abs(k) / reach) for k in range(-reach, reach + 1)] + [0]
    )
    frequencies = 1 + np.floor(weights / weights.sum() * (65536 - weights.size)).astype(int)
    frequencies[reach] += 65536 - frequencies.sum()
    return [0, *np.cumsum(frequencies).tolist()], -reach


# As a scale hyperprior's: the narrowest is the silent one.
TABLES = make_tables(*(bell(reach) for reach in (1, 2, 3, 5, 9, 17, 40, 300)))


def make_data(n, tables=TABLES, outliers=0.01):
    """n symbols drawn from the tables their indexes say, half of them silent (index 0), some where no bin is."""
    rng = np.random.default_rng(5)
    indexes = np.where(rng.random(n) < 0.5, 0, rng.integers(1, tables.count, n)).astype(np.uint8)
    slots = rng.integers(0, 65536, n)
    symbols = np.zeros(n, np.int32)
    for t in range(1, tables.count):
        cdf = tables.cdf[tables.starts[t] : tables.starts[t + 1]]
        at = indexes == t
        found = np.searchsorted(cdf, slots[at], side="right") - 1
        symbols[at] = np.minimum(found, cdf.size - 3) + tables.offsets[t]
    at = rng.random(n) < outliers
    symbols[at] = rng.integers(-1000, 1001, at.sum())
    return symbols, indexes


def bits_by_tables(symbols, indexes, tables):
    """-log2 of the frequencies of symbols with a bin, summed."""
    found = tables.starts[indexes] + symbols - tables.offsets[indexes]
    frequencies = tables.cdf[found + 1].astype(float) - tables.cdf[found]
    return -np.log2(frequencies / 65536).sum()


def reference(symbols, indexes, tables, silent):
    """The format written down once more, in whole numbers without a size and one list per kind of number."""

    def varint(number):
        return (
            bytes([number]) if number < 128 else bytes([number % 128 + 128]) + varint(number // 128)
        )

    gaps, values, distances, bins = [], [], [], []
    last = -1
    for i, (symbol, index) in enumerate(zip(symbols.tolist(), indexes.tolist(), strict=True)):
        if index == silent:
            if symbol != 0:
                gaps.append(i - last - 1)
                values.append(2 * symbol if symbol > 0 else -2 * symbol - 1)
                last = i
            continue
        cdf = tables.cdf[tables.starts[index] : tables.starts[index + 1]]
        k, escape = symbol - int(tables.offsets[index]), cdf.size - 2
        if not 0 <= k < escape:
            distances.append(-2 * k - 1 if k < 0 else 2 * (k - escape))
            k = escape
        bins.append((int(cdf[k]), int(cdf[k + 1]) - int(cdf[k])))
    lanes = 0 if not bins else 1 if len(bins) < 16384 else 4
    states, words = [2**31] * lanes, []
    for c, (start, frequency) in reversed(list(enumerate(bins))):
        x = states[c % lanes]
        if x >= 2**47 * frequency:
            words.insert(0, x % 2**32)
            x //= 2**32
        states[c % lanes] = x // frequency * 2**16 + x % frequency + start
    lists = [len(gaps), len(distances), *gaps, *values, *distances]
    return (
        b"".join(varint(number) for number in lists)
        + b"".join(x.to_bytes(8, "little") for x in states)
        + b"".join(word.to_bytes(4, "little") for word in words)
    )


# A state starts at 2^31. A bin of frequency 2^15 makes 2^16 times 2^31 / 2^15 = 2^32 of it, plus where the bin starts.
@pytest.mark.parametrize(
    ("symbols", "octets"),
    [
        ([0], "00 00  00 00 00 00 01 00 00 00"),
        ([0, 0], "00 00  00 00 00 00 02 00 00 00"),
        # The escape starts at 2^15 = 00 80; 1 is the first symbol above the table, -3 the third below.
        ([1], "00 01 00  00 80 00 00 01 00 00 00"),
        ([-3], "00 01 05  00 80 00 00 01 00 00 00"),
        # 31 halvings more lead to 2^63, where a word goes out first.
        ([0] * 31, "00 00  00 00 00 00 00 00 00 40"),
        ([0] * 32, "00 00  00 00 00 80 00 00 00 00  00 00 00 00"),
    ],
)
def test_bytes_are_those_computed_by_hand(symbols, octets):
    tables = make_tables((HALVES, 0))
    symbols, indexes = np.array(symbols, np.int32), np.zeros(len(symbols), np.uint8)
    assert encode(symbols, indexes, tables) == bytes.fromhex(octets)
    assert decode(bytes.fromhex(octets), indexes, tables).tolist() == symbols.tolist()


def test_silent_symbols_cost_nothing_and_exceptions_are_listed():
    tables = make_tables((HALVES, 0), (HALVES, 0))
    symbols = np.zeros(100, np.int32)
    indexes = np.full(100, 1, np.uint16)
    assert encode(symbols, indexes, tables, silent=1) == b"\0\0"
    symbols[[2, 3, 99]] = 5, -1, -70
    # 95 symbols lie between 3 and 99; 5, -1 and -70 are 10, 1 and 139 in zigzag, and 139 is 0x8b 0x01.
    octets = bytes([3, 0, 2, 0, 95, 10, 1, 0x8B, 0x01])
    assert encode(symbols, indexes, tables, silent=1) == octets
    assert decode(octets, indexes, tables, silent=1).tolist() == symbols.tolist()


def test_nothing_becomes_two_bytes():
    nothing = np.zeros(0, np.int32)
    for silent in (None, 0):
        assert encode(nothing, nothing, TABLES, silent) == b"\0\0"
        assert decode(b"\0\0", nothing, TABLES, silent).tolist() == []


@pytest.mark.parametrize("n", [3000, 40_000])
def test_bytes_are_those_of_a_plain_implementation(n):
    symbols, indexes = make_data(n)
    for silent in (None, 0):
        data = encode(symbols, indexes, TABLES, silent)
        assert data == reference(symbols, indexes, TABLES, silent)
        assert decode(data, indexes, TABLES, silent).tolist() == symbols.tolist()


def test_the_format_is_the_one_that_streams_were_written_in():
    # Without random generators, whose numbers may change with their version.
    n = 40_000
    steps = np.arange(n, dtype=np.int64)
    indexes = (steps * 7919 // 64 % 8).astype(np.uint8)
    symbols = ((steps * steps % 10_007) % (2 * indexes + 1) - indexes).astype(np.int32)
    tables = make_tables(
        *(([0, *range(3000, 3000 + 900 * k, 900), 65000, 65536], -k) for k in range(1, 9))
    )
    data = encode(symbols, indexes, tables, silent=0)
    assert data == reference(symbols, indexes, tables, 0)
    golden = "3cade03e48298611f779ce08df80574c42d06c2259e4183056f6a4fbf04153e9"
    assert hashlib.sha256(data).hexdigest() == golden


@st.composite
def coded_arrays(draw):
    """(symbols, indexes, tables, silent): anything that may be coded."""
    tables = []
    for _ in range(draw(st.integers(1, 5))):
        inner = draw(st.lists(st.integers(1, 65535), min_size=1, max_size=12, unique=True))
        offset = draw(st.integers(-20, 20) | st.integers(-MAX_SYMBOL, MAX_SYMBOL - len(inner)))
        tables.append(([0, *sorted(inner), 65536], offset))
    indexes = draw(st.lists(st.integers(0, len(tables) - 1), max_size=60))
    symbol = st.integers(-25, 25) | st.integers(-MAX_SYMBOL, MAX_SYMBOL)
    symbols = draw(st.lists(symbol, min_size=len(indexes), max_size=len(indexes)))
    silent = draw(st.none() | st.integers(0, len(tables) - 1))
    return np.array(symbols, np.int32), np.array(indexes, np.uint16), make_tables(*tables), silent


# No deadline: the first call may have to compile.
@settings(deadline=None)
@given(coded_arrays(), st.sampled_from([1, MANY]))
def test_anything_that_is_encoded_is_decoded(arrays, many):
    symbols, indexes, tables, silent = arrays
    with mock.patch.object(entropy, "MANY", many):
        data = encode(symbols, indexes, tables, silent)
        decoded = decode(data, indexes, tables, silent)
    assert decoded.dtype == np.int32
    assert decoded.tolist() == symbols.tolist()


def test_the_size_is_what_the_tables_say():
    symbols, indexes = make_data(294_912, outliers=0)
    coded = indexes > 0
    ideal_bytes = bits_by_tables(symbols[coded], indexes[coded], TABLES) / 8
    size = len(encode(symbols, indexes, TABLES, silent=0))
    assert ideal_bytes < size < 1.002 * ideal_bytes + 40


def test_a_small_array_costs_at_most_ten_bytes_over_the_tables():
    symbols, indexes = make_data(300, outliers=0)
    ideal_bytes = bits_by_tables(symbols, indexes, TABLES) / 8
    assert ideal_bytes < len(encode(symbols, indexes, TABLES)) < ideal_bytes + 10


def test_arrays_of_every_form_give_the_same_bytes():
    symbols, indexes = make_data(500)
    data = encode(symbols, indexes, TABLES, 0)
    for dtype in (np.int8, np.uint16, np.int32, np.int64, np.uint64):
        assert encode(symbols, indexes.astype(dtype), TABLES, 0) == data
    strided = np.repeat(symbols, 2)[::2]
    strided.flags.writeable = False
    assert encode(strided, np.repeat(indexes, 2)[::2], TABLES, 0) == data
    for octets in (bytearray(data), memoryview(data)):
        assert decode(octets, indexes, TABLES, 0).tolist() == symbols.tolist()


@pytest.mark.parametrize(
    ("symbols", "indexes", "silent", "message"),
    [
        (
            np.array([MAX_SYMBOL + 1], np.int32),
            [0],
            None,
            "symbols must be -1048576 to 1048576, got 1048577",
        ),
        (
            np.array([-(2**31)], np.int32),
            [0],
            0,
            "symbols must be -1048576 to 1048576, got -2147483648",
        ),
        (np.zeros(2, np.int64), [0, 0], None, r"symbols must be int32 \[2\] .*, got int64 \[2\]"),
        (np.zeros(2, np.int32), [0], None, r"symbols must be int32 \[1\] .*, got int32 \[2\]"),
        (
            np.zeros((1, 1), np.int32),
            [[0]],
            None,
            r"indexes must be integers in one dimension.*\[1, 1\]",
        ),
        (
            np.zeros(1, np.int32),
            [0.0],
            None,
            "indexes must be integers in one dimension.*got float64",
        ),
        (np.zeros(2, np.int32), [0, 8], None, "indexes must be 0 to 7 for 8 tables, got 0 to 8"),
        (np.zeros(2, np.int32), [-1, 0], None, "indexes must be 0 to 7 for 8 tables, got -1 to 0"),
        (np.zeros(1, np.int32), [0], 8, "the silent index must be 0 to 7 or None, got 8"),
        (np.zeros(1, np.int32), [0], -1, "the silent index must be 0 to 7 or None, got -1"),
    ],
)
def test_arrays_that_cannot_be_coded_are_refused(symbols, indexes, silent, message):
    with pytest.raises(InputError, match=message):
        encode(symbols, np.array(indexes), TABLES, silent)


def test_more_symbols_than_positions_are_refused():
    # 2^31 indexes that take one byte.
    indexes = np.broadcast_to(np.uint8(0), 2**31)
    with pytest.raises(InputError, match="fewer than 2147483648, got uint8"):
        decode(b"\0\0", indexes, TABLES)


@pytest.fixture(params=[1, 4])
def lanes(request, monkeypatch):
    """One lane, or four although the arrays are small."""
    if request.param == 4:
        monkeypatch.setattr(entropy, "MANY", 1)
    return request.param


@pytest.fixture
def stream(lanes):
    """(data, indexes) of 200 symbols, escapes and exceptions among them."""
    symbols, indexes = make_data(200, outliers=0.05)
    return encode(symbols, indexes, TABLES, 0), indexes


def test_every_truncation_is_found(stream):
    data, indexes = stream
    for length in range(len(data)):
        with pytest.raises(
            DamagedStream, match=r"^the coded data is damaged \(.+\); encode the image again$"
        ):
            decode(data[:length], indexes, TABLES, 0)


def test_bytes_left_over_are_found(stream):
    data, indexes = stream
    for more in (b"\0", b"\0\0\0\0", data):
        with pytest.raises(DamagedStream):
            decode(data + more, indexes, TABLES, 0)


def test_a_change_of_one_bit_in_a_state_or_a_word_is_found(lanes):
    symbols, indexes = make_data(200, outliers=0)
    data = encode(symbols, indexes, TABLES, 0)
    lists = 2
    assert len(data) > lists + 8 * lanes
    for bit in range(8 * lists, 8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DamagedStream):
            decode(bytes(changed), indexes, TABLES, 0)


def test_mutations_are_refused_or_decode_to_as_many_symbols(stream):
    data, indexes = stream
    rng = random.Random(11)
    refused = 0
    for _ in range(2000):
        changed = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(changed))
            kind = rng.randrange(4)
            if kind == 0:
                del changed[at : at + rng.randint(1, 8)]
            elif kind == 1:
                changed[at:at] = rng.randbytes(rng.randint(1, 8))
            elif kind == 2:
                changed[at] = rng.choice([0, 1, 127, 128, 255])
            else:
                changed[at] ^= 1 << rng.randrange(8)
        try:
            decoded = decode(bytes(changed), indexes, TABLES, 0)
        except DamagedStream:
            refused += 1
        else:
            assert decoded.shape == (200,)
            assert abs(decoded).max() <= MAX_SYMBOL
    assert refused > 1500


@settings(deadline=None)
@given(st.binary(max_size=200), st.booleans(), st.sampled_from([1, MANY]))
def test_any_bytes_are_refused_or_decoded(octets, has_silent, many):
    _, indexes = make_data(50)
    with mock.patch.object(entropy, "MANY", many):
        try:
            decoded = decode(octets, indexes, TABLES, 0 if has_silent else None)
        except DamagedStream:
            return
    assert decoded.shape == (50,)


def ending(symbols, *arguments):
    """What decoding comes to: the symbols, or the sentence that refuses the bytes."""
    with left_to_plain(symbols):
        try:
            return decode(*arguments).tolist()
        except DamagedStream as error:
            return str(error)


@settings(deadline=None)
@given(coded_arrays(), st.sampled_from([1, MANY]))
def test_plain_and_compiled_loops_write_the_same_bytes(arrays, many):
    with mock.patch.object(entropy, "MANY", many):
        with left_to_plain(PLAIN):
            plainly = encode(*arrays)
        with left_to_plain(COMPILED):
            assert encode(*arrays) == plainly


@settings(deadline=None, max_examples=300)
@given(st.data(), st.sampled_from([1, MANY]))
def test_plain_and_compiled_loops_end_alike_on_damaged_bytes(data, many):
    symbols, indexes = make_data(60, outliers=0.1)
    with mock.patch.object(entropy, "MANY", many):
        octets = bytearray(encode(symbols, indexes, TABLES, 0))
        for _ in range(data.draw(st.integers(1, 3))):
            octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
        given_octets = bytes(octets[: data.draw(st.integers(0, len(octets)))])
        for damaged in (bytes(octets), given_octets):
            arguments = (damaged, indexes, TABLES, 0)
            assert ending(PLAIN, *arguments) == ending(COMPILED, *arguments)


@pytest.mark.parametrize("state", [0, 1, 2**31 - 1, 2**31, 2**63 - 1, 2**63, 2**64 - 1])
def test_plain_and_compiled_loops_end_alike_from_any_state(state):
    # A frequency of 1 and one of 2^16 - 1, so that states shrink and grow as far as they can.
    edges = np.array([0, 1, 65536], np.uint32)
    tables = Tables(edges, np.array([0, 3]), np.array([0], np.int32))
    for words in (b"", b"\xff" * 4, b"\0" * 8, b"\xff" * 40):
        octets = b"\0\0" + state.to_bytes(8, "little") + words
        arguments = (octets, np.zeros(6, np.uint8), tables)
        assert ending(PLAIN, *arguments) == ending(COMPILED, *arguments)


def compiled_calls(monkeypatch, left):
    """Encodes 3 symbols five times where so many are left to plain Python; how often compiled loops ran by then."""
    calls, counts = [], []
    run = entropy._encode_compiled
    monkeypatch.setattr(entropy, "_encode_compiled", lambda *given: calls.append(1) or run(*given))
    with left_to_plain(left):
        for _ in range(5):
            encode(np.zeros(3, np.int32), np.zeros(3, np.uint8), TABLES)
            counts.append(len(calls))
    return counts


def test_after_so_many_symbols_all_are_coded_compiled(monkeypatch):
    assert compiled_calls(monkeypatch, 7) == [0, 0, 1, 2, 3]


def test_all_are_coded_compiled_where_that_is_asked_for(coder):
    with left_to_plain(PLAIN):
        entropy.use_compiled()
        assert not entropy._budget.takes(1)


# Six symbols, index 0 (silent) at 0, 2 and 4; what is coded of the others does not come to matter.
@pytest.mark.parametrize(
    ("octets", "what"),
    [
        (b"", "lists of exceptions and escapes are cut short"),
        (b"\x00", "lists of exceptions and escapes are cut short"),
        (b"\xff" * 8, "lists of exceptions and escapes are cut short"),
        (b"\x04\x00" + b"\x01" * 30, "more exceptions or escapes than symbols"),
        (b"\x00\x04" + b"\x01" * 30, "more exceptions or escapes than symbols"),
        (b"\xff\xff\xff\xff\x7f\x00" + b"\x01" * 30, "more exceptions or escapes than symbols"),
        (b"\x03\x00\x01\x01", "lists of exceptions and escapes are cut short"),
        (b"\x00\x00", "0 bytes of states and words"),
        (b"\x00\x00" + bytes(9), "9 bytes of states and words"),
        (b"\x00\x00" + bytes(8), "it ends too early"),
    ],
)
def test_lists_that_cannot_be_are_found(octets, what):
    indexes = np.array([0, 1, 0, 1, 0, 1])
    with pytest.raises(DamagedStream, match=what):
        decode(octets, indexes, TABLES, 0)


# Two silent symbols and a coded 0, as in the first case computed by hand.
@pytest.mark.parametrize(
    ("lists", "state", "what"),
    [
        (b"\x00\x00", 2**32 + 1, "its final states are wrong"),
        (b"\x00\x00", 2**32 + 2**15, "another number of escapes than it says"),
        (b"\x00\x01\x00", 2**32, "another number of escapes than it says"),
        (b"\x00\x01\xff\xff\xff\x01", 2**32 + 2**15, "a symbol over 1048576"),
        (b"\x01\x00\x00\xff\xff\xff\x01", 2**32, "a symbol over 1048576"),
        (b"\x01\x00\x02\x02", 2**32, "an exception at a symbol that is not silent"),
        (b"\x02\x00\x00\x01\x02\x02", 2**32, "an exception at a symbol that is not silent"),
        (b"\x02\x00\x01\x01\x02\x02", 2**32, "an exception at a symbol that is not silent"),
        (b"\x02\x00\x01\xff\xff\xff\xff\x7f\x02\x02", 2**32, "an exception after the last symbol"),
        (b"\x01\x00\x00\x00", 2**32, "an exception of value 0"),
    ],
)
def test_contents_that_cannot_be_are_found(lists, state, what):
    tables = make_tables((HALVES, 0), (HALVES, 0))
    with pytest.raises(DamagedStream, match=what):
        decode(lists + state.to_bytes(8, "little"), np.array([0, 0, 1]), tables, 0)


def test_exceptions_are_refused_where_nothing_is_silent():
    tables = make_tables((HALVES, 0))
    octets = b"\x01\x00\x00\x02" + (2**32).to_bytes(8, "little")
    with pytest.raises(DamagedStream, match="more exceptions or escapes than symbols"):
        decode(octets, np.zeros(1, np.uint8), tables)


# Bins for -1, 0 and 1, and for 5 alone; then the escape.
TABLES_OUTLIERS = Tables(
    np.array([0, 10, 60000, 65535, 65536, 0, 65535, 65536], np.uint32),
    np.array([0, 5, 8]),
    np.array([-1, 5], np.int32),
)


def test_exceptions_are_silent_symbols_that_are_not_zero():
    symbols = np.array([0, 3, -1, 0, 2], np.int32)
    indexes = np.array([1, 1, 0, 0, 1], np.uint16)
    assert entropy.find_exceptions(symbols, indexes, 1).tolist() == [1, 4]
    assert entropy.find_exceptions(symbols, indexes, None).tolist() == []


def test_distances_count_up_on_both_sides_of_a_table():
    symbols = np.array([-4, -3, -2, 2, 3, 4, 4, 6], np.int32)
    indexes = np.array([0, 0, 0, 0, 0, 0, 1, 1], np.uint16)
    distances = np.array([5, 3, 1, 0, 2, 4, 1, 0])
    assert entropy.distances(symbols, indexes, TABLES_OUTLIERS).tolist() == distances.tolist()
    assert entropy.symbols_at(distances, indexes, TABLES_OUTLIERS).tolist() == symbols.tolist()


def test_zigzag_alternates_between_the_signs():
    values = np.array([0, -1, 1, -2, 2, -(1 << 20), 1 << 20], np.int32)
    numbers = np.array([0, 1, 2, 3, 4, (1 << 21) - 1, 1 << 21])
    assert entropy.zigzag(values).tolist() == numbers.tolist()
    assert entropy.unzigzag(numbers).tolist() == values.tolist()


def test_gaps_count_what_lies_between_positions():
    positions = np.array([2, 3, 7])
    assert entropy.gaps(positions).tolist() == [2, 0, 3]
    assert entropy.positions_at(np.array([2, 0, 3])).tolist() == [2, 3, 7]
    assert (
        entropy.gaps(positions[:0]).tolist() == entropy.positions_at(positions[:0]).tolist() == []
    )


# 300 is 2 * 128 + 44: the low seven bits first, 44 + 128 as another byte follows.
@pytest.mark.parametrize(
    ("numbers", "octets"),
    [
        ([], b""),
        ([0], b"\x00"),
        ([127], b"\x7f"),
        ([128], b"\x80\x01"),
        ([300, 1], b"\xac\x02\x01"),
        ([2**35 - 1], b"\xff\xff\xff\xff\x7f"),
    ],
)
def test_numbers_are_written_seven_bits_a_byte_and_read_back(numbers, octets):
    assert entropy.write_varints(np.array(numbers, np.int64)) == octets
    found, end = entropy.read_varints(np.frombuffer(b"\xff" + octets, np.uint8), 1, len(numbers))
    assert found.tolist() == numbers
    assert end == 1 + len(octets)


@pytest.mark.parametrize(
    ("octets", "count"),
    [
        (b"", 1),
        (b"\x80", 1),
        (b"\x01", 2),
        (b"\x01\x80", 2),
        (b"\x80\x80\x80\x80\x80\x01", 1),
        (b"\x00\x00", 2**40),
    ],
)
def test_numbers_cut_short_or_of_over_five_bytes_are_not_read(octets, count):
    assert entropy.read_varints(np.frombuffer(octets, np.uint8), 0, count) is None


@pytest.fixture
def without_loops(monkeypatch):
    """Loops that are compiled anew, and what was noted."""
    noted = []
    monkeypatch.setattr("hwkd.codec.loops.note", noted.append)
    loops.cache_clear()
    yield noted
    loops.cache_clear()


def test_without_llvm_all_is_coded_in_plain_python_and_that_is_noted(without_loops, monkeypatch):
    symbols, indexes = make_data(60)
    expected = encode(symbols, indexes, TABLES, 0)
    loops.cache_clear()
    monkeypatch.setitem(sys.modules, "llvmlite", None)
    with left_to_plain(COMPILED):
        for _ in range(2):
            assert encode(symbols, indexes, TABLES, 0) == expected
            np.testing.assert_array_equal(decode(expected, indexes, TABLES, 0), symbols)
    (line,) = without_loops
    assert "in plain Python" in line and "pip install" in line


def test_loops_that_llvm_does_not_take_are_noted(without_loops, monkeypatch, tmp_path):
    other = tmp_path / "loops.ll"
    other.write_text("define i64 @select(what %is) {}", encoding="ascii")
    monkeypatch.setattr("hwkd.codec.loops.SOURCE", other)
    assert loops() is None and len(without_loops) == 1


def test_arrays_that_do_not_lie_in_one_piece_or_aligned_are_coded(coder):
    symbols, indexes = make_data(60)
    expected = encode(symbols, indexes, TABLES, 0)
    wide = np.zeros((60, 2), np.int32)
    wide[:, 0] = symbols
    octets = np.zeros(4 * 60 + 1, np.uint8)
    octets[1:] = symbols.view(np.uint8)
    shifted = octets[1:].view(np.int32)
    uneven = np.zeros(2 * 60 + 1, np.uint8)
    uneven[1:] = indexes.astype(np.uint16).view(np.uint8)
    assert not shifted.flags.aligned
    assert encode(wide[:, 0], indexes, TABLES, 0) == expected
    assert encode(shifted, uneven[1:].view(np.uint16), TABLES, 0) == expected
    np.testing.assert_array_equal(decode(expected, uneven[1:].view(np.uint16), TABLES, 0), symbols)


def test_llvm_is_loaded_only_when_something_is_coded():
    script = "import sys, hwkd.codec.entropy; sys.exit('llvmlite' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
