from collections.abc import Callable
from dataclasses import replace

import pytest

from hwkd.measure.record import (
    Entry,
    Macs,
    ModelFacts,
    Provenance,
    Quality,
    Record,
    Setting,
    Size,
)
from hwkd.models.spec import HyperpriorSpec, spec_to_json
from hwkd.quantity import Quantity

CPU = Setting("cpu", "openvino 2026.4.1", "int8", 2)
MIB = 2**20


@pytest.fixture
def figure() -> Callable[..., Entry]:
    """figure(name, side, value, part="networks", setting=CPU, found="measured", low=None, high=None): an entry."""

    def make(
        name: str,
        side: str,
        value: float,
        part: str = "networks",
        setting: Setting = CPU,
        found: str = "measured",
        low: float | None = None,
        high: float | None = None,
    ) -> Entry:
        level = None if low is None else 0.95
        runs = 30 if found == "measured" else None
        by = {"measured": "the clock", "estimated": "codecarbon", "predicted": "timings"}[found]
        return Entry(name, side, part, setting, Quantity(value, found, by, low, high, level, runs))

    return make


@pytest.fixture
def make_record(figure) -> Callable[..., Record]:
    """make_record(name="teacher", N=128, **fields): 40 and 60 ms, 300 and 500 mJ, measured; 1 Mpx; round counts."""

    def make(name: str = "teacher", N: int = 128, **fields: object) -> Record:
        spec = HyperpriorSpec("gdn", (N, N, N), 192, N, N)
        record = Record(
            schema=1,
            target="board",
            is_host=True,
            width=1000,
            height=1000,
            model=ModelFacts(name, str(spec), spec_to_json(spec), "gdn", "8", True),
            size=Size(2_000_000, 7 * MIB, 2 * MIB, 1 * MIB),
            macs=Macs(20_000_000_000, 1_000_000_000, 3_000_000_000, 16_000_000_000, {"sqrt": 6}),
            layers=(),
            entries=(
                figure("latency_ms", "encode", 40.0),
                figure("latency_ms", "decode", 60.0),
                figure("energy_mj", "encode", 300.0),
                figure("energy_mj", "decode", 500.0),
            ),
            provenance=Provenance("2026-01-01T00:00:00Z", "hwkd profile", "host", {}),
            quality=Quality(34.5, 0.8, "Kodak", "hwkd evaluate"),
        )
        return replace(record, **fields)

    return make
