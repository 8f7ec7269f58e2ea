"""Reading run folders; what the command line refuses is tested in tests/cli."""

import random
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hwkd.distill.data import Crops
from hwkd.distill.optimizers import Average
from hwkd.distill.run_folder import (
    Event,
    TrainState,
    append_event,
    check_folder,
    forget_run,
    load_model,
    load_run,
    read_config,
    read_events,
    read_state,
    state_path,
    write_state,
)
from hwkd.errors import HwkdError, InputError, Interrupted
from hwkd.models.build import build


def test_a_folder_without_a_config_is_no_run(tmp_path: Path) -> None:
    for read in (read_config, load_run):
        with pytest.raises(InputError) as error:
            read(tmp_path)
        assert str(error.value) == (
            f"{tmp_path} is not a run folder: it holds no config.json (hwkd distill -o)"
        )


def test_the_stored_config_reads_back(tmp_path: Path, config) -> None:
    (tmp_path / "config.json").write_text(config.to_json())
    assert read_config(tmp_path) == config


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe\x00", b'{"format": 2}'])
def test_a_damaged_config_is_wrong_input_that_names_the_folder(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(InputError) as error:
        read_config(tmp_path)
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize(("text", "file"), [("{}", "student"), ("{}:float", "float")])
def test_an_unfinished_run_says_how_to_finish_it(tmp_path: Path, run, text: str, file: str) -> None:
    with pytest.raises(Interrupted):
        run(tmp_path, stop_after=3)
    with pytest.raises(InputError) as error:
        load_model(text.format(tmp_path))
    assert str(error.value) == (
        f"{tmp_path} holds no {file}.safetensors yet: the run is not finished, "
        f"continue it with `hwkd distill ... --resume -o {tmp_path}`"
    )


def test_a_model_that_is_no_folder_is_read_as_a_teacher(tiny_teacher_file: Path) -> None:
    held = load_model(str(tiny_teacher_file))
    assert (held.name, held.lmbda, held.bits) == ("tiny-teacher", 0.025, None)
    assert held.codec.M == 12


def test_an_empty_or_missing_folder_can_be_run_in(tmp_path: Path) -> None:
    check_folder(tmp_path, resume=False, force=False)
    check_folder(tmp_path / "a" / "b", resume=False, force=False)
    assert list(tmp_path.iterdir()) == []


def test_starting_over_removes_what_a_run_writes_and_nothing_else(tmp_path: Path, config) -> None:
    (tmp_path / "config.json").write_text(config.to_json())
    (tmp_path / "checkpoint").mkdir()
    kept = {"notes.txt", "other.safetensors"}
    made = {"metrics.jsonl", "report.md", "report.json", "float.safetensors", "student.safetensors"}
    for name in kept | made | {"checkpoint/state.pt"}:
        (tmp_path / name).write_text("x")
    with pytest.raises(InputError, match="holds a run already"):
        check_folder(tmp_path, resume=False, force=False)
    check_folder(tmp_path, resume=False, force=True)
    forget_run(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == kept


# The diary of a run.

STARTED = Event("started", 2, "torchrun mine", time="2026-01-02T03:04:05+00:00")
RESTARTED = replace(STARTED, kind="restarted", phase="qat", step=40)


def test_events_are_read_back_in_their_order(tmp_path: Path) -> None:
    for event in (STARTED, RESTARTED):
        append_event(tmp_path, event)
    assert read_events(tmp_path) == (STARTED, RESTARTED)


def test_half_a_line_of_a_killed_process_and_unknown_events_are_passed_over(tmp_path: Path) -> None:
    append_event(tmp_path, STARTED)
    with (tmp_path / "events.jsonl").open("a") as diary:
        diary.write('{"kind": "someday", "processes": 1}\n{"kind": "res')
    assert read_events(tmp_path) == (STARTED,)


def test_a_folder_without_a_diary_has_no_events(tmp_path: Path) -> None:
    assert read_events(tmp_path) == ()


def test_sentences_say_when_who_and_from_where() -> None:
    assert STARTED.sentence() == "2026-01-02T03:04:05+00:00 started by 2 processes"
    assert RESTARTED.sentence() == (
        "2026-01-02T03:04:05+00:00 a process was lost: torchrun started 2 processes again, "
        "from step 40 of the qat phase"
    )
    resumed = Event("resumed", 1, "", "float", 3, "t")
    assert resumed.sentence() == "t resumed by 1 process from step 3 of the float phase"


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
