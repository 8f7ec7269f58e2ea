"""Short trainings of tiny students from a tiny teacher."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from hwkd.distill.data import ImageSet
from hwkd.errors import InputError
from hwkd.measure.energy.rapl import RaplMeter
from hwkd.models.build import build
from hwkd.models.spec import HyperpriorSpec
from hwkd.models.teacher import Teacher, load_teacher
from hwkd.quantity import MIB
from hwkd.search import train
from hwkd.search.cost import PredictedCosts, stored_bytes
from hwkd.search.space import Space, family_space
from hwkd.search.train import Diverged, Measured, Trainer, rate_share
from hwkd.target import load_target
from tests.fakes.steady_meter import SteadyMeter
from tests.unit.search.conftest import small_settings


@pytest.fixture(scope="module")
def teacher():
    """Of family gdn, which has the fewest layers; its filters are random."""
    torch.manual_seed(7)
    spec = HyperpriorSpec("gdn", (16, 16, 16), 16, 16, 8)
    model = build(spec).eval().requires_grad_(False)
    return Teacher("tiny", model, spec, 0.025, "made here", None)


@pytest.fixture
def trainer(teacher, photo, in_one_thread):
    images = ImageSet(
        "made in code",
        tuple((f"{seed}.png", photo(96, 128, seed)) for seed in range(3)),
        (("held.png", photo(64, 128, 9)),),
        (),
    )
    space = Space((family_space("gdn", teacher.spec),))
    settings = small_settings(space=space, steps=2)
    return lambda **changes: Trainer(replace(settings, **changes), {"gdn": teacher}, images)


@pytest.fixture(scope="module")
def spec(teacher):
    part = family_space("gdn", teacher.spec)
    return part.spec(part.cheapest())


def always(standing):
    return True


@pytest.fixture(scope="module")
def trained():
    """What `alone` has trained."""
    return []


@pytest.fixture
def alone(trained, trainer, spec):
    """The student of seed 5, trained first and alone."""
    if not trained:
        torch.manual_seed(1)
        trained.append(trainer().train(spec, 5, None, always))
    return trained[0]


def test_a_student_is_compared_at_each_rung_and_trained_to_the_last(trainer, spec, alone):
    seen = []
    last = trainer(steps=4).train(spec, 5, None, lambda s: seen.append(s) or True)
    assert [s.steps for s in seen] == [1, 2]
    assert last.steps == 4
    assert alone.steps == 2


def test_the_loss_is_that_of_its_parts(alone):
    last = alone
    assert last.bits.weight_bits == 8 and last.bits.layers == ()
    mse = 10 ** (-last.psnr_db / 10)  # of one held-out image
    assert last.rd_loss == pytest.approx(last.bpp + 0.025 * 255**2 * mse)


def test_a_student_that_is_stopped_stands_where_it_stopped(trainer, spec):
    assert trainer().train(spec, 5, None, lambda standing: False).steps == 1


def test_one_seed_gives_one_student_whatever_was_before(trainer, spec, alone, teacher, monkeypatch):
    torch.manual_seed(2)
    made = trainer()
    assert made.train(spec, 6, None, always) != alone
    # The teacher has coded the pool, once for all.
    monkeypatch.setattr(teacher.model, "forward", None)
    assert made.train(spec, 5, None, always) == alone


def test_a_limit_on_the_size_takes_bits_from_layers(trainer, spec, alone):
    max_mib = 0.8 * stored_bytes(spec, alone.bits) / MIB
    last = trainer(steps=1).train(spec, 5, max_mib, always)
    assert stored_bytes(spec, last.bits) <= max_mib * MIB
    bits = {name: weight_bits for name, weight_bits, _ in last.bits.layers}
    assert len(set(bits.values())) > 1, "bits by layer, not alike for all"
    assert all(4 <= weight_bits < 8 for weight_bits in bits.values())


def test_with_room_for_all_bits_every_layer_keeps_them(trainer, spec, alone):
    assert trainer().train(spec, 5, 1.0, always) == alone


def test_choosing_bits_leaves_the_training_as_it_is(trainer, spec, alone, monkeypatch):
    # The gradients are taken, and whatever they say every layer keeps its bits.
    monkeypatch.setattr(
        "hwkd.search.train.allocate", lambda layers, room: {one.name: 8 for one in layers}
    )
    assert trainer().train(spec, 5, 0.001, always) == alone


def test_a_loss_that_is_not_finite_is_told_with_its_step(trainer, spec, monkeypatch):
    made = trainer(lr=1e30)
    with pytest.raises(Diverged, match=r"not finite (at step|after) "):
        made.train(spec, 5, None, always)


def test_the_rate_rises_to_the_first_rung_and_falls_to_a_hundredth():
    shares = [rate_share(step, 256) for step in range(257)]
    # 32 steps of warm-up: at the first 1 / 32 of the cosine's 1.
    assert shares[0] == pytest.approx(1 / 32)
    assert shares.index(max(shares)) == 31
    assert shares[128] == pytest.approx((1 + 0.01) / 2)
    assert shares[256] == pytest.approx(0.01)


# What a tiny student costs on this machine.


@pytest.fixture
def costs(made_teacher, monkeypatch, in_one_thread):
    """Measured with little patience, without a sensor; the tiny teacher's."""
    monkeypatch.setattr(train, "SECONDS", 0.01)
    monkeypatch.setattr(train, "SENSORS", ())
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
    predicted = PredictedCosts(load_target("x86-avx2"))(spec)
    assert cost.kmac_per_pixel == predicted.kmac_per_pixel
    assert cost.least_mib == predicted.least_mib
    monkeypatch.setattr(train, "export", None)
    assert costs(spec) is cost


def test_a_sensors_energy_is_from_end_to_end_as_the_latency(costs, monkeypatch):
    teacher, _ = costs
    monkeypatch.setattr(train, "SENSORS", ("rapl",))
    monkeypatch.setattr(train, "open_meter", lambda kind: SimpleNamespace(meter=SteadyMeter()))
    stages, timed = train.stage_latencies, []
    monkeypatch.setattr(
        train,
        "stage_latencies",
        lambda *args, **options: timed.append(stages(*args, **options)) or timed[0],
    )
    costs = Measured(load_target("x86-avx2"), lambda family: teacher, 1)
    part = family_space("patch", teacher.spec)
    cost = costs(part.spec(part.cheapest()))
    assert cost.energy_mj.found == "measured" and cost.energy_mj.value > 0
    whole = [e.quantity.value for e in timed[0] if e.part == "end_to_end"]
    assert len(whole) == 2 and cost.latency_ms.value == max(whole)


def test_without_a_runtime_nothing_can_be_measured(monkeypatch):
    monkeypatch.setattr(train, "preferred_runtimes", lambda: ())
    with pytest.raises(InputError, match="nothing can be measured here, no runtime is installed"):
        Measured(load_target("x86-avx2"), lambda family: None, 1)


def test_sensors_are_those_that_measure():
    assert "codecarbon" not in train.SENSORS
    assert RaplMeter.__module__.endswith(train.SENSORS[1])
