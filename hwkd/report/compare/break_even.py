"""From which link on a learned codec saves the sender energy against JPEG and WebP. Pure: figures in, a Table out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

from hwkd.errors import InputError
from hwkd.measure.classic import LABELS, EqualQuality
from hwkd.measure.energy.measure import Link
from hwkd.measure.pillow_formats import SETTINGS_TEXT
from hwkd.quantity import (
    FOUND,
    MARKS,
    NA,
    Quantity,
    interval_text,
    joint_level,
    not_known,
    quantity_text,
)
from hwkd.report.table import Table, figure, missing, span
from hwkd.target import CONFIDENCES


@dataclass(frozen=True)
class Sender:
    """A codec as the sending device pays for it, for one image of one size at one quality.

    name: for tables. encode_energy_j: pixels to bytes, idle subtracted. bits: sent for one image.

    Raises:
        InputError: an image of no bits.
    """

    name: str
    encode_energy_j: Quantity
    bits: Quantity

    def __post_init__(self) -> None:
        if self.bits.value == 0:
            raise InputError(f"an image takes more than 0 bits, got 0 for {self.name}")


@dataclass(frozen=True)
class BreakEven:
    """student against classic. outcome: "from" (the student wins where a bit costs more than the
    break-even), "up to" (where it costs less), always, never, equal or unknown. joule_per_bit: the break-even, n/a with the reason where the
    outcome needs none. is_energy_clear: False where the intervals of the two encoding energies overlap."""

    student: Sender
    classic: Sender
    outcome: str
    joule_per_bit: Quantity
    is_energy_clear: bool = True


def classic_sender(equal: EqualQuality, pixels: int, energy_mj: Quantity) -> Sender:
    """JPEG or WebP as a Sender, for an image of `pixels`.

    Args:
        equal: at the student's PSNR; its bits per pixel are carried over to `pixels`.
        energy_mj: to encode one image of `pixels`, by the meter that the student's was found with.
    """
    return Sender(LABELS[equal.codec], energy_mj.scaled(1e-3), equal.bpp.scaled(pixels))


def break_even(student: Sender, classic: Sender) -> BreakEven:
    """Where E_s + b_s c = E_c + b_c c, in joule per bit c: c = (E_s - E_c) / (b_c - b_s).

    The interval is that of the energies by interval arithmetic, the bits taken as exact; it ends at 0 where the
    energies' intervals overlap.
    """
    for sender in (student, classic):
        for known in (sender.encode_energy_j, sender.bits):
            if known.value is None:
                why = not_known(f"{sender.name}: {known.reason}", "computed")
                return BreakEven(student, classic, "unknown", why)
    s, c = student.encode_energy_j, classic.encode_energy_j
    more_j = _value(s) - _value(c)
    saved_bits = _value(classic.bits) - _value(student.bits)
    level = joint_level(s, c)
    low_j = high_j = more_j
    if level is not None:
        (s_low, s_high), (c_low, c_high) = _interval(s), _interval(c)
        low_j, high_j = s_low - c_high, s_high - c_low
    is_clear = not low_j < 0 < high_j
    outcome = _outcome(more_j, saved_bits)
    if outcome not in ("from", "up to"):
        none = not_known("one of the two is cheaper, or as cheap, over any link", "computed")
        return BreakEven(student, classic, outcome, none, is_clear)
    ends = sorted(max(0.0, end / saved_bits) for end in (low_j, high_j))
    names = f"encoding energies and bits of {student.name} and {classic.name}"
    found = max((s.found, c.found, student.bits.found, classic.bits.found), key=FOUND.index)
    if found not in ("estimated", "predicted"):
        found = "computed"  # from what was measured or counted
    point = Quantity(more_j / saved_bits, found, names)
    if level is not None:
        point = replace(point, low=ends[0], high=ends[1], level=level)
    return BreakEven(student, classic, outcome, point, is_clear)


def sentence(result: BreakEven, links: Sequence[Link] = ()) -> str:
    """What `result` means, in one sentence, with yes or no for each link; "undecided" where the link's range or the
    interval of the break-even holds both."""
    s, c = result.student.name, result.classic.name
    doubt = ""
    if not result.is_energy_clear:
        doubt = "; which of the two encodes for less energy is not certain, their intervals overlap"
    match result.outcome:
        case "unknown":
            return f"Whether {s} beats {c} is n/a: {result.joule_per_bit.reason}."
        case "equal":
            return f"{s} and {c} cost the same over any link{doubt}."
        case "always":
            start = f"{s} beats {c} over any link: it takes no more energy to encode"
            return f"{start} ({_energies(result)}) and sends no more bits ({_bits(result)}){doubt}."
        case "never":
            start = f"{s} never beats {c}, whatever the link: it takes no less energy to encode"
            return (
                f"{start} ({_energies(result)}) and sends no fewer bits ({_bits(result)}){doubt}."
            )
    point = result.joule_per_bit
    text = f"{MARKS[point.found]}{_scientific(_value(point))} J/bit"
    if point.level is not None:
        text += " ({} to {})".format(*map(_scientific, _interval(point)))
    # Without "on" a break-even could be read as a ceiling.
    text = f"{s} beats {c} {result.outcome} {text}{' on' if result.outcome == 'from' else ''}"
    verdicts = ", ".join(f"{link.label} {_verdict(result, link)}" for link in links)
    return f"{text}{': ' if verdicts else ''}{verdicts}{doubt}."


def break_even_table(
    student: Sender, classics: Sequence[Sender], links: Sequence[Link], psnr_db: float
) -> Table:
    """Encoding energy, bits and the total over each link, a row for each sender; below, who wins from where on.

    psnr_db: the quality that all of them are compared at.
    """
    senders = (student, *classics)
    columns = ("codec", "encode_mj", "kbit", *(f"{link.name}_total_mj" for link in links))
    rows = tuple(
        (
            sender.name,
            _cell(sender.encode_energy_j.scaled(1e3)),
            _cell(sender.bits.scaled(1e-3)),
            *(with_link(sender, link) for link in links),
        )
        for sender in senders
    )
    return Table(
        f"Energy to encode and send one image at {psnr_db:.2f} dB",
        columns,
        rows,
        (
            *(sentence(break_even(student, classic), links) for classic in classics),
            "total_mj: encoding plus bits x J/bit, of the sending device; a range is the link's. Receiving and "
            "decoding are not counted.",
            *(_about(link) for link in links),
            *(_origin(sender) for sender in senders),
            f"{SETTINGS_TEXT}, on the same images. Break-evens: intervals by interval arithmetic on those of the "
            "energies, bits taken as exact.",
            "~ estimated, ^ predicted; unmarked: measured or computed from measured figures.",
        ),
    )


def _outcome(more_j: float, saved_bits: float) -> str:
    if more_j == 0 and saved_bits == 0:
        return "equal"
    if more_j <= 0 and saved_bits >= 0:
        return "always"
    if more_j >= 0 and saved_bits <= 0:
        return "never"
    return "from" if saved_bits > 0 else "up to"


def _verdict(result: BreakEven, link: Link) -> str:
    point = result.joule_per_bit
    low, high = _interval(point) if point.level is not None else (_value(point), _value(point))
    is_above, is_below = link.low > high, link.high < low
    if not is_above and not is_below:
        return "undecided"
    return "yes" if is_above == (result.outcome == "from") else "no"


def _value(figure: Quantity) -> float:
    """The value of a figure that has one."""
    return cast(float, figure.value)


def _interval(figure: Quantity) -> tuple[float, float]:
    """The ends of the interval of a figure that has one."""
    return cast(float, figure.low), cast(float, figure.high)


def with_link(sender: Sender, link: Link) -> str:
    """A cell with the energy to encode and send over `link`, in mJ."""
    energy, bits = sender.encode_energy_j, sender.bits
    if energy.value is None or bits.value is None:
        return missing("; ".join(q.reason for q in (energy, bits) if q.value is None))
    # A published cost of the link makes every total an estimate.
    found = "predicted" if energy.found == "predicted" else "estimated"
    low, high = (1e3 * (energy.value + bits.value * cost) for cost in (link.low, link.high))
    if low == high:
        return _cell(Quantity(low, found, link.label))
    return span(MARKS[found] + interval_text(low, high), low, high, found)


def _energies(result: BreakEven) -> str:
    return " against ".join(
        f"{value_text(sender.encode_energy_j.scaled(1e3))} mJ"
        for sender in (result.student, result.classic)
    )


def _bits(result: BreakEven) -> str:
    return " against ".join(
        f"{value_text(sender.bits.scaled(1e-3))} kbit"
        for sender in (result.student, result.classic)
    )


def _about(link: Link) -> str:
    fact = link.joule_per_bit
    cost = _scientific(link.low)
    if fact.upto is not None:
        cost += f" to {_scientific(link.high)}"
    text = f"{link.label}: {cost} J/bit"
    if link.note:
        text += f", {link.note}"
    return f"{text}. Source ({CONFIDENCES[fact.confidence]}): {fact.source}."


def _origin(sender: Sender) -> str:
    def of(figure: Quantity) -> str:
        return f"{NA}, {figure.reason}" if figure.value is None else f"{figure.found}, {figure.by}"

    return f"{sender.name}: encode_mj {of(sender.encode_energy_j)}; kbit {of(sender.bits)}."


def _cell(of: Quantity) -> str:
    return figure(quantity_text(of, is_marked=True), of)


def value_text(of: Quantity) -> str:
    """The value with the mark of how it was found, without its interval."""
    return quantity_text(of, interval=None, is_marked=True)


def _scientific(value: float) -> str:
    """Two digits that count, as 3.1e-7."""
    if value == 0:
        return "0"
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa}e{int(exponent)}"
