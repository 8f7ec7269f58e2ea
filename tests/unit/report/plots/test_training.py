import pytest

from hwkd.errors import InputError
from hwkd.report.plots.training import LogEntry, TrainingLog, read_training_log, training_plot


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


LINE = '{"phase": "float", "step": 200, "seconds": 58.5, "validation_rd": 2.5, "rd": 2.0, "bpp": 1.0, "mse": 0.0006}'


def written(tmp_path, text):
    path = tmp_path / "metrics.jsonl"
    path.write_text(text)
    return path


def test_a_line_is_an_entry(tmp_path):
    log = read_training_log(written(tmp_path, LINE + "\n"), "run")
    assert log.name == "run"
    assert log.entries == (LogEntry("float", 200, 58.5, 2.5, 2.0, 1.0, 0.0006),)


def test_what_a_line_lacks_is_not_known(tmp_path):
    log = read_training_log(written(tmp_path, '{"phase": "qat", "step": 5}\n'), "run")
    assert log.entries == (LogEntry("qat", 5, None, None, None, None, None),)


def test_a_last_line_that_was_cut_off_is_passed_over(tmp_path):
    log = read_training_log(written(tmp_path, LINE + "\n" + LINE[:40]), "run")
    assert len(log.entries) == 1


@pytest.mark.parametrize("line", ["{", "[]", '{"step": 5}', '{"phase": "float", "step": "many"}'])
def test_another_line_that_is_no_entry_is_refused(tmp_path, line):
    with pytest.raises(InputError, match=r"metrics\.jsonl, line 1 is no entry"):
        read_training_log(written(tmp_path, f"{line}\n{LINE}\n"), "run")


def test_a_missing_log_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot read the training log"):
        read_training_log(tmp_path / "none.jsonl", "run")
