"""How many bits each layer gets: one default for all, and exceptions by layer name."""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from hwkd.errors import InputError

WEIGHT_BITS = range(2, 9)
ACT_BITS = range(4, 9)


@dataclass(frozen=True)
class BitPlan:
    """Bits of the weights and of the input activations, per layer.

    Attributes:
        weight_bits: 2 to 8.
        act_bits: 4 to 8.
        layers: exceptions as (pattern, weight_bits, act_bits). A pattern is a layer's name with shell wildcards
            (`g_a.0`, `g_s.*`). Where several match, the last one wins.

    Raises:
        InputError: a number of bits outside its range.
    """

    weight_bits: int = 8
    act_bits: int = 8
    layers: tuple[tuple[str, int, int], ...] = ()

    def __post_init__(self) -> None:
        _check(self.weight_bits, self.act_bits, "")
        for pattern, weight_bits, act_bits in self.layers:
            _check(weight_bits, act_bits, f" of {pattern}")

    def bits_for(self, name: str) -> tuple[int, int]:
        """(weight_bits, act_bits) of the layer called `name`."""
        for pattern, weight_bits, act_bits in reversed(self.layers):
            if fnmatchcase(name, pattern):
                return weight_bits, act_bits
        return self.weight_bits, self.act_bits

    def weights_in_words(self) -> str:
        """The bits of the weights for a table: "8", or "8 (h_s.* 6)" with exceptions."""
        exceptions = ", ".join(f"{pattern} {bits}" for pattern, bits, _ in self.layers)
        return f"{self.weight_bits} ({exceptions})" if exceptions else str(self.weight_bits)

    def check_patterns(self, names: Iterable[str]) -> None:
        """Raise InputError where a pattern matches none of the model's layers `names`."""
        known = list(names)
        for pattern, _, _ in self.layers:
            if not any(fnmatchcase(name, pattern) for name in known):
                raise InputError(
                    f"no layer matches {pattern!r}; this model's layers are {', '.join(known[:6])}"
                    + (f" and {len(known) - 6} more" if len(known) > 6 else "")
                    + "; wildcards as in 'g_s.*' are accepted"
                )


def parse_bits(text: str) -> BitPlan:
    """The plan that `--bits` describes: "8" for weights and activations, "4/8" for weights/activations.

    Raises:
        InputError: not of that form, or outside 2 to 8 (weights) and 4 to 8 (activations).
    """
    return BitPlan(*_pair(text, f"--bits {text!r}"))


def parse_layer_bits(text: str) -> tuple[str, int, int]:
    """The exception that `--layer-bits` describes: "g_a.0=8/8" as (pattern, weight_bits, act_bits).

    Raises:
        InputError: as `parse_bits`, or no pattern before the "=".
    """
    pattern, equals, bits = text.partition("=")
    if not equals or not pattern.strip():
        raise InputError(
            f"--layer-bits {text!r} is not LAYER=BITS; give a layer's name or pattern and its bits, as g_a.0=8/8"
        )
    weight_bits, act_bits = _pair(bits, f"--layer-bits {text!r}")
    _check(weight_bits, act_bits, f" of {pattern.strip()}")
    return pattern.strip(), weight_bits, act_bits


def _pair(text: str, what: str) -> tuple[int, int]:
    parts = [part.strip() for part in text.split("/")]
    if len(parts) > 2 or not all(part.isascii() and part.isdigit() for part in parts):
        raise InputError(
            f"{what} is not a number of bits; give one number for both as 8, or WEIGHTS/ACTIVATIONS as 4/8"
        )
    return int(parts[0]), int(parts[-1])


def _check(weight_bits: int, act_bits: int, whose: str) -> None:
    for kind, bits, accepted in (
        ("weights", weight_bits, WEIGHT_BITS),
        ("activations", act_bits, ACT_BITS),
    ):
        if bits not in accepted:
            raise InputError(
                f"{bits} bits for the {kind}{whose} is out of range; {kind} take {accepted[0]} to {accepted[-1]} bits "
                "(--bits WEIGHTS/ACTIVATIONS, as 4/8)"
            )
