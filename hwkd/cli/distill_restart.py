"""`hwkd distill` under torchrun's elastic restart: the same command goes on where the last checkpoint stands."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from hwkd.errors import InputError

if TYPE_CHECKING:
    from hwkd.distill.processes import Processes


def after_restart(
    args: argparse.Namespace, folder: Path, processes: "Processes"
) -> argparse.Namespace:
    """`args` as they are; where torchrun has started the processes again, so that they continue their run in `folder`.

    Raises:
        InputError: the run in `folder` is of another start, so that it is not ours to go on with or to start over.
    """
    from hwkd.distill.checkpoint import state_path
    from hwkd.distill.events import read_events

    if not processes.restarts or not (folder / "config.json").is_file():
        return args
    events = read_events(folder)
    if not any(event.launcher == processes.launcher for event in events):
        raise InputError(
            f"{folder} holds a run that this torchrun did not start: continue it with --resume, start it over with "
            "--force, or give another -o"
        )
    has_state = state_path(folder).exists()
    return argparse.Namespace(**{**vars(args), "resume": has_state, "force": not has_state})
