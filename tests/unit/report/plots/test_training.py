from hwkd.report.plots.training import training_plot
from hwkd.report.training_log import LogEntry, TrainingLog


def entry(phase, step, loss):
    return LogEntry(phase, step, 10.0, loss, 3.0, 1.0, 0.001)


LOG = TrainingLog(
    "medium",
    (
        entry("float", 100, 3.0),
        entry("float", 200, 2.5),
        entry("qat", 50, 2.75),
        entry("qat", 100, 2.25),
        entry("tune", 10, None),
        entry("tune", 30, 2.125),
    ),
)
UNVALIDATED = TrainingLog("blind", (entry("float", 100, None),))


def test_phases_are_laid_end_to_end():
    (series,) = training_plot([LOG]).series
    # 200 steps of float, then 100 of qat.
    assert [point.x for point in series.points] == [100, 200, 250, 300, 330]
    assert [point.y for point in series.points] == [3.0, 2.5, 2.75, 2.25, 2.125]
    assert series.is_line


def test_points_of_later_phases_are_marked():
    (series,) = training_plot([LOG]).series
    details = [point.detail for point in series.points]
    assert details == ["", "", "phase qat, step 50", "phase qat, step 100", "phase tune, step 30"]


def test_logs_without_held_out_crops_are_named_and_not_drawn():
    plot = training_plot([LOG, UNVALIDATED])
    assert [series.name for series in plot.series] == ["medium"]
    assert "Not shown, as no crops were held out: blind." in plot.notes
    assert training_plot([UNVALIDATED]) is None
    assert training_plot([]) is None


def test_the_caption_tells_begin_end_and_lowest_loss():
    log = TrainingLog(
        "a", (entry("float", 1000, 3.0), entry("float", 2000, 2.0), entry("float", 3000, 2.5))
    )
    caption = training_plot([log]).caption
    assert (
        "1 run: a from 3.00 at step 1,000 to 2.50 at step 3,000 (lowest 2.00 at step 2,000)."
        in caption
    )


def test_the_table_has_every_loss():
    table = training_plot([LOG]).table
    assert [row[table.columns.index("validation_rd")] for row in table.rows] == [
        *("3", "2.5", "2.75", "2.25", "2.125")
    ]
    assert table.rows[2][:4] == ("medium", "qat", "50", "250")
