from dataclasses import replace

import pytest

from hwkd.bits import BitPlan
from hwkd.distill.checkpoint import TrainState, write_state
from hwkd.distill.config import RunConfig
from hwkd.distill.losses import LossWeights
from hwkd.errors import InputError
from hwkd.export.training_card import training_card
from hwkd.models.shipped import read_card
from hwkd.runtime.card import NOT_RECORDED


@pytest.fixture
def run(tmp_path, tiny_specs):
    """run(state={...}, ...): a run's folder without weights; other names change the configuration."""

    def make(state=None, **changes):
        config = RunConfig(
            spec=tiny_specs["relu"],
            lmbda=0.025,
            target="jetson-nano",
            bits=BitPlan(7, 8),
            teacher="patch-q5",
            teacher_sha256="0123456789abcdef0123",
            second_teacher="",
            second_teacher_sha256="",
            start="run before (float)",
            start_sha256="fedcba9876543210fedc",
            data="/home/somebody/holiday photos: 9 images, 1.0 Mpx, 1 held out",
            float_steps=30,
            qat_steps=20,
            minutes=None,
            seed=11,
        )
        folder = tmp_path / "demo"
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(replace(config, **changes).to_json())
        if state is not None:
            names = ("student", "projections", "average", "aux_optimizer", "batches")
            empty: dict = {name: {} for name in names}
            write_state(folder, TrainState(**state, **empty, optimizers=[], plateaus=[]))
        return str(folder)

    return make


FINISHED = {"phase": "qat", "step": 21, "steps": {"float": 31, "qat": 21}, "seconds": 5400.0}


def test_a_finished_run_says_what_it_was(run):
    card = training_card(run(FINISHED, float_steps=None, qat_steps=None, minutes=5.0))
    assert card.teacher == "patch-q5 (sha256 0123456789abcdef)"
    assert card.start == "run before (float) (sha256 fedcba9876543210)"
    assert card.data == "holiday photos: 9 images, 1.0 Mpx, 1 held out"
    assert card.seed == 11
    assert (card.float_steps, card.quantized_steps, card.hours) == (31, 21, 1.5)
    assert (card.licence, card.hardware, card.recipe) == (NOT_RECORDED, NOT_RECORDED, None)
    assert (card.limits, card.figures) == ((), ())


def test_hours_of_resumed_parts_add_up(run, tmp_path):
    """The state holds the sum: as `hwkd distill --resume` goes on from the seconds that it finds."""
    folder = run({**FINISHED, "seconds": 1800.0})
    assert training_card(folder).hours == 0.5
    run({**FINISHED, "seconds": 1800.0 + 3600.0})
    assert training_card(folder).hours == 1.5


@pytest.mark.parametrize("damaged", [True, False])
def test_without_a_checkpoint_the_steps_are_the_planned_ones(run, tmp_path, damaged):
    folder = run(FINISHED if damaged else None)
    if damaged:
        (tmp_path / "demo/checkpoint/state.pt").write_bytes(b"PK")
    card = training_card(folder)
    assert (card.float_steps, card.quantized_steps, card.hours) == (30, 20, None)


def test_the_float_student_was_not_trained_in_bits(run):
    card = training_card(run(FINISHED) + ":float")
    assert (card.float_steps, card.quantized_steps) == (31, 0)
    assert card.hours is None  # the state knows those of both phases together


@pytest.mark.parametrize("changes", [{"ptq": True}, {"bits": None}])
def test_a_run_that_never_trained_in_bits_knows_its_hours(run, changes):
    state = {"phase": "float", "step": 30, "steps": {"float": 30}, "seconds": 720.0}
    card = training_card(run(state, qat_steps=0, **changes))
    assert (card.float_steps, card.quantized_steps, card.hours) == (30, 0, 0.2)


def test_a_run_that_learns_from_nobody_has_no_teacher(run):
    alone = LossWeights(rd=1.0, latent=0.0, output=0.0, hyper=0.0)
    assert training_card(run(loss=alone)).teacher == "none"


def test_a_teacher_without_a_file_and_a_second_one(run):
    card = training_card(
        run(
            teacher_sha256="",
            second_teacher="other",
            second_teacher_sha256="00112233445566778899",
            start="random",
            start_sha256="",
        )
    )
    assert card.teacher == "patch-q5, for z_hat other (sha256 0011223344556677)"
    assert card.start == "random"


def test_a_shipped_teacher_says_what_its_card_says():
    card, held = training_card("patch-q5"), read_card("patch-q5")
    assert (card.data, card.licence, card.hardware) == (held.data, held.licence, held.hardware)
    assert (card.float_steps, card.quantized_steps, card.hours) == (13891, 0, 0.95)


def test_of_a_file_nothing_is_known(tiny_teacher_file):
    card = training_card(str(tiny_teacher_file))
    assert (card.data, card.seed, card.float_steps, card.hours) == (NOT_RECORDED, None, None, None)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="is not a run folder"):
        training_card(str(tmp_path))
