"""Options as a frozen dataclass: argparse's arguments, a recipe's values and a command line are made from its fields."""

import argparse
import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar, get_args

from hwkd.errors import InputError, unknown

# How a text becomes the value of an option, and what is refused: types for argparse.

MOST = 10**9
"""Of steps, and of whatever else has no bound of its own."""
LAST_SEED = 2**32 - 1


def whole(low: int, high: int) -> Callable[[str], int]:
    """An argparse type: a whole number from `low` to `high`."""

    def parse(text: str) -> int:
        accepted = f"{low} to {high}" if high != MOST else f"{low} or more"
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must be a whole number, {accepted}, got {text!r}")
        return value

    return parse


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def above_0(text: str) -> float:
    """An argparse type: a finite number above 0."""
    value = _number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text!r}")
    return value


def from_0(text: str) -> float:
    """An argparse type: a finite number, 0 or more."""
    value = _number(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number, 0 or more, got {text!r}")
    return value


def crop(text: str) -> int:
    """An argparse type: the side of a crop in pixels."""
    value = whole(64, MOST)(text)
    if value % 64:
        lower = value // 64 * 64
        raise argparse.ArgumentTypeError(
            f"must be a multiple of 64 (the stride of z), got {text!r}; try {lower} or {lower + 64}"
        )
    return value


def one_of(kind: str, *known: str) -> Callable[[str], str]:
    """An argparse type: one of the names `known`; InputError with the near ones for any other."""

    def parse(text: str) -> str:
        if text not in known:
            raise unknown(kind, text, known)
        return text

    return parse


def checked(parse: Callable[[str], object]) -> Callable[[str], str]:
    """An argparse type: a text that stays one, which `parse` takes without an InputError."""

    def keep(text: str) -> str:
        parse(text)
        return text

    return keep


# From the fields of a dataclass to options.


@dataclass(frozen=True)
class _About:
    """What a field's default does not say of its option; `more`: other arguments of argparse's add_argument."""

    is_positional: bool
    has_several: bool
    group: str
    exclusive: str
    short: str
    parse: Callable[[str], Any] | None
    more: Mapping[str, Any]


def option(
    help: str,
    metavar: str | None = None,
    parse: Callable[[str], Any] | None = None,
    *,
    default: Any = None,
    positional: bool = False,
    group: str = "",
    exclusive: str = "",
    short: str = "",
    kw_only: bool = True,
    **more: Any,
) -> Any:
    """A field of an `Options`, for a dataclass with kw_only.

    Args:
        help: without the default, which is added where there is one and `help` does not say "default".
        parse: from the text to the value; raises ArgumentTypeError or InputError. Of a Path it need not be given.
        default: False makes a switch, () an option that may be given again, MISSING a field that must be given.
        group: begins a group of that title in the help, which the fields below belong to.
        exclusive: of fields that stand together under one such name only one may be given.
        short: the option's short form, as "-o".
    """
    has_several = default == () or more.get("nargs") in ("*", "+")
    if default is False:
        more["action"] = "store_true"
    else:
        more["metavar"] = metavar
    if has_several and "nargs" not in more:
        more["action"] = "append"
    if default is MISSING and not positional:
        more["required"] = True
    if default not in (None, (), MISSING) and default is not False and "default" not in help:
        help += f" (default: {f'{default:g}' if isinstance(default, float) else default})"
    more["help"] = help
    about = _About(positional, has_several, group, exclusive, short, parse, more)
    return field(default=default, kw_only=kw_only, metadata={"option": about})


Own = TypeVar("Own", bound="Options")


@dataclass(frozen=True)
class Options:
    """The base of what a command takes. "Given" is a mapping of names of fields to values, defaults left out."""

    @classmethod
    def _options(cls) -> dict[str, tuple["Field[Any]", _About]]:
        found: dict[str, tuple[Field[Any], _About]] = {}
        for one in fields(cls):
            about = one.metadata["option"]
            if Path in (one.type, *get_args(one.type)):
                about = replace(about, parse=Path)
            found[one.name] = one, about
        return found

    @classmethod
    def add_to(
        cls,
        parser: argparse.ArgumentParser,
        beside: Mapping[str, Callable[[argparse._ActionsContainer], object]] | None = None,
    ) -> None:
        """Give `parser` an option for every field; what is not given will not stand in its namespace.

        beside: adds, behind the option of this name, what is no field.
        """
        group: argparse._ActionsContainer = parser
        exclusive, holder = "", group
        for name, (_, about) in cls._options().items():
            if about.group:
                group = parser.add_argument_group(about.group)
            if about.exclusive != exclusive or about.group:
                exclusive = about.exclusive
                holder = group.add_mutually_exclusive_group() if exclusive else group
            more = {**about.more, "default": argparse.SUPPRESS}
            if about.parse is not None:
                more["type"] = about.parse
            holder.add_argument(*_flags(name, about), **more)
            if beside and name in beside:
                beside[name](group)

    @classmethod
    def given_in(cls, args: argparse.Namespace) -> dict[str, Any]:
        """What argparse has found of the options."""
        found = {name: getattr(args, name) for name in cls._options() if hasattr(args, name)}
        return {n: tuple(v) if isinstance(v, list) else v for n, v in found.items()}

    @classmethod
    def of(cls: type[Own], args: argparse.Namespace) -> Own:
        """The options that argparse has found, the others by default."""
        return cls(**cls.given_in(args))

    @classmethod
    def read(cls, table: Mapping[str, object], where: str) -> dict[str, Any]:
        """What `table`, a TOML file's say, gives: texts, numbers, true or false, and arrays of these.

        Raises:
            InputError: a value of the wrong type, or one that the option refuses; names `where`.
        """
        options, given = cls._options(), dict[str, Any]()
        taken: dict[str, str] = {}
        for name, value in table.items():
            default, about = options[name][0].default, options[name][1]
            if isinstance(default, bool):
                if not isinstance(value, bool):
                    raise InputError(f"{where}: {name} takes true or false, got {value!r}")
                if not value:
                    continue
                given[name] = True
            else:
                given[name] = _read(name, about, value, where)
            flag = "/".join(_flags(name, about))
            if about.exclusive and taken.setdefault(about.exclusive, flag) != flag:
                raise InputError(
                    f"{where}: argument {flag}: not allowed with argument {taken[about.exclusive]}"
                )
        return given

    @classmethod
    def check_value(cls, name: str, value: object) -> None:
        """Raise InputError unless the option of this name would give `value`."""
        about = cls._options()[name][1]
        assert about.parse is not None
        try:
            is_same = about.parse(str(value)) == value
        except argparse.ArgumentTypeError as error:
            raise InputError(f"{_flags(name, about)[-1]} {error}") from None
        if not is_same:
            raise InputError(f"{name} cannot be {value!r}")

    def given(self) -> dict[str, Any]:
        """What differs from the defaults, as it is."""
        defaults = {name: f.default for name, (f, _) in self._options().items()}
        return {name: v for name, v in vars(self).items() if v != defaults[name]}

    @classmethod
    def words(cls, given: Mapping[str, Any]) -> list[str]:
        """The words of a command line that gives this; nothing of what is None or False."""
        words: list[str] = []
        for name, (_, about) in cls._options().items():
            value, flags = given.get(name), _flags(name, about)
            if value and about.has_several and "nargs" in about.more:
                words += [*flags[: not about.is_positional], *map(str, value)]
                continue
            for one in value if isinstance(value, tuple) else (value,):
                if one is True:
                    words.append(flags[0])
                elif str(one).startswith("-"):
                    words.append(f"{flags[-1]}={one}")
                elif one is not None and one is not False:
                    words += [flags[0], str(one)]
        return words


def _flags(name: str, about: _About) -> list[str]:
    if about.is_positional:
        return [name]
    long = f"--{name.replace('_', '-')}"
    return [about.short, long] if about.short else [long]


def _read(name: str, about: _About, value: object, where: str) -> Any:
    parts = value if isinstance(value, list | tuple) else [value]
    if not all(isinstance(p, str | int | float | Path) and type(p) is not bool for p in parts):
        raise InputError(
            f"{where}: {name} takes a text, a number, or an array of these, got {value!r}"
        )
    texts = [str(part) for part in parts] if about.has_several else [",".join(map(str, parts))]
    try:
        found = tuple((about.parse or str)(text) for text in texts)
        for one in found:
            if one not in about.more.get("choices", (one,)):
                accepted = ", ".join(map(repr, about.more["choices"]))
                raise argparse.ArgumentTypeError(
                    f"invalid choice: {one!r} (choose from {accepted})"
                )
    except argparse.ArgumentTypeError as error:
        raise InputError(f"{where}: argument {'/'.join(_flags(name, about))}: {error}") from None
    if about.has_several:
        return found
    if isinstance(value, str) and isinstance(found[0], int | float):
        raise InputError(
            f"{where}: {name} is a number, got the text {value!r}: write {name} = {found[0]}"
        )
    return found[0]
