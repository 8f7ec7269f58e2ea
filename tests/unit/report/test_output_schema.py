import copy
import json
import re
from importlib.resources import files

import pytest
from jsonschema import Draft202012Validator

from hwkd.errors import InputError
from hwkd.quantity import Quantity, not_known
from hwkd.report.table import (
    Table,
    Valued,
    figure,
    missing,
    number,
    number_in_words,
    numbers,
    render,
    render_all,
    span,
)
from tests.tables import SCHEMA, VALIDATOR, table_of, tables_of

MEASURED = Quantity(79.7, "predicted", "a target's file", 42.1, 151.0, 0.9)
DOCUMENT = {
    "format": "hwkd-tables",
    "version": 1,
    "tables": [
        {
            "title": "Cost",
            "columns": ["model", "ms"],
            "rows": [
                {"model": "a", "ms": {"value": 1.5, "low": 1, "high": 2, "found": "measured"}},
                {"model": "b", "ms": {"value": None, "reason": "not measured"}},
            ],
            "notes": [],
        }
    ],
}


def cell_of(cell):
    """What JSON holds of a cell."""
    return table_of(render(Table("T", ("c",), ((cell,),)), "json"))["rows"][0]["c"]


def with_cell(cell):
    changed = copy.deepcopy(DOCUMENT)
    changed["tables"][0]["rows"][0]["ms"] = cell
    return changed


def test_the_schema_is_one():
    Draft202012Validator.check_schema(SCHEMA)


def test_a_right_document_is_accepted():
    assert tables_of(json.dumps(DOCUMENT)) == DOCUMENT["tables"]


@pytest.mark.parametrize(
    "cell",
    [
        None,
        True,
        "n/a",
        "n/a: not measured",
        [],
        ["1"],
        {},
        {"value": None},
        {"value": None, "reason": ""},
        {"value": 1, "reason": "why"},
        {"value": "1.5", "found": "measured"},
        {"value": 1.5},
        {"value": 1.5, "found": "guessed"},
        {"value": 1.5, "found": "measured", "unit": "ms"},
        {"value": 1.5, "low": 1.0, "found": "measured"},
        {"value": 1.5, "level": 0.9, "found": "measured"},
        {"value": 1.5, "low": 1, "high": 2, "level": 90, "found": "measured"},
        {"low": 1.0},
        {"low": 1.0, "high": None},
    ],
)
def test_a_wrong_cell_is_refused(cell):
    assert VALIDATOR.is_valid(with_cell(1.5))
    assert not VALIDATOR.is_valid(with_cell(cell))


@pytest.mark.parametrize(
    "change",
    [
        {"format": "tables"},
        {"version": 2},
        {"version": "1"},
        {"tables": []},
        {"tables": DOCUMENT["tables"][0]},
        {"tables": [{"title": "T", "columns": ["a"], "rows": [["x"]], "notes": []}]},
        {"tables": [{"title": "T", "columns": ["a"], "rows": []}]},
        {"more": 1},
    ],
)
def test_a_wrong_document_is_refused(change):
    assert VALIDATOR.is_valid(DOCUMENT)
    assert not VALIDATOR.is_valid(DOCUMENT | change)


@pytest.mark.parametrize("lacking", DOCUMENT)
def test_a_document_that_lacks_something_is_refused(lacking):
    assert not VALIDATOR.is_valid({k: v for k, v in DOCUMENT.items() if k != lacking})


def test_the_former_shape_is_refused():
    table = DOCUMENT["tables"][0]
    assert not VALIDATOR.is_valid(table) and not VALIDATOR.is_valid([table, table])


@pytest.mark.parametrize("text", ["79.7 (42.1 to 151)", "1,234", "+0.5", "^80.1 [42, 151]", "5 %"])
def test_the_tests_find_a_number_in_words(text):
    with pytest.raises(AssertionError, match="is a number"):
        cell_of(text)


@pytest.mark.parametrize("text", ["768x512", "1.26.4", "2 threads", "8bit", "-", ""])
def test_the_tests_take_words_for_words(text):
    assert cell_of(text) == text


def test_the_document_in_the_command_reference_is_right():
    text = (files("hwkd") / "COMMANDS.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"(?ms)^```json\n(.*?)^```$", text)
    assert len(tables_of(block)) == 1


def test_one_table_and_many_have_one_shape():
    one = Table("T", ("a",), (("x",),), ("A note.",))
    assert [t["title"] for t in tables_of(render_all((one, one), "json"))] == ["T", "T"]
    assert json.loads(render(one, "json")) == json.loads(render_all((one,), "json"))


def test_a_figure_is_its_value_its_interval_and_how_it_was_found():
    assert cell_of(figure("^79.7 (42.1 to 151)", MEASURED)) == {
        "value": 79.7,
        "low": 42.1,
        "high": 151.0,
        "level": 0.9,
        "found": "predicted",
    }
    assert cell_of(figure("2", Quantity(2.0, "counted"))) == {"value": 2.0, "found": "counted"}
    told = figure("3 p95 4", Quantity(3.0, "measured", "clock", runs=9), p95=4.0)
    assert cell_of(told) == {"value": 3.0, "p95": 4.0, "found": "measured"}


@pytest.mark.parametrize(
    "cell",
    [
        figure("n/a", not_known("no sensor")),
        figure("n/a", not_known("no sensor")),
        number(None, ".2f", "no sensor"),
        missing("no sensor", "refused"),
        number(float("inf"), ".2f", "no sensor"),
    ],
)
def test_what_is_not_known_is_null_with_its_reason(cell):
    assert cell_of(cell) == {"value": None, "reason": "no sensor"}


def test_a_missing_value_needs_a_reason():
    with pytest.raises(InputError, match="needs the reason"):
        number(None, ".2f")


def test_numbers_are_not_rounded_as_the_text_is():
    cell = number(1234.56789, ",.1f")
    assert (cell, cell_of(cell)) == ("1,234.6", 1234.5679)
    assert cell_of(number(1 / 3, ".2f")) == 0.33333333
    assert cell_of(number(12345678901)) == 12345678901
    assert cell_of(numbers("3 to 32", 3, 32)) == [3, 32]
    assert cell_of(span("1 to 2", 1.0, 2.0)) == {"low": 1.0, "high": 2.0}
    assert (cell_of(number_in_words("8")), cell_of(number_in_words("8 (h_s.* 6)"))) == (
        8,
        "8 (h_s.* 6)",
    )


@pytest.mark.parametrize("fmt", ["table", "md", "csv", "latex"])
def test_other_formats_print_the_text_of_a_cell(fmt):
    plain, valued = (
        render(Table("T", ("a", "b"), (("x", cell),)), fmt)
        for cell in ("1|2, 3", Valued("1|2, 3", 5))
    )
    assert valued == plain
