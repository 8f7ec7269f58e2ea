from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from hwkd.errors import InputError
from hwkd.schema import read_json, read_table, read_toml


@dataclass(frozen=True)
class Part:
    name: str
    length_mm: float = 1.0


@dataclass(frozen=True)
class Thing:
    count: int
    parts: tuple[Part, ...] = ()
    rates: Mapping[str, float] = field(default_factory=dict)
    rows: tuple[tuple[float, ...], ...] = ()
    spare: Part | None = None
    limit: float | None = None
    is_new: bool = False

    def __post_init__(self):
        if self.count < 0:
            raise InputError(f"count must be 0 or more, got {self.count}")


def test_tables_arrays_and_mappings_become_records(tmp_path):
    path = tmp_path / "thing.toml"
    path.write_text(
        "count = 2\nis_new = true\nrows = [[1, 2.5], []]\n[[parts]]\nname = 'a'\nlength_mm = 3\n"
        "[[parts]]\nname = 'b'\n[rates]\nfast = 2\nslow = 0.5\n[spare]\nname = 'c'\n"
    )
    assert read_toml(Thing, path) == Thing(
        count=2,
        parts=(Part("a", 3.0), Part("b")),
        rates={"fast": 2.0, "slow": 0.5},
        rows=((1.0, 2.5), ()),
        spare=Part("c"),
        is_new=True,
    )


def test_a_whole_number_is_taken_where_a_number_is_wanted():
    thing = read_table(Thing, {"count": 1, "rates": {"fast": 2}}, "x")
    assert type(thing.rates["fast"]) is float


@pytest.mark.parametrize("key", ["spare", "limit"])
def test_none_stands_for_what_may_be_left_out(key):
    assert getattr(read_table(Thing, {"count": 1, key: None}, "x"), key) is None


def test_a_value_that_may_be_none_is_checked_all_the_same():
    assert read_table(Thing, {"count": 1, "limit": 2}, "x").limit == 2.0
    with pytest.raises(InputError, match=r"^x: limit: got 'two'; a number is accepted$"):
        read_table(Thing, {"count": 1, "limit": "two"}, "x")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, "x: count is missing; this table needs it"),
        ({"count": 1, "size": 2}, "x: unknown key 'size'; accepted are count, parts, rates, "),
        ({"count": None}, "x: count: got None; a whole number is accepted"),
        ({"count": 1.5}, "x: count: got 1.5; a whole number is accepted"),
        ({"count": True}, "x: count: got True; a whole number is accepted"),
        ({"count": 1, "is_new": 1}, "x: is_new: got 1; true or false is accepted"),
        ({"count": -1}, "x: count must be 0 or more, got -1"),
        ({"count": 1, "parts": {}}, "x: parts: got {}; an array is accepted"),
        ({"count": 1, "parts": [3]}, "x: parts[0]: got 3; a table is accepted"),
        ({"count": 1, "parts": [{}]}, "x: parts[0]: name is missing; this table needs it"),
        ({"count": 1, "parts": [{"name": 3}]}, "x: parts[0]: name: got 3; a text is accepted"),
        ({"count": 1, "rates": [1.0]}, "x: rates: got [1.0]; a table is accepted"),
        ({"count": 1, "rates": {"a": "b"}}, "x: rates.a: got 'b'; a number is accepted"),
        ({"count": 1, "rates": {"a": True}}, "x: rates.a: got True; a number is accepted"),
        ({"count": 1, "limit": float("nan")}, "x: limit: got nan; a finite number is accepted"),
        ({"count": 1, "rows": [[1.0], [float("inf")]]}, "x: rows[1][0]: got inf; a finite number"),
        ({"count": 1, "spare": {"length_mm": 1}}, "x: spare: name is missing; this table needs it"),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(table, message):
    with pytest.raises(InputError) as caught:
        read_table(Thing, table, "x")
    assert str(caught.value).startswith(message)


def test_a_file_that_is_not_there(tmp_path):
    path = tmp_path / "no.toml"
    with pytest.raises(InputError) as caught:
        read_toml(Thing, path)
    assert str(caught.value) == f"cannot read {path}: No such file or directory"


@pytest.mark.parametrize("content", [b"count = ", b"count = '\xff'"])
def test_a_file_that_is_not_toml(tmp_path, content):
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_toml(Thing, path)
    assert str(caught.value).startswith(f"{path}: not a TOML file in UTF-8: ")


GIVE = "give a record or a result"


@pytest.mark.parametrize(("what", "named"), [("", ""), ("the record", "the record ")])
def test_a_json_file_that_is_not_there_is_named_with_what_to_give(tmp_path, what, named):
    path = tmp_path / "no.json"
    with pytest.raises(InputError) as caught:
        read_json(path, GIVE, what)
    assert str(caught.value) == f"cannot read {named}{path}: No such file or directory; {GIVE}"


@pytest.mark.parametrize("content", [b"{", b'"\xff"'])
def test_a_file_that_is_not_json(tmp_path, content):
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_json(path, GIVE)
    message = str(caught.value)
    assert message.startswith(f"{path} is not JSON (") and message.endswith(f"); {GIVE}")
