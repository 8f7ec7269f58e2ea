"""What a device takes for a unit of work: the constants behind predicted latencies, with their uncertainty.

Kept in a target's TOML file, derived by `hwkd targets fit` from published timings or by `hwkd profile --save-target` from
a board's own. The terms of a layer's work are those of hwkd.measure.layers (scheme "kinds") or of
hwkd.measure.layer_shapes (scheme "shapes").
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from hwkd.errors import InputError

SCHEMES = ("kinds", "shapes")


@dataclass(frozen=True)
class Constants:
    """The constants of one unit in one precision with one number of threads.

    unit: of the target. threads: that the timings were taken with. runtime: that they were taken with, which is not
    the target's own where nobody published that. device: what was timed; is_same_device: False for a stand-in, note
    then says what is alike. source: of the timings.
    scheme: of SCHEMES. ln_ns: term -> natural logarithm of the nanoseconds for one unit of work.
    covariance: of ln_ns, in the order of its keys; empty: none but sigma.
    sigma: standard deviation of ln(time) that the terms cannot explain. unseen: the further one, of ln(time), of layers
    that nobody timed. networks: how many networks or profiles stand behind the constants.
    error_percent, coverage: median error and share of truths inside the 90 % interval when each network is left out in
    turn, of this very device; None where too few were timed.

    Raises:
        InputError: an unknown scheme, no terms, a covariance of another size, a spread below 0, an empty source.
    """

    unit: str
    precision: str
    threads: int
    runtime: str
    device: str
    is_same_device: bool
    source: str
    scheme: str
    networks: int
    sigma: float
    unseen: float
    ln_ns: Mapping[str, float]
    covariance: tuple[tuple[float, ...], ...] = ()
    error_percent: float | None = None
    coverage: float | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            raise InputError(f"scheme must be one of {', '.join(SCHEMES)}, got {self.scheme!r}")
        if not self.ln_ns:
            raise InputError("constants need a value for at least one term in ln_ns, got none")
        if not self.source.strip() or not self.device.strip():
            raise InputError(
                "constants need the device that was timed and a source; got an empty one"
            )
        if not self.is_same_device and not self.note:
            raise InputError("a stand-in needs a note on what is alike; got an empty one")
        if min(self.sigma, self.unseen) < 0 or self.threads < 1 or self.networks < 1:
            raise InputError(
                f"sigma and unseen must be 0 or more, threads and networks 1 or more; got {self.sigma}, "
                f"{self.unseen}, {self.threads} and {self.networks}"
            )
        n = len(self.ln_ns)
        if self.covariance and [len(row) for row in self.covariance] != [n] * n:
            raise InputError(f"covariance must have {n} rows of {n} numbers, one for each of ln_ns")
        if not all(math.isfinite(value) for value in self.ln_ns.values()):
            raise InputError(f"ln_ns must hold finite numbers, got {dict(self.ln_ns)}")

    def __str__(self) -> str:
        return f"{self.unit} {self.precision}, {self.threads} thread{'s' * (self.threads > 1)}"
