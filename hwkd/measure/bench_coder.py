"""What takes part in a bench: a way of coding one image, and where the time of each of its runs goes."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from hwkd.images import Pixels
from hwkd.measure.timing import summarize
from hwkd.metrics import psnr_db
from hwkd.quantity import Quantity, not_known

SIDES = ("encode", "decode")


class StepClock:
    """Splits each run of an encode or a decode into steps that follow one another without a gap.

    A step is a call that is timed, or what lies between two of them, which has a name too.
    runs: by side, the milliseconds of each step of each run; a step that comes back in one run is summed.
    """

    def __init__(self, now_ns: Callable[[], int] = time.perf_counter_ns) -> None:
        self.runs: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
        self._now_ns = now_ns
        self._last_ns = 0
        self._between = ""
        self._steps: dict[str, float] = {}

    @contextmanager
    def run(self, side: str, first: str) -> Iterator[None]:
        """One run of `side`. first: the name of what comes before the first timed call."""
        self._steps, self._between = {}, first
        self._last_ns = self._now_ns()
        yield
        self._lap(self._between)
        self.runs[side].append(self._steps)

    @contextmanager
    def step(self, name: str, then: str) -> Iterator[None]:
        """One timed call. then: the name of what comes after it."""
        self.enter()
        yield
        self.leave(name, then)

    def enter(self) -> None:
        """Where a timed call begins, for those that no block can be put around."""
        self._lap(self._between)

    def leave(self, name: str, then: str) -> None:
        """Where it ends; arguments as of `step`."""
        self._lap(name)
        self._between = then

    def summary(self, side: str, runs: int, by: str) -> dict[str, Quantity]:
        """The median milliseconds of each step over the last `runs` runs, in the order of the steps."""
        timed = self.runs[side][-runs:]
        return {
            name: summarize([steps[name] for steps in timed]).quantity(by) for name in timed[-1]
        }

    def _lap(self, name: str) -> None:
        now_ns = self._now_ns()
        self._steps[name] = self._steps.get(name, 0.0) + (now_ns - self._last_ns) / 1e6
        self._last_ns = now_ns


@dataclass(frozen=True)
class Coder:
    """A way of coding one image, ready to be timed: it has coded the image once.

    name, setting: for tables; the setting is what runs it, with its version. threads: that it may use.
    encode: pixels to bytes, decode: those bytes to pixels. stream_bytes: how many. psnr_db: of what comes back.
    clock: where the runs leave their steps, None for a coder that cannot be looked into.
    entropy: the names of the steps that are entropy coding. notes: sentences for people.
    """

    name: str
    setting: str
    threads: int
    encode: Callable[[], object]
    decode: Callable[[], object]
    stream_bytes: int
    psnr_db: Quantity
    clock: StepClock | None = None
    entropy: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Absent:
    """A way of coding that cannot be measured here, and why."""

    name: str
    setting: str
    reason: str


def quality_of(image: Pixels, decoded: Pixels) -> Quantity:
    """The PSNR of `decoded` in dB, of 8-bit RGB; not known where nothing was lost."""
    if (image == decoded).all():
        return not_known("the image came back without error, so its PSNR is infinite", "computed")
    return Quantity(psnr_db(image, decoded), "computed", "8-bit RGB of the decoded bytes")
