"""Writing targets: the derived constants at the end of a board's file, or a whole file for a board of one's own."""

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import tomli_w

from hwkd.constants import Constants
from hwkd.errors import InputError
from hwkd.files import write_text
from hwkd.target import Target

_NUMBERS = re.compile(r"\[\n((?:\s+-?[\d.e+-]+,\n)+)\s*\]")
MARK = "# Below: derived by `hwkd targets fit`, which writes it anew. What is above is left as it stands.\n"


def write_constants(path: Path, into: Path, constants: Sequence[Constants]) -> None:
    """Write the target file at `path` to `into` with these constants in place of those that it holds.

    Raises:
        InputError: the file cannot be read, or `into` not written.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    facts = text.partition(MARK)[0].rstrip("\n")
    derived = _toml({"constants": [asdict(c) for c in constants]}) if constants else ""
    write_text(into, f"{facts}\n\n{MARK}\n{derived}" if derived else f"{facts}\n")


def write_target(path: Path, target: Target, comment: str) -> None:
    """Write a whole target, `comment` (lines) above it. Raises as hwkd.files.write_text."""
    lines = "".join(f"# {line}\n" for line in comment.splitlines())
    write_text(path, lines + _toml(asdict(target)))


def _toml(content: dict[str, Any]) -> str:
    # A row of a matrix on a line, as people write it.
    return _NUMBERS.sub(
        lambda row: "[" + ", ".join(row.group(1).replace(",", " ").split()) + "]",
        tomli_w.dumps(_given(content)),
    )


def _given(value: Any) -> Any:
    """Without None, which TOML lacks, and without empty texts and lists, which are defaults; tuples as lists."""
    if isinstance(value, dict):
        kept = {key: _given(item) for key, item in value.items()}
        return {k: v for k, v in kept.items() if v is not None and v != "" and v != [] and v != {}}
    if isinstance(value, list | tuple):
        return [_given(item) for item in value]
    return value
