import numpy as np

from hwkd.codec import outliers
from hwkd.codec.tables import Tables

# Bins for -1, 0 and 1, and for 5 alone; then the escape.
TABLES = Tables(
    np.array([0, 10, 60000, 65535, 65536, 0, 65535, 65536], np.uint32),
    np.array([0, 5, 8]),
    np.array([-1, 5], np.int32),
)


def test_exceptions_are_silent_symbols_that_are_not_zero():
    symbols = np.array([0, 3, -1, 0, 2], np.int32)
    indexes = np.array([1, 1, 0, 0, 1], np.uint16)
    assert outliers.exceptions(symbols, indexes, 1).tolist() == [1, 4]
    assert outliers.exceptions(symbols, indexes, None).tolist() == []


def test_distances_count_up_on_both_sides_of_a_table():
    symbols = np.array([-4, -3, -2, 2, 3, 4, 4, 6], np.int32)
    indexes = np.array([0, 0, 0, 0, 0, 0, 1, 1], np.uint16)
    distances = np.array([5, 3, 1, 0, 2, 4, 1, 0])
    assert outliers.distances(symbols, indexes, TABLES).tolist() == distances.tolist()
    assert outliers.symbols_at(distances, indexes, TABLES).tolist() == symbols.tolist()


def test_zigzag_alternates_between_the_signs():
    values = np.array([0, -1, 1, -2, 2, -(1 << 20), 1 << 20], np.int32)
    numbers = np.array([0, 1, 2, 3, 4, (1 << 21) - 1, 1 << 21])
    assert outliers.zigzag(values).tolist() == numbers.tolist()
    assert outliers.unzigzag(numbers).tolist() == values.tolist()


def test_gaps_count_what_lies_between_positions():
    positions = np.array([2, 3, 7])
    assert outliers.gaps(positions).tolist() == [2, 0, 3]
    assert outliers.positions_at(np.array([2, 0, 3])).tolist() == [2, 3, 7]
    assert (
        outliers.gaps(positions[:0]).tolist() == outliers.positions_at(positions[:0]).tolist() == []
    )
