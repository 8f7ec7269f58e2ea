"""What a candidate costs, and the budget that it must keep."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from hwkd.errors import InputError
from hwkd.quantity import Quantity

MIB = 2**20


@dataclass(frozen=True)
class Cost:
    """One student's cost for one image.

    kmac_per_pixel: of all four networks, each once, counted. latency_ms: of the slower of encode and decode, networks
    without entropy coding. energy_mj: the greater of the two. least_mib: its weights at the fewest bits that may be chosen;
    full_mib: at the most that the kernels take.
    """

    kmac_per_pixel: float
    latency_ms: Quantity
    energy_mj: Quantity
    least_mib: float
    full_mib: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a study, which `cost_from_dict` reads back."""
        return asdict(self)


def cost_from_dict(raw: Mapping[str, Any]) -> Cost:
    """The cost that `Cost.to_dict` wrote."""
    latency_ms, energy_mj = Quantity(**raw["latency_ms"]), Quantity(**raw["energy_mj"])
    return Cost(raw["kmac_per_pixel"], latency_ms, energy_mj, raw["least_mib"], raw["full_mib"])


@dataclass(frozen=True)
class Budget:
    """The most that a student may cost; None: no limit. max_mib: of stored weights, which asks for bits per layer."""

    max_ms: float | None
    max_mj: float | None
    max_mib: float | None

    def __post_init__(self) -> None:
        if (self.max_ms, self.max_mj, self.max_mib) == (None, None, None):
            raise InputError(
                "a search needs a budget: give --max-ms, --max-mj or --max-mib, or several of them"
            )

    def shares(self, cost: Cost) -> Iterator[tuple[str, float, float]]:
        """(option, the cost's value, the share of the budget that it takes), for each limit.

        Raises:
            InputError: a limit on what is not known of the cost; the reason is told.
        """
        for option, most, found in (
            ("--max-ms", self.max_ms, cost.latency_ms),
            ("--max-mj", self.max_mj, cost.energy_mj),
        ):
            if most is not None:
                if found.value is None:
                    raise InputError(f"{option} {most:g} cannot be held: {found.reason}")
                yield option, found.value, found.value / most
        if self.max_mib is not None:
            yield "--max-mib", cost.least_mib, cost.least_mib / self.max_mib

    def excess(self, cost: Cost) -> float:
        """The largest share of the budget that `cost` takes: above 1 it does not fit. Raises as `shares`."""
        return max(share for _, _, share in self.shares(cost))

    def fits(self, cost: Cost) -> bool:
        """Whether `cost` is within the budget. Raises as `shares`."""
        return self.excess(cost) <= 1

    def fits_in_full(self, cost: Cost) -> bool:
        """Whether `cost` is within the budget without a layer giving up bits. Raises as `shares`."""
        return self.fits(cost) and (self.max_mib is None or cost.full_mib <= self.max_mib)

    def __str__(self) -> str:
        limits = (("ms", self.max_ms), ("mJ", self.max_mj), ("MiB", self.max_mib))
        return ", ".join(f"{most:g} {unit}" for unit, most in limits if most is not None)


def rounded(value: float) -> str:
    """Three significant digits, all before the point where those are more."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
