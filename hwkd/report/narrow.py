"""Tables on a screen: whole, or as much of them as fits. Pure."""

import io
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from hwkd.quantity import NA

if TYPE_CHECKING:
    from hwkd.report.table import Table

LINES = 40
"""The approximate largest number of lines of default output."""
FEWEST_ROWS = 4
"""If fewer rows have room, the whole table is left out."""
LONGEST_WORD = 24
"""A longer word in a cell (a digest, a path) may be broken."""
ROOM_FOR_REASONS = 6
"""Lines reserved for notes on why a figure is not known, before rows get any."""
TALLEST_NOTE = 4
"""Lines of the tallest note that is shown; a longer one is shown only with the full output."""

IN_FULL = "--full"

_GLUE = "\ue000"
"""Replaces a blank at which no line may end."""


def whole(table: "Table", width: int | None) -> str:
    """All of `table` in lines of at most `width` columns; None: in its own width.

    If the table is wider, values that all rows share become a sentence, and the columns are in blocks below each other. Each
    block begins with the first columns.
    """
    grid, shared = _Grid.of(table), ""
    if width is not None and grid.natural > width:
        grid, shared = grid.without_shared()
    blocks = grid.blocks(width)
    title = [wrap(table.title, width, 2)] if table.title else []
    return "\n".join([*title, *(block.text() for block in blocks), *_said(shared, table, width)])


def screen(
    tables: Sequence["Table"],
    width: int | None,
    verdict: str = "",
    also: Sequence[str] = (),
    in_full: str = f"{IN_FULL} shows all",
) -> str:
    """The most important parts of `tables`, in about LINES lines, and a line that lists what is left out.

    A table loses, in this order: notes, columns of `Table.least`, rows, all of itself; the last ones first.

    Args:
        verdict: the first line.
        also: what the caller left out, in words.
        in_full: where all of it is, in words.
    """
    fitted = [_Fitted.of(table, width) for table in tables]
    head = wrap(verdict, width, 2).splitlines()
    room = LINES - len(head) - 2
    urgent = [_urgent(table) for table in tables]
    lines = sum(len(_note(note, width).splitlines()) for notes in urgent for note in notes)
    kept_free = min(lines, ROOM_FOR_REASONS)
    room -= kept_free
    while True:
        rows = _most_rows(fitted, room)
        if rows >= FEWEST_ROWS or len(fitted) == 1:
            break
        fitted.pop()
    dropped = [_short(table.title) for table in tables[len(fitted) :]]
    fitted = [one.cut(rows) for one in fitted]
    room += kept_free - sum(one.height for one in fitted)
    lost: list[str] = [*also, *dropped]
    told: set[tuple[int, str]] = set()
    for is_urgent in (True, False):
        for i, table in enumerate(tables[: len(fitted)]):
            for note in table.notes:
                height = len(_note(note, width).splitlines())
                if (note in urgent[i]) == is_urgent and height <= min(room, TALLEST_NOTE):
                    told.add((i, note))
                    room -= height
    parts = []
    for i, (one, table) in enumerate(zip(fitted, tables, strict=False)):
        notes = [_note(note, width) for note in table.notes if (i, note) in told]
        parts.append("\n".join([one.text(), *notes]))
        of = f" of {_short(table.title)}" if len(tables) > 1 and table.title else ""
        if one.hidden_columns:
            lost.append(f"{', '.join(one.hidden_columns)}{of}")
        if one.hidden_rows:
            lost.append(f"{one.hidden_rows} {'rows' if one.hidden_rows > 1 else 'row'}{of}")
    notes_left = sum(len(table.notes) for table in tables) - len(told)
    if notes_left:
        lost.append(f"{notes_left} {'notes' if notes_left > 1 else 'note'}")
    text = "\n".join([*head, "\n\n".join(parts)])
    if not lost:
        return text
    left_out = f"Left out: {'; '.join(lost)}. {in_full}."
    return f"{text}\n{wrap(left_out, width, 2)}"


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


def _note(note: str, width: int | None) -> str:
    return wrap(note, width, 4 if note.startswith("[") else 2)


COMMON = "Common to "
"""How the note begins without which figures would be misread: what part of coding a time is of, say."""


def _urgent(table: "Table") -> set[str]:
    """The note on what is common to the rows, and notes that say why a figure is not known, of a table that lacks one."""
    lacks = any(NA in cell for row in table.rows for cell in row)
    return {
        note
        for note in table.notes
        if note.startswith(COMMON) or (lacks and re.search(rf"\b{NA}\b", note))
    }


def _short(title: str) -> str:
    """A title without the explanation after its name."""
    return re.split(r"[:,]| for one ", title)[0]


def _said(shared: str, table: "Table", width: int | None) -> list[str]:
    return [*([wrap(shared, width, 2)] if shared else []), *(_note(n, width) for n in table.notes)]


@dataclass(frozen=True)
class _Column:
    """A column: its name, and a text for each row."""

    name: str
    cells: tuple[str, ...]

    @property
    def natural(self) -> int:
        """The width at which nothing is broken."""
        lines = [line for cell in self.cells for line in cell.split("\n")]
        return max(map(cell_len, (self.name, *lines)))

    @property
    def least(self) -> int:
        """The width at which no word is broken, except very long ones."""
        words = [cell_len(word) for cell in self.cells for word in _words(cell)]
        parts = [cell_len(part.lstrip()) for part in _parts(self.name)]
        return max(*parts, min(max(words, default=1), LONGEST_WORD), 1)

    def easy(self, lines: int) -> int:
        """The least width at which no cell is higher than `lines`."""
        fits = (
            w
            for w in range(self.least, self.natural)
            if all(len(_broken(cell, w)) <= lines for cell in self.cells)
        )
        return next(fits, self.natural)


@dataclass(frozen=True)
class _Block:
    """Columns side by side, each with its drawn width; None: each as wide as its content."""

    columns: tuple[_Column, ...]
    widths: tuple[int, ...] | None

    def heights(self) -> list[int]:
        """The height of each row, in lines."""
        if not self.columns:
            return []
        return [max(map(len, row)) for row in zip(*self._cells(), strict=True)]

    @property
    def head(self) -> int:
        """The lines of the names and of the frame."""
        return 3 + max((len(lines) for lines in self._names()), default=1)

    def _cells(self) -> list[list[list[str]]]:
        if self.widths is None:
            return [[cell.split("\n") for cell in column.cells] for column in self.columns]
        return [
            [_broken(cell, w) for cell in column.cells]
            for column, w in zip(self.columns, self.widths, strict=True)
        ]

    def _names(self) -> list[list[str]]:
        if self.widths is None:
            return [[column.name] for column in self.columns]
        return [_joined(c.name, w) for c, w in zip(self.columns, self.widths, strict=True)]

    def text(self) -> str:
        """The block as it is drawn."""
        grid = RichTable()
        widths = self.widths or (None,) * len(self.columns)
        for lines, w in zip(self._names(), widths, strict=True):
            grid.add_column(Text("\n".join(lines)), width=w, overflow="fold", no_wrap=w is None)
        for row in zip(*self._cells(), strict=True):
            grid.add_row(*(Text("\n".join(lines)) for lines in row))
        sink = io.StringIO()
        console = Console(file=sink, width=10_000, color_system=None, legacy_windows=False)
        console.print(grid)
        return "\n".join(line.rstrip() for line in sink.getvalue().splitlines())


@dataclass(frozen=True)
class _Grid:
    """The columns of a table."""

    columns: tuple[_Column, ...]

    @staticmethod
    def of(table: "Table") -> "_Grid":
        """The columns of `table`."""
        return _Grid(
            tuple(
                _Column(name, tuple(row[i] for row in table.rows))
                for i, name in enumerate(table.columns)
            )
        )

    @property
    def natural(self) -> int:
        """The drawn width of all columns."""
        return _drawn(column.natural for column in self.columns)

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(self.columns[0].cells) if self.columns else 0

    @property
    def lines(self) -> int:
        """The number of lines that a row may take: the more rows, the fewer lines."""
        return max(1, min(3, 24 // max(self.rows, 1)))

    def easy(self, column: _Column) -> int:
        """The least width of a column at which its rows stay low."""
        return column.easy(self.lines)

    def without_shared(self) -> tuple["_Grid", str]:
        """The columns that distinguish rows, and a sentence with the values that all rows share."""
        if self.rows < 2:
            return self, ""
        shared = [c for c in self.columns if len(set(c.cells)) == 1 and c.cells[0]]
        if not shared or len(shared) == len(self.columns):
            return self, ""
        kept = tuple(column for column in self.columns if column not in shared)
        said = ", ".join(f"{column.name} {column.cells[0]}" for column in shared)
        return _Grid(kept), f"In every row: {said}."

    def without(self, names: Sequence[str]) -> "_Grid":
        """All columns but `names`."""
        return _Grid(tuple(column for column in self.columns if column.name not in names))

    def fits(self, width: int, least: Callable[[_Column], int]) -> bool:
        """Whether all columns fit, each as wide as `least` returns."""
        return _drawn(map(least, self.columns)) <= width

    def block(self, width: int | None) -> _Block:
        """All columns side by side; if the room is scarce, they share it."""
        if width is None or self.natural <= width:
            return _Block(self.columns, None)
        widths = [column.least for column in self.columns]
        if self.columns[0].natural <= width // 3:
            widths[0] = self.columns[0].natural  # short names at the start stay whole
        if _drawn(widths) > width:
            widths[0] = self.columns[0].least
        easy = list(map(self.easy, self.columns))
        for wanted in (easy, [column.natural for column in self.columns]):
            while _drawn(widths) < width:
                lacking = [i for i, w in enumerate(widths) if w < wanted[i]]
                if not lacking:
                    break
                widths[max(lacking, key=lambda i: wanted[i] / widths[i])] += 1
        while _drawn(widths) > width and max(widths) > 1:
            widths[widths.index(max(widths))] -= 1
        return _Block(self.columns, tuple(widths))

    def blocks(self, width: int | None) -> list[_Block]:
        """The columns in as few blocks as fit `width`; each block begins with the first columns."""
        if width is None or self.natural <= width or self.fits(width, self.easy):
            return [self.block(width)]
        keys = self.columns[: self._keys(width)]
        found: list[_Grid] = []
        now = keys
        for column in self.columns[len(keys) :]:
            if len(now) > len(keys) and not _Grid((*now, column)).fits(width, self.easy):
                found.append(_Grid(now))
                now = keys
            now = (*now, column)
        return [grid.block(width) for grid in (*found, _Grid(now))]

    def _keys(self, width: int) -> int:
        """The number of first columns that distinguish the rows and leave room for others."""
        for count in range(1, min(4, len(self.columns))):
            keys = self.columns[:count]
            if _drawn(column.natural for column in keys) > width // 2:
                break
            if len(set(zip(*(column.cells for column in keys), strict=True))) == self.rows:
                return count
        return 1


@dataclass(frozen=True)
class _Fitted:
    """A table, cut to the part that a screen has room for."""

    title: tuple[str, ...]
    grid: _Grid
    block: _Block
    shared: tuple[str, ...]
    hidden_columns: tuple[str, ...]
    hidden_rows: int = 0

    @staticmethod
    def of(table: "Table", width: int | None) -> "_Fitted":
        """The part of `table` with as many columns as fit `width`."""
        grid, said, hidden = _Grid.of(table), "", []
        if width is not None and grid.natural > width:
            grid, said = grid.without_shared()
            droppable = [name for name in table.least if name in {c.name for c in grid.columns}]
            while droppable and not grid.fits(width, grid.easy):
                hidden.append(droppable.pop(0))
                grid = grid.without(hidden[-1:])
            while len(grid.columns) > 1 and not grid.fits(width, lambda c: c.least):
                hidden.append(grid.columns[-1].name)
                grid = grid.without(hidden[-1:])
        title = tuple(wrap(table.title, width, 2).splitlines()) if table.title else ()
        shared = tuple(wrap(said, width, 2).splitlines()) if said else ()
        order = [name for name in table.columns if name in hidden]
        return _Fitted(title, grid, grid.block(width), shared, tuple(order))

    @property
    def height(self) -> int:
        """The number of lines, with an empty line before the table."""
        around = 1 + len(self.title) + len(self.shared) + self.block.head
        return around + sum(self.block.heights())

    def cut(self, rows: int) -> "_Fitted":
        """The same with at most so many rows."""
        if rows >= self.grid.rows:
            return self
        columns = tuple(replace(c, cells=c.cells[:rows]) for c in self.block.columns)
        block = replace(self.block, columns=columns)
        return replace(self, block=block, hidden_rows=self.grid.rows - rows)

    def text(self) -> str:
        """The table as it is drawn."""
        return "\n".join([*self.title, self.block.text(), *self.shared])


def _most_rows(fitted: Sequence[_Fitted], room: int) -> int:
    """The largest number of rows for each table with which all tables fit in `room` lines."""
    most = max((one.grid.rows for one in fitted), default=0)
    for rows in range(most, 0, -1):
        if sum(one.cut(rows).height for one in fitted) <= room:
            return max(rows, FEWEST_ROWS) if rows == most else rows
    return 1 if most else FEWEST_ROWS


def _drawn(widths: Iterable[int]) -> int:
    """The width of columns of these widths, with their frame."""
    return 1 + sum(w + 3 for w in widths)


def _parts(name: str) -> list[str]:
    """The parts of a column's name. It may be broken after an underscore, or at a blank."""
    return re.findall(r"\s*(?:[^_\s]+_*|_+)", name) or [name]


def _joined(name: str, width: int) -> list[str]:
    """The name in lines of at most `width` columns."""
    lines: list[str] = [""]
    for word in _parts(name):
        if not lines[-1] or cell_len(lines[-1] + word) <= width:
            lines[-1] += word if lines[-1] else word.lstrip()
        else:
            lines.append(word.lstrip())
    return lines


def _words(cell: str) -> list[str]:
    return _glued(cell).split()


def _glued(cell: str) -> str:
    """The cell with numbers joined to their units, so that no line ends between them."""
    return re.sub(r"(?<=[\d.]) (?=(?:%|dB|ms|MiB|px)(?![\w]))", _GLUE, cell)


def _broken(cell: str, width: int) -> list[str]:
    """A cell in lines of at most `width` columns."""
    found = []
    for line in _glued(cell).split("\n"):
        found += textwrap.wrap(line, max(width, 1), break_on_hyphens=False) or [""]
    return [line.replace(_GLUE, " ") for line in found]
