"""`hwkd distill` under torchrun's elastic restart: the same command goes on where the last checkpoint stands."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from hwkd.errors import InputError

if TYPE_CHECKING:
    from hwkd.distill.distributed import Processes


def after_restart(
    args: argparse.Namespace, folder: Path, processes: "Processes"
) -> argparse.Namespace:
    """`args` as they are; where torchrun has started the processes again, so that they continue their run in `folder`.

    Raises:
        InputError: the run in `folder` is of another start, so that it is not ours to go on with or to start over.
    """
    if not processes.restarts:
        return args
    resume, force = processes.by_first(lambda: _how(args, folder, processes.launcher))
    return argparse.Namespace(**{**vars(args), "resume": resume, "force": force})


def _how(args: argparse.Namespace, folder: Path, launcher: str) -> tuple[bool, bool]:
    """(whether to resume, whether to start over)."""
    from hwkd.distill.checkpoint import state_path
    from hwkd.distill.events import read_events

    if not (folder / "config.json").is_file():
        return args.resume, args.force
    events = read_events(folder)
    if not any(event.launcher == launcher for event in events):
        raise InputError(
            f"{folder} holds a run that this torchrun did not start: continue it with --resume, start it over with "
            "--force, or give another -o"
        )
    has_state = state_path(folder).exists()
    return has_state, not has_state
