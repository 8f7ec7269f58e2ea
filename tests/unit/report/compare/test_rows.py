import pytest

from hwkd.errors import InputError
from hwkd.measure.record import Entry, Setting
from hwkd.quantity import not_known
from hwkd.report.compare.rows import SettingFilter, choose_part, choose_rows, row_names

INT8 = Setting("cpu", "openvino 2026.4.1", "int8", 2)
EAGER = Setting("cpu", "torch 2.13.0", "fp32", 4)
GPU = Setting("gpu", "tensorrt 8.2", "fp16")


@pytest.fixture
def two_settings(make_record, figure):
    return make_record(
        entries=(
            figure("latency_ms", "encode", 9.0, "transform", GPU),
            figure("latency_ms", "encode", 1.0, setting=INT8),
            figure("latency_ms", "encode", 2.0, setting=EAGER),
        )
    )


def test_the_first_setting_with_network_figures_is_taken(two_settings):
    rows, left_out = choose_rows((two_settings,), SettingFilter())
    assert [row.setting for row in rows] == [INT8]
    assert left_out == ()


def test_all_settings_give_a_row_each_in_order(two_settings):
    rows, _ = choose_rows((two_settings,), SettingFilter(), "all")
    assert [row.setting for row in rows] == [INT8, EAGER]


@pytest.mark.parametrize(
    ("wanted", "setting"),
    [
        (SettingFilter(runtime="torch"), EAGER),
        (SettingFilter(runtime="Torch 2.13.0"), EAGER),
        (SettingFilter(threads=4), EAGER),
        (SettingFilter(precision="fp32"), EAGER),
        (SettingFilter(unit="CPU"), INT8),
        (SettingFilter(runtime="openvino", threads=2, precision="INT8"), INT8),
    ],
)
def test_a_filter_picks_the_first_setting_that_fits(two_settings, wanted, setting):
    rows, _ = choose_rows((two_settings,), wanted)
    assert [row.setting for row in rows] == [setting]


def test_part_of_a_runtimes_name_is_not_its_name(two_settings):
    with pytest.raises(InputError):
        choose_rows((two_settings,), SettingFilter(runtime="openv"))


def test_filters_that_fit_nothing_list_the_settings(two_settings, make_record):
    with pytest.raises(InputError) as caught:
        choose_rows((two_settings, make_record("student")), SettingFilter("tensorrt", 4))
    assert str(caught.value) == (
        "no setting fits --runtime tensorrt --threads 4; the records have: "
        "cpu, openvino 2026.4.1 int8, 2 threads (teacher, student); cpu, torch 2.13.0 fp32, 4 threads (teacher)"
    )


def test_filters_on_records_without_figures_say_so(make_record):
    with pytest.raises(InputError) as caught:
        choose_rows((make_record(entries=()),), SettingFilter(unit="cpu"))
    assert str(caught.value) == (
        "no setting fits --unit cpu: the records hold no latency and no energy; compare them without it"
    )


def test_a_record_without_a_fitting_setting_is_left_out_with_a_sentence(two_settings, make_record):
    rows, left_out = choose_rows((make_record("student"), two_settings), SettingFilter(threads=4))
    assert [row.record.model.name for row in rows] == ["teacher"]
    assert left_out == ("Left out: student on board has no setting that fits --threads 4.",)


def test_a_record_without_figures_has_a_row_without_setting(make_record):
    rows, _ = choose_rows((make_record(entries=()),), SettingFilter())
    assert [row.setting for row in rows] == [None]


def test_a_setting_whose_figures_are_not_known_is_taken_only_without_others(make_record, figure):
    missing = Entry("energy_mj", "encode", "networks", GPU, not_known("no sensor"))
    known = figure("latency_ms", "encode", 1.0, setting=INT8)
    both, alone = make_record(entries=(missing, known)), make_record("b", entries=(missing,))
    rows, _ = choose_rows((both, alone), SettingFilter(), "all")
    assert [row.setting for row in rows] == [INT8, GPU]


def test_a_record_given_twice_is_taken_once_where_it_stands_first(make_record):
    a, b = make_record("a"), make_record("b")
    rows, _ = choose_rows((b, a, b), SettingFilter())
    assert [row.record.model.name for row in rows] == ["b", "a"]


def test_no_records_are_refused():
    with pytest.raises(InputError) as caught:
        choose_rows((), SettingFilter())
    assert str(caught.value) == (
        "no records to compare: give record files (.json), folders of them, TARGET/MODEL or TARGET; "
        "make some with `hwkd profile`"
    )


def test_end_to_end_is_compared_only_where_every_row_has_both_sides(make_record, figure):
    networks = make_record().entries[:2]
    whole = tuple(figure("latency_ms", side, 99.0, "end_to_end") for side in ("encode", "decode"))
    both = make_record("both", entries=(*networks, *whole))
    half = make_record("half", entries=(*networks, whole[0]))
    nothing = make_record("nothing", entries=())

    def part(*records):
        return choose_part(choose_rows(records, SettingFilter())[0], "latency_ms")

    assert part(both) == "end_to_end"
    assert part(both, nothing) == "end_to_end"
    assert part(both, half) == "networks"
    assert part(nothing) == "networks"


def test_rows_are_named_only_as_long_as_they_must_be(make_record, two_settings):
    records = (make_record("a"), make_record("b"), make_record("b", target="other"))
    assert row_names(choose_rows(records, SettingFilter())[0]) == ("a", "b on board", "b on other")
    assert row_names(choose_rows((two_settings,), SettingFilter(), "all")[0]) == (
        "teacher on board (cpu, openvino 2026.4.1 int8, 2 threads)",
        "teacher on board (cpu, torch 2.13.0 fp32, 4 threads)",
    )
