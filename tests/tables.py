"""What `--format json` prints: read, and held against the schema that ships with hwkd."""

import json
import re
from importlib.resources import files

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

SCHEMA = json.loads((files("hwkd") / "report/output.schema.json").read_text(encoding="utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)

NUMBER = re.compile(
    r"[~^]?[-+]?\d[\d,]*(\.\d+)?(e[-+]?\d+)?( %)?( [\[(±-][-+\d].*| to [-+]?\d[\d,.]*)?"
)
"""A number as people read it, with what stands behind it; a cell of words must not be one."""


def tables_of(text):
    """The tables in `text`. Fails where it is not such a document, or a row or a cell not what it should be."""
    content = json.loads(text, parse_constant=_refuse)
    error = best_match(VALIDATOR.iter_errors(content))
    assert error is None, f"{list(error.absolute_path)}: {error.message}"
    for table in content["tables"]:
        for row in table["rows"]:
            assert list(row) == table["columns"]
            first = next(iter(row.values()))
            for column, cell in row.items():
                is_name = str(first).startswith(("version of ", "model id"))
                hides = isinstance(cell, str) and NUMBER.fullmatch(cell) and not is_name
                assert not hides, f"{table['title']}, {first}, {column}: {cell!r} is a number"
    return content["tables"]


def table_of(text):
    """The only table in `text`."""
    (table,) = tables_of(text)
    return table


def value_of(cell):
    """The number or the words of a cell; None where it is missing."""
    return cell["value"] if isinstance(cell, dict) else cell


def is_missing(cell):
    """Whether the cell has no value; the schema sees to it that the reason is told."""
    return isinstance(cell, dict) and "value" in cell and cell["value"] is None


def _refuse(text):
    raise AssertionError(f"{text} is not JSON")
