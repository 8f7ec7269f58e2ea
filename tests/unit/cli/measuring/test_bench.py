import csv
import io

import pytest

from hwkd.cli.measuring.bench import bench_tables
from hwkd.measure.bench import Bench, BenchRow, StepTime, speedup
from hwkd.quantity import Quantity, not_known
from hwkd.report.table import render
from tests.tables import table_of


def measured(value, low=None, high=None):
    level = None if low is None else 0.95
    return Quantity(value, "measured", "wall clock", low, high, level, 9)


def row(name, encode_ms, decode_ms, steps=(), reference=None):
    latency_ms = {"encode": encode_ms, "decode": decode_ms}
    itself = Quantity(1.0, "measured", "itself", runs=9)
    return BenchRow(
        name,
        "made",
        2,
        latency_ms,
        {
            side: itself if reference is None else speedup(reference.latency_ms[side], own)
            for side, own in latency_ms.items()
        },
        not_known("random weights", "computed")
        if reference is None
        else Quantity(31.25, "computed", "pixels"),
        Quantity(0.5, "computed", "bytes"),
        Quantity(24576.0, "counted", "bytes"),
        steps,
    )


@pytest.fixture
def found():
    slow = row(
        "slow",
        measured(400.0, 390.0, 420.0),
        measured(600.0, 570.0, 630.0),
        (
            StepTime("decode", "entropy", measured(300.0), 0.5, True),
            StepTime("decode", "g_a", measured(300.0), 0.5, False),
        ),
    )
    fast = row(
        "fast",
        measured(20.0, 19.5, 21.0),
        measured(30.0, 28.5, 31.5),
        (
            StepTime("decode", "entropy z", measured(1.5), 0.05, True),
            StepTime("decode", "entropy y", measured(6.0), 0.2, True),
            StepTime("decode", "decoder", measured(22.5), 0.75, False),
        ),
        slow,
    )
    gone = not_known("not installed")
    sides = {"encode": gone, "decode": gone}
    absent = BenchRow("absent", "nowhere", None, sides, sides, gone, gone, gone)
    return Bench(768, 512, slow, (slow, fast, absent), ("Nine rounds.",))


def tables(found, fmt):
    return [render(table, fmt) for table in bench_tables(found, "a photograph", fmt)]


def test_machines_get_a_column_for_each_number(found):
    speedups, latencies, steps = map(table_of, tables(found, "json"))
    assert speedups["title"] == "End to end against slow (made): a photograph, 768x512"
    fast = speedups["rows"][1]
    # 400 / 20, and the ends 390 / 21 and 420 / 19.5.
    assert fast["encode_speedup"] == {
        "value": 20.0,
        "low": 18.571429,
        "high": 21.538462,
        "level": 0.9,
        "found": "measured",
    }
    assert [fast[name]["value"] for name in ("psnr_db", "bpp", "bytes")] == [31.25, 0.5, 24576]
    assert (fast["coder"], fast["setting"], fast["threads"]) == ("fast", "made", 2)
    assert latencies["rows"][1]["decode_ms"]["low"] == 28.5
    gone = {"value": None, "reason": "not installed"}
    assert [r["runs"] for r in latencies["rows"]] == [9, 9, gone]
    assert latencies["rows"][2]["decode_ms"] == gone
    assert [(r["coder"], r["step"], r["share_percent"]["value"]) for r in steps["rows"]] == [
        ("slow", "entropy", 50),
        ("slow", "g_a", 50),
        ("fast", "entropy z", 5),
        ("fast", "entropy y", 20),
        ("fast", "decoder", 75),
    ]


def test_csv_has_a_column_for_each_number(found):
    (slow, fast, _) = csv.DictReader(io.StringIO(tables(found, "csv")[0]))
    assert (fast["encode_speedup"], fast["encode_speedup_found"]) == ("20", "measured")
    assert fast["encode_speedup_low"] == "18.571429"
    assert fast["encode_speedup_high"] == "21.538462"
    assert (slow["encode_speedup"], slow["encode_speedup_low"]) == ("1", "n/a")


def test_people_see_values_with_their_spread_and_notes(found):
    speedups, latencies, steps = tables(found, "md")
    assert (
        "| fast | made | 2 | 20.0 -1.4/+1.5 | 20.0 -1.9/+2.1 | 31.25 | 0.500 | 24,576 |" in speedups
    )
    assert "| slow | made | 2 | 9 | 400 -10/+20 | 600 ±30 |" in latencies
    assert "\nNine rounds.\n" in latencies
    assert "90 % in encode_speedup, decode_speedup" in speedups
    assert "95 % in encode_ms, decode_ms" in latencies
    assert "Entropy coding in decode: 50.0 % of slow (made), 25.0 % of fast (made)." in steps


def test_what_is_not_known_is_not_available_with_the_reason(found):
    speedups, latencies, _ = tables(found, "md")
    assert "| absent | nowhere | n/a | n/a | n/a | n/a | n/a | n/a |" in speedups
    assert "psnr_db of slow (made): n/a, random weights." in speedups
    assert "encode_ms, decode_ms of absent (nowhere): n/a, not installed." in latencies


def test_steps_are_explained_for_the_coders_that_have_them(found):
    (*_, steps) = tables(found, "md")
    assert "Bundles: pad: " in steps
    assert "CompressAI: conversion is " in steps
    alone = Bench(768, 512, found.rows[1], found.rows[1:], ())
    assert "CompressAI" not in tables(alone, "md")[2]
