import numpy as np
import pytest

from hwkd.cli.showing.targets import (
    device_table,
    network_table,
    other_table,
    other_worst_table,
    overall_table,
    summary,
    verdict_on,
)
from hwkd.measure.predict.derive import CheckedTiming
from hwkd.measure.predict.published import Accuracy, Configuration, CrossValidation, Population
from hwkd.report.table import Table

ACCURACY = (
    "count",
    "median_error_percent",
    "p90_error_percent",
    "coverage_percent",
    "bias_percent",
)


def left_out(name, columns, configurations, ratios):
    """ratios: predicted / published, a row for each configuration; every prediction gave itself 10 %."""
    ln_error = np.log(np.array(ratios, float))
    shape = ln_error.shape
    population = Population(
        name, configurations, columns, (), np.zeros((shape[1], 0)), np.zeros(shape)
    )
    return CrossValidation(population, ln_error, np.full(shape, 0.1), np.ones(shape[0]))


CPU = left_out(
    "CPU",
    (("a", False), ("b", False), ("a", True)),
    (Configuration("x", 1, -1), Configuration("x", 4, -1), Configuration("y", 4, -1)),
    [[1.1, 0.8, 1.5], [1.0, 1.2, np.nan], [2.0, np.nan, np.nan]],
)
GPU = left_out("GPU", (("a", False),), (Configuration("x", 4, 0),), [[1.3]])


def test_overall_has_a_row_for_each_kind_and_precision_and_one_for_all():
    table = overall_table((CPU, GPU))
    assert table.columns == ("unit", *ACCURACY)
    rows = {row[0]: row[1:] for row in table.rows}
    assert list(rows) == ["CPU float", "CPU int8", "GPU float", "all"]
    # Errors of 10, 20, 0, 20 and 100 %; 1.6449 x 0.1 holds 1.1 and 1.0. The 90th percentile: 20 + 0.6 x 80.
    assert rows["CPU float"] == ("5", "20.0", "68.0", "40.0", "+10.0")
    assert rows["CPU int8"] == ("1", "50.0", "50.0", "0.0", "+50.0")
    assert rows["GPU float"] == ("1", "30.0", "30.0", "0.0", "+30.0")
    # 0, 10, 20, 20, 30, 50 and 100 %: 50 + 0.4 x 50.
    assert rows["all"] == ("7", "20.0", "70.0", "28.6", "+20.0")


def test_overall_says_what_was_counted_and_the_goal():
    notes = overall_table((CPU, GPU)).notes
    assert notes[0] == "CPU: 3 configurations (device and threads) of 2 devices, 2 networks."
    assert notes[1] == "GPU: 1 configurations (device and threads) of 1 devices, 1 networks."
    assert notes[-1] == (
        "Goal: median 15 % or less, 90th percentile 35 % or less, coverage between 85 and 95 %."
    )


def test_each_network_has_a_row_in_each_precision():
    rows = network_table((CPU, GPU)).rows
    assert [row[:3] for row in rows] == [
        ("CPU float", "a", "3"),
        ("CPU float", "b", "2"),
        ("CPU int8", "a", "1"),
        ("GPU float", "a", "1"),
    ]
    # 10, 0 and 100 %.
    assert rows[0][3] == "10.0"


def test_the_worst_configurations_stand_first_within_their_kind():
    table = device_table((CPU, GPU), None)
    assert table.title == "By configuration"
    assert table.columns == ("configuration", *ACCURACY, "furthest_off")
    assert [(row[0], row[2], row[-1]) for row in table.rows] == [
        ("y, CPU, 4 threads", "100.0", "a +100 %"),
        ("x, CPU, 1 thread", "20.0", "a_int8 +50 %"),
        ("x, CPU, 4 threads", "10.0", "b +20 %"),
        ("x, GPU 0, 4 threads", "30.0", "a +30 %"),
    ]


def test_only_so_many_of_each_kind_are_shown():
    table = device_table((CPU, GPU), 1)
    assert table.title == "The 1 worst configurations of each kind"
    assert [row[0] for row in table.rows] == ["y, CPU, 4 threads", "x, GPU 0, 4 threads"]


def test_what_could_not_be_predicted_is_not_available_and_in_no_ranking():
    nothing = left_out("CPU", (("a", False),), (Configuration("x", 1, -1),), [[np.nan]])
    assert network_table((nothing,)).rows == (("CPU float", "a", "0", "n/a", "n/a", "n/a", "n/a"),)
    assert device_table((nothing,), None).rows == ()


@pytest.mark.parametrize("ratio", [0.5, 2.0])
def test_the_furthest_off_is_told_with_its_sign(ratio):
    of = left_out("CPU", (("a", False),), (Configuration("x", 1, -1),), [[ratio]])
    (row,) = device_table((of,), None).rows
    assert row[-1] == {0.5: "a -50 %", 2.0: "a +100 %"}[ratio]


def test_runtimes_of_one_population_have_rows_of_their_own():
    by = (Configuration("x", 1, -1), Configuration("y", 4, -1, "TFLite"))
    both = left_out("CPU", (("a", False),), by, [[1.1], [2.0]])
    rows = {row[0]: row[1:] for row in overall_table((both,)).rows}
    assert list(rows) == ["CPU float", "CPU float, ncnn", "CPU float, TFLite", "all"]
    assert rows["CPU float, TFLite"][:2] == ("1", "100.0")


def checked(ratio, sd=0.2, target="pi", runtime="TFLite", **fields):
    return CheckedTiming(
        target, "cpu", "net 8x8", "fp32", runtime, float(np.log(ratio)), sd, **fields
    )


OTHERS = (
    checked(1.1),
    checked(2.0),
    checked(9.0, is_apart=True),
    checked(0.9, runtime="TensorRT", from_fit=True),
)


def test_the_second_set_has_a_row_for_each_unit_and_for_each_runtime_in_it():
    rows = {row[:4]: row[4:] for row in other_table(OTHERS, ()).rows}
    assert list(rows) == [
        ("pi", "cpu", "all", "all"),
        ("pi", "cpu", "fp32", "TFLite"),
        ("pi", "cpu", "fp32 (apart)", "TFLite"),
        ("pi", "cpu", "fp32", "TensorRT, network left out"),
        ("all", "all", "all", "all"),
        ("all", "all", "all", "all, network left out"),
    ]
    # Of two that count one lies outside of exp(1.645 x 0.2) = 1.39. What is apart is shown and not counted; what the
    # constants are fitted on has a count of its own.
    assert rows["pi", "cpu", "all", "all"][0] == "2"
    assert rows["pi", "cpu", "all", "all"][3] == "50.0"
    assert rows["all", "all", "all", "all"][0] == "2"
    assert rows["all", "all", "all", "all, network left out"][0] == "1"


def test_the_second_set_is_counted_without_the_sources_too_and_classes_apart():
    others = (
        checked(1.1, without_source=(0.3, 0.2)),
        checked(2.0, without_source=(0.4, 0.2)),
        checked(1.0, target="servers", without_source=(0.0, 1.0)),
        checked(9.0, is_apart=True, without_source=(9.0, 0.2)),
        checked(1.0, target="a gpu"),
    )
    rows = {row[:4]: row[4:] for row in other_table(others, ("servers",)).rows}
    # 1.645 x 0.2 is 0.329.
    assert rows["all", "all", "all", "all, source left out"][::3] == ("3", "66.7")
    assert rows["boards", "all", "all", "all, source left out"][::3] == ("2", "50.0")


def test_the_worst_rows_come_first_and_say_whether_they_are_inside():
    table = other_worst_table(OTHERS, 2)
    assert [row[5:] for row in table.rows] == [
        ("9.00", "0.72 to 1.39", "no"),
        ("2.00", "0.72 to 1.39", "no"),
    ]
    assert len(other_worst_table(OTHERS, None).rows) == 4


@pytest.mark.parametrize(
    ("p90", "coverage", "begin"),
    [(35.0, 0.85, "PASS"), (35.1, 0.9, "OFF THE GOAL"), (30.0, 0.96, "OFF THE GOAL")],
)
def test_the_verdict_holds_the_errors_against_the_goal(p90, coverage, begin):
    said = verdict_on(Accuracy(7, 15.0, p90, coverage, 0.0))
    assert said == (
        f"{begin}: 7 published times; median error 15.0 % (goal 15), 90th percentile {p90:.1f} % (goal 35), "
        f"coverage {100 * coverage:.1f} % (goal 85 to 95)"
    )


def test_without_a_network_left_out_there_is_no_verdict():
    assert verdict_on(Accuracy(0, None, None, None, None)) == ""


def test_a_screen_has_the_rows_of_other_runtimes_that_hold_for_all_targets():
    rows = (("pi", "cpu"), ("all", "all"), ("boards", "all"))
    table = Table("Other runtimes", ("target", "unit"), rows)
    assert summary(table).rows == rows[1:]
