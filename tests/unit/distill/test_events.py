"""The diary of a run."""

from dataclasses import replace
from pathlib import Path

from hwkd.distill.events import Event, append_event, read_events

STARTED = Event("started", 2, "torchrun mine", time="2026-01-02T03:04:05+00:00")
RESTARTED = replace(STARTED, kind="restarted", phase="qat", step=40)


def test_events_are_read_back_in_their_order(tmp_path: Path) -> None:
    for event in (STARTED, RESTARTED):
        append_event(tmp_path, event)
    assert read_events(tmp_path) == (STARTED, RESTARTED)


def test_half_a_line_of_a_killed_process_and_unknown_events_are_passed_over(tmp_path: Path) -> None:
    append_event(tmp_path, STARTED)
    with (tmp_path / "events.jsonl").open("a") as diary:
        diary.write('{"kind": "someday", "processes": 1}\n{"kind": "res')
    assert read_events(tmp_path) == (STARTED,)


def test_a_folder_without_a_diary_has_no_events(tmp_path: Path) -> None:
    assert read_events(tmp_path) == ()


def test_sentences_say_when_who_and_from_where() -> None:
    assert STARTED.sentence() == "2026-01-02T03:04:05+00:00 started by 2 processes"
    assert RESTARTED.sentence() == (
        "2026-01-02T03:04:05+00:00 a process was lost: torchrun started 2 processes again, "
        "from step 40 of the qat phase"
    )
    resumed = Event("resumed", 1, "", "float", 3, "t")
    assert resumed.sentence() == "t resumed by 1 process from step 3 of the float phase"
