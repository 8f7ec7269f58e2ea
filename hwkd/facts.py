"""A number about a device, and where it comes from."""

from dataclasses import dataclass

from hwkd.errors import InputError

CONFIDENCES = {"S": "seen in a source", "D": "derived", "M": "from memory, unverified"}
"""How sure a fact is. A derivation is S or D only if all its premises are."""


def check_source(confidence: str, source: str) -> None:
    """Raise InputError unless the confidence is one of CONFIDENCES and the source says something."""
    if confidence not in CONFIDENCES:
        raise InputError(
            f"confidence must be S (seen), D (derived) or M (memory), got {confidence!r}"
        )
    if not source.strip():
        raise InputError("a fact needs a source, or the way it was derived; got an empty one")


@dataclass(frozen=True)
class Fact:
    """A number with its source, or the reason why there is none. The unit stands in the name of the field.

    value: the number, or the lower end of a range that ends at `upto`. unknown: why there is no value.
    source: where it was seen, or how it was derived. confidence: S, D or M.
    """

    value: float | None = None
    upto: float | None = None
    unknown: str = ""
    confidence: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        if (self.value is None) == (not self.unknown):
            raise InputError("needs either a value, or the reason why it is unknown")
        if self.value is None:
            return
        check_source(self.confidence, self.source)
        if self.value <= 0 or (self.upto is not None and self.upto <= self.value):
            raise InputError(f"needs 0 < value < upto, got {self.value} and {self.upto}")

    @property
    def high(self) -> float | None:
        """The upper end of the range; the value itself where there is only one."""
        return self.value if self.upto is None else self.upto


@dataclass(frozen=True)
class Rate:
    """What one unit can do in one precision: at a peak rate, at a rate that is unknown, or not at all.

    peak_gops: 1e9 operations a second, dense, a multiply-accumulate counted as two, as vendors do.
    unknown: why a rate that is there has no number. none: why the unit has no such arithmetic.
    """

    confidence: str
    source: str
    peak_gops: float | None = None
    unknown: str = ""
    none: str = ""

    def __post_init__(self) -> None:
        if (self.peak_gops is not None) + bool(self.unknown) + bool(self.none) != 1:
            raise InputError("needs exactly one of peak_gops, unknown and none")
        if self.peak_gops is not None and self.peak_gops <= 0:
            raise InputError(
                f"peak_gops must be > 0, got {self.peak_gops}; say none where there is none"
            )
        check_source(self.confidence, self.source)

    @property
    def is_there(self) -> bool:
        """Whether the unit computes in this precision, at whatever rate."""
        return not self.none
