"""Where `hwkd encode` and `hwkd decode` read from and write to: a file, a folder, standard input and output."""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from hwkd.errors import InputError
from hwkd.files import check_new, write_bytes

STANDARD = "-"
"""In place of a file: standard input, or standard output."""

STREAM_SUFFIX = ".hwk"


@dataclass(frozen=True)
class Job:
    """One image to code. source: None for standard input. target: None for standard output."""

    source: Path | None
    target: Path | None

    @property
    def source_name(self) -> str:
        """What messages call the source."""
        return "standard input" if self.source is None else str(self.source)

    @property
    def target_name(self) -> str:
        """What messages call the target."""
        return "standard output" if self.target is None else str(self.target)

    def write(self, content: bytes) -> None:
        """Write to the target; to a file whole or not at all. Raises as hwkd.files.write_bytes."""
        if self.target is None:
            sys.stdout.buffer.write(content)
            sys.stdout.buffer.flush()
        else:
            write_bytes(self.target, content)

    def say(self, line: str) -> None:
        """Print `line`, on standard error where the output takes standard output."""
        say(line, sys.stderr if self.target is None else sys.stdout)


def say(line: str, file: TextIO) -> None:
    """Print `line` to `file`; of a file's name that is no text, the bytes as escapes."""
    print(line.encode(errors="backslashreplace").decode(), file=file)


def is_folder(args: argparse.Namespace) -> bool:
    """Whether IN is a folder, and so many images are meant."""
    return args.source != STANDARD and Path(args.source).is_dir()


def one_job(
    args: argparse.Namespace,
    check_target: Callable[[Path], object],
    renamed: Callable[[Path], Path],
) -> Job:
    """The job of a command whose IN is no folder.

    Args:
        check_target: raises InputError where an output may not have this name.
        renamed: gives the path of the output of that of its input, where OUT is left out.
    Raises:
        InputError: no such IN; as OUT a folder, a file that exists (without --force), or a terminal; no OUT for standard
            input.
    """
    source = None if args.source == STANDARD else Path(args.source)
    if source is not None and not source.exists():
        raise InputError(
            f"no such file or folder: {source}; give a file, a folder, or - for standard input"
        )
    if args.target == STANDARD:
        if sys.stdout.isatty():
            raise InputError("standard output is a terminal: send it to a file or a pipe")
        return Job(source, None)
    if args.target is not None:
        target = Path(args.target)
    elif source is not None:
        target = renamed(source)
    else:
        raise InputError(
            "standard input has no name to make one of: give OUT, a file or - for standard output"
        )
    if target.is_dir():
        raise InputError(
            f"{target} is a folder, and one image is written to a file: give its name in it"
        )
    check_target(target)
    check_new(target, force=args.force)
    return Job(source, target)


def folder_jobs(
    args: argparse.Namespace,
    find: Callable[[Path], tuple[Path, ...]],
    renamed: Callable[[Path], Path],
) -> tuple[Job, ...]:
    """The jobs of a command whose IN is a folder: for each file found, one at the same place below OUT.

    Args:
        find: gives the files in a folder and below. renamed: gives the path of an output of that of its input.
    Raises:
        InputError: nothing found; no OUT, or one that is no folder; outputs that exist (without --force), or two
            of one name.
    """
    if args.target is None:
        raise InputError(f"{args.source} is a folder: give OUT, a folder to write to")
    source, target = Path(args.source), Path(args.target)
    if args.target == STANDARD:
        raise InputError(
            f"{source} is a folder, and standard output takes one file: give a folder to write to"
        )
    if target.exists() and not target.is_dir():
        raise InputError(f"{source} is a folder and {target} is none: give a folder to write to")
    sources: dict[Path, Path] = {}
    for path in find(source):
        output = target / renamed(path.relative_to(source))
        if output in sources:
            raise InputError(
                f"{sources[output]} and {path} would both be written to {output}: rename one of them"
            )
        sources[output] = path
    _check_new(sources, force=args.force)
    return tuple(Job(path, output) for output, path in sources.items())


def _check_new(outputs: dict[Path, Path], *, force: bool) -> None:
    existing = [path for path in outputs if path.exists()]
    if existing and not force:
        raise InputError(
            f"{len(existing)} of {len(outputs)} files to write exist, {existing[0]} for one: give another folder, or "
            "--force to replace them"
        )
    for path in existing:
        check_new(path, force=True)
