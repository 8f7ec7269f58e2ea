import io

import numpy as np
import pytest

from hwkd.codec.tables import MAX_TABLES, Tables
from hwkd.errors import InputError

# Bins for -1, 0 and 1 and the escape; a bin for 5 and the escape.
CDF = [0, 10, 60000, 65535, 65536, 0, 65535, 65536]
STARTS = [0, 5, 8]
OFFSETS = [-1, 5]


def make(cdf=CDF, starts=STARTS, offsets=OFFSETS):
    return Tables(np.array(cdf, np.uint32), np.array(starts, np.int64), np.array(offsets, np.int32))


def test_compressai_rows_become_ragged_tables():
    cdf = np.array([[0, 10, 60000, 65535, 65536], [0, 65535, 65536, 0, -1]], np.int32)
    tables = Tables.from_padded(cdf, np.array([5, 3], np.int32), np.array([-1, 5], np.int32))
    assert tables.cdf.tolist() == CDF
    assert tables.starts.tolist() == STARTS
    assert tables.offsets.tolist() == OFFSETS
    assert tables.bins.tolist() == [4, 2]
    assert tables.count == 2


def test_arrays_survive_an_npz_without_pickle_beside_others():
    file = io.BytesIO()
    np.savez(file, **make().to_arrays("y_"), **make([0, 1, 65536], [0, 3], [7]).to_arrays("z_"))
    file.seek(0)
    with np.load(file, allow_pickle=False) as arrays:
        y, z = Tables.from_arrays(arrays, "y_"), Tables.from_arrays(arrays, "z_")
    assert (y.cdf.tolist(), y.starts.tolist(), y.offsets.tolist()) == (CDF, STARTS, OFFSETS)
    assert (z.cdf.tolist(), z.starts.tolist(), z.offsets.tolist()) == ([0, 1, 65536], [0, 3], [7])


def test_a_missing_array_is_named():
    arrays = make().to_arrays("y_")
    del arrays["y_starts"]
    with pytest.raises(InputError, match="no y_starts among y_cdf, y_offsets; export the model"):
        Tables.from_arrays(arrays, "y_")


def test_packed_bins_hold_start_and_frequency():
    bins = [(0, 10), (10, 59990), (60000, 5535), (65535, 1), None, (0, 65535), (65535, 1), None]
    expected = [0 if b is None else b[0] * 65536 + b[1] for b in bins]
    assert make().packed.tolist() == expected


def test_lookup_names_the_bin_of_every_256th_slot():
    # 60000 lies within the slots 234 * 256 = 59904 .. 60159.
    first = [0] + [1] * 234 + [2] * 21
    second = [0] * 256
    assert make().lookup.tolist() == first + second


def test_lookup_holds_for_the_most_bins_and_tables_there_can_be():
    assert make(range(65537), [0, 65537], [0]).lookup.tolist() == list(range(0, 65536, 256))
    many = make([0, 256, 65536] * MAX_TABLES, range(0, 3 * MAX_TABLES + 1, 3), [0] * MAX_TABLES)
    assert many.lookup.tolist() == ([0] + [1] * 255) * MAX_TABLES


def test_tables_are_copies_that_cannot_be_written_to():
    cdf = np.array(CDF, np.uint32)
    tables = Tables(cdf, np.array(STARTS), np.array(OFFSETS, np.int32))
    cdf[1] = 99999
    assert tables.cdf.tolist() == CDF
    with pytest.raises(ValueError, match="read-only"):
        tables.starts[1] = 10**9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cdf": [1, *CDF[1:]]}, "table 0 does not rise strictly from 0 to 65536"),
        ({"cdf": [*CDF[:4], 65535, *CDF[5:]]}, "table 0 does not rise"),
        ({"cdf": [*CDF[:-1], 65535]}, "table 1 does not rise"),
        ({"cdf": [*CDF[:6], 0, CDF[7]]}, "table 1 does not rise"),
        ({"cdf": [0, 60000, 60000, *CDF[3:]]}, "table 0 does not rise"),
        ({"cdf": [0, 70000, *CDF[2:]]}, "table 0 does not rise"),
        ({"starts": [0, 5, 9]}, "they reach from 0 to 9 of 8 numbers"),
        ({"starts": [1, 5, 8]}, "they reach from 1 to 8 of 8 numbers"),
        ({"starts": [0, 8]}, "2 starts for 2 tables, expected 3"),
        ({"starts": [0, 9, 8]}, "their starts are not in order"),
        ({"starts": [0, -(2**63), 8]}, "their starts are not in order"),
        ({"starts": [0, 6, 8]}, "table 1 has 1 bins, accepted are 2 or more"),
        ({"starts": [0, 8, 8]}, "table 1 has 0 bins"),
        (
            {"offsets": [2**20 - 1, 5]},
            "symbols from 5 to 1048577, accepted are -1048576 to 1048576",
        ),
        ({"offsets": [-(2**20) - 1, 5]}, "symbols from -1048577 to 5"),
        ({"cdf": [], "starts": [0], "offsets": []}, "0 tables, accepted are 1 to 4096"),
        ({"offsets": [0] * 4097}, "4097 tables, accepted are 1 to 4096"),
    ],
)
def test_tables_a_coder_would_leave_are_refused(change, message):
    with pytest.raises(
        InputError, match=f"^unusable coding tables: {message}.*; export the model again"
    ):
        make(**change)


@pytest.mark.parametrize(
    ("name", "array", "received"),
    [
        ("cdf", np.array(CDF, np.int64), r"int64 \[8\], expected uint32"),
        ("cdf", np.array([CDF], np.uint32), r"uint32 \[1, 8\], expected uint32 in one dimension"),
        ("starts", np.array(STARTS, np.float64), r"float64 \[3\], expected int64"),
        ("offsets", np.array(OFFSETS, np.int16), r"int16 \[2\], expected int32"),
        ("offsets", OFFSETS, "list, expected int32"),
    ],
)
def test_arrays_of_another_form_are_refused(name, array, received):
    arrays = make().to_arrays() | {name: array}
    with pytest.raises(InputError, match=f"{name} is {received}"):
        Tables.from_arrays(arrays)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cdf": [[0, 65535, 65536, 65537]], "lengths": [4]}, "numbers from 0 to 65537"),
        ({"cdf": [[-1, 65535, 65536]]}, "numbers from -1 to 65536"),
        ({"cdf": [[0.0, 65535.0, 65536.0]]}, "numbers of type float64, expected integers"),
        ({"lengths": [4]}, "lengths from 4 to 4 in rows of 3"),
        ({"lengths": [-1]}, "lengths from -1 to -1"),
        ({"lengths": [0]}, "table 0 has 0 bins"),
        ({"lengths": [3, 3]}, r"shapes \(\(1, 3\), \(2,\), \(1,\)\)"),
        ({"cdf": [0, 65535, 65536]}, "shapes"),
        ({"cdf": np.zeros((0, 3), int), "lengths": [], "offsets": []}, "shapes"),
        ({"offsets": [2**40]}, "offsets from 1099511627776 to"),
    ],
)
def test_padded_rows_of_another_form_are_refused(change, message):
    rows = {"cdf": [[0, 65535, 65536]], "lengths": [3], "offsets": [0]} | change
    with pytest.raises(InputError, match=message):
        Tables.from_padded(*(np.array(rows[name]) for name in ("cdf", "lengths", "offsets")))
