"""Reading run folders; what the command line refuses is tested in tests/cli."""

from pathlib import Path

import pytest

from hwkd.distill.run_folder import check_folder, forget_run, load_model, load_run, read_config
from hwkd.distill.train import Interrupted
from hwkd.errors import InputError


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
