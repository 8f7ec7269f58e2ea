import pytest

from hwkd.errors import InputError
from hwkd.measure.record import Quality
from hwkd.report.cells import Cell, unknown_cell
from hwkd.report.compared import compare
from hwkd.report.comparison_tables import for_machines, for_people
from hwkd.report.pareto import AXES, default_axes, pareto_sheet, parse_axes, verdicts


def point(psnr_db, bpp, images="Kodak"):
    def cell(value):
        if value is None:
            return unknown_cell("not evaluated")
        return Cell(value, "measured", "hwkd evaluate", basis=images)

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
