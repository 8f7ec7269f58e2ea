import errno
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hwkd import files
from hwkd.errors import HwkdError, InputError
from hwkd.files import (
    CLAIM,
    append_line,
    check_new,
    claimed,
    data_folder,
    replacing,
    write_bytes,
    write_text,
)

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


def test_a_link_stays_one_and_its_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real/file")
    (tmp_path / "dangling").symlink_to("real/none")
    for name in ("link", "dangling"):
        write_bytes(tmp_path / name, b"new")
        assert (tmp_path / name).is_symlink() and (tmp_path / name).read_bytes() == b"new"
    assert _names(tmp_path / "real") == ["file", "none"]


@pytest.mark.parametrize("mode", [0o600, 0o664, 0o444])
def test_the_mode_of_a_file_is_kept(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(mode)
    with replacing(path) as neighbour:
        readers = stat.S_IMODE(neighbour.stat().st_mode) & 0o077
        assert readers & ~mode == 0  # not for others' eyes while it is written either
        neighbour.write_bytes(b"new")
    assert stat.S_IMODE(path.stat().st_mode) == mode and path.read_bytes() == b"new"


def test_a_new_file_has_the_mode_that_the_system_gives(tmp_path: Path) -> None:
    (tmp_path / "usual").write_bytes(b"")
    write_bytes(tmp_path / "file", b"new")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_pipe_is_written_into(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    # A daemon, so that a pipe that is never written to fails the test and does not hang it.
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    check_new(pipe, force=False)
    write_bytes(pipe, b"new")
    assert stat.S_ISFIFO(pipe.lstat().st_mode)
    reader.join(timeout=30)
    assert read == [b"new"]


def test_a_stream_of_the_process_is_written_into_although_it_leads_to_a_file(
    tmp_path: Path,
) -> None:
    with (tmp_path / "out").open("wb") as file:
        before = os.fstat(file.fileno()).st_ino
        write_bytes(Path(f"/dev/fd/{file.fileno()}"), b"new")
    assert (tmp_path / "out").stat().st_ino == before
    assert (tmp_path / "out").read_bytes() == b"new"


def test_the_longest_name_that_the_system_takes_is_written(tmp_path: Path) -> None:
    name = "n" * 255
    write_bytes(tmp_path / name, b"new")
    assert _names(tmp_path) == [name]


def test_two_containers_with_one_process_number_do_not_meet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getpid", lambda: 1)
    with replacing(tmp_path / "file") as one, replacing(tmp_path / "file") as other:
        assert one != other
        one.write_bytes(b"one")
        other.write_bytes(b"other")
    assert (tmp_path / "file").read_bytes() == b"one" and _names(tmp_path) == ["file"]


def test_a_file_that_cannot_be_renamed_to_is_written_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As one that a container has mounted by itself.
    path = tmp_path / "file"
    path.write_bytes(b"a longer old content")
    monkeypatch.setattr(Path, "replace", _fails(errno.EBUSY))
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new" and _names(tmp_path) == ["file"]


def test_a_file_in_a_folder_that_takes_no_other_is_written_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a longer old content")
    open_ = os.open

    def refuse(name: object, flags: int, *mode: int) -> int:
        if flags & os.O_CREAT and Path(str(name)).parent == tmp_path:
            raise PermissionError(errno.EACCES, "Permission denied")
        return open_(name, flags, *mode)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", refuse)
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"


def test_a_name_that_is_no_text_is_written_as_json_reads_it_back(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    write_text(tmp_path / "file", json.dumps([name], ensure_ascii=False))
    assert json.loads((tmp_path / "file").read_text(encoding="utf-8")) == [name]


@pytest.mark.parametrize(
    ("left", "whole"),
    [
        (b'{"a": 1}\n', ['{"a": 1}']),
        (b'{"a": 1}\n{"b": 2', ['{"a": 1}']),  # a killed process, or a full disk
        (b'{"a": 1}\n\0\0\0', ['{"a": 1}']),  # a machine that lost its power
        (b'{"a": 1}\n{"b": 2}', ['{"a": 1}', '{"b": 2}']),
        (b"half", []),
    ],
)
def test_append_line_begins_a_line_of_its_own(
    tmp_path: Path, left: bytes, whole: list[str]
) -> None:
    (tmp_path / "log").write_bytes(left)
    append_line(tmp_path / "log", '{"c": 3}')
    assert (tmp_path / "log").read_text().splitlines() == [*whole, '{"c": 3}']


def test_a_line_that_a_full_disk_cuts_is_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"{}\n")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        with pytest.raises(InputError, match="File too large"):
            append_line(path, '{"a": "more than ten bytes"}')
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert path.read_bytes() == b"{}\n"


def test_a_folder_is_claimed_by_one_process_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with (
        claimed(folder),
        pytest.raises(InputError, match=r"another run is at work in .*run: wait") as caught,
        claimed(folder),
    ):
        pass
    assert caught.value.exit_code == 2
    with claimed(folder):  # it is free again
        pass


def test_a_killed_process_claims_nothing(tmp_path: Path) -> None:
    code = f"import os, pathlib, hwkd.files as f; f.claimed(pathlib.Path({str(tmp_path)!r})).__enter__(); os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    with claimed(tmp_path):
        assert (tmp_path / CLAIM).exists()  # it had come so far


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
