"""The tables and plots of a search, from trials made by hand."""

from dataclasses import replace

import pytest

from hwkd.bits import BitPlan
from hwkd.models.spec import HyperpriorSpec, PatchSpec
from hwkd.quantity import Quantity, not_known, quantity_text
from hwkd.report.fit import FitResult, best_in_words, fit_plots, front_table, trials_table
from hwkd.report.plots.figures import draw_plot
from hwkd.search.cost import Budget, Cost
from hwkd.search.settings import Settings, TeacherFacts
from hwkd.search.space import Space, family_space
from hwkd.search.trial import COMPLETE, FAILED, REFERENCE, SEARCHED, STOPPED, UNIFORM, Trial

TEACHER = PatchSpec(M=64, H=16, Z=16, C=64, widths=(64, 64, 64), post=(16,))
WIDE = PatchSpec(M=64, H=16, Z=16, C=64, widths=(24, 40, 64), post=(16,))
ALIKE = PatchSpec(M=64, H=16, Z=16, C=48, widths=(48, 48, 48), post=(12,))
PAPER = HyperpriorSpec("gdn", (16, 16, 16), 192, 16, 16)


def predicted(value):
    return Quantity(value, "predicted", "pi.toml", value / 2, value * 2, 0.9)


def cost(ms, mj=None):
    energy = not_known("nobody measured the board") if mj is None else predicted(mj)
    return Cost(ms / 20, predicted(ms), energy, 0.1, 0.2)


def trial(number, kind, spec, ms, loss, **more):
    made = {"state": COMPLETE, "steps": 256, "bits": BitPlan(8), "stored_mib": ms / 100}
    return Trial(
        number,
        kind,
        spec,
        cost(ms, 6 * ms),
        ms <= 100,
        **{**made, "rd_loss": loss, "bpp": 0.6, "psnr_db": 33.0, "seconds": 9.0, **more},
    )


FOUND = (
    trial(0, REFERENCE, PAPER, 180, 4.0),
    trial(1, UNIFORM, ALIKE, 90, 1.5),
    trial(2, SEARCHED, WIDE, 80, 1.2),
    trial(3, SEARCHED, WIDE, 50, 1.8),
    trial(4, SEARCHED, WIDE, 95, 1.0, state=STOPPED, steps=32),
    trial(5, SEARCHED, WIDE, 60, None, state=FAILED, reason="the loss is not finite at step 7"),
)


@pytest.fixture
def result():
    settings = Settings(
        target="raspberry-pi-4",
        target_sha256="",
        budget=Budget(100, 1000, None),
        space=Space((family_space("patch", TEACHER),)),
        weight_bits=8,
        lmbda=0.025,
        teachers=(
            TeacherFacts("patch-q5", "patch-q5", "", ("patch",)),
            TeacherFacts("hyperprior-64", "hyperprior-64", "", ("gdn", "relu")),
        ),
        data="embedded photographs",
        steps=256,
        crop=128,
        batch=4,
        pool=512,
        lr=5e-4,
        seed=0,
    )
    return FitResult(settings, "raspberry-pi-4", FOUND, "cpu, ncnn int8", (), ((96, cost(900)),))


def cells(table, *columns):
    places = [table.columns.index(name) for name in columns]
    return [tuple(row[i] for i in places) for row in table.rows]


def test_the_front_stands_above_what_it_is_compared_with(result):
    # Trial 2 beats 1 in everything; 3 is cheaper than both; 4 was stopped early and does not compare.
    assert cells(front_table(result), "trial", "what", "rd_loss", "latency_ms") == [
        ("3", "front", "1.8000", "50.0 (25.0 to 100)"),
        ("2", "front, best", "1.2000", "80.0 (40.0 to 160)"),
        ("0", "paper N=16", "4.0000", "180 (90.0 to 360)"),
        ("1", "equal widths", "1.5000", "90.0 (45.0 to 180)"),
    ]


def test_the_best_stands_first_in_a_sentence(result):
    assert best_in_words(result) == (
        "Best: trial 2, patch M=64 H=16 Z=16 C=64 widths=24-40-64 post=16: "
        f"{quantity_text(FOUND[2].cost.latency_ms)} ms, rd_loss 1.2000."
    )
    assert best_in_words(replace(result, found=FOUND[4:])) == ""


def test_notes_say_what_was_won_and_what_is_not_sure(result):
    notes = " ".join(front_table(result).notes)
    assert (
        "5 trials: 3 trained for all steps, 1 stopped early, 1 failed (trial 5: the loss is not finite at step 7)"
        in notes
    )
    # 1 - 1.2 / 1.5 = 20 %.
    assert (
        "The loss of trial 2 is 20.0 % below that of the widest patch student of equal widths"
        in notes
    )
    assert (
        "latency_ms of trial 2: the upper end of its 90 % interval, 160, is beyond the budget of 100"
        in notes
    )
    assert (
        "energy_mj of trial 2: the upper end of its 90 % interval, 960, is within the budget of 1000"
        in notes
    )
    assert "they would cost N=96: 45.0 kMAC/pixel, 900 ms, n/a mJ" in notes
    assert "predicted for raspberry-pi-4 (cpu, ncnn int8)" in notes


def test_bits_by_layer_are_told_by_their_range_and_mean(result):
    bits = BitPlan(8, 8, (("g_a.*", 4, 8), ("h_a.*", 4, 8), ("h_s.*", 4, 8)))
    found = tuple(replace(f, bits=bits) if f.number == 2 else f for f in result.found)
    (told,) = [
        bits
        for number, bits in cells(front_table(replace(result, found=found)), "trial", "weight_bits")
        if number == "2"
    ]
    assert told.startswith("4 to 8, mean ")
    assert 4 < float(told.split()[-1]) < 8


def test_before_the_first_trial_is_complete_there_is_a_table_without_rows(result):
    table = front_table(replace(result, found=()))
    assert table.rows == ()
    assert "No student within the budget has been trained for all steps yet." in table.notes
    assert fit_plots(replace(result, found=())) == ()


def test_unknown_energy_is_told_with_its_reason(result):
    found = tuple(replace(f, cost=cost(f.cost.latency_ms.value)) for f in result.found)
    unknown = replace(result, found=found)
    assert {energy for (energy,) in cells(front_table(unknown), "energy_mj")} == {"n/a"}
    assert "energy_mj is n/a: nobody measured the board." in front_table(unknown).notes
    assert [plot.key for plot in fit_plots(unknown)] == ["fit-macs", "fit-ms"]


def test_every_trial_is_there_for_machines(result):
    rows = cells(trials_table(result), "trial", "state", "is_within_budget", "is_on_front")
    assert rows == [
        ("0", "complete", "no", "no"),
        ("1", "complete", "yes", "no"),
        ("2", "complete", "yes", "yes"),
        ("3", "complete", "yes", "yes"),
        ("4", "stopped early", "yes", "no"),
        ("5", "failed", "yes", "no"),
    ]


def test_plots_show_the_papers_students_beside_the_front(result):
    plots = {plot.key: plot for plot in fit_plots(result)}
    assert list(plots) == ["fit-macs", "fit-ms", "fit-mj"]
    plot = plots["fit-ms"]
    assert [(s.name, [p.name for p in s.points]) for s in plot.series] == [
        ("patch", ["3", "2"]),
        ("equal widths", ["1"]),
        ("gdn, uniform N of arXiv 2509.10366", ["N=16"]),
    ]
    assert [(p.x, p.y) for p in plot.front] == [(50, 1.8), (80, 1.2)]
    assert plot.notes[0] == "The budget ends at 100 ms."
    assert plot.series[0].points[0].low is not None
    assert plots["fit-macs"].series[0].points[0].low is None
    assert "The least loss is that of 2, 1.200 at 80.0 ms" in plot.caption


def test_those_near_the_best_are_shown_alone_where_others_press_them_together(result):
    # 10 % above the least loss of 1.2 is 1.32.
    close = tuple(replace(f, rd_loss=1.3) if f.number == 1 else f for f in result.found)
    plots = {plot.key: plot for plot in fit_plots(replace(result, found=close))}
    whole, near = plots["fit-ms"], plots["fit-ms-near"]
    assert [(s.name, [p.name for p in s.points]) for s in near.series] == [
        ("patch", ["2"]),
        ("equal widths", ["1"]),
    ]
    assert "within 10 % of the least loss" in near.title
    # Its intervals are far wider than the search: they stand in the other plot and in the table.
    assert all(p.low is None for s in near.series for p in s.points)
    # Named once.
    assert [(s.name, [p.name for p in s.points]) for s in whole.series] == [
        ("patch", ["3", ""]),
        ("equal widths", [""]),
        ("gdn, uniform N of arXiv 2509.10366", ["N=16"]),
    ]


def test_a_plot_can_be_drawn(result, tmp_path):
    plot = next(plot for plot in fit_plots(result) if plot.key == "fit-ms")
    (path,) = draw_plot(plot, [tmp_path / "fit-ms.svg"])
    assert "predicted latency" in path.read_text()
