from dataclasses import replace

import pytest

from hwkd.errors import InputError
from hwkd.measure.record import Entry, Macs, Quality, Setting, Size
from hwkd.quantity import Quantity, not_known
from hwkd.report.compare.rows import compare
from hwkd.report.compare.sheet import for_machines, for_people
from hwkd.report.compare.tables import (
    AXES,
    computation_sheet,
    default_axes,
    energy_sheet,
    pareto_sheet,
    parse_axes,
    sheets,
    size_sheet,
    verdicts,
)

MIB = 2**20
INT8 = Setting("cpu", "openvino 2026.4.1", "int8", 2)


def row_of(table, place):
    return dict(zip(table.columns, table.rows[place], strict=True))


def people(sheet, place=0):
    return row_of(for_people(sheet), place)


def machines(sheet, place=0):
    return row_of(for_machines(sheet), place)


@pytest.fixture
def student(make_record, figure):
    """A quarter of the teacher's MACs, weights and encoding time, an eighth of its energy, half a dB less."""
    return make_record(
        "student",
        64,
        size=Size(500_000, 1 * MIB, MIB // 2, 1 * MIB),
        macs=Macs(5_000_000_000, 250_000_000, 750_000_000, 4_000_000_000, {"sqrt": 6}),
        entries=(
            figure("latency_ms", "encode", 10.0),
            figure("latency_ms", "decode", 15.0),
            figure("energy_mj", "encode", 40.0),
            figure("energy_mj", "decode", 60.0),
        ),
        quality=Quality(34.0, 0.84, "Kodak", "hwkd evaluate"),
    )


def test_the_size_table(make_record, student):
    table = for_people(size_sheet(compare((make_record(), student))))
    assert table.columns == (
        *("model", "weight_bits", "parameters_m", "memory_mib", "weight_mib", "psnr_db", "bpp"),
    )
    assert table.rows == (
        ("teacher", "8", "2.000", "8.000", "2.000", "34.50", "0.800"),
        (
            *("student", "8", "0.500 (-75.0 %)", "2.000 (-75.0 %)", "0.500 (-75.0 %)"),
            *("34.00 (-0.50 dB)", "0.840 (+5.0 %)"),
        ),
    )
    assert (
        "psnr_db, bpp: means over images, from real bytes, measured on Kodak (source: hwkd evaluate)."
        in table.notes
    )


def test_the_size_table_has_one_row_for_a_model_on_two_targets(make_record, student):
    records = (make_record(), make_record(target="other"), student)
    compared = compare(records)
    assert len(computation_sheet(compared).rows) == 3
    assert (
        for_people(size_sheet(compared)).rows
        == for_people(size_sheet(compare((make_record(), student)))).rows
    )


def test_the_computation_table(make_record, student):
    table = for_people(computation_sheet(compare((make_record(), student))))
    assert table.columns == (
        *("model", "target", "encode_gmacs", "decode_gmacs", "total_gmacs", "kmac_per_pixel"),
        *("encode_ms", "decode_ms", "fps"),
    )
    # 24 and 19 G are g_a + h_a + h_s and h_s + g_s; 40 G over a megapixel are 40 k; 1000 / (40 + 60) is 10.
    assert table.rows == (
        ("teacher", "board", "24.000", "19.000", "40.000", "40.00", "40.0", "60.0", "10.0"),
        (
            *("student", "board", "6.000 (-75.0 %)", "4.750 (-75.0 %)", "10.000 (-75.0 %)"),
            *("10.00 (-75.0 %)", "10.0 (-75.0 %)", "15.0 (-75.0 %)", "40.0 (+300.0 %)"),
        ),
    )
    assert table.notes[:3] == (
        "Common to the records: setting cpu, openvino 2026.4.1 int8, 2 threads; image 1000x1000; part networks.",
        "Changes (percent, PSNR in dB) are against the first row, teacher.",
        "MACs: multiply-accumulates of the float models, counted. encode: g_a, h_a, h_s; decode: h_s, g_s; total and "
        "kmac_per_pixel: each of the four once. Not counted: sqrt x6 (all rows); ReLU, clamping and moving of data, "
        "entropy coding.",
    )
    assert (
        "encode_ms, decode_ms: of the networks alone (encode: g_a, h_a, h_s; decode: h_s, g_s); measured by the clock, "
        "30 runs."
    ) in table.notes


def test_the_energy_table(make_record, student):
    table = for_people(
        energy_sheet(compare((make_record(height=500), replace(student, height=500))))
    )
    assert table.columns == (
        *("model", "target", "encode_mj", "decode_mj", "total_mj", "mj_per_mpx", "psnr_db", "bpp"),
    )
    assert table.rows[0][2:] == ("300", "500", "800", "1,600", "34.50", "0.800")
    assert table.rows[1][2:] == (
        *("40.0 (-86.7 %)", "60.0 (-88.0 %)", "100 (-87.5 %)", "200 (-87.5 %)"),
        *("34.00 (-0.50 dB)", "0.840 (+5.0 %)"),
    )


def test_one_record_has_no_changes(make_record):
    table = for_people(computation_sheet(compare((make_record(),))))
    assert not any("(" in cell for cell in table.rows[0])
    assert not any(note.startswith("Changes") for note in table.notes)


def test_layers_are_not_taken_for_networks(make_record, figure):
    layer = replace(figure("latency_ms", "encode", 1.0), part="layer", layer="g_a.0")
    record = make_record()
    compared = compare((replace(record, entries=(layer, *record.entries)),))
    assert people(computation_sheet(compared))["encode_ms"] == "40.0"


def test_end_to_end_is_said_and_never_mixed_with_networks(make_record, figure, student):
    record = make_record()
    whole = tuple(figure("latency_ms", side, 100.0, "end_to_end") for side in ("encode", "decode"))
    both = replace(record, entries=(*record.entries, *whole))
    alone = computation_sheet(compare((both,)))
    assert people(alone)["encode_ms"] == "100"
    assert machines(alone)["part"] == "end_to_end"
    assert any(
        note.startswith("encode_ms, decode_ms: end to end (encode: pixels to bytes; decode: ")
        for note in alone.notes
    )
    mixed = computation_sheet(compare((both, student)))
    assert [people(mixed, i)["encode_ms"] for i in (0, 1)] == ["40.0", "10.0 (-75.0 %)"]


def test_settings_that_differ_are_a_column(make_record, figure):
    other = Setting("gpu", "tensorrt 8.2", "fp16")
    fast = make_record("fast", entries=(figure("latency_ms", "encode", 1.0, setting=other),))
    table = for_people(computation_sheet(compare((make_record(), fast))))
    assert [row_of(table, i)["setting"] for i in (0, 1)] == [
        "cpu, openvino 2026.4.1 int8, 2 threads",
        "gpu, tensorrt 8.2 fp16",
    ]


@pytest.fixture
def predicted(make_record, figure):
    return make_record(
        "student",
        target="elsewhere",
        is_host=False,
        entries=(
            figure("latency_ms", "encode", 20.0, found="predicted", low=12.0, high=44.0),
            figure("latency_ms", "decode", 30.0, found="predicted", low=18.0, high=66.0),
        ),
    )


def test_mixed_ways_are_marked_and_their_changes_told(make_record, predicted):
    sheet = computation_sheet(compare((make_record(), predicted)))
    table = for_people(sheet)
    assert row_of(table, 0)["encode_ms"] == "40.0"
    assert row_of(table, 1)["encode_ms"] == "^20.0 -8.0/+24.0 (-50.0 %)"
    assert row_of(table, 1)["fps"] == "^20.0 (+100.0 %)"
    assert row_of(table, 1)["total_gmacs"] == "40.000 (+0.0 %)"
    assert "Marks in encode_ms, decode_ms, fps: no mark measured, ^ predicted." in table.notes
    assert (
        "Changes of latency compare predicted figures (student) with measured ones (teacher)."
        in table.notes
    )
    assert any(
        note.endswith("; measured by the clock, 30 runs (teacher); predicted by timings (student).")
        for note in table.notes
    )


def test_one_way_needs_no_marks(predicted):
    table = for_people(computation_sheet(compare((predicted,))))
    assert row_of(table, 0)["encode_ms"] == "20.0 -8.0/+24.0"
    assert not any(note.startswith("Marks") for note in table.notes)


def test_a_measured_and_an_estimated_side_give_an_estimated_sum(make_record, figure):
    entries = (
        figure("energy_mj", "encode", 30.0),
        figure("energy_mj", "decode", 50.0, found="estimated"),
    )
    sheet = energy_sheet(compare((make_record(entries=entries),)))
    row = people(sheet)
    assert (row["encode_mj"], row["decode_mj"], row["total_mj"]) == ("30.0", "~50.0", "~80.0")
    assert machines(sheet)["total_mj_found"] == "estimated"


def test_an_interval_that_prints_alike_on_both_sides_is_one_number(make_record, figure):
    entries = (
        figure("latency_ms", "encode", 12.5, low=12.1, high=12.9),
        figure("latency_ms", "decode", 14.0, low=13.9, high=14.3),
    )
    table = for_people(computation_sheet(compare((make_record(entries=entries),))))
    row = row_of(table, 0)
    assert (row["encode_ms"], row["decode_ms"]) == ("12.5 ±0.4", "14.0 -0.1/+0.3")
    assert any("95 % in encode_ms, decode_ms" in note for note in table.notes)


def test_the_interval_of_a_sum_adds_the_ends_at_bonferronis_level(make_record, figure):
    entries = (
        figure("latency_ms", "encode", 40.0, low=30.0, high=45.0),
        figure("latency_ms", "decode", 60.0, low=50.0, high=80.0),
    )
    compared = compare((make_record(entries=entries),))
    total, rate = (compared.figures[0][key] for key in ("total_ms", "fps"))
    assert (total.low, total.high, total.level) == (80.0, 125.0, pytest.approx(0.9))
    assert (rate.value, rate.low, rate.high) == (10.0, 8.0, 12.5)


def test_unknown_is_na_with_one_reason_for_all_that_share_it(make_record, student):
    def without(record, reason):
        missing = tuple(
            Entry("energy_mj", side, "networks", INT8, not_known(reason))
            for side in ("encode", "decode")
        )
        return replace(record, entries=(*record.entries[:2], *missing))

    records = (make_record(), without(student, "no sensor"), without(make_record("b"), "no sensor"))
    table = for_people(energy_sheet(compare(records)))
    assert row_of(table, 1)["total_mj"] == "n/a"
    assert (
        "encode_mj, decode_mj, total_mj, mj_per_mpx of student, b: n/a, no sensor." in table.notes
    )


def test_a_change_is_na_where_the_first_row_is(make_record, student):
    first = replace(make_record(), quality=None, entries=make_record().entries[:2])
    sheet = energy_sheet(compare((first, student)))
    row = people(sheet, 1)
    assert (row["total_mj"], row["psnr_db"]) == ("100 (n/a)", "34.00 (n/a)")
    assert machines(sheet, 1)["total_mj_percent"] == "n/a"
    assert (
        "encode_mj, decode_mj, total_mj, mj_per_mpx, psnr_db, bpp: no change, because the first row's is n/a or 0."
        in sheet.notes
    )


def test_quality_on_other_images_is_not_compared(make_record, student):
    other = replace(student, quality=Quality(30.0, 0.5, "my photos", "hwkd evaluate"))
    sheet = size_sheet(compare((make_record(), other)))
    assert people(sheet, 1)["psnr_db"] == "30.00 (n/a)"
    assert people(sheet, 1)["weight_mib"] == "0.500 (-75.0 %)"
    assert (
        "psnr_db, bpp of student: no change, because it was evaluated on other images than teacher."
        in sheet.notes
    )


def test_an_architecture_without_weights_has_no_quality(make_record):
    record = make_record()
    bare = replace(record, quality=None, model=replace(record.model, is_trained=False))
    assert (
        "psnr_db, bpp of teacher: n/a, an architecture without trained weights has no quality."
        in size_sheet(compare((bare,))).notes
    )


def test_a_record_without_figures_keeps_its_counts(make_record):
    sheet = computation_sheet(compare((make_record(entries=()),)))
    row = people(sheet)
    assert (row["total_gmacs"], row["encode_ms"], row["fps"]) == ("40.000", "n/a", "n/a")
    assert (
        "encode_ms, decode_ms, fps of teacher: n/a, the record holds no latency and no energy."
        in sheet.notes
    )


def test_what_the_records_say_of_themselves_is_told_once(make_record):
    records = (make_record("a", notes=("Busy.",)), make_record("b", notes=("Busy.", "Hot.")))
    notes = computation_sheet(compare(records)).notes
    assert [note for note in notes if "Busy" in note or "Hot" in note] == [
        "all rows: Busy.",
        "b: Hot.",
    ]


def test_emissions_stand_where_a_record_has_them(make_record, figure):
    record = make_record()
    emissions = figure("emissions_g_per_1000", "both", 0.25, found="estimated")
    with_them = replace(record, entries=(*record.entries, emissions))
    assert "emissions_g_per_1000" not in people(energy_sheet(compare((record,))))
    sheet = energy_sheet(compare((with_them,)))
    assert people(sheet)["emissions_g_per_1000"] == "0.250"
    assert (
        "emissions_g_per_1000: grams of CO2 equivalent for 1,000 images, encode + decode; estimated by codecarbon."
        in sheet.notes
    )


def test_emissions_of_the_two_sides_are_added(make_record, figure):
    record = make_record()
    sides = tuple(
        figure("emissions_g_per_1000", side, grams, found="estimated")
        for side, grams in (("encode", 0.25), ("decode", 0.5))
    )
    sheet = energy_sheet(compare((replace(record, entries=(*record.entries, *sides)),)))
    assert machines(sheet)["emissions_g_per_1000"] == "0.75"


def test_images_of_different_sizes_are_refused_with_names(make_record):
    records = (make_record("a"), make_record("b"), make_record("c", width=500))
    with pytest.raises(InputError) as caught:
        compare(records)
    assert str(caught.value) == (
        "the records are of images of different sizes: 1000x1000 (a, b), 500x1000 (c); one table holds one size: give "
        "records of one, or compare with --per-pixel"
    )


def test_per_pixel_compares_images_of_different_sizes(make_record):
    records = (make_record("a"), make_record("b", width=500))
    compared = compare(records, is_per_pixel=True)
    computation, energy = computation_sheet(compared), energy_sheet(compared)
    assert for_people(computation).columns == (
        *("model", "target", "image", "encode_kmac_per_pixel", "decode_kmac_per_pixel"),
        *("total_kmac_per_pixel", "encode_ms_per_mpx", "decode_ms_per_mpx", "mpx_per_s"),
    )
    assert people(computation, 0)["encode_ms_per_mpx"] == "40.0"
    row = people(computation, 1)
    assert row["encode_ms_per_mpx"] == "80.0 (+100.0 %)"
    assert row["mpx_per_s"] == "5.00 (-50.0 %)"
    assert row["total_kmac_per_pixel"] == "80.000 (+100.0 %)"
    assert for_people(energy).columns[3:6] == (
        *("encode_mj_per_mpx", "decode_mj_per_mpx", "total_mj_per_mpx"),
    )
    assert people(energy, 1)["total_mj_per_mpx"] == "1,600 (+100.0 %)"
    assert any("images of 1000x1000, 500x1000: padding" in note for note in computation.notes)


def test_machines_get_a_column_for_every_number(predicted, make_record):
    sheet = computation_sheet(compare((make_record(), predicted)))
    row = machines(sheet, 1)
    assert row["total_gmacs"] == "40" and row["total_gmacs_percent"] == "0"
    assert "total_gmacs_found" not in row
    assert [row[f"encode_ms{end}"] for end in ("", "_low", "_high", "_percent", "_found")] == [
        "20",
        "12",
        "44",
        "-50",
        "predicted",
    ]
    assert (row["setting"], row["image"]) == (str(INT8), "1000x1000")
    assert machines(sheet, 0)["encode_ms_low"] == "n/a"


def test_machines_get_the_reason_beside_an_unknown_figure(make_record):
    record = replace(make_record(), quality=None)
    row = machines(size_sheet(compare((record,))))
    assert (row["psnr_db"], row["psnr_db_difference"], row["psnr_db_found"]) == (
        *("n/a", "n/a", "n/a: the record has no evaluation"),
    )


def test_machines_get_the_same_columns_whatever_the_rows_hold(make_record, predicted):
    for one, other in zip(
        sheets(compare((make_record(),))), sheets(compare((predicted,))), strict=True
    ):
        assert for_machines(one).columns == for_machines(other).columns


def test_machines_get_no_rounding_that_shows(make_record):
    record = make_record(size=Size(5_075_843, 0, 0, 0))
    assert machines(size_sheet(compare((record,))))["parameters_m"] == "5.075843"


def point(psnr_db, bpp, images="Kodak"):
    def cell(value):
        if value is None:
            return not_known("not evaluated")
        return Quantity(value, "measured", "hwkd evaluate", on=images)

    return {"psnr_db": cell(psnr_db), "bpp": cell(bpp)}


def judged(*points):
    names = "abcdefgh"[: len(points)]
    return verdicts(points, ("psnr_db", "bpp"), names)


def test_more_psnr_at_less_rate_dominates():
    assert judged(point(34, 0.8), point(33, 0.9)) == ("front", "dominated by a")


def test_a_trade_between_the_axes_keeps_both():
    assert judged(point(34, 0.8), point(33, 0.7)) == ("front", "front")


def test_as_good_on_one_axis_and_better_on_the_other_dominates():
    assert judged(point(34, 0.8), point(34, 0.7)) == ("dominated by b", "front")


def test_equal_rows_do_not_dominate_each_other():
    assert judged(point(34, 0.8), point(34, 0.8)) == ("front", "front")


def test_the_dominating_row_that_is_named_is_on_the_front():
    assert judged(point(32, 0.9), point(33, 0.8), point(34, 0.7)) == (
        *("dominated by c", "dominated by c", "front"),
    )


def test_a_row_with_an_unknown_axis_is_na_and_dominates_none():
    assert judged(point(None, 0.1), point(30, 0.8)) == ("n/a", "front")


def test_rows_evaluated_on_other_images_are_not_compared():
    assert judged(point(34, 0.8), point(30, 0.9, "photos"), point(29, 1.0, "photos")) == (
        *("front", "front", "dominated by b"),
    )


def test_axes_are_read_in_order_and_once():
    assert parse_axes("psnr_db, total_mj,psnr_db") == ("psnr_db", "total_mj")
    assert parse_axes("") == ()


def test_an_unknown_axis_suggests_the_near_one():
    with pytest.raises(InputError) as caught:
        parse_axes("psnr,total_mj")
    assert str(caught.value) == (
        "unknown axis 'psnr': did you mean psnr_db? Known: bpp, decode_mj, decode_ms, encode_mj, encode_ms, ms_ssim, "
        "parameters_m, psnr_db, total_gmacs, total_mj, total_ms, weight_mib"
    )


def test_default_axes_take_time_and_energy_where_every_row_knows_them(make_record):
    without_energy = make_record("b", entries=make_record().entries[:2])
    assert default_axes(compare((make_record(),)).figures) == (
        *("psnr_db", "bpp", "total_mj", "total_ms"),
    )
    assert default_axes(compare((make_record(), without_energy)).figures) == (
        *("psnr_db", "bpp", "total_ms"),
    )


def test_every_axis_is_a_figure_of_every_row(make_record):
    assert set(AXES) <= set(compare((make_record(entries=(), quality=None),)).figures[0])


def test_the_table_states_axes_and_rule(make_record):
    worse = make_record("worse", quality=Quality(30.0, 0.9, "Kodak", "hwkd evaluate"))
    sheet = pareto_sheet(compare((make_record(), worse)), ("psnr_db", "total_ms"))
    table = for_people(sheet)
    assert table.columns == ("model", "pareto", "target", "psnr_db", "total_ms")
    assert table.rows == (
        ("teacher", "front", "board", "34.50", "100"),
        ("worse", "dominated by teacher", "board", "30.00", "100"),
    )
    assert any(
        note.startswith("Axes: psnr_db (more is better), total_ms (less is better). A row is dom")
        for note in table.notes
    )
    assert "psnr_db_difference" not in for_machines(sheet).columns


def test_per_pixel_axes_have_per_pixel_names(make_record):
    compared = compare((make_record(), make_record("b", width=500)), is_per_pixel=True)
    sheet = pareto_sheet(compared, ("total_mj", "total_gmacs"))
    assert [c.name for c in sheet.columns] == ["total_mj_per_mpx", "total_kmac_per_pixel"]
    # The same energy over half the pixels is worse.
    assert sheet.labels[1].values == ("front", "dominated by teacher")
