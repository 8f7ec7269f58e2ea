"""A clock that moves only when told, and a meter that reads it."""

from collections.abc import Callable

from hwkd.measure.energy.meter import Window


class FakeClock:
    """Stands in for the module `time` where the code under test imports it."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now

    def perf_counter_ns(self) -> int:
        return round(1e9 * self.now)

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class FakeMeter:
    """Adds up the power that `power_w` gives for each window, by its number from 0, over the fake clock's time."""

    name = "fake"
    covers = "a made-up machine"

    def __init__(
        self, clock: FakeClock, power_w: Callable[[int], float], found: str = "measured"
    ) -> None:
        self.clock, self.power_w, self.found = clock, power_w, found
        self.lengths_s: list[float] = []
        self.is_open = False

    def begin_window(self) -> None:
        assert not self.is_open
        self.is_open, self.begin = True, self.clock.now

    def end_window(self) -> Window:
        assert self.is_open
        self.is_open = False
        seconds = self.clock.now - self.begin
        energy_j = seconds * self.power_w(len(self.lengths_s))
        self.lengths_s.append(seconds)
        return Window(energy_j, seconds, {"all": energy_j})
