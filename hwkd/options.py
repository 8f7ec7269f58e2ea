"""Options as a frozen dataclass: argparse's arguments, a recipe's values and a command line are made from its fields."""

import argparse
import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from inspect import get_annotations
from pathlib import Path
from typing import Any, TypeVar, get_args

from hwkd.errors import InputError, unknown

# From a text to the value of an option, with the refusals: types for argparse.

MOST = 10**9
"""The largest number of steps, and of everything else without a bound of its own."""
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


def positive(text: str) -> float:
    """An argparse type: a finite number above 0."""
    value = _number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text!r}")
    return value


def non_negative(text: str) -> float:
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


FIGURE_KINDS = (".svg", ".png", ".pdf")


def figure_path(text: str) -> Path:
    """An argparse type: a file with a suffix of a kind of figure that can be drawn."""
    path = Path(text)
    if path.suffix.lower() not in FIGURE_KINDS:
        raise argparse.ArgumentTypeError(
            f"must end in {', '.join(FIGURE_KINDS[:-1])} or {FIGURE_KINDS[-1]}, got {text!r}"
        )
    return path


def one_of(kind: str, *known: str) -> Callable[[str], str]:
    """An argparse type: one of the names `known`. For any other name, InputError with similar names."""

    def parse(text: str) -> str:
        if text not in known:
            raise unknown(kind, text, known)
        return text

    return parse


def checked(parse: Callable[[str], object]) -> Callable[[str], str]:
    """An argparse type: a text, unchanged, that `parse` takes without an InputError."""

    def keep(text: str) -> str:
        parse(text)
        return text

    return keep


# From the fields of a dataclass to options.


@dataclass(frozen=True)
class _Option:
    """The facts of a field's option.

    Attributes:
        has_several: whether the option takes several values.
        more: arguments that only argparse's add_argument uses.
        owner: the class that declares the field.
    """

    flags: tuple[str, ...]
    default: Any
    parse: Callable[[str], Any] | None
    has_several: bool
    group: str
    exclusive: str
    more: Mapping[str, Any]
    owner: type | None = None

    @property
    def is_positional(self) -> bool:
        return not self.flags[0].startswith("-")


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
        help: help without the default, which is added if there is one and `help` does not contain "default".
        parse: from the text to the value; raises ArgumentTypeError or InputError. A Path needs none.
        default: False makes a switch, () an option that may be given again, MISSING a field that must be given.
        group: begins a group of that title in the help. The fields below belong to it too.
        exclusive: of adjacent fields with one such name, only one may be given.
        short: the option's short form, as "-o".
        more: other arguments of argparse.
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
    # The long form is made from the field's name, which is not known here.
    flags = () if positional else (short, "") if short else ("",)
    known = _Option(flags, default, parse, has_several, group, exclusive, more)
    return field(default=default, kw_only=kw_only, metadata={"option": known})


Own = TypeVar("Own", bound="Options")


@dataclass(frozen=True)
class Options:
    """The base of a command's options. "Given" is a mapping of names of fields to values, defaults left out.

    Options that several commands share are fields of a base class. They come after the command's own, outside of its groups.
    """

    @classmethod
    def _options(cls) -> dict[str, _Option]:
        owners = {name: base for base in cls.__mro__[::-1] for name in get_annotations(base)}
        found = {}
        for one in sorted(fields(cls), key=lambda one: cls.__mro__.index(owners[one.name])):
            known: _Option = one.metadata["option"]
            long = f"--{one.name.replace('_', '-')}"
            flags = tuple(flag or long for flag in known.flags) or (one.name,)
            is_path = Path in (one.type, *get_args(one.type))
            parse = Path if is_path and known.parse is None else known.parse
            found[one.name] = replace(known, flags=flags, parse=parse, owner=owners[one.name])
        return found

    @classmethod
    def add_to(
        cls,
        parser: argparse._ActionsContainer,
        beside: Mapping[str, Callable[[argparse._ActionsContainer], object]] | None = None,
    ) -> None:
        """Add an option for every field to `parser`. Options that are not given do not appear in its namespace.

        Args:
            beside: by the name of an option: adds, after this option, arguments that are not fields.
        """
        group, exclusive, holder, owner = parser, "", parser, None
        for name, known in cls._options().items():
            if known.owner is not owner:
                group, exclusive, holder, owner = parser, "", parser, known.owner
            if known.group:
                group = parser.add_argument_group(known.group)
            if known.exclusive != exclusive or known.group:
                exclusive = known.exclusive
                holder = group.add_mutually_exclusive_group() if exclusive else group
            more = {**known.more, "default": argparse.SUPPRESS}
            if known.parse is not None:
                more["type"] = known.parse
            holder.add_argument(*known.flags, **more)
            if beside and name in beside:
                beside[name](group)

    @classmethod
    def given_in(cls, args: argparse.Namespace) -> dict[str, Any]:
        """The options that argparse has found."""
        found = {name: getattr(args, name) for name in cls._options() if hasattr(args, name)}
        return {n: tuple(v) if isinstance(v, list) else v for n, v in found.items()}

    @classmethod
    def of(cls: type[Own], args: argparse.Namespace) -> Own:
        """The options that argparse has found, the others by default."""
        return cls(**cls.given_in(args))

    @classmethod
    def read(cls, table: Mapping[str, object], where: str) -> dict[str, Any]:
        """The values that `table` sets, for example from a TOML file: texts, numbers, true or false, and arrays of these.

        Raises:
            InputError: a value has the wrong type, or the option refuses it; the message names `where`.
        """
        options, given = cls._options(), dict[str, Any]()
        taken: dict[str, str] = {}
        for name, value in table.items():
            known, flag = options[name], "/".join(options[name].flags)
            try:
                found = _read(name, known, value)
            except argparse.ArgumentTypeError as error:
                raise InputError(f"{where}: argument {flag}: {error}") from None
            except ValueError as error:
                raise InputError(f"{where}: {error}") from None
            if found is False:
                continue
            if known.exclusive and taken.setdefault(known.exclusive, flag) != flag:
                raise InputError(
                    f"{where}: argument {flag}: not allowed with argument {taken[known.exclusive]}"
                )
            given[name] = found
        return given

    def given(self) -> dict[str, Any]:
        """The values that differ from the defaults, unchanged."""
        options = self._options()
        return {name: v for name, v in vars(self).items() if v != options[name].default}

    @classmethod
    def words(cls, given: Mapping[str, Any]) -> list[str]:
        """The words of a command line with these values; None and False add no word."""
        words: list[str] = []
        for name, known in cls._options().items():
            value, flag = given.get(name), known.flags[0]
            if value and known.has_several and "nargs" in known.more:
                words += [*([] if known.is_positional else [flag]), *map(str, value)]
                continue
            for one in value if isinstance(value, tuple) else (value,):
                if one is True:
                    words.append(flag)
                elif str(one).startswith("-"):
                    words.append(f"{known.flags[-1]}={one}")
                elif one is not None and one is not False:
                    words += [flag, str(one)]
        return words


def _read(name: str, known: _Option, value: object) -> Any:
    """The option's value for `value`. Raises ArgumentTypeError as argparse, ValueError for a value of another type."""
    if isinstance(known.default, bool):
        if not isinstance(value, bool):
            raise ValueError(f"{name} takes true or false, got {value!r}")
        return value
    parts = value if isinstance(value, list | tuple) else [value]
    if not all(isinstance(p, str | int | float | Path) and type(p) is not bool for p in parts):
        raise ValueError(f"{name} takes a text, a number, or an array of these, got {value!r}")
    texts = [str(part) for part in parts] if known.has_several else [",".join(map(str, parts))]
    found = tuple((known.parse or str)(text) for text in texts)
    for one in found:
        if one not in known.more.get("choices", (one,)):
            accepted = ", ".join(map(repr, known.more["choices"]))
            raise argparse.ArgumentTypeError(f"invalid choice: {one!r} (choose from {accepted})")
    if known.has_several:
        return found
    if isinstance(value, str) and isinstance(found[0], int | float):
        raise ValueError(f"{name} is a number, got the text {value!r}: write {name} = {found[0]}")
    return found[0]
