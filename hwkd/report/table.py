"""One table, five ways to print it. Pure: strings in, a string out."""

import csv
import io
import json
from dataclasses import dataclass

from hwkd.errors import InputError, unknown
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


@dataclass(frozen=True)
class Table:
    """Strings in rows under named columns, with sentences below.

    title: one line above. columns: names, all different. rows: each as long as `columns`.
    notes: sentences below, what was not counted say. least: columns that a narrow screen can do without, in that order.

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

    "csv" holds columns and rows only (RFC 4180 quoting, "\\n" between lines). "json" is an object with title,
    columns, rows (objects keyed by column) and notes. "latex" is a booktabs table, everything escaped.

    Raises:
        InputError: fmt is not among FORMATS.
    """
    match fmt:
        case "table":
            return whole(table, width)
        case "md":
            return _markdown(table)
        case "csv":
            return _csv(table)
        case "json":
            return _json(table)
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


def _json(table: Table) -> str:
    content = {
        "title": table.title,
        "columns": list(table.columns),
        "rows": [dict(zip(table.columns, row, strict=True)) for row in table.rows],
        "notes": list(table.notes),
    }
    return json.dumps(content, indent=2, ensure_ascii=False)


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
