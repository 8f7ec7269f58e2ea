import math

import pytest

from hwkd.quantity import interval_text, number_text, three_digits
from hwkd.report.plots.draw_plotly import drawing_of, figure_groups, log_ticks, styles_of
from hwkd.report.plots.plot import Bar, Bars, Panel, Point, Scatter, Series
from hwkd.report.table import Table

TABLE = Table("t", ("a",), (("1",),))


def scatter(*series, **fields):
    return Scatter("k", "Title", "x (ms)", "y (dB)", series, "caption", TABLE, **fields)


def bars(*panels, **fields):
    return Bars("k", "Title", "GMAC", panels, "caption", TABLE, **fields)


def test_intervals_become_distances_below_and_above_the_value():
    points = (Point(10.0, 30.0, "a", 7.0, 18.0), Point(20.0, 31.0, "b"))
    (trace,) = drawing_of(scatter(Series("s", points))).data
    assert trace["error_x"]["arrayminus"] == [3.0, None]
    assert trace["error_x"]["array"] == [8.0, None]
    assert trace["error_x"]["symmetric"] is False


def test_series_without_intervals_has_no_error_bars():
    (trace,) = drawing_of(scatter(Series("s", (Point(1.0, 2.0, "a"),)))).data
    assert "error_x" not in trace


def test_logarithmic_axis_holds_all_ends_of_intervals():
    points = (Point(10.0, 30.0, "a", 2.0, 400.0), Point(20.0, 31.0, "b"))
    axis = drawing_of(scatter(Series("s", points), is_x_log=True)).layout["xaxis"]
    assert axis["type"] == "log"
    low, high = (10**end for end in axis["range"])
    assert low < 2.0
    assert high > 400.0


def test_range_that_a_plot_asks_for_is_taken_as_it_is():
    plot = scatter(Series("s", ()), is_x_log=True, x_range=(0.1, 10.0), y_range=(20.0, 40.0))
    layout = drawing_of(plot).layout
    assert layout["xaxis"]["range"] == pytest.approx([-1.0, 1.0])
    assert layout["yaxis"]["range"] == [20.0, 40.0]


def test_logarithmic_axis_without_a_point_above_zero_still_has_a_range():
    axis = drawing_of(scatter(Series("s", (Point(0.0, 1.0, "a"),)), is_x_log=True)).layout["xaxis"]
    assert all(map(math.isfinite, axis["range"]))


def test_log_ticks_are_one_two_and_five_of_each_decade_and_reach_a_decade_further():
    ticks = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
    assert log_ticks(0.3, 4.0) == ticks


def test_log_ticks_over_many_decades_are_powers_of_ten():
    assert log_ticks(0.5, 3000.0) == (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0, 10000.0)


def test_front_is_steps_below_the_points():
    points = (Point(1.0, 30.0, "a"), Point(5.0, 33.0, "b"))
    drawing = drawing_of(scatter(Series("s", points), front=points))
    front = drawing.data[0]
    assert (front["x"], front["y"]) == ([1.0, 5.0], [30.0, 33.0])
    assert front["line"]["shape"] == "hv"
    assert drawing.legend[0].traces == (0,)
    assert drawing.legend[1].traces == (1,)


def test_published_series_are_grey_dashed_and_open():
    point = (Point(1.0, 1.0, "p"),)
    ours = Series("ours", point, is_line=True)
    theirs = Series("theirs", point, is_line=True, is_published=True)
    first, second = drawing_of(scatter(ours, theirs)).data
    assert first["line"]["dash"] == "solid"
    assert first["line"]["color"].startswith("var(--series-")
    assert second["line"]["dash"] != "solid"
    assert second["line"]["color"].startswith("var(--published-")
    assert second["marker"]["symbol"].endswith("-open")


def test_eighteen_series_of_ours_and_thirty_six_published_ones_all_look_different():
    ours = [Series(f"o{i}", ()) for i in range(18)]
    published = [Series(f"p{i}", (), is_published=True) for i in range(36)]
    styles = styles_of([*ours, *published])
    assert len(set(styles)) == 54


def test_names_cannot_bring_tags_into_plotly():
    name = '<a href="x">&'
    drawing = drawing_of(scatter(Series(name, (Point(1.0, 2.0, name, detail=name),))))
    (trace,) = drawing.data
    assert "<a" not in trace["name"] + trace["text"][0]
    assert '&lt;a href="x"&gt;&amp;' in trace["text"][0]
    layer = drawing_of(bars(Panel(name, (Bar(name, 1.0, name),))))
    assert "<a" not in repr(layer.data) + repr(layer.layout)


def test_two_layers_of_one_name_are_two_bars_in_the_order_in_which_they_run():
    panel = Panel(
        "encoder", (Bar("conv", 3.0, "g_a"), Bar("conv", 1.0, "h_a"), Bar("c", 2.0, "g_a"))
    )
    drawing = drawing_of(bars(panel))
    g_a, h_a = drawing.data
    assert (g_a["x"], g_a["y"]) == ([3.0, 2.0], [0, 2])
    assert (h_a["x"], h_a["y"]) == ([1.0], [1])
    assert drawing.layout["yaxis"]["ticktext"] == ["conv", "conv", "c"]
    top, bottom = drawing.layout["yaxis"]["range"][::-1]
    assert top < bottom  # reversed: the first is above


def test_panels_share_an_axis_and_a_legend():
    encoder = Panel("encoder", (Bar("a", 1.0, "g_a"), Bar("b", 1.0, "h_s")))
    decoder = Panel("decoder", (Bar("b", 1.0, "h_s"), Bar("c", 1.0, "g_s")))
    drawing = drawing_of(bars(encoder, decoder))
    assert drawing.layout["xaxis2"]["matches"] == "x"
    assert {item.name: item.traces for item in drawing.legend} == {
        "g_a": (0,),
        "h_s": (1, 2),
        "g_s": (3,),
    }
    assert drawing.data[1]["marker"] == drawing.data[2]["marker"]
    titles = [note["text"] for note in drawing.layout["annotations"]]
    assert titles == ["<b>encoder</b>", "<b>decoder</b>", "GMAC"]


def test_more_bars_make_a_higher_plot():
    def height(count):
        return drawing_of(bars(Panel("p", (Bar("b", 1.0, "g"),) * count))).height_px

    assert height(40) - height(20) == 2 * (height(20) - height(10)) > 0


def test_plots_of_one_key_are_alternatives_with_a_select_for_each_choice():
    plots = [
        scatter(choices={"model": model, "target": target})
        for model, target in (("m", "pi"), ("m", "nano"), ("n", "pi"))
    ]
    group = figure_groups(plots)["k"]
    assert [(s.name, s.options) for s in group.selects] == [
        ("model", ("m", "n")),
        ("target", ("pi", "nano")),
    ]
    assert [figure.is_first for figure in group.figures] == [True, False, False]


def test_single_plot_of_a_key_has_nothing_to_choose():
    assert figure_groups([scatter(choices={"target": "pi"})])["k"].selects == ()


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.0123, "0.0123"), (0.881, "0.881"), (34.53, "34.5"), (1623.4, "1,623")],
)
def test_three_significant_digits(value, text):
    assert three_digits(value) == text


def test_digits_and_intervals():
    assert number_text(1234.5678, 2) == "1,234.57"
    assert interval_text(1.0, 20.0) == "1.00 to 20.0"
    assert interval_text(None, 20.0) == ""
