import pytest

from hwkd.report.plots.plot import Point, Series
from hwkd.report.plots.style import fills, log_ticks, styles


def series(name, count, **fields):
    return Series(name, tuple(Point(1.0 + i, 30.0, "") for i in range(count)), **fields)


def test_no_two_series_look_alike():
    given = (
        *(series(f"line {i}", 2, is_line=True) for i in range(3)),
        *(series(f"points {i}", 2) for i in range(3)),
        *(series(f"single {i}", 1) for i in range(7)),
        *(series(f"published line {i}", 2, is_line=True, is_published=True) for i in range(9)),
        *(series(f"published {i}", 2, is_published=True) for i in range(2)),
    )
    looks = [(s.colour, s.marker, str(s.dash)) for _, s in styles(given)]
    assert len(set(looks)) == len(given)
    # Without colour, ours still differ in their markers.
    assert len({style.marker for each, style in styles(given) if not each.is_published}) == 13


def test_only_published_series_are_black_or_grey():
    given = (series("ours", 2), series("line", 2, is_line=True, is_published=True))
    (_, ours), (_, theirs) = styles(given)
    assert len({theirs.colour[i : i + 2] for i in (1, 3, 5)}) == 1
    assert len({ours.colour[i : i + 2] for i in (1, 3, 5)}) > 1


def test_groups_of_bars_differ_without_colour():
    found = fills(["g_a", "g_a", "h_a", "h_s", "g_s"])
    assert len({hatch for _, hatch in found.values()}) == 4


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (15, 300, [20, 50, 100, 200]),
        (0.15, 1.2, [0.2, 0.5, 1.0]),
        (70, 8000, [100, 200, 500, 1000, 2000, 5000]),
        (1, 1e5, [1, 10, 100, 1000, 10_000, 100_000]),
        (30, 45, [30, 35, 40, 45]),
    ],
)
def test_ticks_of_a_logarithmic_axis_are_round(low, high, ticks):
    assert log_ticks(low, high) == pytest.approx(ticks)
