import math

import pytest

from hwkd.constants import Constants
from hwkd.errors import InputError


def make(**fields):
    return Constants(
        **(
            {
                "unit": "cpu",
                "precision": "fp32",
                "threads": 4,
                "runtime": "ncnn",
                "device": "a board",
                "is_same_device": True,
                "source": "a table",
                "scheme": "kinds",
                "networks": 18,
                "sigma": 0.2,
                "unseen": 0.5,
                "ln_ns": {"calls": 9.0, "values": -1.0},
                "covariance": ((0.1, 0.0), (0.0, 0.2)),
            }
            | fields
        )
    )


def test_it_says_which_unit_precision_and_threads():
    assert str(make()) == "cpu fp32, 4 threads"
    assert str(make(threads=1)) == "cpu fp32, 1 thread"


def test_the_covariance_may_be_left_out():
    assert make(covariance=()).covariance == ()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"scheme": "layers"}, "scheme must be one of kinds, shapes, got 'layers'"),
        ({"ln_ns": {}, "covariance": ()}, "constants need a value for at least one term in ln_ns"),
        ({"source": " "}, "constants need the device that was timed and a source"),
        ({"device": ""}, "constants need the device that was timed and a source"),
        ({"is_same_device": False}, "a stand-in needs a note on what is alike; got an empty one"),
        ({"sigma": -0.1}, "sigma and unseen must be 0 or more, threads and networks 1 or more"),
        ({"unseen": -0.1}, "sigma and unseen must be 0 or more, threads and networks 1 or more"),
        ({"threads": 0}, "sigma and unseen must be 0 or more, threads and networks 1 or more"),
        ({"networks": 0}, "sigma and unseen must be 0 or more, threads and networks 1 or more"),
        ({"covariance": ((0.1,),)}, "covariance must have 2 rows of 2 numbers"),
        ({"covariance": ((0.1, 0.0), (0.0,))}, "covariance must have 2 rows of 2 numbers"),
        ({"ln_ns": {"calls": math.nan, "values": 1.0}}, "ln_ns must hold finite numbers"),
    ],
)
def test_what_cannot_be_is_refused(fields, message):
    with pytest.raises(InputError) as caught:
        make(**fields)
    assert str(caught.value).startswith(message)
