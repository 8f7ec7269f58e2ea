"""What the records of a manifest check of their fields: a range, a text that is not empty, a name among some,
texts of one line."""

from collections.abc import Iterator, Mapping

from hwkd.errors import InputError


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raise InputError unless `value` is `low` to `high`, both included; NaN is not."""
    if not low <= value <= high:
        raise InputError(f"{name} must be {low} to {high}, got {value}")


def check_among(name: str, received: str, accepted: tuple[str, ...]) -> None:
    """Raise InputError unless `received` is one of `accepted`."""
    if received not in accepted:
        raise InputError(f"{name} must be one of {', '.join(accepted)}; got {received!r}")


def check_not_empty(record: object, *names: str) -> None:
    """Raise InputError where one of these fields of `record` is empty."""
    for name in names:
        if not getattr(record, name):
            raise InputError(f"{name} is empty; a text is accepted")


def check_texts(value: object) -> None:
    """Raise InputError unless every text within nested mappings and tuples, keys included, is one printable line."""
    for text in _texts(value):
        if not text.isprintable():
            raise InputError(f"{text!r} is not one line of printable text")


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield key
            yield from _texts(item)
    elif isinstance(value, tuple):
        for item in value:
            yield from _texts(item)
