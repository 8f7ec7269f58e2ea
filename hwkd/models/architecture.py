"""A bare architecture in words, `hyperprior:N=64,M=192`: enough for what it costs, without weights."""

from hwkd.errors import InputError, unknown
from hwkd.models.spec import FAMILIES, Spec
from hwkd.models.student import student_spec

PREFIX = "hyperprior"
DEFAULT_FAMILY = "gdn"
"""The paper's: `hyperprior:N=128,M=192` is bmshj2018-hyperprior as CompressAI builds it."""
DEFAULT_M = 192
_KEYS = ("N", "M", "family", "H", "Z")
EXAMPLE = "hyperprior:N=64,M=192,family=relu"


def is_architecture(text: str) -> bool:
    """Whether `text` is meant as a bare architecture rather than as a model's name or place."""
    return text == PREFIX or text.startswith(f"{PREFIX}:")


def parse_architecture(text: str) -> Spec:
    """The spec that `text` describes: `hyperprior:N=..[,M=..][,family=..][,H=..][,Z=..]`.

    N: channels, one number or one for each layer as 32-48-64 (patch: of the trunk's blocks). M: channels of y, 192
    unless given. family: gdn unless given. H: channels inside the hyper networks, as N unless given; Z: of z, as H unless
    given (patch: 96 and 64 where neither is).

    Raises:
        InputError: not of that form, a key or family that is none, or a number of channels that no model has.
    """
    _, colon, described = text.partition(":")
    if not colon or not described:
        raise InputError(f"{text!r} does not say how wide: give {EXAMPLE}")
    values: dict[str, str] = {}
    for part in described.split(","):
        key, equals, value = (word.strip() for word in part.partition("="))
        if not equals or not value:
            raise InputError(f"{part!r} in {text!r} is not KEY=VALUE: give {EXAMPLE}")
        if key not in _KEYS:
            raise unknown(f"key in {text!r}", key, _KEYS)
        if key in values:
            raise InputError(f"{key} stands twice in {text!r}: give it once, as in {EXAMPLE}")
        values[key] = value
    if "N" not in values:
        raise InputError(f"{text!r} lacks N, the number of channels: give {EXAMPLE}")
    family = values.get("family", DEFAULT_FAMILY)
    if family not in FAMILIES:
        raise unknown("family", family, FAMILIES)
    widths = tuple(_channels("N", part, text) for part in values["N"].split("-"))
    single = {key: _channels(key, values[key], text) for key in ("M", "H", "Z") if key in values}
    return student_spec(
        family, widths, single.get("M", DEFAULT_M), single.get("H"), single.get("Z")
    )


def _channels(key: str, value: str, text: str) -> int:
    if not (value.isascii() and value.isdigit()):
        raise InputError(f"{key}={value} in {text!r} is not a number of channels: give {EXAMPLE}")
    return int(value)
