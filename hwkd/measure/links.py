"""What a bit costs the sender over a radio link: published figures with their sources."""

import math
from dataclasses import dataclass
from typing import cast

from hwkd.errors import InputError, unknown
from hwkd.facts import Fact


@dataclass(frozen=True)
class Link:
    """A way to send bits.

    name: as on the command line. label: in tables. joule_per_bit: energy of the sending side for one bit of payload,
    a range where the rate decides. note: what the figure holds for, and what it leaves out.
    """

    name: str
    label: str
    joule_per_bit: Fact
    note: str = ""

    def __post_init__(self) -> None:
        if self.joule_per_bit.value is None:
            raise InputError(f"link {self.name} needs a cost, got none")

    @property
    def low(self) -> float:
        """Lower end of the cost, in J/bit."""
        return cast(float, self.joule_per_bit.value)

    @property
    def high(self) -> float:
        """Upper end of the cost, in J/bit."""
        return cast(float, self.joule_per_bit.high)


_HUANG = (
    "Huang et al., A Close Examination of Performance and Power Characteristics of 4G LTE Networks, MobiSys 2012, "
    "table of the power model"
)

LINKS = {
    link.name: link
    for link in (
        Link(
            name="wifi",
            label="Wi-Fi",
            # 283.17 mW per Mbit/s; with the base of 132.86 mW at 1 Mbit/s: 283.17 + 132.86.
            joule_per_bit=Fact(
                2.83e-7,
                4.16e-7,
                confidence="M",
                source=f"{_HUANG}: uplink 283.17 mW per Mbit/s, base 132.86 mW; both from memory",
            ),
            note="a phone of 2012, at many Mbit/s (low end) to 1 Mbit/s (high end); the tail after sending is not "
            "counted",
        ),
        Link(
            name="lte",
            label="LTE",
            # 438.39 mW per Mbit/s; with the base of 1288.04 mW at 6 Mbit/s: 438.39 + 1288.04 / 6.
            joule_per_bit=Fact(
                4.38e-7,
                6.53e-7,
                confidence="M",
                source=f"{_HUANG}: uplink 438.39 mW per Mbit/s, base 1288.04 mW, both from memory; the median uplink "
                "of 6 Mbit/s is seen in its abstract",
            ),
            note="a phone of 2012, the radio on anyway (low end) or on for this at 6 Mbit/s (high end); the tail after "
            "sending is not counted",
        ),
        Link(
            name="lora",
            label="LoRa",
            # 33.1 mA x 3.3 V = 109.23 mW, over 5470 bit/s (SF7) and over 250 bit/s (SF12).
            joule_per_bit=Fact(
                2.00e-5,
                4.37e-4,
                confidence="D",
                source="33.1 mA at 3.3 V sending with 14 dBm (RAKwireless, RAK4260 electrical characteristics) over "
                "5470 (SF7) and 250 bit/s (SF12) at 125 kHz (RAKwireless, RUI3 appendix, EU868)",
            ),
            note="at SF7 (low end) to SF12 (high end); preamble, headers and the pauses that a duty cycle demands are "
            "not counted, and an image takes minutes to hours",
        ),
    )
}
"""By name; uplink, the energy of the sending device alone."""


def parse_link(text: str) -> Link:
    """The link of that name, or one of that many joule per bit.

    Raises:
        InputError: neither a name of LINKS nor a finite number above 0.
    """
    if text.lower() in LINKS:
        return LINKS[text.lower()]
    try:
        joule_per_bit = float(text)
    except ValueError:
        raise InputError(
            f"{unknown('link', text, LINKS)}; or give what a bit costs in joule (J/bit), as 2e-7"
        ) from None
    if not (math.isfinite(joule_per_bit) and joule_per_bit > 0):
        raise InputError(
            f"a bit costs a finite number of joule above 0, got {text!r}; give J/bit as 2e-7, or one of "
            f"{', '.join(sorted(LINKS))}"
        )
    given = Fact(joule_per_bit, confidence="M", source="given by the user")
    return Link(text, f"{text} J/bit", given)
