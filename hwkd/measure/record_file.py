"""Profile records as files: written whole, read with every field checked."""

import json
from dataclasses import asdict
from pathlib import Path

from hwkd.data import data_folder
from hwkd.errors import InputError, unknown
from hwkd.files import write_text
from hwkd.measure.record import SCHEMA, Record
from hwkd.schema import read_table

NO_RECORDS = ("published", "results")
"""The folders under profiles/ with other figures: other people's, and rate-distortion results."""


def write_record(path: Path, record: Record) -> None:
    """Write `record` as JSON, one entry or layer a line, whole or not at all. Raises as hwkd.files.write_text."""
    content = asdict(record)
    parts = []
    for key, value in content.items():
        if key in ("layers", "entries"):
            lines = ",\n    ".join(json.dumps(_shortened(item)) for item in value)
            parts.append(f"  {json.dumps(key)}: [\n    {lines}\n  ]" if value else f'  "{key}": []')
        else:
            parts.append(f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}")
    write_text(path, "{\n" + ",\n".join(parts) + "\n}\n")


def read_record(path: Path) -> Record:
    """The record in the file at `path`.

    Raises:
        InputError: no such file, not JSON, of another schema, or with a field or a number that cannot be.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"cannot read the record {path}: {error.strerror or error}; make one with `hwkd profile`"
        ) from error
    except ValueError as error:
        raise InputError(
            f"{path} is not JSON ({error}); give a file that `hwkd profile` wrote"
        ) from error
    if not isinstance(content, dict) or "schema" not in content:
        raise InputError(
            f"{path} is no profile record (it has no schema); give a file that `hwkd profile` wrote"
        )
    # Before anything else: another schema has other fields, and would be refused for the wrong reason.
    if content["schema"] != SCHEMA:
        raise InputError(
            f"{path} is a record of schema {content['schema']!r}; this hwkd reads schema {SCHEMA}: make it again with "
            "`hwkd profile`"
        )
    return read_table(Record, content, str(path))


def find_records(text: str) -> tuple[Record, ...]:
    """The records that `text` names.

    Args:
        text: a record's .json file; a folder, searched to the bottom; or TARGET/MODEL or TARGET among the records that
            ship with hwkd. Several records are ordered by target, and then by MACs, the most first.

    Raises:
        InputError: nothing of that name, a folder without records, or a file that is no record.
    """
    path = Path(text)
    if path.is_dir():
        return _all_below(path, text)
    if path.is_file() or path.suffix == ".json":
        return (read_record(path),)
    shipped = data_folder("profiles")
    target, _, model = text.strip("/").partition("/")
    targets = [p.name for p in shipped.iterdir() if p.is_dir() and p.name not in NO_RECORDS]
    if target not in targets:
        error = unknown("profile", target, targets)
        raise InputError(f"{error}; or give a record's .json file, or a folder of them")
    if not model:
        return _all_below(shipped / target, text)
    models = [p.stem for p in (shipped / target).glob("*.json")]
    if model not in models:
        raise unknown(f"record of {target}", model, models)
    return (read_record(shipped / target / f"{model}.json"),)


def _all_below(folder: Path, text: str) -> tuple[Record, ...]:
    paths = sorted(
        p for p in folder.rglob("*.json") if not set(NO_RECORDS) & set(p.relative_to(folder).parts)
    )
    if not paths:
        raise InputError(
            f"{text} holds no records (.json); make some with `hwkd profile --save {text}`"
        )
    # The largest model of each target first: it is the one that the others are compared with.
    records = [read_record(path) for path in paths]
    return tuple(sorted(records, key=lambda r: (r.target, -r.macs.total_macs, r.model.name)))


def _shortened(item: dict[str, object]) -> dict[str, object]:
    """Without what has its default anyway; an unknown value stays, so that nobody takes it for forgotten."""
    return {
        key: _shortened(value) if isinstance(value, dict) else value
        for key, value in item.items()
        if key in ("value", "network") or (value is not None and value != "")
    }
