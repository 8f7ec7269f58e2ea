"""What a restart by torchrun makes of the command."""

from argparse import Namespace
from pathlib import Path

import pytest

from hwkd.cli.distill_restart import after_restart
from hwkd.distill.distributed import Processes
from hwkd.distill.events import Event, append_event
from hwkd.errors import InputError

GIVEN = Namespace(resume=False, force=False)
FIRST, SECOND = (Processes(launcher="torchrun mine", restarts=n) for n in (0, 1))


def _run_of(folder: Path, launcher: str, *, with_state: bool) -> Path:
    (folder / "checkpoint").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    append_event(folder, Event("started", 2, launcher))
    if with_state:
        (folder / "checkpoint/state.pt").write_bytes(b"")
    return folder


def test_the_first_attempt_is_what_was_asked_for(tmp_path: Path) -> None:
    folder = _run_of(tmp_path, "torchrun mine", with_state=True)
    assert after_restart(GIVEN, folder, FIRST) is GIVEN


@pytest.mark.parametrize("with_state", [True, False])
def test_a_restart_goes_on_from_the_checkpoint_or_starts_its_run_over(
    tmp_path: Path, with_state: bool
) -> None:
    folder = _run_of(tmp_path, "torchrun mine", with_state=with_state)
    args = after_restart(GIVEN, folder, SECOND)
    assert (args.resume, args.force) == (with_state, not with_state)


def test_a_restart_before_anything_was_written_is_what_was_asked_for(tmp_path: Path) -> None:
    args = after_restart(GIVEN, tmp_path / "nothing", SECOND)
    assert (args.resume, args.force) == (False, False)


def test_a_run_of_another_start_is_neither_resumed_nor_removed(tmp_path: Path) -> None:
    folder = _run_of(tmp_path, "torchrun another", with_state=True)
    with pytest.raises(InputError, match="a run that this torchrun did not start"):
        after_restart(GIVEN, folder, SECOND)
