"""One table, five ways to print it. Pure: strings in, a string out."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hwkd.errors import InputError, unknown
from hwkd.quantity import NA, Quantity
from hwkd.report.narrow import whole

FORMATS = ("table", "md", "csv", "json", "latex")
"""What `render` accepts; "table" is for a terminal, the others for files."""

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


# What stands behind the text of a cell. A cell that is a plain str is words, and JSON holds the same words.

Number = int | float
Data = Number | list[Number] | Mapping[str, Number | str | None]
"""What JSON holds of a cell that is not words; output.schema.json describes each kind."""

DIGITS = 8
"""Significant ones of a number in JSON, as in a CSV of figures; whole numbers keep all of theirs."""


class Valued(str):
    """A cell's text, which every other format prints, and `data`, which JSON holds in its place."""

    data: Data

    def __new__(cls, text: str, data: Data) -> "Valued":
        """Of both: str takes its text here, not in __init__."""
        made = super().__new__(cls, text)
        made.data = data
        return made


def missing(reason: str, text: str = NA) -> Valued:
    """A cell without a value, for this reason. Raises InputError without one."""
    if not reason:
        raise InputError("a cell without a value needs the reason why there is none")
    return Valued(text, {"value": None, "reason": reason})


def number(value: float | None, spec: str = "", reason: str = "") -> Valued:
    """A cell with a number. spec: how the text shows it ("+.2f"). reason: why it is None, or not finite."""
    if value is None:
        return missing(reason)
    text = format(value, spec)
    # Of an infinite or undefined number JSON knows nothing.
    return Valued(text, value) if math.isfinite(value) else missing(reason, text)


def numbers(text: str, *values: float) -> Valued:
    """A cell with several numbers that belong together."""
    return Valued(text, list(values))


def span(text: str, low: float, high: float, found: str = "") -> Valued:
    """A cell with a range in which no value stands out. found: as of a Quantity."""
    return Valued(text, {"low": low, "high": high, **({"found": found} if found else {})})


def figure(text: str, of: Quantity, **more: float | None) -> Valued:
    """A cell with a figure: value, interval where it has one, and how it was found. more: further numbers of it."""
    if of.value is None:
        return missing(of.reason, text)
    data: dict[str, Number | str | None] = {"value": of.value}
    if of.low is not None and of.high is not None:
        data |= {"low": of.low, "high": of.high}
        data |= {} if of.level is None else {"level": of.level}
    data |= {name: value for name, value in more.items() if value is not None}
    return Valued(text, {**data, "found": of.found})


def number_in_words(text: str) -> str:
    """A cell with words that may be one whole number."""
    return Valued(text, int(text)) if text.isdecimal() else text


@dataclass(frozen=True)
class Table:
    """Strings in rows under named columns, with sentences below.

    title: one line above. columns: names, all different. rows: each as long as `columns`; a cell that is more than
    words is a Valued. notes: sentences below, what was not counted say. least: columns that a narrow screen can do without, in that order.

    Raises:
        InputError: two columns share a name, or a row is longer or shorter than `columns`.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    least: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(set(self.columns)) != len(self.columns):
            raise InputError(f"the columns of a table need different names, got {self.columns}")
        for row in self.rows:
            if len(row) != len(self.columns):
                raise InputError(
                    f"a row of {len(row)} cells does not fit {len(self.columns)} columns: {row}"
                )


def render(table: Table, fmt: str, width: int | None = None) -> str:
    """`table` as text in one of FORMATS, without a trailing newline.

    Args:
        width: columns of the terminal, for "table" only, where a wider table is drawn in blocks of columns; None fits the
            content, so that nothing is folded.

    "csv" holds columns and rows only (RFC 4180 quoting, "\\n" between lines). "json" is the document of this table
    alone. "latex" is a booktabs table, everything escaped.

    Raises:
        InputError: fmt is not among FORMATS.
    """
    return render_all((table,), fmt, width)


def render_all(tables: Sequence[Table], fmt: str, width: int | None = None) -> str:
    """As `render`, of several tables: an empty line between them, but one document of JSON (hwkd/report/output.schema.json)."""
    if fmt == "json":
        return json.dumps(document(tables), indent=2, ensure_ascii=False, allow_nan=False)
    return "\n\n".join(_rendered(table, fmt, width) for table in tables)


def _rendered(table: Table, fmt: str, width: int | None) -> str:
    match fmt:
        case "table":
            return whole(table, width)
        case "md":
            return _markdown(table)
        case "csv":
            return _csv(table)
        case "latex":
            return _latex(table)
        case _:
            raise unknown("format", fmt, FORMATS)


def _markdown(table: Table) -> str:
    def line(cells: tuple[str, ...]) -> str:
        return "| " + " | ".join(c.replace("|", "\\|").replace("\n", " ") for c in cells) + " |"

    parts = [f"**{table.title}**", ""] if table.title else []
    parts += [line(table.columns), "|" + "---|" * len(table.columns)]
    parts += [line(row) for row in table.rows]
    for note in table.notes:
        parts += ["", note]
    return "\n".join(parts)


def _csv(table: Table) -> str:
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows(table.rows)
    return sink.getvalue().rstrip("\n")


FORMAT = "hwkd-tables"
VERSION = 1
"""Of the document. It goes up where a reader of before would go wrong; a further kind of cell is such a change."""


def document(tables: Sequence[Table]) -> dict[str, Any]:
    """What JSON holds of `tables`, whether one or many: output.schema.json."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "tables": [
            {
                "title": table.title,
                "columns": list(table.columns),
                "rows": [
                    dict(zip(table.columns, map(_data, row), strict=True)) for row in table.rows
                ],
                "notes": list(table.notes),
            }
            for table in tables
        ],
    }


def _data(cell: str) -> Any:
    if not isinstance(cell, Valued):
        return cell
    if isinstance(cell.data, Mapping):
        return {name: _rounded(value) for name, value in cell.data.items()}
    if isinstance(cell.data, list):
        return [_rounded(value) for value in cell.data]
    return _rounded(cell.data)


def _rounded(value: Number | str | None) -> Number | str | None:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def _latex(table: Table) -> str:
    def line(cells: tuple[str, ...]) -> str:
        return " & ".join(map(_escaped, cells)) + r" \\"

    # A table wider than the text is shrunk to fit; a narrower one keeps its size.
    fit = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
    parts = [r"% needs \usepackage{booktabs,graphicx}", r"\begin{table}", r"\centering"]
    if table.title:
        parts.append(rf"\caption{{{_escaped(table.title)}}}")
    parts += [fit, rf"\begin{{tabular}}{{{'l' * len(table.columns)}}}", r"\toprule"]
    parts += [line(table.columns), r"\midrule", *map(line, table.rows), r"\bottomrule"]
    parts.append(r"\end{tabular}}")
    for note in table.notes:
        parts.append(rf"\par\footnotesize {_escaped(note)}")
    parts.append(r"\end{table}")
    return "\n".join(parts)


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text).replace("\n", " ")
