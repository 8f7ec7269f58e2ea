import math

import numpy as np
import pytest
import torch
from torch import Tensor

from hwkd.distill.batches import LiveBatches, PooledBatches, Teaching
from hwkd.distill.data import Crops
from hwkd.distill.losses import LossWeights, Projections, Targets, drawn, loss_terms
from hwkd.models.base import CodecOutput, HyperpriorCodec
from hwkd.models.build import build
from hwkd.models.spec import HyperpriorSpec, PatchSpec, Spec
from hwkd.qualities import LMBDA_LOW

FIRST = HyperpriorSpec("gdn", (8, 8, 8), 12, 8, 8)
SECOND = PatchSpec(M=20, H=8, Z=6, C=16, widths=(16,), post=(8,))


class Counted:
    """Passes calls on to a teacher and counts the images."""

    def __init__(self, model: HyperpriorCodec) -> None:
        self.model, self.images, self.M, self.Z = model, 0, model.M, model.Z

    def __call__(self, x: Tensor, *, bf16: bool, lmbda: Tensor | None) -> CodecOutput:
        self.images += len(x)
        output: CodecOutput = self.model(x, bf16=bf16, lmbda=lmbda)
        return output


def _teacher(spec: Spec = FIRST) -> HyperpriorCodec:
    """A teacher whose latents are not all zero."""
    teacher = build(spec).eval().requires_grad_(False)
    for transform in ("g_a", "h_a"):
        for module in getattr(teacher, transform).modules():
            if isinstance(module, torch.nn.Conv2d):
                module.weight.mul_(3)
    return teacher


@pytest.fixture(scope="module")
def images(photo):
    return tuple((f"{i}.png", photo(96, 128, i)) for i in range(3))


def _live(images, teaching: Teaching | None, batch: int = 2, bf16: bool = False) -> LiveBatches:
    return LiveBatches(Crops(images, 64, 3), teaching, batch, "cpu", bf16=bf16)


def _pool(images, teaching: Teaching | None, pool: int, batch: int, seed: int) -> PooledBatches:
    crops = Crops(images, 64, 3)
    return PooledBatches(crops, teaching, batch, "cpu", bf16=False, pool=pool, seed=seed)


def _next(batches: LiveBatches | PooledBatches) -> tuple[torch.Tensor, Targets | None]:
    """The next batch, of one part."""
    (part,) = batches.next()
    return part.x, part.targets


def test_targets_are_the_teachers_outputs_without_gradients(images) -> None:
    teacher = _teacher().requires_grad_(True)
    x = Crops(images, 64, 0).batch(2)
    targets = Teaching(teacher, None).targets(x, None, bf16=False)
    output = teacher(x)
    assert bool(output.y_hat.any()) and bool(output.z_hat.any())
    for name in ("y_hat", "z_hat", "x_hat"):
        held = getattr(targets, name)
        assert torch.equal(held, getattr(output, name)) and not held.requires_grad


def test_in_the_hybrid_only_z_hat_is_the_second_teachers(images) -> None:
    first, second = _teacher(), _teacher(SECOND)
    x = Crops(images, 64, 0).batch(2)
    targets = Teaching(first, second).targets(x, None, bf16=False)
    assert torch.equal(targets.y_hat, first(x).y_hat)
    assert torch.equal(targets.x_hat, first(x).x_hat)
    assert torch.equal(targets.z_hat, second(x).z_hat)


def test_the_hybrid_loss_compares_z_hat_with_the_second_teacher(images) -> None:
    first, second, student = _teacher(), _teacher(SECOND), _teacher()
    x = Crops(images, 64, 0).batch(2)
    output = student(x)
    targets = Teaching(first, second).targets(x, None, bf16=False)
    terms = loss_terms(
        output, x, 0.025, LossWeights(0, 0, 0, 1), targets, Projections((12, 8), (12, 6))
    )
    difference = output.z_hat[:, :6].numpy().astype(float) - second(x).z_hat.numpy()
    assert terms.total.item() == pytest.approx((difference**2).mean(), rel=1e-6)


def test_live_batches_are_the_crops_with_their_targets(images) -> None:
    teaching = Teaching(_teacher(), None)
    batches, crops = _live(images, teaching), Crops(images, 64, 3)
    for _ in range(2):
        x, targets = _next(batches)
        assert torch.equal(x, crops.batch(2)) and batches.names == crops.last_names
        assert targets is not None
        assert torch.equal(targets.x_hat, teaching.teacher(x).x_hat)


def test_live_batches_without_teaching_have_no_targets(images) -> None:
    assert _next(_live(images, None))[1] is None


def test_live_batches_restore_continues_exactly(images) -> None:
    batches = _live(images, None)
    _next(batches)
    state = batches.state()
    following = _next(batches)[0]
    again = _live(images, None)
    again.restore(state)
    assert torch.equal(_next(again)[0], following)


def test_the_teacher_is_called_only_while_the_pool_is_made(images) -> None:
    first, second = Counted(_teacher()), Counted(_teacher(SECOND))
    pool = _pool(images, Teaching(first, second), 5, 2, 0)  # type: ignore[arg-type]
    # Whole batches of 2 are made until there are at least 5 crops.
    assert (first.images, second.images) == (6, 6)
    for _ in range(4):
        _next(pool)
    assert (first.images, second.images) == (6, 6)


def test_pooled_targets_and_names_are_those_of_their_crops(images) -> None:
    teaching = Teaching(_teacher(), None)
    live = _live(images, teaching)
    source = {}
    for _ in range(3):
        x, _targets = _next(live)
        source |= {crop.numpy().tobytes(): n for crop, n in zip(x, live.names, strict=True)}
    pool = _pool(images, teaching, 6, 2, 0)
    for _ in range(5):
        x, targets = _next(pool)
        assert targets is not None
        assert pool.names == tuple(source[crop.numpy().tobytes()] for crop in x)
        for crop, y_hat, z_hat, x_hat in zip(
            x, targets.y_hat, targets.z_hat, targets.x_hat, strict=True
        ):
            live_targets = teaching.targets(crop[None], None, bf16=False)
            # One image alone may be summed in another order than in a batch: rounded latents agree, x_hat to 1e-5.
            assert torch.equal(live_targets.y_hat[0], y_hat)
            assert torch.equal(live_targets.z_hat[0], z_hat)
            torch.testing.assert_close(live_targets.x_hat[0], x_hat, rtol=0, atol=1e-5)


def test_a_pooled_batch_holds_no_crop_twice_and_all_crops_come_up(images) -> None:
    pool = _pool(images, None, 6, 4, 0)
    seen = set()
    for _ in range(20):
        x, targets = _next(pool)
        assert targets is None
        batch = {crop.numpy().tobytes() for crop in x}
        assert len(batch) == 4
        seen |= batch
    assert len(seen) == 6


def test_pooled_batches_restore_continues_exactly(images) -> None:
    pool = _pool(images, None, 6, 2, 7)
    _next(pool)
    state = pool.state()
    following = [(_next(pool)[0], pool.names) for _ in range(4)]
    again = _pool(images, None, 6, 2, 7)
    again.restore(state)
    for x, names in following:
        assert torch.equal(_next(again)[0], x) and again.names == names


ALL_RATES = PatchSpec(M=12, H=8, Z=8, C=16, widths=(16,), post=(8,), anchors=3)


def test_every_crop_has_a_lambda_and_is_taught_at_it(images) -> None:
    teacher = _teacher(ALL_RATES)
    teaching = Teaching(teacher, None)
    batches = LiveBatches(Crops(images, 64, 3), teaching, 4, "cpu", bf16=False, lmbda_key=(7,))
    (part,) = batches.next()
    assert part.lmbda is not None and part.targets is not None
    assert torch.equal(part.lmbda, drawn((7,), 1, range(4)))
    assert torch.equal(part.targets.y_hat, teacher(part.x, lmbda=part.lmbda).y_hat)


def test_the_lambdas_of_a_batch_do_not_depend_on_who_draws_them() -> None:
    whole = drawn((7,), 5, range(8))
    assert torch.equal(torch.cat([drawn((7,), 5, range(3)), drawn((7,), 5, range(3, 8))]), whole)
    assert not torch.equal(drawn((7,), 6, range(8)), whole)
    assert not torch.equal(drawn((8,), 5, range(8)), whole)


def test_the_lambdas_of_a_batch_lie_evenly_over_all_rates() -> None:
    places = [
        math.log(one / LMBDA_LOW) / math.log(100) for one in drawn((7,), 1, range(8)).tolist()
    ]
    assert all(0 <= place < 1 for place in places)
    # Eight multiples of the golden ratio, modulo 1, leave no gap of over 2 / 8.
    gaps = np.diff(sorted([*places, min(places) + 1]))
    assert max(gaps) < 2 / 8


def test_pooled_crops_keep_their_lambdas(images) -> None:
    crops = Crops(images, 64, 3)
    live = LiveBatches(Crops(images, 64, 3), None, 2, "cpu", bf16=False, lmbda_key=(7,))
    of_crop = {}
    for _ in range(3):
        (part,) = live.next()
        assert part.lmbda is not None
        of_crop |= {
            crop.numpy().tobytes(): lmbda for crop, lmbda in zip(part.x, part.lmbda, strict=True)
        }
    pool = PooledBatches(crops, None, 2, "cpu", bf16=False, pool=6, seed=0, lmbda_key=(7,))
    for _ in range(4):
        (part,) = pool.next()
        assert part.lmbda is not None
        for crop, lmbda in zip(part.x, part.lmbda, strict=True):
            assert of_crop[crop.numpy().tobytes()] == lmbda
