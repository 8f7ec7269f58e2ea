"""Tables on screens: what fits, what is broken and where, what is left out and said to be."""

import re

import pytest

from hwkd.report.narrow import LINES, screen, whole
from hwkd.report.table import Table, render

NAMES = ("model", "encode_gmacs", "kmac_per_pixel", "psnr_db", "a column of words", "target")
ROWS = tuple(
    (f"model-{i}", f"{i}.25 (-12.5 %)", f"{i}", f"{30 + i}.00", "some words in a cell", "board")
    for i in range(1, 4)
)
WIDE = Table("Wide", NAMES, ROWS, ("A note.",), ("kmac_per_pixel", "encode_gmacs"))


def lines_of(text):
    return [line for line in text.splitlines() if line[:1] in "┏┃┡│└"]


def heads_of(text):
    """Of each column its name, put together from the lines it is broken in."""
    found = []
    for line in text.splitlines():
        if line.startswith("┏"):
            now = [[] for _ in line.split("┳")]
            found += now
        elif line.startswith("┃"):
            for parts, cell in zip(now, line.strip("┃").split("┃"), strict=True):
                parts.append(cell.strip())
    return [[part for part in parts if part] for parts in found]


@pytest.mark.parametrize("width", range(24, 110, 3))
def test_no_name_is_broken_inside_a_word_and_no_line_is_longer_than_the_screen(width):
    for text in (whole(WIDE, width), screen((WIDE,), width)):
        assert all(len(line) <= width for line in text.splitlines())
        for parts in heads_of(text):
            # A line ends at an underscore or a blank.
            joined = "".join(part if part.endswith("_") else f"{part} " for part in parts).strip()
            assert joined in NAMES


def test_a_number_stays_with_its_unit():
    text = whole(Table("", ("a", "b"), (("1.25 (-12.5 %)", "3.0 dB"),)), 23)
    assert "-12.5 %)" in text and "3.0 dB" in text


@pytest.mark.parametrize("width", [30, 50, 80])
def test_in_full_every_column_is_there_and_the_first_is_in_each_block(width):
    text = whole(WIDE, width)
    named = {"".join(parts).replace(" ", "") for parts in heads_of(text)}
    said = re.findall(r"In every row: (.*)\.", " ".join(text.split()))[0]
    for name in NAMES:
        assert name.replace(" ", "") in named or name in said
    assert text.count("┏") == sum(parts == ["model"] for parts in heads_of(text))
    assert text.endswith("A note.")


def test_what_all_rows_share_is_a_sentence_only_where_there_is_no_room():
    assert "In every row: target board" not in whole(WIDE, 200)
    assert "a column of words some words in a cell, target board." in " ".join(
        whole(WIDE, 60).split()
    )


def test_one_row_shares_nothing():
    one = Table("", NAMES, ROWS[:1])
    assert "In every row" not in whole(one, 50)


def test_the_least_columns_go_first_and_are_named():
    shown = screen((WIDE,), 34).partition("Left out: ")
    assert "kmac_per_pixel" in shown[2] and "psnr_db" not in shown[2]
    assert "psnr_" in shown[0] and "kmac" not in shown[0]
    assert " ".join(shown[2].split()).endswith("--full shows all.")


def test_without_a_width_nothing_is_folded_or_left_out():
    assert screen((WIDE,), None) == whole(WIDE, None) == render(WIDE, "table")


def test_a_screen_has_room_for_some_rows_of_each_table():
    tables = [Table(name, ("n",), tuple((str(i),) for i in range(60))) for name in ("A", "B")]
    text = screen(tables, 80, "PASS: all")
    assert len(text.splitlines()) <= LINES + 1
    assert text.splitlines()[0] == "PASS: all"
    hidden = [int(n) for n in re.findall(r"(\d+) rows of [AB]", text.splitlines()[-1])]
    drawn = sum(line.startswith("│") for line in text.splitlines())
    assert sum(hidden) + drawn == 120 and len(hidden) == 2


def test_a_table_without_room_is_named():
    tables = [
        Table(f"Table {i}: more words", ("n",), tuple((str(n),) for n in range(60)))
        for i in range(9)
    ]
    text = screen(tables, 80)
    assert len(text.splitlines()) <= LINES + 2
    assert "Table 0: more words" in text and "Left out: Table" in text and "Table 8" in text


def test_notes_that_are_left_out_are_counted():
    notes = ("short", "a long one " * 60, *(f"note {i}" for i in range(50)))
    text = screen((Table("T", ("c",), (("1",),), notes),), 80, also=("the rest",))
    assert len(text.splitlines()) <= LINES + 1 and "\nshort\n" in text
    left = int(re.findall(r"(\d+) notes", text)[0])
    assert left == len(notes) - text.count("note ") - 1
    assert "Left out: the rest; " in text


def test_why_a_figure_is_not_known_comes_before_rows_and_other_notes():
    rows = tuple((str(i), "n/a") for i in range(60))
    notes = (*(f"other note {i}" for i in range(9)), "b of all rows: n/a, nobody measured it.")
    text = screen((Table("T", ("a", "b"), rows, notes),), 80)
    assert notes[-1] in text and len(text.splitlines()) <= LINES


def test_a_table_without_rows_is_drawn():
    assert "c" in screen((Table("T", ("c",), ()),), 80)


@pytest.mark.parametrize("fmt", ["md", "csv", "json", "latex"])
def test_other_formats_know_nothing_of_it(fmt):
    bare = Table(WIDE.title, WIDE.columns, WIDE.rows, WIDE.notes)
    assert render(WIDE, fmt, 40) == render(bare, fmt)
