import errno
import os
from pathlib import Path

import pytest

from hwkd import files
from hwkd.errors import HwkdError, InputError
from hwkd.files import append_line, data_folder, replacing, write_bytes, write_text

FULL = "the disk is full: {} was not written, what stood there before is untouched; free some space and run the same command again"


def _names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def _fails(number: int):
    def fail(*_args: object, **_kwargs: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def test_write_bytes_makes_the_folders_above_it(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a" / "b" / "file", b"content")
    assert (tmp_path / "a" / "b" / "file").read_bytes() == b"content"
    assert _names(tmp_path / "a" / "b") == ["file"]


def test_write_bytes_replaces_what_stood_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"a longer old content")
    write_bytes(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"


def test_write_text_is_utf_8(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "Ballé\n")
    assert (tmp_path / "file").read_bytes() == b"Ball\xc3\xa9\n"


@pytest.mark.parametrize("failure", [ValueError("a bug"), KeyboardInterrupt()])
def test_nothing_is_half_written_when_the_writer_raises(
    tmp_path: Path, failure: BaseException
) -> None:
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(type(failure)), replacing(tmp_path / "file") as neighbour:
        neighbour.write_bytes(b"ne")
        raise failure
    assert (tmp_path / "file").read_bytes() == b"old"
    assert _names(tmp_path) == ["file"]


def test_the_old_content_stands_until_the_block_ends(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    with replacing(tmp_path / "file") as neighbour:
        neighbour.write_bytes(b"new")
        assert (tmp_path / "file").read_bytes() == b"old"
        assert neighbour.parent == tmp_path
    assert (tmp_path / "file").read_bytes() == b"new"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_failed_work_and_keeps_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with monkeypatch.context() as patched, pytest.raises(HwkdError) as error:
        patched.setattr(Path, "write_bytes", _fails(number))
        write_text(path, "new")
    assert error.value.exit_code == 1 and not isinstance(error.value, InputError)
    assert str(error.value) == FULL.format(path)
    assert path.read_bytes() == b"old" and _names(tmp_path) == ["file"]


def test_a_disk_that_is_full_when_the_content_is_flushed_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", _fails(errno.ENOSPC))
    with pytest.raises(HwkdError) as error:
        write_bytes(path, b"new")
    assert str(error.value) == FULL.format(path)
    assert path.read_bytes() == b"old" and _names(tmp_path) == ["file"]


def test_a_place_without_write_permission_is_wrong_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    with monkeypatch.context() as patched, pytest.raises(InputError) as error:
        patched.setattr(Path, "write_bytes", _fails(errno.EACCES))
        write_bytes(path, b"new")
    assert str(error.value) == (
        f"cannot write {path}: Permission denied; give a place that you may write to"
    )
    assert _names(tmp_path) == []


def test_a_file_where_a_folder_is_needed_is_wrong_input(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    path = tmp_path / "file" / "below"
    with pytest.raises(InputError) as error:
        write_bytes(path, b"new")
    assert str(error.value) == (
        f"cannot write {path}: File exists; give a place that you may write to"
    )


def test_a_name_that_is_too_long_is_wrong_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="File name too long; give a place"):
        write_bytes(tmp_path / ("n" * 300), b"new")


def test_a_folder_in_the_files_place_is_wrong_input(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="Is a directory; give a place"):
        write_bytes(tmp_path / "folder", b"new")
    assert _names(tmp_path) == ["folder"]


def test_append_line_adds_to_the_end(tmp_path: Path) -> None:
    append_line(tmp_path / "log", "one")
    append_line(tmp_path / "log", "zwölf")
    assert (tmp_path / "log").read_text(encoding="utf-8") == "one\nzwölf\n"


def test_append_line_on_a_full_disk_is_failed_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "open", _fails(errno.ENOSPC))
    with pytest.raises(HwkdError) as error:
        append_line(tmp_path / "log", "one")
    assert str(error.value) == FULL.format(tmp_path / "log")


def test_append_line_into_a_missing_folder_is_wrong_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file or directory; give a place"):
        append_line(tmp_path / "none" / "log", "one")


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "hwkd"
    folder.mkdir()
    monkeypatch.setattr(files, "_PACKAGE", folder)
    return folder


def test_a_checkout_keeps_its_data_beside_the_package(package):
    (package.parent / "targets").mkdir()
    assert data_folder("targets") == package.parent / "targets"


def test_a_wheel_keeps_its_data_inside_and_that_comes_first(package):
    (package.parent / "targets").mkdir()
    (package / "_data" / "targets").mkdir(parents=True)
    assert data_folder("targets") == package / "_data" / "targets"


def test_missing_data_means_a_damaged_installation(package):
    with pytest.raises(HwkdError, match="'targets' that ships with hwkd is missing") as caught:
        data_folder("targets")
    assert caught.value.exit_code == 1
