from dataclasses import replace

import pytest

from hwkd.measure.record import ModelFacts, Quality, Setting
from hwkd.models.spec import HyperpriorSpec, spec_to_json
from hwkd.report.compare.published import read_paper
from hwkd.report.plots.costs import cost_plots

PAPER = read_paper()
GPU = Setting("gpu", "ncnn", "fp16")


@pytest.fixture
def model(make_record, figure):
    """model(name, psnr_db, encode_ms, **fields): on a host; decode takes as long, energy is ten times the time."""

    def make(name, psnr_db, encode_ms, part="networks", found="measured", **fields):
        interval = {"low": encode_ms - 1, "high": encode_ms + 2} if found == "measured" else {}
        return make_record(
            name,
            entries=tuple(
                figure(
                    kind,
                    side,
                    scale * encode_ms,
                    part,
                    found=found,
                    **(interval if scale == 1 else {}),
                )
                for kind, scale in (("latency_ms", 1), ("energy_mj", 10))
                for side in ("encode", "decode")
            ),
            quality=None
            if psnr_db is None
            else Quality(psnr_db, psnr_db / 40, "Kodak, 24 images", "a test"),
            **fields,
        )

    return make


def of(plots, key, **choices):
    (plot,) = (
        p for p in plots if p.key == key and all(p.choices[k] == v for k, v in choices.items())
    )
    return plot


def points(plot):
    return {point.name: point for series in plot.series for point in series.points}


def architecture(record, N=64, M=192):
    spec = HyperpriorSpec("gdn", (N, N, N), M, N, N)
    facts = ModelFacts(f"hyperprior:N={N},M={M}", str(spec), spec_to_json(spec), "gdn", "32", False)
    return replace(record, model=facts, quality=None)


def test_no_records_no_plots():
    assert cost_plots([], PAPER) == ()


def test_a_point_is_encode_and_decode_together_with_the_ends_of_their_intervals(model):
    plots = cost_plots([model("a", 30.0, 10.0)], PAPER)
    point = points(of(plots, "psnr-latency"))["a"]
    assert (point.x, point.y, point.low, point.high) == (20.0, 30.0, 18.0, 24.0)
    assert point.detail == "0.75 bpp"
    energy = of(plots, "psnr-energy")
    assert points(energy)["a"].x == 200.0
    assert energy.choices == {"target": "board"}
    assert energy.x_label == "measured energy, networks, encode + decode (mJ)"
    # 40e9 MACs for a megapixel, counted once for the whole model.
    macs = of(plots, "psnr-macs")
    assert points(macs)["a"].x == pytest.approx(40.0)
    assert macs.choices == {}


def test_the_front_has_what_nothing_is_both_cheaper_and_better_than(model):
    records = [
        *(model("slow", 34.0, 40.0), model("fast", 30.0, 10.0)),
        *(model("poor", 29.0, 20.0), model("middle", 32.0, 20.0)),
    ]
    plot = of(cost_plots(records, PAPER), "psnr-latency")
    assert [point.name for point in plot.front] == ["fast", "middle", "slow"]
    assert (
        "fast (20.0 ms, 30.00 dB), middle (40.0 ms, 32.00 dB), slow (80.0 ms, 34.00 dB)"
        in plot.caption
    )
    assert "for 4 models" in plot.caption
    assert "0.725 to 0.850 bpp" in plot.caption


def test_models_on_other_images_are_shown_but_not_on_the_front(model):
    other = replace(model("other", 40.0, 1.0), quality=Quality(40.0, 1.0, "my images", "a test"))
    plot = of(
        cost_plots([model("a", 30.0, 10.0), model("b", 29.0, 9.0), other], PAPER), "psnr-latency"
    )
    assert [point.name for point in plot.front] == ["b", "a"]
    assert [s.name for s in plot.series if s.points[0].name == "other"] == ["gdn, int8 (my images)"]
    assert any("not to be compared with them: other" in note for note in plot.notes)


def test_an_architecture_of_the_papers_has_the_papers_quality(model):
    plot = of(
        cost_plots([architecture(model("x", None, 10.0)), model("mine", 30.0, 5.0)], PAPER),
        "psnr-latency",
    )
    (series,) = (series for series in plot.series if series.is_published)
    (point,) = series.points
    # Table of arXiv 2509.10366: N=64 reaches 34.11 dB at 0.66 bpp.
    assert (series.name, point.name, point.y, point.detail) == (
        *("arXiv 2509.10366", "paper N=64", 34.11),
        "0.66 bpp",
    )
    # The same images, whatever they are called: both are on the front.
    assert [point.name for point in plot.front] == ["mine", "paper N=64"]
    assert any("cost measured here, for the float architectures" in note for note in plot.notes)
    assert plot.table.rows[0][-2] == "published"


def test_what_has_no_quality_or_no_cost_is_named(model, make_record):
    records = [
        model("mine", 30.0, 5.0),
        model("unmeasured", None, 5.0),
        architecture(model("x", None, 10.0), M=320),
        make_record("macs-only", entries=()),
    ]
    plot = of(cost_plots(records, PAPER), "psnr-latency")
    assert list(points(plot)) == ["mine"]
    notes = [note for note in plot.notes if note.startswith("Not shown: ")]
    assert notes == [
        "Not shown: unmeasured; the record has no evaluation.",
        "Not shown: hyperprior:N=64,M=320; an architecture without trained weights has no quality.",
        "Not shown: macs-only; the record holds no latency and no energy.",
    ]


def test_one_plot_holds_one_way_of_finding_the_cost(model):
    records = [model("a", 30.0, 10.0), model("b", 31.0, 20.0, found="estimated")]
    plots = [plot for plot in cost_plots(records, PAPER) if plot.key == "psnr-latency"]
    assert [(plot.choices["target"], list(points(plot))) for plot in plots] == [
        ("board, measured", ["a"]),
        ("board, estimated", ["b"]),
    ]
    assert [plot.x_label.split()[0] for plot in plots] == ["measured", "estimated"]


def test_one_plot_holds_one_part_the_one_that_more_models_have(model):
    records = [
        *(model("a", 30.0, 10.0), model("b", 31.0, 20.0, part="end_to_end")),
        model("c", 32.0, 30.0, part="end_to_end"),
    ]
    plot = of(cost_plots(records, PAPER), "psnr-latency")
    assert list(points(plot)) == ["b", "c"]
    assert "end to end" in plot.x_label
    assert any(note.startswith("Not shown: a; ") for note in plot.notes)


def test_machines_that_were_measured_come_before_targets_that_were_predicted(model):
    predicted = model("a", 30.0, 10.0, found="predicted", target="a-target", is_host=False)
    plots = cost_plots([predicted, model("a", 30.0, 10.0)], PAPER)
    latency = [plot for plot in plots if plot.key == "psnr-latency"]
    assert [plot.choices["target"] for plot in latency] == ["board", "a-target"]
    assert [plot.title for plot in latency] == [
        "PSNR over measured latency on board",
        "PSNR over predicted latency on a-target",
    ]
    # The same model, once.
    assert list(points(of(plots, "psnr-macs"))) == ["a"]


def test_a_quantized_model_that_runs_in_float_is_not_called_int8(make_record, figure):
    entries = [figure("latency_ms", side, 1.0, setting=GPU) for side in ("encode", "decode")]
    plots = cost_plots([make_record("a.hwkd", entries=tuple(entries))], PAPER)
    assert [series.name for series in of(plots, "psnr-latency").series] == ["gdn, run in fp16"]
    assert [series.name for series in of(plots, "psnr-macs").series] == ["gdn, int8"]
    assert "Runs on gpu, ncnn fp16: a." in of(plots, "psnr-latency").notes


def test_images_of_different_sizes_are_compared_for_a_megapixel(model):
    small = model("small", 30.0, 10.0, width=1000, height=500)
    plot = of(cost_plots([small, model("large", 31.0, 30.0)], PAPER), "psnr-latency")
    # 20 ms for half a megapixel.
    assert points(plot)["small"].x == pytest.approx(40.0)
    assert "(ms for a megapixel)" in plot.x_label


def test_the_table_has_the_intervals_and_how_each_figure_was_found(model):
    table = of(cost_plots([model("a", 30.0, 10.0)], PAPER), "psnr-latency").table
    assert table.columns[2:6] == ("ms", "ms, low", "ms, high", "found")
    assert table.rows == (
        (
            "a",
            "gdn, int8",
            "20",
            "18",
            "24",
            "measured",
            "30",
            "0.75",
            "measured",
            "Kodak, 24 images",
        ),
    )


def test_a_cost_of_nothing_has_no_place_on_a_logarithmic_axis(make_record, figure):
    entries = tuple(figure("latency_ms", side, 0.0) for side in ("encode", "decode"))
    plots = cost_plots([make_record("a", entries=entries)], PAPER)
    assert [plot.key for plot in plots] == ["psnr-macs"]
