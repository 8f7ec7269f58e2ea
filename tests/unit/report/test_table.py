import csv
import io
import json

import pytest

from hwkd.errors import InputError
from hwkd.report.table import FORMATS, Table, render

TABLE = Table(
    "Cost", ("model", "latency_ms"), (("a|b", "1.5"), ("50%_x", "n/a")), ("Not counted: y.",)
)


def test_markdown_escapes_the_bar():
    assert render(TABLE, "md") == (
        "**Cost**\n\n| model | latency_ms |\n|---|---|\n| a\\|b | 1.5 |\n| 50%_x | n/a |\n\nNot counted: y."
    )


def test_csv_is_columns_and_rows_only():
    assert render(TABLE, "csv") == "model,latency_ms\na|b,1.5\n50%_x,n/a"


def test_csv_quotes_what_needs_it():
    cells = ('say "x", y', "two\nlines")
    text = render(Table("", ("a", "b"), (cells,)), "csv")
    assert list(csv.reader(io.StringIO(text)))[1] == list(cells)


def test_a_cell_without_data_is_words_in_json():
    assert json.loads(render(TABLE, "json")) == {
        "format": "hwkd-tables",
        "version": 1,
        "tables": [
            {
                "title": "Cost",
                "columns": ["model", "latency_ms"],
                "rows": [
                    {"model": "a|b", "latency_ms": "1.5"},
                    {"model": "50%_x", "latency_ms": "n/a"},
                ],
                "notes": ["Not counted: y."],
            }
        ],
    }


def test_latex_is_a_booktabs_table_with_everything_escaped():
    text = render(TABLE, "latex")
    assert r"model & latency\_ms \\" in text
    assert r"50\%\_x & n/a \\" in text
    assert r"\begin{tabular}{ll}" in text
    assert [line for line in text.splitlines() if line.endswith("rule")] == [
        r"\toprule",
        r"\midrule",
        r"\bottomrule",
    ]


def test_latex_escapes_every_special_character():
    text = render(Table("", ("c",), (("\\&%$#_{}~^<>",),)), "latex")
    assert (
        r"\textbackslash{}\&\%\$\#\_\{\}\textasciitilde{}\textasciicircum{}"
        r"\textless{}\textgreater{}"
    ) in text


def test_terminal_form_shows_all_and_takes_brackets_literally():
    text = render(Table("T", ("c",), (("[bold]x[/bold]",),), ("[note]",)), "table")
    assert "[bold]x[/bold]" in text and text.endswith("[note]")


def test_terminal_form_keeps_long_cells_on_one_line_without_a_width():
    assert "x" * 300 in render(Table("T", ("c",), (("x" * 300,),)), "table")


def test_terminal_form_folds_to_a_width():
    lines = render(Table("T", ("c",), (("x" * 300,),)), "table", width=40).splitlines()
    assert max(map(len, lines)) <= 40
    assert "".join(lines).count("x") == 300


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_table_without_rows_renders(fmt):
    assert "c" in render(Table("T", ("c",), ()), fmt)


def test_an_unknown_format_is_refused():
    with pytest.raises(InputError, match="unknown format 'latx': did you mean latex"):
        render(TABLE, "latx")


def test_a_row_that_does_not_fit_is_refused():
    with pytest.raises(InputError, match="a row of 1 cells does not fit 2 columns"):
        Table("T", ("a", "b"), (("1",),))


def test_columns_of_one_name_are_refused():
    with pytest.raises(InputError, match="different names"):
        Table("T", ("a", "a"), ())
