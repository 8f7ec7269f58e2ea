import math

import pytest

from hwkd.errors import InputError
from hwkd.quantity import FOUND, MARKS, Quantity, not_known


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
        ({"value": -1.0}, "value must be a finite number of 0 or more, got -1.0"),
        ({"value": math.nan}, "value must be a finite number of 0 or more, got nan"),
        ({"value": math.inf}, "value must be a finite number of 0 or more, got inf"),
        ({"low": -1.0, "high": 6.0, "level": 0.9}, "low must be a finite number of 0 or more"),
        ({"low": 4.0, "high": math.inf, "level": 0.9}, "high must be a finite number of 0 or more"),
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


def test_scaled_changes_value_and_interval_and_nothing_else():
    figure = Quantity(2.0, "measured", "the clock", 1.0, 4.0, 0.95, runs=7)
    assert figure.scaled(1000) == Quantity(2000, "measured", "the clock", 1000, 4000, 0.95, 7)


def test_scaled_leaves_an_unknown_figure_unknown():
    figure = not_known("no sensor")
    assert figure.scaled(1000) == figure
