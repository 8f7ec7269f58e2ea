"""The facts of a training that only people know, read from the TOML file of `hwkd export --card`."""

from dataclasses import dataclass, replace
from pathlib import Path

from hwkd.runtime.manifest import Card
from hwkd.schema import check_not_empty, check_texts, read_toml


@dataclass(frozen=True)
class CardFields:
    """The user's entries for the card; None where the user gives none. The fields and checks of hwkd.runtime.manifest.Card hold.

    Raises:
        InputError: an empty text, or one that is not one line.
    """

    data: str | None = None
    licence: str | None = None
    hardware: str | None = None
    limits: tuple[str, ...] | None = None
    recipe: str | None = None

    def __post_init__(self) -> None:
        check_not_empty(self, *(name for name, value in vars(self).items() if value is not None))
        check_texts(tuple(value for value in vars(self).values() if value is not None))

    def over(self, card: Card) -> Card:
        """`card` with the user's entries in place of its own."""
        said = {name: value for name, value in vars(self).items() if value is not None}
        return replace(card, **said)


def read_told(path: Path) -> CardFields:
    """Read the file at `path`. Raises InputError as `hwkd.schema.read_toml`; the message names the file and the key."""
    return read_toml(CardFields, path)
