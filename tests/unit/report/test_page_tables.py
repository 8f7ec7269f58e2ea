import dataclasses

from hwkd.measure.record import Setting
from hwkd.quantity import not_known
from hwkd.report.page_tables import resource_table

PI = Setting("cpu", "ncnn", "int8", 4)


def predicted(make_record, figure, name="student", **fields):
    def one(kind, side, value):
        return figure(
            kind, side, value, setting=PI, found="predicted", low=value / 2, high=value * 2
        )

    entries = (
        one("latency_ms", "encode", 12.0),
        one("latency_ms", "decode", 15.0),
        one("energy_mj", "encode", 80.0),
        one("energy_mj", "decode", 90.0),
    )
    return make_record(name, target="pi", is_host=False, entries=entries, **fields)


def column(table, name, found):
    place = [(head.name, head.found) for head in table.heads].index((name, found))
    return [row.cells[place] for row in table.rows]


def test_measured_and_predicted_never_share_a_column(make_record, figure):
    table = resource_table([make_record(), predicted(make_record, figure)])
    measured = column(table, "encode_ms, networks", "measured")
    guessed = column(table, "encode_ms, networks", "predicted")
    assert [cell.number for cell in measured] == [40.0, None]
    assert [cell.number for cell in guessed] == [None, 12.0]
    assert guessed[1].small == "6.00 to 24.0"


def test_the_networks_alone_and_the_whole_way_have_columns_of_their_own(make_record, figure):
    whole = make_record(
        "whole",
        entries=tuple(
            dataclasses.replace(figure("energy_mj", side, 50.0), part="end_to_end")
            for side in ("encode", "decode")
        ),
    )
    networks = make_record(
        "networks", entries=tuple(figure("energy_mj", side, 30.0) for side in ("encode", "decode"))
    )
    table = resource_table([whole, networks])
    assert [c.number for c in column(table, "encode_mj, networks", "measured")] == [None, 30.0]
    assert [c.number for c in column(table, "encode_mj, end to end", "measured")] == [50.0, None]


def test_figure_that_is_not_there_has_a_numbered_reason(make_record, figure):
    table = resource_table([make_record(), predicted(make_record, figure)])
    cell = column(table, "encode_ms, networks", "measured")[1]
    assert cell.text == "n/a"
    assert table.reasons[cell.note - 1] == cell.title
    assert "predicted, not measured" in cell.title


def test_column_that_nobody_has_is_left_out_and_a_note_says_why(make_record, figure):
    unknown = dataclasses.replace(
        figure("energy_mj", "encode", 1.0), quantity=not_known("no sensor")
    )
    entries = (
        figure("latency_ms", "encode", 1.0),
        figure("latency_ms", "decode", 2.0),
        unknown,
        dataclasses.replace(unknown, side="decode"),
    )
    table = resource_table([make_record(entries=entries)])
    assert not any(head.name.startswith("encode_mj") for head in table.heads)
    assert "encode_mj: n/a in every row: no sensor." in table.notes
    assert ("encode_ms, networks", "predicted") not in [(h.name, h.found) for h in table.heads]


def test_rows_carry_the_setting_and_the_target(make_record, figure):
    table = resource_table([make_record(), predicted(make_record, figure)])
    assert table.targets == ("board", "pi")
    assert [cell.text for cell in table.rows[1].cells[:6]] == [
        *("student", "pi", "cpu", "ncnn", "int8", "4")
    ]


def test_counted_and_computed_figures_say_so(make_record):
    table = resource_table([make_record()])
    assert column(table, "parameters_m", "counted")[0].text == "2.000"
    assert column(table, "weight_mib", "computed")[0].text == "2.000"
    # 40 GMAC over 1 megapixel.
    assert column(table, "kmac_per_pixel", "counted")[0].number == 40.0


def test_different_image_sizes_are_compared_per_megapixel(make_record):
    small = make_record("small", width=500)
    table = resource_table([make_record(), small])
    assert [c.number for c in column(table, "encode_ms_per_mpx, networks", "measured")] == [
        40.0,
        80.0,
    ]
    assert any("1000x1000, 500x1000" in note for note in table.notes)


def test_quality_on_different_images_says_which(make_record):
    other = make_record("other")
    other = dataclasses.replace(other, quality=dataclasses.replace(other.quality, on="CLIC"))
    cells = column(resource_table([make_record(), other]), "psnr_db", "measured")
    assert [cell.small for cell in cells] == ["on Kodak", "on CLIC"]


def test_record_without_latency_and_energy_has_a_row(make_record):
    table = resource_table([make_record(), make_record("bare", entries=())])
    assert [cell.text for cell in table.rows[1].cells[:6]] == ["bare", "board", *["n/a"] * 4]
