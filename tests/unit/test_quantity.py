import math
from dataclasses import replace

import pytest

from hwkd.errors import InputError
from hwkd.quantity import (
    BRACKETS,
    FOUND,
    MARKS,
    SPREAD,
    Change,
    Quantity,
    change,
    joint_level,
    not_known,
    quantity_text,
)


def test_a_figure_may_stand_without_an_interval():
    figure = Quantity(2.5, "counted", "fvcore")
    assert (figure.value, figure.low, figure.high, figure.level, figure.runs) == (2.5, *(None,) * 4)


def test_zero_is_a_value_and_needs_no_reason():
    assert Quantity(0.0, "computed", "bits / 8").value == 0


def test_an_unknown_figure_is_none_with_its_reason():
    figure = not_known("no sensor", "measured")
    assert figure.value is None and figure.reason == "no sensor"


@pytest.mark.parametrize("found", FOUND)
def test_every_way_of_finding_has_a_mark(found):
    assert found in MARKS


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"found": "guessed"}, "found must be one of counted, computed, measured, estimated, "),
        ({"value": None}, "needs either a value or the reason why there is none, got None and ''"),
        ({"reason": "why"}, "needs either a value or the reason why there is none, got 5.0 and "),
        ({"value": math.nan}, "value must be a finite number, got nan"),
        ({"value": math.inf}, "value must be a finite number, got inf"),
        ({"low": -math.inf, "high": 6.0, "level": 0.9}, "low must be a finite number, got -inf"),
        ({"low": 4.0, "high": math.inf, "level": 0.9}, "high must be a finite number, got inf"),
        ({"by": ""}, "a predicted value needs `by`: with what it was found"),
        ({"found": "measured"}, "a measured value needs its number of runs, got None"),
        ({"found": "measured", "runs": 0}, "a measured value needs its number of runs, got 0"),
        ({"low": 4.0}, "an interval needs low, high and level, got 4.0, None, None"),
        ({"low": 4.0, "high": 6.0}, "an interval needs low, high and level, got 4.0, 6.0, None"),
        ({"level": 0.9}, "an interval needs low, high and level, got None, None, 0.9"),
        ({"low": 6.0, "high": 7.0, "level": 0.9}, "needs low <= value <= high and 0 < level < 1"),
        ({"low": 3.0, "high": 4.0, "level": 0.9}, "needs low <= value <= high and 0 < level < 1"),
        ({"low": 4.0, "high": 6.0, "level": 1.0}, "needs low <= value <= high and 0 < level < 1"),
        ({"low": 4.0, "high": 6.0, "level": math.nan}, "needs low <= value <= high and 0 < level"),
    ],
)
def test_what_cannot_be_is_refused(fields, message):
    with pytest.raises(InputError) as caught:
        Quantity(**({"value": 5.0, "found": "predicted", "by": "a model"} | fields))
    assert str(caught.value).startswith(message)


def test_a_counted_figure_needs_no_means_and_one_measured_on_images_no_runs():
    assert Quantity(3.0, "counted").by == ""
    assert Quantity(30.0, "measured", "hwkd evaluate", on="kodak").runs is None


@pytest.mark.parametrize("ends", [{}, {"low": -2.0, "high": 1.0, "level": 0.9}])
def test_a_figure_that_cannot_be_negative_is_checked_by_its_name(ends):
    figure = Quantity(-1.0, "estimated", "a difference", **ends)
    lowest = ends.get("low", -1.0)
    with pytest.raises(InputError, match=f"bytes and its interval must be 0 or more, got {lowest}"):
        figure.check_not_negative("bytes")
    Quantity(0.0, "estimated", "a model").check_not_negative("bytes")
    not_known("no sensor").check_not_negative("bytes")


FIGURE = Quantity(34.5, "predicted", "a model", 30.06, 41.0, 0.9)


@pytest.mark.parametrize(
    ("figure", "options", "text"),
    [
        (FIGURE, {}, "34.5 (30.1 to 41.0)"),
        (FIGURE, {"interval": BRACKETS}, "34.5 [30.1, 41.0]"),
        (FIGURE, {"interval": SPREAD}, "34.5 -4.4/+6.5"),
        (replace(FIGURE, low=28.0), {"interval": SPREAD}, "34.5 ±6.5"),
        (FIGURE, {"interval": None, "is_marked": True}, "^34.5"),
        (FIGURE, {"digits": 2}, "34.50 (30.06 to 41.00)"),
        (replace(FIGURE, value=2000.0, high=2500.0), {}, "2,000 (30.1 to 2,500)"),
        (Quantity(5.0, "counted"), {}, "5.00"),
        (not_known("no sensor"), {"is_marked": True}, "n/a"),
    ],
)
def test_a_figure_as_text(figure, options, text):
    assert quantity_text(figure, **options) == text


def test_a_change_is_in_percent_or_a_difference():
    a, b = Quantity(40.0, "counted"), Quantity(50.0, "counted")
    assert change(a, b, is_difference=False) == Change(25.0)
    assert change(a, b, is_difference=True) == Change(10.0)


@pytest.mark.parametrize(
    ("reference", "other", "reason"),
    [
        (Quantity(1.0, "counted"), not_known("no sensor"), "no sensor"),
        (not_known("no sensor"), Quantity(1.0, "counted"), "of the first row: no sensor"),
        (Quantity(0.0, "counted"), Quantity(1.0, "counted"), "the first row's figure is 0"),
        (
            Quantity(30.0, "computed", on="kodak"),
            Quantity(30.0, "computed", on="clic"),
            "evaluated on other images than the first row",
        ),
    ],
)
def test_without_a_change_there_is_the_reason(reference, other, reason):
    assert change(reference, other, is_difference=False) == Change(None, reason)


def test_two_intervals_hold_at_once_at_least_at_their_joint_level():
    assert joint_level(FIGURE, FIGURE) == 0.8
    assert joint_level(FIGURE, Quantity(1.0, "counted")) is None
    assert joint_level(replace(FIGURE, level=0.5), replace(FIGURE, level=0.4)) is None


def test_scaled_changes_value_and_interval_and_nothing_else():
    figure = Quantity(2.0, "measured", "the clock", 1.0, 4.0, 0.95, runs=7)
    assert figure.scaled(1000) == Quantity(2000, "measured", "the clock", 1000, 4000, 0.95, 7)


def test_scaled_leaves_an_unknown_figure_unknown():
    figure = not_known("no sensor")
    assert figure.scaled(1000) == figure
