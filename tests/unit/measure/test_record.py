import math
from dataclasses import replace

import pytest

from hwkd.errors import InputError
from hwkd.measure.record import (
    Entry,
    Macs,
    ModelFacts,
    Provenance,
    Quality,
    Record,
    Setting,
    Size,
    note_on,
)
from hwkd.quantity import Quantity, not_known

CPU = Setting("cpu", "openvino 2026.4.1", "int8", 2)
MEASURED = Quantity(40.0, "measured", "the clock", 38.0, 42.0, 0.95, runs=30)
PREDICTED = Quantity(40.0, "predicted", "targets/a.toml", 30.0, 50.0, 0.9)


def record(**fields):
    return Record(
        **(
            {
                "schema": 1,
                "target": "board",
                "is_host": True,
                "width": 768,
                "height": 512,
                "model": ModelFacts("a", "gdn N=8", "{}", "gdn", "8", True),
                "size": Size(100, 400, 100, 8),
                "macs": Macs(5, 2, 3, 7),
                "layers": (),
                "entries": (Entry("latency_ms", "encode", "networks", CPU, MEASURED),),
                "provenance": Provenance("2026-01-01T00:00:00Z", "hwkd profile", "host", {}),
            }
            | fields
        )
    )


def test_the_prior_counts_for_both_sides_and_once_in_total():
    macs = Macs(g_a=5, h_a=2, h_s=3, g_s=7)
    assert (macs.encode_macs, macs.decode_macs, macs.total_macs) == (10, 10, 17)


def test_pixels_are_width_times_height():
    assert record().pixels == 768 * 512


def test_a_setting_says_unit_runtime_precision_and_threads():
    assert str(CPU) == "cpu, openvino 2026.4.1 int8, 2 threads"
    assert str(replace(CPU, threads=1)) == "cpu, openvino 2026.4.1 int8, 1 thread"
    assert str(replace(CPU, threads=None)) == "cpu, openvino 2026.4.1 int8"


def test_a_record_of_another_schema_is_refused():
    with pytest.raises(InputError, match=r"^a record of schema 2; this hwkd reads schema 1: make"):
        record(schema=2)


@pytest.mark.parametrize("size", [{"width": 0}, {"height": 0}])
def test_an_image_without_pixels_is_refused(size):
    with pytest.raises(InputError, match=r"^an image has 1x1 pixels or more, got "):
        record(**size)


@pytest.mark.parametrize(
    ("is_host", "quantity", "message"),
    [
        (
            True,
            PREDICTED,
            "latency_ms of both is predicted, but the record is of the machine itself",
        ),
        (
            False,
            MEASURED,
            "latency_ms of both is measured, but the record is of a machine that was not there",
        ),
    ],
)
def test_measured_and_predicted_never_mix(is_host, quantity, message):
    entry = Entry("latency_ms", "both", "end_to_end", CPU, quantity)
    with pytest.raises(InputError) as caught:
        record(is_host=is_host, entries=(entry,))
    assert str(caught.value) == message


@pytest.mark.parametrize("is_host", [True, False])
@pytest.mark.parametrize("found", ["measured", "predicted"])
def test_what_is_unknown_may_stand_in_either_kind_of_record(is_host, found):
    entry = Entry("energy_mj", "both", "end_to_end", CPU, not_known("no sensor", found))
    assert record(is_host=is_host, entries=(entry,)).entries == (entry,)


def test_notes_on_a_unit_leave_out_the_other_units_and_the_plan():
    entries = tuple(
        Entry("latency_ms", "encode", "networks", replace(CPU, unit=unit), PREDICTED)
        for unit in ("cpu", "gpu")
    )
    notes = ("plan: a", "of all", f"{note_on('board', 'cpu')}b", f"{note_on('board', 'gpu')}c")
    of = record(is_host=False, entries=entries, notes=notes)
    assert of.notes_on({"gpu"}) == ("of all", "board, gpu: c")
    assert of.notes_on({"cpu", "gpu"}) == ("of all", "board, cpu: b", "board, gpu: c")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "latency_s"}, "name must be one of latency_ms, energy_mj, "),
        ({"side": "decoding"}, "side must be one of encode, decode, both; got 'decoding'"),
        ({"part": "all"}, "part must be one of preprocess, transform, "),
        ({"part": "layer"}, "part 'layer' and a layer's name go together, got ''"),
        ({"layer": "g_a.0"}, "part 'layer' and a layer's name go together, got 'g_a.0'"),
        ({"p95": -1.0}, "p95 must be a finite number of 0 or more, got -1.0"),
        ({"p95": math.nan}, "p95 must be a finite number of 0 or more, got nan"),
        ({"p95": math.inf}, "p95 must be a finite number of 0 or more, got inf"),
    ],
)
def test_an_entry_that_cannot_be_is_refused(fields, message):
    entry = Entry("latency_ms", "encode", "networks", CPU, MEASURED)
    with pytest.raises(InputError) as caught:
        Entry(**(vars(entry) | fields))
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Setting("", "ort", "int8"),
            "a setting names unit, runtime and precision; one of ",
        ),
        (
            lambda: Setting("cpu", "", "int8"),
            "a setting names unit, runtime and precision; one of ",
        ),
        (lambda: Setting("cpu", "ort", ""), "a setting names unit, runtime and precision; one of "),
        (lambda: Setting("cpu", "ort", "int8", 0), "threads must be 1 or more, got 0"),
        (lambda: Size(1, 1, -1, 1), "weight_bytes must be 0 or more, got -1"),
        (lambda: Macs(1, -2, 1, 1), "MACs of h_a must be 0 or more, got -2"),
        (lambda: Quality(30.0, 0.0, "a", "b"), "psnr_db and bpp must be finite and above 0, got "),
        (lambda: Quality(-1.0, 0.5, "a", "b"), "psnr_db and bpp must be finite and above 0, got "),
        (lambda: Quality(math.inf, 0.5, "a", "b"), "psnr_db and bpp must be finite and above 0"),
        (lambda: Quality(math.nan, 0.5, "a", "b"), "psnr_db and bpp must be finite and above 0"),
        (lambda: Quality(30.0, 0.5, "a", "b", 1.5), "ms_ssim must be 0 to 1, got 1.5"),
        (lambda: Quality(30.0, 0.5, "a", "b", math.nan), "ms_ssim must be 0 to 1, got nan"),
    ],
)
def test_facts_that_cannot_be_are_refused(make, message):
    with pytest.raises(InputError) as caught:
        make()
    assert str(caught.value).startswith(message)
