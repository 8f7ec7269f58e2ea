import math
from dataclasses import replace

import pytest

from hwkd.measure.energy.measure import LINKS
from hwkd.measure.equal_psnr import CodecAtPsnr, EqualPsnr
from hwkd.measure.predict.movement import carried
from hwkd.measure.record import find_records
from hwkd.quantity import Quantity
from hwkd.report.compare.crossover import (
    Band,
    answer,
    bands,
    bench_device,
    energy_table,
    target_device,
    time_table,
)
from hwkd.report.compare.rows import Row, settings_of
from hwkd.target import load_target


def measured(value):
    return Quantity(value, "measured", "a clock", 0.9 * value, 1.1 * value, 0.95, 6)


def at(name, stream_bytes, encode_ms, decode_ms, *, is_bundle=False):
    size = Quantity(stream_bytes, "estimated", "between two qualities")
    psnr = Quantity(34.0, "computed", "the images")
    setting = "openvino" if is_bundle else "Pillow"
    return CodecAtPsnr(
        name, setting, 1, is_bundle, 50, psnr, size, measured(encode_ms), measured(decode_ms)
    )


# 8, 4 and 6 kbit; 1, 101 and 11 ms to encode.
FOUND = EqualPsnr(
    34.0,
    "24 images of kodak",
    24,
    393216.0,
    "a machine, 2 cores",
    (
        at("JPEG", 1000.0, 1.0, 1.0),
        at("AVIF", 500.0, 101.0, 1.0),
        at("patch-small", 750.0, 11.0, 400.0, is_bundle=True),
    ),
    (),
)


def rows(table):
    return {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}


def test_a_codec_is_done_first_from_where_its_time_saved_is_worth_its_bits():
    """4 to 6 kbit for 90 ms less: 2000 / 0.09 bit/s. 6 to 8 kbit for 10 ms less: 2000 / 0.01."""
    found = bands([("fast", 0.001, 8000), ("small", 0.101, 4000), ("between", 0.011, 6000)])
    assert [band.name for band in found] == ["small", "between", "fast"]
    assert found[0] == Band("small", 0.0, pytest.approx(2000 / 0.09))
    assert (found[1].low, found[1].high) == (found[0].high, pytest.approx(2000 / 0.01))
    assert (found[2].low, found[2].high) == (found[1].high, None)


@pytest.mark.parametrize("bit_s", [1e3, 1e4, 3e4, 1e5, 3e5, 1e6])
def test_at_every_speed_the_band_holds_who_is_done_first(bit_s):
    points = [("a", 0.001, 8000), ("b", 0.101, 4000), ("c", 0.011, 6000), ("d", 0.09, 7000)]
    first = min(points, key=lambda p: p[1] + p[2] / bit_s)[0]
    (of_it,) = (b for b in bands(points) if b.low < bit_s <= (b.high or math.inf))
    assert of_it.name == first


def test_one_that_is_smaller_and_faster_is_first_over_any_link():
    assert bands([("worse", 0.2, 9000), ("better", 0.1, 8000)]) == (Band("better", 0.0, None),)
    # As small, but slower: never.
    assert bands([("slow", 0.2, 8000), ("quick", 0.1, 8000)]) == (Band("quick", 0.0, None),)


def test_the_table_tells_the_speeds_and_the_answer_in_a_sentence():
    table = time_table(bench_device(FOUND))
    assert table.title == "Done first at 34 dB, by the speed of the link: a machine, openvino"
    found = rows(table)
    assert found["AVIF"]["send_mbit_s"] == "up to 0.022"
    assert found["patch-small"]["send_mbit_s"] == "0.022 to 0.20"
    assert found["JPEG"]["send_mbit_s"] == "over 0.20"
    # With 400 ms to decode the bundle is never first; 4 kbit for 100 ms.
    assert found["patch-small"]["show_mbit_s"] == "never"
    assert found["AVIF"]["show_mbit_s"] == "up to 0.040"
    assert (
        "First to encode and send: AVIF up to 22 kbit/s, patch-small up to 200 kbit/s, JPEG over faster links."
        in table.notes
    )
    assert answer(bench_device(FOUND), ()) == (
        "At 34 dB on a machine: to encode and send, AVIF up to 22 kbit/s, patch-small up to 200 kbit/s, JPEG over "
        "faster links; to encode, send and decode, AVIF up to 40 kbit/s, JPEG over faster links."
    )


def test_a_bundle_in_two_runtimes_is_two_codecs():
    twice = (*FOUND.rows, replace(FOUND.rows[-1], setting="onnxruntime", encode_ms=measured(5.0)))
    names = [coder.name for coder in bench_device(replace(FOUND, rows=twice)).coders]
    assert names == ["JPEG", "AVIF", "patch-small (openvino)", "patch-small (onnxruntime)"]


def test_a_bench_without_a_sensor_has_no_table_of_energy():
    assert energy_table(bench_device(FOUND), tuple(LINKS.values())) is None


@pytest.fixture(scope="module")
def board():
    (record,) = find_records("raspberry-pi-4/patch-small.hwkd")
    return Row(record, settings_of(record)[0]), load_target("raspberry-pi-4")


def test_on_a_board_bundles_are_as_recorded_and_the_others_carried_over(board):
    row, target = board
    device = target_device(FOUND, FOUND, [row], target)
    jpeg, avif, small = device.coders
    whole = {
        side: row.entry("latency_ms", side, "end_to_end").quantity for side in ("encode", "decode")
    }
    assert (small.encode_ms, small.decode_ms) == (whole["encode"], whole["decode"])
    assert avif.encode_ms.value == pytest.approx(carried(101.0, target.cpu, target.constants).ms)
    assert (avif.encode_ms.found, avif.encode_ms.level) == ("predicted", 0.9)
    # Everything is slower there by one factor.
    assert avif.encode_ms.value / jpeg.encode_ms.value == pytest.approx(101)
    assert "Each may be up to" in device.notes[0]
    # The board's power is the record's for every codec.
    watts = small.energy_mj.value / small.encode_ms.value
    assert avif.energy_mj.value == pytest.approx(watts * avif.encode_ms.value)


def test_the_others_are_carried_from_the_machine_that_is_known_wherever_the_bench_ran(board):
    row, target = board
    faster = replace(FOUND, rows=(at("JPEG", 1000.0, 0.5, 0.5), *FOUND.rows[1:]), host="another, 2")
    device = target_device(faster, FOUND, [row], target)
    assert device.coders[0].encode_ms.value == pytest.approx(
        carried(1.0, target.cpu, target.constants).ms
    )
    assert "took on a machine." in device.notes[0] and "another" not in device.notes[0]


def test_energy_is_that_of_coding_and_of_the_bits_and_the_least_is_named(board):
    row, target = board
    device = target_device(FOUND, FOUND, [row], target)
    table = energy_table(device, (LINKS["lora"],))
    jpeg = device.coders[0]
    low = jpeg.energy_mj.value + 1e3 * 8000 * LINKS["lora"].low
    high = jpeg.energy_mj.value + 1e3 * 8000 * LINKS["lora"].high
    assert rows(table)["JPEG"]["lora_total_mj"] == f"^{low:.3g} to {high:,.0f}"
    assert any(note.startswith("Least energy: LoRa ") for note in table.notes)
    assert "for the least energy to encode and send, LoRa " in answer(device, (LINKS["lora"],))


def test_a_board_without_times_of_these_bundles_is_left_out(board):
    row, target = board
    other = replace(FOUND, rows=(*FOUND.rows[:2], at("mine", 10.0, 1.0, 1.0, is_bundle=True)))
    assert target_device(other, FOUND, [row], target) is None
    unknown = replace(target, constants=())
    assert target_device(FOUND, FOUND, [row], unknown) is None
