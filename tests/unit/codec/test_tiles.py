import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwkd.codec.tiles import Span, spans, tiles

LENGTHS = st.integers(1, 60)
TILES = st.integers(1, 70)
MARGINS = st.integers(0, 9)


@given(length=LENGTHS, tile=TILES, before=MARGINS, after=MARGINS)
def test_spans_keep_everything_once(length: int, tile: int, before: int, after: int) -> None:
    found = list(spans(length, tile, before, after))
    kept = [place for span in found for place in range(span.first, span.last)]
    assert kept == list(range(length))
    # All but the last are as long as a tile.
    assert {span.last - span.first for span in found[:-1]} <= {tile}
    assert 0 < found[-1].last - found[-1].first <= tile


@given(length=LENGTHS, tile=TILES, before=MARGINS, after=MARGINS)
def test_a_span_sees_its_whole_margin_or_the_end_of_the_axis(
    length: int, tile: int, before: int, after: int
) -> None:
    for span in spans(length, tile, before, after):
        assert span.start == max(span.first - before, 0)
        assert span.stop == min(span.last + after, length)


@given(length=LENGTHS, tile=TILES, before=MARGINS, after=MARGINS, factor=st.integers(1, 4))
def test_what_is_kept_lies_in_the_window_where_it_says(
    length: int, tile: int, before: int, after: int, factor: int
) -> None:
    axis = np.arange(length * factor)
    for span in spans(length, tile, before, after):
        wide = span.times(factor)
        np.testing.assert_array_equal(axis[wide.window][wide.inside], axis[wide.kept])
        assert wide.kept.stop - wide.kept.start == factor * (span.last - span.first)


@given(height=LENGTHS, width=LENGTHS, tile=st.integers(5, 70), margin=MARGINS)
def test_tiles_keep_every_place_once_row_by_row(
    height: int, width: int, tile: int, margin: int
) -> None:
    seen = np.zeros((height, width), int)
    corners = []
    for rows, columns in tiles(height, width, tile, margin, margin):
        seen[rows.kept, columns.kept] += 1
        corners.append((rows.first, columns.first))
    assert (seen == 1).all()
    assert corners == sorted(corners)


@pytest.mark.parametrize(("tile", "expected"), [(4, 3), (10, 1), (99, 1), (1, 10)])
def test_the_number_of_spans(tile: int, expected: int) -> None:
    assert len(list(spans(10, tile, 2, 2))) == expected


def test_spans_by_hand() -> None:
    assert list(spans(10, 4, 2, 1)) == [Span(0, 5, 0, 4), Span(2, 9, 4, 8), Span(6, 10, 8, 10)]
    assert Span(2, 9, 4, 8).times(3) == Span(6, 27, 12, 24)
    assert Span(2, 9, 4, 8).inside == slice(2, 6)
