"""Energy of coding an image, and of sending it over a link."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import cast

from hwkd.errors import HwkdError, InputError, unknown
from hwkd.images import Pixels
from hwkd.measure.classic import EqualQuality, encode, equal_quality
from hwkd.measure.energy.meter import Meter, Window
from hwkd.quantity import Quantity, not_known
from hwkd.target import Fact

# Energy for one image: windows of work against windows of rest, until the mean is known well enough.

LEVEL = 0.95
MIN_PAIRS = 3
MIN_WINDOW_S = 1.0
"""A thousand updates of RAPL, a hundred samples of an INA3221, a hundred ticks of a process's clock (codecarbon)."""

SETTLE_S = 0.2
"""Between work and the next idle window: threads of a pool go on spinning for a while, and that is not rest."""

T_975 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
"""Student's t, 97.5 %, for 1 to 30 degrees of freedom (NIST/SEMATECH e-Handbook, section 1.3.6.7.2). Beyond 30 the last
one is kept, which makes an interval up to 4 % too wide."""


@dataclass(frozen=True)
class ImageEnergy:
    """What one image costs above idle. Each figure has its mean over the pairs of windows (`runs` pairs) and the 95 %
    t-interval of that mean; `by` names the meter and what it covers.

    Attributes:
        energy_mj: millijoules for one image, idle subtracted.
        energy_mj_per_mpx: the same for a megapixel.
        power_w: mean power above idle while it works.
        idle_power_w: mean power at rest, of all that the meter covers.
        images: number of images in all work windows together.
    """

    energy_mj: Quantity
    energy_mj_per_mpx: Quantity
    power_w: Quantity
    idle_power_w: Quantity
    images: int


@dataclass(frozen=True)
class _Pair:
    """An idle window, and the work window after it with its number of images."""

    idle: Window
    work: Window
    images: int

    @property
    def energy_j(self) -> float:
        """Energy of the images, above what idle would have taken in the same time."""
        return self.work.energy_j - self.idle.energy_j * self.work.seconds / self.idle.seconds


def measure_energy(
    fn: Callable[[], object],
    meter: Meter,
    *,
    pixels: int,
    warmup: int = 3,
    target_ratio: float = 0.05,
    seconds: float = 20.0,
    window_s: float | None = None,
) -> ImageEnergy:
    """Energy of one call of `fn`, which handles one image.

    A window of rest and a window of calls, of the same length, take turns. Each pair gives
    (work_j - idle_j * work_s / idle_s) / images; the figure is the mean of the pairs. It ends when half the interval is
    under `target_ratio` of the mean, or when `seconds` are spent, after MIN_PAIRS pairs at least. Ending at the first
    interval that is narrow enough makes it a little optimistic.

    Counts: all the meter covers, above its idle power in the window before. Does not count: idle power, which a device
    that is on only for this work pays as well (`idle_power_w` x time). An estimate (codecarbon) is treated alike: its
    constant parts drop out, the processor time of this process remains.

    Args:
        fn: must have finished its work when it returns.
        pixels: number of pixels of the image, for the figure per megapixel.
        warmup: calls before the first window; one more is made to see how long a call takes.
        target_ratio: wanted ratio of the interval's half width to the mean.
        seconds: time for all pairs together, rest included.
        window_s: length of a window; by default MIN_WINDOW_S, or one call where that is longer.

    Raises:
        InputError: an argument that allows no measurement.
        HwkdError: as the meter's `end_window`.
    """
    _check(pixels, warmup, target_ratio, seconds, window_s)
    for _ in range(warmup):
        fn()
    begin = time.perf_counter()
    fn()
    start = time.perf_counter()
    length_s = max(MIN_WINDOW_S, start - begin) if window_s is None else window_s
    pairs: list[_Pair] = []
    while True:
        pairs.append(_measure_pair(fn, meter, length_s))
        if len(pairs) < MIN_PAIRS:
            continue
        mean, half = _interval([pair.energy_j / pair.images for pair in pairs])
        if half < target_ratio * mean or time.perf_counter() - start >= seconds:
            return _summarize(pairs, meter, pixels)


def _check(
    pixels: int, warmup: int, target_ratio: float, seconds: float, window_s: float | None
) -> None:
    if pixels < 1 or warmup < 0 or not target_ratio > 0 or not seconds > 0:
        raise InputError(
            f"needs pixels of 1 or more, warmup of 0 or more, target_ratio and seconds above 0; got pixels={pixels}, "
            f"warmup={warmup}, target_ratio={target_ratio}, seconds={seconds}"
        )
    if window_s is not None and not window_s > 0:
        raise InputError(f"a window must be longer than 0 s, got {window_s}; leave it out for 1 s")


def _measure_pair(fn: Callable[[], object], meter: Meter, length_s: float) -> _Pair:
    time.sleep(SETTLE_S)
    idle, _ = _measure_window(lambda: _rest(length_s), meter)
    work, images = _measure_window(lambda: _work(fn, length_s), meter)
    return _Pair(idle, work, images)


def _rest(length_s: float) -> int:
    time.sleep(length_s)
    return 0


def _work(fn: Callable[[], object], length_s: float) -> int:
    """Call `fn` until `length_s` have passed, once at least; how often it was called."""
    end = time.perf_counter() + length_s
    images = 0
    while True:
        fn()
        images += 1
        if time.perf_counter() >= end:
            return images


def _measure_window(content: Callable[[], int], meter: Meter) -> tuple[Window, int]:
    meter.begin_window()
    try:
        count = content()
    except BaseException:
        # The window is lost; ending it stops what a meter runs in the background, and the first error is the one
        # to tell.
        with suppress(HwkdError):
            meter.end_window()
        raise
    return meter.end_window(), count


def _summarize(pairs: Sequence[_Pair], meter: Meter, pixels: int) -> ImageEnergy:
    energies_mj = [1e3 * pair.energy_j / pair.images for pair in pairs]
    above_w = [pair.energy_j / pair.work.seconds for pair in pairs]
    idle_w = [pair.idle.energy_j / pair.idle.seconds for pair in pairs]
    energy_mj = _above_idle(energies_mj, meter, "mJ an image")
    return ImageEnergy(
        energy_mj=energy_mj,
        energy_mj_per_mpx=energy_mj.scaled(1e6 / pixels),
        power_w=_above_idle(above_w, meter, "W"),
        idle_power_w=_quantity(idle_w, meter, "W"),
        images=sum(pair.images for pair in pairs),
    )


def _above_idle(values: Sequence[float], meter: Meter, unit: str) -> Quantity:
    """As `_quantity`, but without a value where the mean is not above 0."""
    mean, half = _interval(values)
    if not mean > 0:
        return not_known(
            f"{meter.name} cannot tell the work from idle: {mean:.4g} {unit}, +-{half:.4g} over {len(values)} pairs of "
            "windows; give it more time, a larger image or a machine with less else to do",
            meter.found,
        )
    return _quantity(values, meter, unit)


def _quantity(values: Sequence[float], meter: Meter, unit: str) -> Quantity:
    """The mean of `values`, 0 or more, with its interval."""
    mean, half = _interval(values)
    by = f"{meter.name}: {meter.covers}"
    if half > mean:
        # A negative energy cannot be recorded, and that the interval reaches below 0 must not be lost.
        by += f"; the interval reaches down to {mean - half:.4g} {unit}, cut at 0"
    return Quantity(
        mean,
        meter.found,
        by,
        low=max(0.0, mean - half),
        high=mean + half,
        level=LEVEL,
        runs=len(values),
    )


def _interval(values: Sequence[float]) -> tuple[float, float]:
    """The mean of two or more values, and half the width of its 95 % t-interval."""
    t = T_975[min(len(values) - 1, len(T_975)) - 1]
    return fmean(values), t * stdev(values) / math.sqrt(len(values))


# What JPEG and WebP take on this machine at a model's quality, by the same meter as the model.

SECONDS = 6.0


@dataclass(frozen=True)
class Classic:
    """A codec at the student's PSNR.

    Attributes:
        encode_mj_per_mpx: energy to encode a megapixel, at the next lower quality setting.
    """

    equal: EqualQuality
    encode_mj_per_mpx: Quantity


def measure_classic(
    codec: str, images: Iterable[tuple[str, Pixels]], psnr_db: float, meter: Meter
) -> Classic:
    """`codec` (jpeg, webp) on `images`: rate and time at `psnr_db`, and the energy to encode.

    One call of the meter's work encodes all images, at the quality setting just below the requested PSNR.

    Raises:
        InputError, HwkdError: as `equal_quality` and `measure_energy`.
    """
    held = list(images)
    equal = equal_quality(codec, held, psnr_db)
    if not equal.between:
        return Classic(equal, not_known(equal.bpp.reason))
    quality = equal.between[0]

    def encode_all() -> None:
        for _, image in held:
            encode(codec, image, quality)

    pixels = sum(image.shape[0] * image.shape[1] for _, image in held)
    energy = measure_energy(encode_all, meter, pixels=pixels, seconds=SECONDS)
    return Classic(equal, energy.energy_mj_per_mpx)


# What a bit costs the sender over a radio link: published figures with their sources.


@dataclass(frozen=True)
class Link:
    """A way to send bits.

    Attributes:
        name: its name on the command line.
        label: its name in tables.
        joule_per_bit: energy of the sending side for one bit of payload, a range where the rate decides.
        note: what the figure holds for, and what it leaves out.
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
"""The links by name: uplink, with the energy of the sending device alone."""


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
