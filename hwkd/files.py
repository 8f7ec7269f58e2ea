"""Files: where those that ship lie, and writing so that nothing is half-written."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hwkd.errors import HwkdError, InputError

# Writing files so that nothing is half-written: to a neighbour first, then renamed into place.


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a neighbour of `path` to write to; it takes `path`'s place when the block ends without error.

    Raises:
        HwkdError: the disk is full.
        InputError: the place cannot be written to.
    """
    neighbour = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield neighbour
        with neighbour.open("rb") as written:
            os.fsync(written.fileno())
        neighbour.replace(path)
    except OSError as error:
        raise _explained(error, path) from error
    finally:
        # Where the place itself is impossible, there is no neighbour to remove either.
        with suppress(OSError):
            neighbour.unlink()


def check_new(path: Path, *, force: bool) -> None:
    """Refuse to write over a file that exists, unless `force`; and over a folder always.

    Raises:
        InputError: there is something at `path`.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder: give the name of a file")
    if path.exists() and not force:
        raise InputError(f"{path} exists: give another name, or --force to replace it")


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all. Raises as `replacing`."""
    with replacing(path) as neighbour:
        neighbour.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write `content` to `path` in UTF-8, whole or not at all. Raises as `replacing`."""
    write_bytes(path, content.encode())


def append_line(path: Path, line: str) -> None:
    """Add `line` to the end of `path`. Raises as `replacing`."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    except OSError as error:
        raise _explained(error, path) from error


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
