import argparse
from dataclasses import MISSING, dataclass
from pathlib import Path

import pytest

from hwkd.errors import InputError
from hwkd.options import Options, checked, one_of, option, positive, whole


def even(text):
    if int(text) % 2:
        raise InputError(f"{text} is odd")


@dataclass(frozen=True, kw_only=True)
class Mine(Options):
    models: tuple[str, ...] = option(
        "of these", "MODEL", default=MISSING, positional=True, nargs="+"
    )
    steps: int = option("of it", "S", whole(0, 9), default=4, short="-s", group="how long")
    hours: float | None = option("instead", "H", positive, exclusive="length")
    minutes: float | None = option("instead", "M", positive, exclusive="length")
    seed_of_all: int | None = option("of chance", "N", whole(0, 9))
    data: Path | None = option("images", "DIR")
    kind: str = option("a or b (default: a)", "K", one_of("kind", "a", "b"), default="a")
    side: str = option("even", "N", checked(even), default="2")
    more: tuple[Path, ...] = option("again", "DIR", default=())
    unit: str = option("in", default="ms", choices=("ms", "s"))
    force: bool = option("it", default=False)


def parsed(*words):
    parser = argparse.ArgumentParser(exit_on_error=False)
    Mine.add_to(parser)
    return Mine.given_in(parser.parse_args(words))


GIVEN = {
    "models": ("m", "n"),
    "steps": 7,
    "hours": 0.5,
    "seed_of_all": 0,
    "data": Path("-a folder"),
    "more": (Path("x"), Path("y")),
    "unit": "s",
    "force": True,
}
WORDS = ["m", "n", "-s", "7", "--hours", "0.5", "--seed-of-all", "0"]
WORDS += ["--data=-a folder", *["--more", "x", "--more", "y", "--unit", "s", "--force"]]


def test_words_are_what_was_given_and_are_read_back():
    assert Mine.words(GIVEN) == WORDS
    assert parsed(*WORDS) == GIVEN
    assert Mine(**GIVEN).given() == GIVEN
    assert Mine.read(GIVEN, "here") == GIVEN


def test_what_is_not_given_is_the_default_and_a_default_that_is_given_counts():
    assert parsed("m") == {"models": ("m",)}
    assert parsed("m", "-s", "4") == {"models": ("m",), "steps": 4}
    assert Mine(models=("m",)).steps == 4


def test_the_help_says_the_default_once():
    parser = argparse.ArgumentParser()
    Mine.add_to(parser)
    text = " ".join(parser.format_help().split())
    assert "how long: -s, --steps S of it (default: 4) --hours" in text.replace("-s S, ", "-s, ")
    assert "a or b (default: a) --side N even (default: 2) --more DIR again --unit" in text


@dataclass(frozen=True, kw_only=True)
class Shared(Options):
    full: bool = option("all of it", default=False)


@dataclass(frozen=True, kw_only=True)
class Ours(Shared):
    steps: int = option("of it", "S", whole(0, 9), default=4, group="how long")


def test_shared_options_come_after_the_commands_own_and_outside_of_its_groups():
    parser = argparse.ArgumentParser()
    Ours.add_to(parser)
    text = " ".join(parser.format_help().split())
    assert "[--steps S] [--full]" in text
    assert text.endswith("--full all of it how long: --steps S of it (default: 4)")
    assert Ours.of(parser.parse_args(["--full"])) == Ours(full=True, steps=4)


def test_an_action_below_a_command_keeps_what_came_before_its_name():
    parser = argparse.ArgumentParser()
    Shared.add_to(parser)
    Ours.add_to(parser.add_subparsers().add_parser("go"))
    assert Ours.of(parser.parse_args(["--full", "go", "--steps", "3"])) == Ours(full=True, steps=3)
    assert Ours.of(parser.parse_args(["go"])) == Ours()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"steps": 10}, "f: argument -s/--steps: must be a whole number, 0 to 9, got '10'"),
        ({"steps": "3"}, "f: steps is a number, got the text '3': write steps = 3"),
        ({"force": 1}, "f: force takes true or false, got 1"),
        ({"data": True}, "f: data takes a text, a number, or an array of these, got True"),
        ({"hours": 1, "minutes": 2}, "f: argument --minutes: not allowed with argument --hours"),
        ({"kind": "c"}, "unknown kind 'c': known are a, b"),
        ({"side": 3}, "3 is odd"),
        ({"unit": "h"}, "f: argument --unit: invalid choice: 'h' (choose from 'ms', 's')"),
    ],
)
def test_a_wrong_table_is_told_in_one_line(table, message):
    with pytest.raises(InputError) as caught:
        Mine.read(table, "f")
    assert str(caught.value) == message
