"""Which bundle stands for a student at a glance."""

from hwkd.metrics import Curve
from hwkd.report.glance import bundle_of
from hwkd.results import Result, TrainedModel


def result(*models):
    return Result(Curve("small", (0.1, 0.2), (30.0, 31.0)), "", models)


def test_a_student_of_single_rates_is_seen_by_its_highest():
    named = [TrainedModel("small-q4"), TrainedModel("small-q5")]
    assert bundle_of("small", result(*named)) == "small-q5.hwkd"
    assert bundle_of("small", result()) == "small-q5.hwkd"


def test_a_student_of_all_rates_is_one_bundle():
    points = [TrainedModel("small", quality=quality) for quality in (10, 90)]
    assert bundle_of("small", result(*points)) == "small.hwkd"
