"""Checked forms: from TOML or JSON to frozen dataclasses, and what their fields are held to."""

import json
import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from hwkd.errors import InputError

# From a TOML file, or the tables in one, to a frozen dataclass: unknown keys are refused, missing ones named, types
# checked.

Record = TypeVar("Record")

_NAMES = {str: "a text", float: "a number", int: "a whole number", bool: "true or false"}


def parse_toml(text: str) -> dict[str, Any]:
    """What a TOML text says.

    Raises:
        ValueError: it is not TOML.
    """
    # Here, for bundles, which `hwkd encode` waits for, are in JSON.
    if sys.version_info >= (3, 11):
        import tomllib
    else:  # the same reader, as a package
        import tomli as tomllib

    return tomllib.loads(text)


def read_toml(kind: type[Record], path: Path) -> Record:
    """The record of class `kind` that the file at `path` describes.

    Fields are as `read_table` takes them.

    Raises:
        InputError: no such file, not TOML, or a field that does not fit; names file, field, received, accepted.
    """
    try:
        content = parse_toml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"{path}: not a TOML file in UTF-8: {error}") from error
    return read_table(kind, content, str(path))


def read_json(path: Path, give: str, what: str = "") -> Any:
    """The content of the JSON file at `path`.

    Args:
        give: what is accepted in its place, or how to make one, for messages ("give a record or a result").
        what: what the file holds, in words ("the record"); "" where nobody can know.

    Raises:
        InputError: it cannot be read, or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        of = f"{what} {path}" if what else path
        raise InputError(f"cannot read {of}: {error.strerror or error}; {give}") from error
    except ValueError as error:
        raise InputError(f"{path} is not JSON ({error}); {give}") from error


def read_table(kind: type[Record], table: Mapping[str, object], where: str) -> Record:
    """The record of class `kind` that the nested mappings and lists of `table` describe.

    Fields may be str, int, float, bool, another dataclass, a tuple of these (an array), a mapping of texts to these (a
    table), or one of these or None.

    Args:
        where: the file, for messages.

    Raises:
        InputError: a field that does not fit; names where, the field, what was received and what is accepted.
    """
    hints = get_type_hints(kind)
    wanted = {field.name: field for field in fields(cast(Any, kind))}
    for key in table:
        if key not in wanted:
            raise InputError(f"{where}: unknown key {key!r}; accepted are {', '.join(wanted)}")
    for name, field in wanted.items():
        is_needed = field.default is MISSING and field.default_factory is MISSING
        if is_needed and name not in table:
            raise InputError(f"{where}: {name} is missing; this table needs it")
    values = {key: _value(hints[key], value, f"{where}: {key}") for key, value in table.items()}
    try:
        return kind(**values)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _value(hint: Any, value: object, where: str) -> object:
    if get_origin(hint) in (Union, UnionType):
        if value is None:  # JSON has it, TOML leaves the key out
            return None
        (hint,) = (kind for kind in get_args(hint) if kind is not NoneType)
    if get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise InputError(f"{where}: got {value!r}; an array is accepted")
        return tuple(
            _value(get_args(hint)[0], item, f"{where}[{index}]") for index, item in enumerate(value)
        )
    if get_origin(hint) is Mapping:
        if not isinstance(value, dict):
            raise InputError(f"{where}: got {value!r}; a table is accepted")
        kind = get_args(hint)[1]
        return {key: _value(kind, item, f"{where}.{key}") for key, item in value.items()}
    if is_dataclass(hint):
        if not isinstance(value, dict):
            raise InputError(f"{where}: got {value!r}; a table is accepted")
        return read_table(cast(type[object], hint), value, where)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    is_bool_for_number = isinstance(value, bool) and hint is not bool
    if not isinstance(value, hint) or is_bool_for_number:
        raise InputError(f"{where}: got {value!r}; {_NAMES[hint]} is accepted")
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{where}: got {value!r}; a finite number is accepted")
    return value


# What the records of a manifest check of their fields: a range, a text that is not empty, a name among some,
# texts of one line.


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raise InputError unless `value` is `low` to `high`, both included; NaN is not."""
    if not low <= value <= high:
        raise InputError(f"{name} must be {low} to {high}, got {value}")


def check_among(name: str, received: str, accepted: tuple[str, ...]) -> None:
    """Raise InputError unless `received` is one of `accepted`."""
    if received not in accepted:
        raise InputError(f"{name} must be one of {', '.join(accepted)}; got {received!r}")


def check_not_empty(record: object, *names: str) -> None:
    """Raise InputError where one of these fields of `record` is empty."""
    for name in names:
        if not getattr(record, name):
            raise InputError(f"{name} is empty; a text is accepted")


def check_texts(value: object) -> None:
    """Raise InputError unless every text within nested mappings and tuples, keys included, is one printable line."""
    for text in _texts(value):
        if not text.isprintable():
            raise InputError(f"{text!r} is not one line of printable text")


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield key
            yield from _texts(item)
    elif isinstance(value, tuple):
        for item in value:
            yield from _texts(item)
