"""What is known of a model's training where it is exported: by its run folder, or by the card of a shipped teacher."""

from pathlib import Path

from hwkd.distill.checkpoint import TrainState, read_state
from hwkd.distill.config import RunConfig
from hwkd.distill.run_folder import read_config
from hwkd.errors import InputError
from hwkd.models.shipped import read_card, shipped_names
from hwkd.runtime.card import NOT_RECORDED, Card

HASH_DIGITS = 16
"""Of a sha256, what a card shows of it."""


def training_card(text: str) -> Card:
    """The card of the model that `text` names, as `hwkd.distill.run_folder.load_model` takes it, without figures.

    What no file says is None or NOT_RECORDED.

    Raises:
        InputError: a folder that is no run's.
    """
    folder, _, which = text.partition(":")
    if Path(folder).is_dir():
        return _of_run(Path(folder), is_float=which == "float")
    if text in shipped_names():
        return _of_shipped(text)
    return Card(
        data=NOT_RECORDED,
        licence=NOT_RECORDED,
        teacher=None,
        start=None,
        seed=None,
        float_steps=None,
        quantized_steps=None,
        hours=None,
        hardware=NOT_RECORDED,
        recipe=None,
        limits=(),
    )


def _of_run(folder: Path, *, is_float: bool) -> Card:
    config = read_config(folder)
    try:
        state = read_state(folder)
    except InputError:
        state = None  # deleted, or damaged: the weights are there, and only steps and hours are not known
    steps = {"float": config.float_steps, "qat": config.qat_steps}
    if state is not None:
        steps |= state.steps
    is_trained_in_bits = not (is_float or config.ptq or config.bits is None)
    return Card(
        # A user's folder is nobody else's business; its last part says enough.
        data=Path(config.data).name,
        licence=NOT_RECORDED,
        teacher=_teachers(config),
        start=_named(config.start, config.start_sha256),
        seed=config.seed,
        float_steps=steps["float"],
        quantized_steps=steps["qat"] if is_trained_in_bits else 0,
        hours=_hours(state, is_trained_in_bits),
        hardware=NOT_RECORDED,
        recipe=None,
        limits=(),
    )


def _hours(state: TrainState | None, is_trained_in_bits: bool) -> float | None:
    """Of the phases that made the exported weights; the state knows only the sum of both."""
    if state is None or (state.steps.get("qat") and not is_trained_in_bits):
        return None
    return round(state.seconds / 3600, 6)


def _of_shipped(name: str) -> Card:
    card = read_card(name)
    return Card(
        data=card.data,
        licence=card.licence,
        teacher=None,
        start=None,
        seed=None,
        float_steps=card.steps,
        quantized_steps=0,
        hours=card.hours,
        hardware=card.hardware,
        recipe=None,
        limits=card.limits,
    )


def _teachers(config: RunConfig) -> str:
    if not config.loss.needs_teacher:
        return "none"
    told = _named(config.teacher, config.teacher_sha256)
    if not config.second_teacher:
        return told
    return f"{told}, for z_hat {_named(config.second_teacher, config.second_teacher_sha256)}"


def _named(name: str, sha256: str) -> str:
    return f"{name} (sha256 {sha256[:HASH_DIGITS]})" if sha256 else name
