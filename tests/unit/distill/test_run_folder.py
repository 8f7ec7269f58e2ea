import random
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

from hwkd.distill.checkpoint import TrainState, read_state, state_path, write_state
from hwkd.distill.data import Crops
from hwkd.distill.optimizers import Average
from hwkd.errors import HwkdError, InputError
from hwkd.models.build import build


@pytest.fixture
def state(tiny_specs, photo) -> TrainState:
    """A state as the loop writes it, after one step of both optimizers."""
    codec = build(tiny_specs["patch"])
    main = torch.optim.Adam([p for n, p in codec.named_parameters() if "quantiles" not in n], 3e-4)
    aux = torch.optim.Adam([codec.entropy_bottleneck.quantiles], 1e-3)
    output = codec(torch.rand(1, 3, 64, 64))
    (output.x_hat.sum() + output.y_likelihoods.sum() + codec.aux_loss()).backward()
    average = Average(codec)
    main.step()
    aux.step()
    average.update()
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(main)
    plateau.step(2.5)
    crops = Crops((("a", photo(80, 90, 0)),), 64, 9)
    crops.batch(3)
    return TrainState(
        phase="qat",
        step=17,
        steps={"float": 100, "qat": 25},
        student=dict(codec.state_dict()),
        projections={"y.weight": torch.randn(4, 3, 1, 1)},
        average=average.state(),
        optimizers=[main.state_dict()],
        aux_optimizer=aux.state_dict(),
        plateaus=[plateau.state_dict()],
        batches={"crops": crops.state(), "drawn": 3},
        seconds=1 / 3,
    )


def _same(a: object, b: object) -> bool:
    """Whether two values are equal to the last bit, tensors within nested containers included."""
    if isinstance(a, torch.Tensor):
        return (
            isinstance(b, torch.Tensor)
            and (a.dtype, a.shape) == (b.dtype, b.shape)
            and a.detach().numpy().tobytes() == b.detach().numpy().tobytes()
        )
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(_same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(_same, a, b))
    return type(a) is type(b) and a == b


def test_a_state_reads_back_bit_for_bit(tmp_path: Path, state: TrainState) -> None:
    write_state(tmp_path, state)
    again = read_state(tmp_path)
    for field in fields(TrainState):
        assert _same(getattr(again, field.name), getattr(state, field.name)), field.name


def test_a_state_lies_in_the_runs_checkpoint_folder(tmp_path: Path, state: TrainState) -> None:
    write_state(tmp_path, state)
    assert state_path(tmp_path) == tmp_path / "checkpoint" / "state.pt"
    assert [p.name for p in (tmp_path / "checkpoint").iterdir()] == ["state.pt"]


def test_writing_replaces_the_state_before(tmp_path: Path, state: TrainState) -> None:
    write_state(tmp_path, state)
    state.step = 18
    write_state(tmp_path, state)
    assert read_state(tmp_path).step == 18


def test_a_folder_without_a_state_is_wrong_input(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        read_state(tmp_path)
    assert str(error.value) == (
        f"{tmp_path} holds no checkpoint to resume from: leave out --resume, or name the run with -o"
    )


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        pytest.param(b"", "BadZipFile", id="empty"),
        pytest.param(b"not a state", "BadZipFile", id="text"),
    ],
)
def test_a_damaged_state_is_wrong_input(tmp_path: Path, content: bytes, cause: str) -> None:
    path = state_path(tmp_path)
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_state(tmp_path)
    assert str(error.value) == f"{path} is damaged ({cause}): start over with --force"


def test_a_cut_state_is_wrong_input(tmp_path: Path, state: TrainState) -> None:
    write_state(tmp_path, state)
    path = state_path(tmp_path)
    content = path.read_bytes()
    for length in (1, 10, 100, 1000, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"state\.pt is damaged \(\w+\): start over with"):
            read_state(tmp_path)


def test_a_mutated_state_is_never_a_traceback(tmp_path: Path, state: TrainState) -> None:
    write_state(tmp_path, state)
    path = state_path(tmp_path)
    content = path.read_bytes()
    chance = random.Random(5)
    for _ in range(200):
        mutated = bytearray(content)
        for _ in range(chance.choice((1, 8, 64))):
            # The pickle stands at the start; most of the rest is weights.
            at = chance.randrange(chance.choice((4000, len(mutated))))
            mutated[at] = chance.randrange(256)
        path.write_bytes(mutated)
        try:
            again = read_state(tmp_path)
        except InputError as error:
            assert "\n" not in str(error)
        else:
            assert _same(again.student, state.student)  # what changed carries no meaning


def test_a_flipped_bit_in_the_weights_is_noticed(tmp_path: Path, state: TrainState) -> None:
    write_state(tmp_path, state)
    path = state_path(tmp_path)
    content = bytearray(path.read_bytes())
    weights = state.student["g_a.linear.weight"].numpy().tobytes()
    content[content.index(weights) + 1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_state(tmp_path)
    assert str(error.value) == f"{path} is damaged (BadZipFile): start over with --force"


@pytest.mark.parametrize("held", [[1], 3, {"format": 2}, {}, {"format": 2, "phase": "qat", "x": 2}])
def test_a_file_that_holds_something_else_is_damaged(tmp_path: Path, held: object) -> None:
    path = state_path(tmp_path)
    path.parent.mkdir()
    torch.save(held, path)
    with pytest.raises(InputError, match="is damaged"):
        read_state(tmp_path)


def test_another_format_is_refused(tmp_path: Path, state: TrainState) -> None:
    path = state_path(tmp_path)
    path.parent.mkdir()
    torch.save({**vars(state), "format": 3}, path)
    with pytest.raises(InputError) as error:
        read_state(tmp_path)
    assert str(error.value) == f"{path} is of another format than 2"


class _Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("executed",)


def test_objects_of_other_classes_are_not_unpickled(tmp_path: Path, capsys) -> None:
    path = state_path(tmp_path)
    path.parent.mkdir()
    torch.save({"format": 2, "phase": _Harmful(), "array": np.zeros(3)}, path)
    with pytest.raises(InputError, match="is damaged"):
        read_state(tmp_path)
    assert capsys.readouterr().out == ""


def test_a_full_disk_keeps_the_state_before(
    tmp_path: Path, state: TrainState, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_state(tmp_path, state)

    def full(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    state.step = 18
    with monkeypatch.context() as patched, pytest.raises(HwkdError, match="the disk is full"):
        patched.setattr(Path, "write_bytes", full)
        write_state(tmp_path, state)
    assert read_state(tmp_path).step == 17
