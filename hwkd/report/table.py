"""One table, five ways to print it. Pure: strings in, a string out."""

import csv
import io
import json
import textwrap
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from hwkd.errors import InputError, unknown

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
    notes: sentences below, what was not counted say.

    Raises:
        InputError: two columns share a name, or a row is longer or shorter than `columns`.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

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
        width: columns of the terminal, for "table" only; None fits the content, so that nothing is cut or folded.

    "csv" holds columns and rows only (RFC 4180 quoting, "\\n" between lines). "json" is an object with title,
    columns, rows (objects keyed by column) and notes. "latex" is a booktabs table, everything escaped.

    Raises:
        InputError: fmt is not among FORMATS.
    """
    match fmt:
        case "table":
            return _plain(table, width)
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


def _plain(table: Table, width: int | None) -> str:
    title = Text(table.title) if table.title else None
    grid = RichTable(title=title, title_justify="left", show_lines=False)
    for i, column in enumerate(table.columns):
        # Without a width the content decides; rich would fold at 80 otherwise. Short names at the start stay whole.
        longest = max([len(column), *(len(row[i]) for row in table.rows)])
        is_whole = width is None or (i == 0 and longest <= width // 3)
        grid.add_column(Text(column), overflow="fold", no_wrap=is_whole)
    for row in table.rows:
        grid.add_row(*map(Text, row))
    sink = io.StringIO()
    console = Console(file=sink, width=width or 10_000, color_system=None, legacy_windows=False)
    console.print(grid)
    notes = [wrap(note, width, 4 if note.startswith("[") else 2) for note in table.notes]
    return "\n".join([*(line.rstrip() for line in sink.getvalue().splitlines()), *notes])


def wrap(text: str, width: int | None, indent: int) -> str:
    """`text` in lines of at most `width` columns, all but the first indented; None leaves it as it is.

    A word longer than a line (an address) is not broken.
    """
    if width is None:
        return text
    return textwrap.fill(
        text,
        max(width, 20),
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


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
