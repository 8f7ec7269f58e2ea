import random
import struct
import tracemalloc
import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hwkd.codec.stream import (
    LEAST_BYTES,
    MAGIC,
    Stream,
    header_bytes,
    number_of_segments,
    pack,
    read_size,
    unpack,
)
from hwkd.errors import InputError
from hwkd.images import MAX_PIXELS

ID = b"\x01\x02\x03\x04\x05\x06\x07\xff"
ONE = Stream(5, 3, ID, 0, b"zz", (b"yyy",))
TILED = Stream(130, 65, ID, 64, b"z", (b"a", b"", b"ccc", b"d", b"ee", b"f"))
AGAIN = "; copy it again, or encode the image again"


@st.composite
def streams(draw):
    width, height = draw(st.integers(1, 700)), draw(st.integers(1, 700))
    tile_px = draw(st.sampled_from([0, 64, 128, 256, 65472]))
    count = number_of_segments(width, height, tile_px)
    payloads = st.binary(max_size=20)
    return Stream(
        width,
        height,
        draw(st.binary(min_size=8, max_size=8)),
        tile_px,
        draw(payloads),
        tuple(draw(st.lists(payloads, min_size=count, max_size=count))),
        draw(st.integers(0, 100)),
    )


def forged(width, height, tile_px, z_length=0, lengths=(), body=b"", quality=0):
    """A stream with a right CRC around any claims, written as the format's description says."""
    told = (b"HWK\0", 2, 0, quality, width, height, ID, tile_px, z_length)
    fields = struct.pack("<4sBBBII8sHI", *told)
    fields += struct.pack(f"<{len(lengths)}I", *lengths)
    return fields + struct.pack("<I", zlib.crc32(fields + body)) + body


def refusal(data, max_pixels=MAX_PIXELS):
    with pytest.raises(InputError) as caught:
        unpack(data, max_pixels)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_one_segment_stands_behind_37_bytes():
    assert pack(ONE) == forged(5, 3, 0, 2, [3], b"zzyyy")
    assert header_bytes(1) == 37
    assert len(pack(ONE)) == 37 + 2 + 3


@pytest.mark.parametrize("quality", [0, 1, 100])
def test_the_quality_is_a_byte_of_the_header(quality):
    stream = replace(ONE, quality=quality)
    assert pack(stream) == forged(5, 3, 0, 2, [3], b"zzyyy", quality)
    assert unpack(pack(stream), MAX_PIXELS) == stream


def test_a_quality_that_there_is_not_is_not_packed():
    with pytest.raises(InputError, match=r"^quality must be 0 to 100, got 101$"):
        replace(ONE, quality=101)


def test_tiles_stand_row_by_row_with_4_bytes_more_for_each():
    assert pack(TILED) == forged(130, 65, 64, 1, [1, 0, 3, 1, 2, 1], b"zacccdeef")
    assert header_bytes(6) == 37 + 5 * 4


@pytest.mark.parametrize(
    ("width", "height", "tile_px", "expected"),
    [
        (130, 65, 0, 1),
        (130, 65, 64, 3 * 2),
        (128, 64, 64, 2),
        (129, 64, 64, 3),
        (1, 1, 64, 1),
        (2**32 - 1, 2**32 - 1, 64, (2**26) ** 2),
    ],
)
def test_tiles_cut_by_the_edge_count(width, height, tile_px, expected):
    assert number_of_segments(width, height, tile_px) == expected


@given(streams())
def test_what_is_packed_is_unpacked(stream):
    assert unpack(pack(stream), MAX_PIXELS) == stream


@given(streams(), st.data())
def test_any_changed_byte_is_refused(stream, data):
    packed = bytearray(pack(stream))
    place = data.draw(st.integers(0, len(packed) - 1))
    packed[place] ^= data.draw(st.integers(1, 255))
    refusal(bytes(packed))


def test_every_value_of_every_header_byte_but_its_own_is_refused():
    packed = pack(ONE)
    for place in range(header_bytes(1)):
        for value in set(range(256)) - {packed[place]}:
            refusal(packed[:place] + bytes([value]) + packed[place + 1 :])


@given(streams())
def test_every_truncation_is_refused(stream):
    packed = pack(stream)
    for length in range(len(packed)):
        refusal(packed[:length])


@given(streams(), st.binary(min_size=1, max_size=40))
def test_more_bytes_than_were_written_are_refused(stream, more):
    refusal(pack(stream) + more)


@given(st.binary(max_size=200), st.sampled_from([b"", MAGIC, MAGIC + b"\1\0"]))
def test_random_bytes_are_refused_whatever_they_begin_with(data, beginning):
    refusal(beginning + data)


def test_streams_spliced_together_are_refused():
    first, second = pack(TILED), pack(replace(TILED, z=b"Z"))
    chance = random.Random(0)
    for _ in range(200):
        cut = chance.randrange(1, len(first))
        mixed = first[:cut] + second[cut:]
        if mixed not in (first, second):
            refusal(mixed)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a hwkd stream: it is empty; give a file that `hwkd encode` wrote"),
        (
            b"\x89PNG\r\n\x1a\n" + bytes(60),
            "not a hwkd stream: it starts with b'\\x89PNG'; give a file that `hwkd encode` wrote",
        ),
        (
            b"HWKE" + bytes(60),
            "an evaluation stream of `hwkd evaluate`, which decodes only where it was written; "
            "write a stream with `hwkd encode`",
        ),
        (MAGIC + b"\2\0", f"the stream is cut short: it has 6 of at least 37 bytes{AGAIN}"),
        (
            MAGIC + b"\3" + pack(ONE)[5:],
            "a stream of version 3; this hwkd reads version 2: update hwkd",
        ),
        (
            MAGIC + b"\1" + pack(ONE)[5:],
            "a stream of version 1, which an earlier hwkd wrote; this hwkd reads version 2: decode it with that one, or "
            "encode the image again",
        ),
        (
            MAGIC + b"\2\x08" + pack(ONE)[6:],
            "a stream with flags 0x08, of a newer format; this hwkd reads flags 0x00: update hwkd",
        ),
        (pack(ONE)[:-1], f"the stream is cut short: it has 41 of 42 bytes{AGAIN}"),
        (
            pack(ONE) + b"!",
            f"the stream has grown: it has 43 bytes where its header says 42{AGAIN}",
        ),
        (pack(ONE)[:-1] + b"!", f"the stream is damaged: its CRC-32 differs{AGAIN}"),
        (
            forged(0, 3, 0, 0, [0]),
            f"the stream is damaged: width must be 1 to 4294967295, got 0{AGAIN}",
        ),
        (
            forged(3, 0, 0, 0, [0]),
            f"the stream is damaged: height must be 1 to 4294967295, got 0{AGAIN}",
        ),
        (
            forged(3, 3, 100, 0, [0]),
            f"the stream is damaged: tile_px must be 0 or a multiple of 64, got 100{AGAIN}",
        ),
        (
            forged(3, 3, 0, 0, [0], quality=101),
            f"the stream is damaged: quality must be 0 to 100, got 101{AGAIN}",
        ),
        (
            forged(130, 65, 64, 0, [0, 0]),
            f"the stream is cut short: it has 41 of at least 57 bytes{AGAIN}",
        ),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_what_is_wrong_is_said_with_what_to_try(data, message):
    assert refusal(data) == message


def test_an_image_over_the_limit_is_refused_until_the_limit_is_raised():
    packed = pack(replace(ONE, width=1000, height=1001))
    assert refusal(packed, 1_000_999) == (
        "the stream holds an image of 1000x1001, 1001000 pixels, and 1000999 are accepted; "
        "if you trust it, use --max-pixels 1001000"
    )
    assert unpack(packed, 1_001_000).height == 1001


def test_the_limit_is_pillows_own():
    # Image.MAX_IMAGE_PIXELS is where Pillow warns; it refuses at twice that.
    assert Image.MAX_IMAGE_PIXELS is not None
    assert MAX_PIXELS == 2 * Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize(
    ("data", "max_pixels"),
    [
        (forged(2**32 - 1, 2**32 - 1, 0, 0, [0]), MAX_PIXELS),
        (forged(2**32 - 1, 2**32 - 1, 64, 0, [0]), 2**64),
        (forged(1, MAX_PIXELS, 64, 0, [0]), MAX_PIXELS),
        (forged(13377, 13377, 0, 2**32 - 1, [2**32 - 1]), MAX_PIXELS),
        (forged(64, 128, 64, 2**32 - 1, [2**32 - 1] * 2), MAX_PIXELS),
    ],
    ids=["pixels", "tiles, no limit", "tiles within the limit", "lengths", "lengths of tiles"],
)
def test_a_header_with_absurd_claims_and_a_right_crc_costs_no_memory(data, max_pixels):
    tracemalloc.start()
    try:
        refusal(data, max_pixels)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 100_000


class Long(bytes):
    """Bytes that say they are one more than a u32 can count."""

    def __len__(self) -> int:
        return 2**32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 0}, "width must be 1 to 4294967295, got 0"),
        ({"height": 2**32}, "height must be 1 to 4294967295, got 4294967296"),
        ({"model_id": b"1234567"}, "model_id must be 8 bytes, got 7"),
        ({"tile_px": 65536}, "tile_px must be 0 to 65535, got 65536"),
        ({"tile_px": -64}, "tile_px must be 0 to 65535, got -64"),
        ({"tile_px": 96}, "tile_px must be 0 or a multiple of 64, got 96"),
        ({"segments": ()}, "5x3 in tiles of 0 takes 1 segments, got 0"),
        ({"width": 65, "tile_px": 64}, "65x3 in tiles of 64 takes 2 segments, got 1"),
        ({"z": Long()}, "z_length must be 0 to 4294967295, got 4294967296"),
        ({"segments": (Long(),)}, "a segment may have 4294967295 bytes, got 4294967296"),
    ],
)
def test_a_stream_that_the_format_cannot_hold_is_refused(changes, message):
    with pytest.raises(InputError) as caught:
        replace(ONE, **changes)
    assert str(caught.value) == message


def test_the_size_is_read_from_the_first_bytes_alone():
    assert read_size(pack(TILED)[:LEAST_BYTES]) == (130, 65)
    assert read_size(pack(ONE)) == (5, 3)
    with pytest.raises(
        InputError, match=f"^the stream is cut short: it has 36 of at least {LEAST_BYTES}"
    ):
        read_size(pack(ONE)[: LEAST_BYTES - 1])
    with pytest.raises(InputError, match=r"^not a hwkd stream: it starts with"):
        read_size(b"x" * LEAST_BYTES)
