import numpy as np
import pytest

from hwkd.bits import BitPlan
from hwkd.errors import HwkdError
from hwkd.images import embedded_images
from hwkd.measure.eager.models import load_subject, quantized
from hwkd.measure.profile import energy_entries, photograph, profile_target
from hwkd.measure.record import PLAN, Setting
from hwkd.target import load_target

BARE = "hyperprior:N=4,M=6,family=relu"


@pytest.fixture(scope="module")
def bare():
    return load_subject(BARE, 128, 64)


@pytest.mark.parametrize(("width", "height"), [(768, 512), (64, 64), (1, 1)])
def test_the_photograph_has_the_size_asked_for(width, height):
    image = photograph(width, height)
    assert (image.shape, image.dtype) == ((height, width, 3), np.uint8)
    assert image.flags.c_contiguous


def test_the_photograph_is_cut_or_mirrored_at_its_edges():
    rocket = embedded_images("eval")["rocket.jpg"]
    height, width = rocket.shape[:2]
    assert np.array_equal(photograph(100, 50), rocket[:50, :100])
    large = photograph(width + 3, height + 2)
    assert np.array_equal(large[:height, :width], rocket)
    assert np.array_equal(large[height : height + 2, :width], rocket[:-3:-1])
    assert np.array_equal(large[:height, width:], rocket[:, :-4:-1])


def test_a_target_is_predicted_without_its_being_here(bare):
    target = load_target("raspberry-pi-4")
    record = profile_target(bare, 128, 64, target, "hwkd profile x")
    assert (record.target, record.is_host) == ("raspberry-pi-4", False)
    assert {e.quantity.found for e in record.entries} == {"predicted"}
    assert {e.part for e in record.entries} == {"networks"}
    assert not any(note.startswith(PLAN) for note in record.notes)
    assert record.provenance.command == "hwkd profile x"


def test_a_quantized_model_is_predicted_by_its_plan(bare):
    target = load_target("jetson-nano")
    record = profile_target(quantized(bare, BitPlan(8, 8)), 128, 64, target, "c")
    plan = [note for note in record.notes if note.startswith(PLAN)]
    assert any("has no int8 arithmetic" in note for note in plan)
    gpu = [e for e in record.entries if e.setting.unit == "gpu"]
    assert {e.setting.precision for e in gpu} == {"fp16"}
    assert {e.setting.precision for e in record.entries if e.setting.unit == "cpu"} == {"int8"}


class Failing:
    """A sensor that dies in its second window."""

    name, covers, found = "rapl", "the processor", "measured"
    windows = 0

    def begin_window(self):
        self.windows += 1

    def end_window(self):
        raise HwkdError("the counter stands still")


def test_a_sensor_that_fails_leaves_the_reason_and_ends_nothing():
    setting = Setting("cpu", "any", "fp32", 1)
    runs = {"encode": lambda: None, "decode": lambda: None}
    entries = energy_entries(
        runs, Failing(), "end_to_end", setting, pixels=1, seconds=0.1, country=None
    )
    assert [(e.side, e.name) for e in entries] == [
        (side, name) for side in runs for name in ("energy_mj", "power_w")
    ]
    assert {e.quantity.reason for e in entries} == {"rapl: the counter stands still"}
