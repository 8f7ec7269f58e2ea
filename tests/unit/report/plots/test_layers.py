from dataclasses import replace

import pytest

from hwkd.measure.layers import LayerCost
from hwkd.measure.predict.target import predicted_entries
from hwkd.measure.record import Entry, Setting
from hwkd.quantity import Quantity
from hwkd.report.plots.layers import layer_plots, layer_words
from hwkd.target import load_target

EAGER = Setting("cpu", "torch eager", "fp32", 2)
PI = load_target("raspberry-pi-4")


def layer(name, operator="conv", macs=2_000_000, **fields):
    given = {"c_in": 8, "c_out": 16, "kernel": 5, "stride": 2, "groups": 1} | fields
    return LayerCost(
        name,
        name.partition(".")[0],
        operator,
        in_values=800,
        out_values=400,
        weights=3200,
        macs=macs,
        **given,
    )


LAYERS = (
    layer("g_a.0", macs=6_000_000),
    layer("g_a.1", "gdn", c_in=16),
    layer("h_a.0"),
    layer("h_s.0", "transposed"),
    layer("g_s.0", "transposed", macs=8_000_000),
)


def bars(plot):
    return {
        panel.title: [(bar.name.split(":")[0], bar.value) for bar in panel.bars]
        for panel in plot.panels
    }


def only(plots, key):
    (plot,) = (plot for plot in plots if plot.key == key)
    return plot


@pytest.fixture
def on_pi(make_record):
    """A float model's record on a Raspberry Pi 4, predicted."""
    entries, _ = predicted_entries(LAYERS, PI, None)
    record = make_record("a", target=PI.name, is_host=False, layers=LAYERS, entries=entries)
    return replace(record, model=replace(record.model, weight_bits="32"))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (layer("x"), "conv 5x5 /2 8->16"),
        (layer("x", kernel=1, stride=1), "conv 1x1 8->16"),
        (layer("x", groups=8), "depthwise 5x5 /2 8->16"),
        (layer("x", groups=4), "conv 5x5 /2 8->16 in 4 groups"),
        (layer("x", "transposed"), "transposed 5x5 /2 8->16"),
        (layer("x", "gdn"), "GDN 16"),
        (layer("x", "nonlinear"), "nonlinear 8->16"),
    ],
)
def test_what_a_layer_is_in_words(given, words):
    assert layer_words(given) == words


def test_encoder_and_decoder_have_their_layers_in_the_order_they_run(make_record):
    plot = only(layer_plots([make_record("a.hwkd", layers=LAYERS)], []), "layer-macs")
    assert bars(plot) == {
        "encoder": [("g_a.0", 6.0), ("g_a.1", 2.0), ("h_a.0", 2.0), ("h_s.0", 2.0)],
        "decoder": [("h_s.0", 2.0), ("g_s.0", 8.0)],
    }
    assert plot.choices == {"model": "a"}
    assert plot.panels[0].bars[0].name == "g_a.0: conv 5x5 /2 8->16"
    assert [bar.group for bar in plot.panels[1].bars] == ["h_s", "g_s"]
    # 6 of 12 MMAC, 8 of 10.
    assert (
        "Encoder: 12.0 MMAC in 4 layers, most in g_a.0: conv 5x5 /2 8->16 (6.00 MMAC, 50 %)"
        in plot.caption
    )
    assert "g_s.0: transposed 5x5 /2 8->16 (8.00 MMAC, 80 %)" in plot.caption
    assert plot.table.rows[0] == (
        "encoder",
        "g_a",
        "g_a.0",
        "conv 5x5 /2 8->16",
        "6",
        "n/a",
        "n/a",
        "counted",
    )


def test_macs_are_drawn_once_for_a_model_on_many_targets(make_record, on_pi):
    plots = layer_plots(
        [make_record("a", layers=LAYERS), on_pi, make_record("b", layers=LAYERS)], []
    )
    assert [plot.choices for plot in plots] == [{"model": "a"}, {"model": "b"}]


def test_a_record_without_layers_has_no_plot(make_record):
    assert layer_plots([make_record()], [PI]) == ()


def test_measured_layers_come_from_the_first_setting_that_timed_them(make_record, figure):
    def timed(name, side, ms, setting=EAGER):
        quantity = Quantity(ms, "measured", "wall clock", ms - 1, ms + 2, 0.95, 10)
        return Entry("latency_ms", side, "layer", setting, quantity, name)

    entries = (
        figure("latency_ms", "encode", 40.0),
        *(timed("g_a.0", "encode", 5.0), timed("g_a.rest", "encode", 1.0)),
        *(timed("h_s.0", "both", 3.0), timed("g_s.0", "decode", 4.0)),
        timed("g_a.0", "encode", 9.0, replace(EAGER, threads=1)),
    )
    plot = only(
        layer_plots([make_record("a", layers=LAYERS, entries=entries)], []), "layer-latency"
    )
    assert bars(plot) == {
        "encoder": [("g_a.0", 5.0), ("g_a.rest", 1.0), ("h_s.0", 3.0)],
        "decoder": [("h_s.0", 3.0), ("g_s.0", 4.0)],
    }
    assert (plot.panels[0].bars[0].low, plot.panels[0].bars[0].high) == (4.0, 7.0)
    assert plot.x_label == "measured latency (ms)"
    assert plot.choices == {"model": "a", "target": "board"}
    assert plot.notes[0] == "Runs on cpu, torch eager fp32, 2 threads."
    assert plot.table.rows[1][3] == "outside the layers"


@pytest.mark.parametrize(("side", "title"), [("encode", "encoder"), ("decode", "decoder")])
def test_predicted_layers_sum_to_the_predicted_latency_of_the_networks(on_pi, side, title):
    plot = only(layer_plots([on_pi], [PI]), "layer-latency")
    (panel,) = (panel for panel in plot.panels if panel.title == title)
    whole = next(e for e in on_pi.entries if (e.name, e.side) == ("latency_ms", side))
    assert sum(bar.value for bar in panel.bars) == pytest.approx(whole.quantity.value, rel=1e-9)
    assert all(bar.low < bar.value < bar.high for bar in panel.bars)
    assert plot.x_label == "predicted latency (ms)"


def test_a_quantized_model_is_predicted_by_its_precision_plan(on_pi):
    quantized = replace(on_pi, model=replace(on_pi.model, weight_bits="7 (h_s.* 6)", family="relu"))
    in_float = bars(only(layer_plots([on_pi], [PI]), "layer-latency"))
    in_int8 = bars(only(layer_plots([quantized], [PI]), "layer-latency"))
    # h_s computes integers in float32 in either; the others are quicker in int8 on this board.
    assert in_int8["decoder"][0] == in_float["decoder"][0]
    assert in_int8["decoder"][1][1] < in_float["decoder"][1][1]


def test_a_target_that_is_not_given_has_no_times(on_pi):
    assert [plot.key for plot in layer_plots([on_pi], [])] == ["layer-macs"]
