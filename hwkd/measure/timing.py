"""How long something takes on this host, with the spread."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, TypeVar

from hwkd.errors import InputError
from hwkd.quantity import Quantity

if TYPE_CHECKING:
    from hwkd.models.base import HyperpriorCodec

Name = TypeVar("Name")

MIN_RUNS_INTERVAL = 6
"""With fewer runs not even their smallest and largest hold the median with 95 %: 1 - 2 / 2^5 = 0.94."""
LEVEL = 0.95
"""The probability with which an interval holds the median, at least."""


@dataclass(frozen=True)
class Latency:
    """Wall-clock times of repeated runs, in milliseconds.

    median_ms, p95_ms: over the runs (p95 by nearest rank). runs: how many.
    interval95_ms: of the median, from the order statistics, at least 95 % (no distribution assumed; the runs are
    taken as independent, which a busy host makes optimistic). None below 6 runs, where no such interval exists.
    """

    median_ms: float
    p95_ms: float
    interval95_ms: tuple[float, float] | None
    runs: int

    def quantity(self, by: str) -> Quantity:
        """The median in milliseconds as a measured figure. by: what ran it, and how."""
        low, high = self.interval95_ms or (None, None)
        level = None if self.interval95_ms is None else LEVEL
        return Quantity(self.median_ms, "measured", by, low, high, level, self.runs)


def summarize(times_ms: Sequence[float]) -> Latency:
    """The `Latency` of these times. Raises InputError for none."""
    if not times_ms:
        raise InputError("no runs were timed: got 0, a latency needs 1 or more")
    times = sorted(times_ms)
    n = len(times)
    interval = None
    if n >= MIN_RUNS_INTERVAL:
        k = _median_rank(n)
        interval = (times[k], times[n - 1 - k])
    return Latency(median(times), times[math.ceil(0.95 * n) - 1], interval, n)


def measure_latency(
    fn: Callable[[], object],
    *,
    warmup: int = 3,
    repeats: int | None = None,
    seconds: float | None = None,
) -> Latency:
    """Run `fn` again and again, and time each run.

    Counts: the wall-clock time of one call, waiting included. Does not count: the warm-up runs before.

    Args:
        fn: must have finished its work when it returns (synchronise inside where a device runs behind).
        warmup: runs that are not timed.
        repeats: how many runs; or
        seconds: runs until this much time is spent on them, at least MIN_RUNS_INTERVAL.

    Raises:
        InputError: not exactly one of repeats and seconds, or a value that allows no run.
    """
    return measure_in_turn({"": fn}, warmup=warmup, repeats=repeats, seconds=seconds)[""]


def measure_in_turn(
    runs: Mapping[Name, Callable[[], object]],
    *,
    warmup: int = 3,
    repeats: int | None = None,
    seconds: float | None = None,
) -> dict[Name, Latency]:
    """Time several things by running each once in turn, round after round, so that a disturbance hits all alike.

    Counts and does not count as `measure_latency`.

    Args:
        runs: by name; at least one.
        warmup: rounds that are not timed.
        repeats: how many rounds; or
        seconds: rounds until this much time is spent on all of them, at least MIN_RUNS_INTERVAL.

    Raises:
        InputError: as `measure_latency`; nothing to run.
    """
    if (repeats is None) == (seconds is None):
        raise InputError(
            f"give either a number of runs or a time, got repeats={repeats} and seconds={seconds}"
        )
    if (
        not runs
        or warmup < 0
        or (repeats is not None and repeats < 1)
        or (seconds is not None and seconds <= 0)
    ):
        raise InputError(
            f"warmup must be 0 or more, repeats 1 or more, seconds above 0; got warmup={warmup}, "
            f"repeats={repeats}, seconds={seconds} for {len(runs)} runs in turn"
        )
    for _ in range(warmup):
        for fn in runs.values():
            fn()
    times: dict[Name, list[float]] = {name: [] for name in runs}
    start = time.perf_counter_ns()
    rounds = 0
    while True:
        for name, fn in runs.items():
            before = time.perf_counter_ns()
            fn()
            times[name].append((time.perf_counter_ns() - before) / 1e6)
        rounds += 1
        if repeats is not None:
            enough = rounds >= repeats
        else:
            spent_s = (time.perf_counter_ns() - start) / 1e9
            enough = rounds >= MIN_RUNS_INTERVAL and spent_s >= (seconds or 0)
        if enough:
            return {name: summarize(run_times) for name, run_times in times.items()}


def codec_latency(
    codec: "HyperpriorCodec",
    width: int,
    height: int,
    *,
    warmup: int = 2,
    repeats: int | None = None,
    seconds: float | None = None,
) -> dict[str, Latency]:
    """{"encode": .., "decode": ..}: the networks of `codec` in eager torch on this host's CPU, one image at a time.

    Counts: g_a, h_a, h_s for encode; h_s, g_s for decode; the image padded to multiples of 64, uniform noise (the
    time of a convolution does not depend on its values). Does not count: entropy coding, padding, conversion from
    and to 8 bits, loading. State `hwkd.measure.host.describe_host()` beside it.

    Raises:
        InputError: as `measure_latency`; a size under 1x1; a codec that is not on the CPU.
    """
    import torch

    from hwkd.measure.inference import evaluating

    if width < 1 or height < 1:
        raise InputError(f"an image of {width}x{height} cannot be timed; give 1x1 or more")
    device = next(codec.parameters()).device
    if device.type != "cpu":
        raise InputError(
            f"host latency is measured on the CPU, the model is on {device}; move it with .cpu()"
        )
    side = codec.downsampling_factor
    size = (1, 3, math.ceil(height / side) * side, math.ceil(width / side) * side)
    x = torch.rand(size, generator=torch.Generator().manual_seed(0))

    def encode() -> object:
        y = codec.g_a(x)
        return codec.entropy_parameters(torch.round(codec.hyper_analysis(y)))

    with evaluating(codec):
        y = codec.g_a(x)
        y_hat, z_hat = torch.round(y), torch.round(codec.hyper_analysis(y))

        def decode() -> object:
            return codec.entropy_parameters(z_hat), codec.g_s(y_hat)

        return {
            name: measure_latency(run, warmup=warmup, repeats=repeats, seconds=seconds)
            for name, run in (("encode", encode), ("decode", decode))
        }


def _median_rank(n: int) -> int:
    """The largest k such that the k-th smallest and k-th largest of n (from 0) hold the median with >= 95 %.

    P(the median lies outside) = 2 * P(Binomial(n, 1/2) <= k) (David and Nagaraja, Order Statistics, section 7.1);
    beyond 1000 runs by the normal approximation, one rank wider.
    """
    if n > 1000:
        return math.floor(n / 2 - 0.98 * math.sqrt(n)) - 1
    k, tail = -1, 0
    while (tail + math.comb(n, k + 1)) * 40 <= 2**n:
        k += 1
        tail += math.comb(n, k)
    return k
