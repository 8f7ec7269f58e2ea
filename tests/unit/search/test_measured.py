"""What a tiny student costs on this machine."""

import pytest

from hwkd.errors import InputError
from hwkd.measure.energy.rapl import RaplMeter
from hwkd.models.teacher import load_teacher
from hwkd.search import measured
from hwkd.search.measured import Measured
from hwkd.search.predicted import Predicted
from hwkd.search.space import family_space
from hwkd.target import load_target


@pytest.fixture
def costs(made_teacher, monkeypatch, in_one_thread):
    """Measured with little patience, without a sensor; the tiny teacher's."""
    monkeypatch.setattr(measured, "SECONDS", 0.01)
    monkeypatch.setattr(measured, "SENSORS", ())
    teacher = load_teacher(str(made_teacher))
    return teacher, Measured(load_target("x86-avx2"), lambda family: teacher, 1)


def test_a_student_is_exported_and_timed_once(costs, monkeypatch):
    teacher, costs = costs
    part = family_space("patch", teacher.spec)
    spec = part.spec(part.cheapest())
    cost = costs(spec)
    assert cost.latency_ms.found == "measured" and cost.latency_ms.runs >= 6
    assert cost.latency_ms.low <= cost.latency_ms.value <= cost.latency_ms.high
    assert cost.energy_mj.value is None
    assert cost.energy_mj.reason.startswith("no sensor measures energy here")
    # What is counted does not depend on where it runs.
    predicted = Predicted(load_target("x86-avx2"))(spec)
    assert cost.kmac_per_pixel == predicted.kmac_per_pixel
    assert cost.least_mib == predicted.least_mib
    monkeypatch.setattr(measured, "export", None)
    assert costs(spec) is cost


def test_without_a_runtime_nothing_can_be_measured(monkeypatch):
    monkeypatch.setattr(measured, "preferred_runtimes", lambda: ())
    with pytest.raises(InputError, match="nothing can be measured here, no runtime is installed"):
        Measured(load_target("x86-avx2"), lambda family: None, 1)


def test_sensors_are_those_that_measure():
    assert "codecarbon" not in measured.SENSORS
    assert RaplMeter.__module__.endswith(measured.SENSORS[1])
