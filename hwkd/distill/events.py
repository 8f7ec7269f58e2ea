"""A run's diary, events.jsonl: when it was started, resumed, restarted, and by how many processes."""

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from hwkd.files import append_line

FILE = "events.jsonl"

KINDS = ("started", "resumed", "restarted", "lost", "interrupted", "finished")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class Event:
    """kind: of KINDS. launcher: as `hwkd.distill.distributed.Processes`. phase, step: from where it goes on, if not the
    start. time: UTC."""

    kind: str
    processes: int
    launcher: str = ""
    phase: str = ""
    step: int = 0
    time: str = field(default_factory=_now)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"an event is one of {', '.join(KINDS)}, got {self.kind!r}")

    def sentence(self) -> str:
        """For people."""
        who = "1 process" if self.processes == 1 else f"{self.processes} processes"
        at = f"step {self.step} of the {self.phase} phase"
        match self.kind:
            case "started":
                what = f"started by {who}"
            case "resumed":
                what = f"resumed by {who} from {at}"
            case "restarted":
                what = f"a process was lost: torchrun started {who} again, from {at if self.phase else 'the beginning'}"
            case "lost":
                what = "the first process lost another one"
            case "interrupted":
                what = "interrupted by the user"
            case _:
                what = "finished training"
        return f"{self.time} {what}"


def append_event(folder: Path, event: Event) -> None:
    """Add `event` to the diary of the run in `folder`. Raises as `hwkd.files.append_line`."""
    append_line(folder / FILE, json.dumps(asdict(event)))


def read_events(folder: Path) -> tuple[Event, ...]:
    """The diary of the run in `folder`; empty where there is none. Lines that are no events are passed over."""
    try:
        lines = (folder / FILE).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return ()
    events = []
    for line in lines:
        try:
            events.append(Event(**json.loads(line)))
        except (ValueError, TypeError):
            continue  # half a line of a killed process
    return tuple(events)
