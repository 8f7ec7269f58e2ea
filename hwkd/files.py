"""Files: where those that ship lie, and writing so that nothing is half-written."""

import errno
import fcntl
import json
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import IO

from hwkd.errors import HwkdError, InputError

# Writing files so that nothing is half-written: to a neighbour first, then renamed into place.

# Where a neighbour cannot be made or renamed, although the file itself can be written: a folder without the right to
# write, a read-only file system with one writable file, a file that a container has mounted by itself.
_NO_NEIGHBOUR = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY, errno.EXDEV)

CLAIM = ".lock"
"""The file in a claimed folder that is locked."""

_LONGEST_LINE = 2**20
"""Bytes. What our lines are far below."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a file to write to; what it holds takes `path`'s place when the block ends without error.

    Links are followed, and the mode of a file that exists is kept. A device or a pipe is written into, as cp does.

    Raises:
        HwkdError: the disk is full.
        InputError: the place cannot be written to.
    """
    spare: Path | None = None
    try:
        if is_special(path):
            spare = _in_temporary_folder()
            yield spare
            _copy_into(spare, path)
            return
        # A link stays a link, and its file is replaced. A name that leads in a circle is left to the system's own error.
        place = Path(os.path.realpath(path)) if path.is_symlink() else path
        place.parent.mkdir(parents=True, exist_ok=True)
        mode = _mode_of(place)
        try:
            spare = _neighbour(place, mode)
        except OSError as error:
            if mode is None or error.errno not in _NO_NEIGHBOUR or not os.access(place, os.W_OK):
                raise
            spare = _in_temporary_folder()
        yield spare
        if spare.parent == place.parent:
            _replace(spare, place, mode)
        else:
            _copy_into(spare, place)
    except OSError as error:
        raise _explained(error, path) from error
    finally:
        if spare is not None:
            with suppress(OSError):
                spare.unlink()


def is_special(path: Path) -> bool:
    """Whether `path` is a device, a pipe or a socket, or names a stream of a process: it cannot be replaced."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    if stat.S_ISDIR(mode):
        return False
    # /dev/stdout may lead to a regular file, which its shell goes on writing to.
    return not stat.S_ISREG(mode) or path.absolute().parts[:2] in (("/", "dev"), ("/", "proc"))


def _mode_of(place: Path) -> int | None:
    try:
        return stat.S_IMODE(place.stat().st_mode)
    except FileNotFoundError:
        return None


def _neighbour(place: Path, mode: int | None) -> Path:
    """A new empty file beside `place`, which nobody may read who may not read `place`."""
    # Short, for the name of `place` may be as long as the system allows; by chance, for two containers that share a
    # folder may have processes of one number.
    neighbour = place.parent / f".hwkd-{secrets.token_hex(6)}.tmp"
    allowed = 0o666 if mode is None else mode & 0o777 | stat.S_IRUSR | stat.S_IWUSR
    os.close(os.open(neighbour, os.O_CREAT | os.O_EXCL | os.O_WRONLY, allowed))
    return neighbour


def _in_temporary_folder() -> Path:
    descriptor, name = tempfile.mkstemp(prefix="hwkd-")
    os.close(descriptor)
    return Path(name)


def _replace(neighbour: Path, place: Path, mode: int | None) -> None:
    with neighbour.open("rb") as written:
        os.fsync(written.fileno())
    if mode is not None:
        _keep_owner(neighbour, place)
        neighbour.chmod(mode)  # after the owner: a change of owner may clear some mode bits
    try:
        neighbour.replace(place)
    except OSError as error:
        if mode is None or error.errno not in _NO_NEIGHBOUR:
            raise
        _copy_into(neighbour, place)


def _keep_owner(neighbour: Path, place: Path) -> None:
    """Give `neighbour` the owner and group of `place`, as far as this user may."""
    held, own = place.stat(), neighbour.stat()
    if (held.st_uid, held.st_gid) != (own.st_uid, own.st_gid):
        with suppress(OSError):
            os.chown(neighbour, held.st_uid, held.st_gid)


def _copy_into(written: Path, place: Path) -> None:
    # Without O_CREAT: a device that has gone must not become a file of its name.
    descriptor = os.open(place, os.O_WRONLY | os.O_TRUNC)
    with written.open("rb") as source, os.fdopen(descriptor, "wb") as target:
        shutil.copyfileobj(source, target)


def in_home(text: str) -> Path:
    """The path `text`, in which a ~ at the start is the user's folder, where there is one."""
    # pathlib's own raises for a user without a folder, or without a name.
    return Path(os.path.expanduser(text))


def check_new(path: Path, *, force: bool) -> None:
    """Refuse to write over a file that exists, unless `force`; and over a folder always.

    Raises:
        InputError: there is something at `path`.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder: give the name of a file")
    if path.exists() and not force and not is_special(path):
        raise InputError(f"{path} exists: give another name, or --force to replace it")


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """`folder`, made where it is missing, belongs to this process inside; its end, however it comes, frees it.

    Raises:
        InputError: another process has claimed it; it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = _locked(folder / CLAIM)
    except BlockingIOError as error:
        raise InputError(
            f"another run is at work in {folder}: wait until it is done, or give another folder with -o"
        ) from error
    except OSError as error:
        raise _explained(error, folder) from error
    with file:
        try:
            yield
        finally:
            with suppress(OSError):
                (folder / CLAIM).unlink()


def _locked(path: Path) -> IO[bytes]:
    """The file at `path`, locked until it is closed. Raises BlockingIOError where another process has it."""
    while True:
        file = path.open("ab")
        try:
            # The library filelock leaves its file behind, or frees a claim by it alone, which a killed process cannot.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = os.fstat(file.fileno()).st_ino
            # Another process may have removed it, at its end, between our two calls.
            with suppress(FileNotFoundError):
                if path.stat().st_ino == held:
                    return file
            file.close()
        except BlockingIOError:
            file.close()
            raise
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                file.close()
                raise
            return file  # a file system without locks, where there is nothing better to do than to go on


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all. Raises as `replacing`."""
    with replacing(path) as neighbour:
        neighbour.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write `content` to `path` in UTF-8, whole or not at all. Raises as `replacing`.

    The bytes of a file's name that is no text become escapes, which JSON reads back as the same name.
    """
    write_bytes(path, content.encode(errors="backslashreplace"))


def append_line(path: Path, line: str) -> None:
    """Add `line`, which holds JSON, to the end of `path`, whole or not at all. Raises as `replacing`.

    Half a line at the end, which a killed process or a full disk has left, is removed first.
    """
    try:
        # Without a buffer: closing the file would write the buffer's rest.
        with path.open("ab+", buffering=0) as file:
            _end_last_line(file)
            end = file.tell()
            rest = line.encode(errors="backslashreplace") + b"\n"
            try:
                while rest:
                    rest = rest[file.write(rest) :]
            except OSError:
                os.truncate(path, end)
                raise
    except OSError as error:
        raise _explained(error, path) from error


def _end_last_line(file: FileIO) -> None:
    """Bring `file` to the end of a line: what a killed process left there is completed or removed."""
    end = file.seek(0, os.SEEK_END)
    if end == 0:
        return
    file.seek(end - 1)
    if file.read(1) == b"\n":
        return
    start = max(end - _LONGEST_LINE, 0)
    file.seek(start)
    tail = file.read()
    begin = start + tail.rfind(b"\n") + 1
    try:
        json.loads(tail[begin - start :])
        file.write(b"\n")  # only the end of the line is missing
    except ValueError:
        file.truncate(begin)
    file.seek(0, os.SEEK_END)


def _explained(error: OSError, path: Path) -> HwkdError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return HwkdError(
            f"the disk is full: {path} was not written, what stood there before is untouched; "
            "free some space and run the same command again"
        )
    return InputError(
        f"cannot write {path}: {error.strerror or error}; give a place that you may write to"
    )


# Where the files that ship with hwkd lie.

_PACKAGE = Path(__file__).resolve().parent


def data_folder(name: str) -> Path:
    """The folder of shipped data called `name` ("targets", "profiles").

    An installed wheel holds it at hwkd/_data/<name>; a source checkout, or an editable install of one, beside the
    package.

    Raises:
        HwkdError: neither is there, so the installation is damaged.
    """
    for folder in (_PACKAGE / "_data" / name, _PACKAGE.parent / name):
        if folder.is_dir():
            return folder
    raise HwkdError(
        f"the folder {name!r} that ships with hwkd is missing from {_PACKAGE}; install hwkd again"
    )
