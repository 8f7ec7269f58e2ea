import pytest

from hwkd.errors import InputError
from hwkd.report.training_log import LogEntry, read_training_log

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
