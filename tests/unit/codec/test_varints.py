import numpy as np
import pytest

from hwkd.codec import varints


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
    assert varints.write(np.array(numbers, np.int64)) == octets
    found, end = varints.read(np.frombuffer(b"\xff" + octets, np.uint8), 1, len(numbers))
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
    assert varints.read(np.frombuffer(octets, np.uint8), 0, count) is None
