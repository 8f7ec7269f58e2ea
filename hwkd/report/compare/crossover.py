"""Which codec is the better choice over which link: the time until an image has arrived, and the sender's energy. Pure."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from hwkd.measure.energy.measure import Link
from hwkd.measure.equal_psnr import CodecAtPsnr, EqualPsnr
from hwkd.measure.predict.fit import LEVEL
from hwkd.measure.predict.movement import carried
from hwkd.quantity import Quantity, not_known, places_of_three
from hwkd.report.compare.break_even import Sender, value_text, with_link
from hwkd.report.compare.rows import Row
from hwkd.report.table import Table, Valued, figure, missing, number, span
from hwkd.runtime.bundle import BUNDLE_SUFFIX
from hwkd.target import Target

NEVER = "never"


@dataclass(frozen=True)
class CodecOnDevice:
    """A codec on one device at one quality, for one image.

    Attributes:
        stream_bytes: size of the file.
        energy_mj: to encode; n/a with the reason where it is not known.
    """

    name: str
    stream_bytes: float
    encode_ms: Quantity
    decode_ms: Quantity
    energy_mj: Quantity


@dataclass(frozen=True)
class Device:
    """What codes, in words, with its codecs, all at one PSNR.

    Attributes:
        notes: how the times were found.
    """

    name: str
    psnr_db: float
    images: str
    coders: tuple[CodecOnDevice, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Band:
    """The link speeds, in bit/s, at which one codec is done first. high: None where it is so at any higher speed."""

    name: str
    low: float
    high: float | None


def bands(points: Sequence[tuple[str, float, float]]) -> tuple[Band, ...]:
    """Who is done first, from the slowest link to the fastest.

    A codec of t seconds and b bits is done after t + b / r on a link of r bit/s. On a slow link the fewest bits win, on a
    fast one the least time.

    Args:
        points: name, seconds of coding, bits; one at least.
    """
    now = min(points, key=lambda point: (point[2], point[1]))
    found: list[Band] = []
    low = 0.0
    while True:
        # Who overtakes it first as links get faster: more bits, less time.
        faster = [p for p in points if p[1] < now[1] and p[2] > now[2]]
        if not faster:
            return (*found, Band(now[0], low, None))
        high, following = min(((p[2] - now[2]) / (now[1] - p[1]), p) for p in faster)
        found.append(Band(now[0], low, high))
        now, low = following, high


def bench_device(found: EqualPsnr) -> Device:
    """The machine of a bench: every time was measured there."""
    reason = "the bench measured no energy"
    names = [row.name for row in found.rows]
    coders = tuple(
        CodecOnDevice(
            row.name if names.count(row.name) == 1 else f"{row.name} ({row.setting})",
            _bytes(row),
            row.encode_ms,
            row.decode_ms,
            not_known(reason),
        )
        for row in found.rows
    )
    settings = ", ".join(dict.fromkeys(row.setting for row in found.rows if row.is_bundle))
    return Device(
        f"{found.host.split(',')[0]}, {settings}",
        found.psnr_db,
        found.images,
        coders,
        ("Times and bytes: measured in one run of `hwkd bench --psnr`.",),
    )


def target_device(
    found: EqualPsnr, reference: EqualPsnr, rows: Sequence[Row], target: Target
) -> Device | None:
    """A target that is not here: bundles as its records predict them, the other codecs carried over from `reference`.

    Args:
        reference: a bench at the same PSNR on the machine that `carried` starts from.
        rows: of that target. A bundle of `found` without times among them is left out.
    Returns: None where no bundle has times, or nothing tells how fast the target's processor is.
    """
    of_name = {row.record.model.name.removesuffix(BUNDLE_SUFFIX): row for row in rows}
    bundles = []
    for row in found.rows:
        # Of one that was timed in several runtimes: once.
        own = of_name.pop(row.name, None) if row.is_bundle else None
        if own is not None and own.has("latency_ms", "end_to_end"):
            encode_ms, decode_ms, energy_mj = (
                _entry(own, name, side)
                for name, side in (
                    ("latency_ms", "encode"),
                    ("latency_ms", "decode"),
                    ("energy_mj", "encode"),
                )
            )
            bundles.append(
                (own, CodecOnDevice(row.name, _bytes(row), encode_ms, decode_ms, energy_mj))
            )
    if not bundles:
        return None
    others = []
    power_w = _power_w(bundles[0][1])
    for row in reference.rows:
        if not row.is_bundle:
            times = [_carried(q, target) for q in (row.encode_ms, row.decode_ms)]
            if None in times:
                return None
            encode_ms, decode_ms = (q for q in times if q is not None)
            energy_mj = (
                not_known(bundles[0][1].energy_mj.reason or "the board's power is not known")
                if power_w is None
                else encode_ms.scaled(power_w)
            )
            others.append(CodecOnDevice(row.name, _bytes(row), encode_ms, decode_ms, energy_mj))
    widest = max(
        q.high / q.value
        for coder in (*others, *(coder for _, coder in bundles))
        for q in (coder.encode_ms, coder.decode_ms)
        if q.value and q.high is not None
    )
    setting = bundles[0][0].setting
    notes = (
        f"Times: predicted; of bundles by {target.name}.toml, of the other codecs as hwkd's own coder is, from what one "
        f"thread took on {reference.host.split(',')[0]}. Each may be up to {widest:.1f} times as long or as short ({LEVEL:.0%}), "
        "and borders between codecs move as their times do.",
    )
    name = f"{target.name}" if setting is None else f"{target.name}, {setting}"
    return Device(
        name,
        found.psnr_db,
        found.images,
        (*others, *(coder for _, coder in bundles)),
        notes,
    )


_WAYS: tuple[tuple[str, str, Callable[[CodecOnDevice], tuple[Quantity, ...]]], ...] = (
    ("send", "to encode and send", lambda coder: (coder.encode_ms,)),
    (
        "show",
        "to encode, send and decode",
        lambda coder: (coder.encode_ms, coder.decode_ms),
    ),
)
"""Column, words, and the times that count: a camera need not decode, and a server may be much faster than it is."""


def time_table(device: Device) -> Table:
    """The link speeds at which each codec is done first; below, the answer in sentences."""
    coders = device.coders
    found = {key: {band.name: band for band in _bands(coders, times)} for key, _, times in _WAYS}
    rows = tuple(
        (
            coder.name,
            number(round(coder.stream_bytes), ",d"),
            *(figure(value_text(q), q) for q in (coder.encode_ms, coder.decode_ms)),
            *(_cell(found[key].get(coder.name)) for key, _, _ in _WAYS),
        )
        for coder in coders
    )
    columns = (
        "codec",
        "bytes",
        "encode_ms",
        "decode_ms",
        *(f"{key}_mbit_s" for key, _, _ in _WAYS),
    )
    return Table(
        f"Done first at {device.psnr_db:g} dB, by the speed of the link: {device.name}",
        columns,
        rows,
        (
            "_mbit_s: the link speeds at which the codec is done first, coding included; show_: decoded on such a "
            f"device, too. bytes: of a file, mean over {device.images} at that PSNR.",
            *device.notes,
            *(f"First {words}: {_said(_bands(coders, times))}." for _, words, times in _WAYS),
        ),
    )


def answer(device: Device, links: Sequence[Link]) -> str:
    """Which codec is the better choice on the device, in one sentence."""
    parts = [f"{words}, {_said(_bands(device.coders, times))}" for _, words, times in _WAYS]
    senders = [_sender(coder) for coder in device.coders if coder.energy_mj.value is not None]
    if senders:
        least = (f"{link.label} {_least(senders, link)}" for link in links)
        parts.append(f"for the least energy to encode and send, {', '.join(least)}")
    return f"At {device.psnr_db:g} dB on {device.name.split(',')[0]}: {'; '.join(parts)}."


def _bands(
    coders: Sequence[CodecOnDevice], times: Callable[[CodecOnDevice], tuple[Quantity, ...]]
) -> tuple[Band, ...]:
    return bands(
        [(c.name, sum(q.value or 0.0 for q in times(c)) / 1e3, 8 * c.stream_bytes) for c in coders]
    )


def _sender(coder: CodecOnDevice) -> Sender:
    bits = Quantity(8 * coder.stream_bytes, "estimated", "bytes of the bench")
    return Sender(coder.name, coder.energy_mj.scaled(1e-3), bits)


def energy_table(device: Device, links: Sequence[Link]) -> Table | None:
    """What encoding and sending one image costs the device over each link; None where no encoding energy is known."""
    known = [coder for coder in device.coders if coder.energy_mj.value is not None]
    if not known:
        return None
    senders = [_sender(coder) for coder in known]
    rows = tuple(
        (
            sender.name,
            figure(value_text(coder.energy_mj), coder.energy_mj),
            *(with_link(sender, link) for link in links),
        )
        for coder, sender in zip(known, senders, strict=True)
    )
    return Table(
        f"Energy to encode and send one image at {device.psnr_db:g} dB: {device.name}",
        ("codec", "encode_mj", *(f"{link.name}_total_mj" for link in links)),
        rows,
        (
            f"Least energy: {'; '.join(f'{link.label} {_least(senders, link)}' for link in links)}.",
            "encode_mj: predicted time x the board's power under load, idle included, the same power for every codec. "
            "total_mj: with bits x J/bit of the link, published figures (`hwkd compare --link` of a measured record lists them).",
        ),
    )


def _least(senders: Sequence[Sender], link: Link) -> str:
    """Who takes the least energy at both ends of the link's range."""

    def winner(joule_per_bit: float) -> str:
        return min(
            senders,
            key=lambda s: (s.encode_energy_j.value or 0.0) + (s.bits.value or 0.0) * joule_per_bit,
        ).name

    ends = dict.fromkeys((winner(link.low), winner(link.high)))
    return " or ".join(ends)


def _bytes(row: CodecAtPsnr) -> float:
    assert row.stream_bytes.value is not None
    return row.stream_bytes.value


def _entry(row: Row, name: str, side: str) -> Quantity:
    entry = row.entry(name, side, "end_to_end")
    return not_known("it is not in the record") if entry is None else entry.quantity


def _power_w(coder: CodecOnDevice) -> float | None:
    """The power that the record's energy was predicted with."""
    if coder.energy_mj.value is None or not coder.encode_ms.value:
        return None
    return coder.energy_mj.value / coder.encode_ms.value


def _carried(measured: Quantity, target: Target) -> Quantity | None:
    assert measured.value is not None
    found = carried(measured.value, target.cpu, target.constants)
    if found is None:
        return None
    by = f"{target.name}.toml, carried over from {measured.by}"
    return Quantity(found.ms, "predicted", by, found.low, found.high, LEVEL)


def _cell(band: Band | None) -> Valued:
    if band is None:
        return missing("another codec is done first over every link", NEVER)
    low, high = band.low / 1e6, None if band.high is None else band.high / 1e6
    if high is None:
        text = "any" if band.low == 0 else f"over {_two_digits(low)}"
        return Valued(text, {"value": low, "note": "from this speed on"})
    start = "up to" if band.low == 0 else f"{_two_digits(low)} to"
    text = f"{start} {_two_digits(high)}"
    return span(text, low, high)


def _said(found: Sequence[Band]) -> str:
    if len(found) == 1:
        return f"{found[0].name} over any link"
    return ", ".join(_steps(found))


def _steps(found: Sequence[Band]) -> Iterator[str]:
    for band in found:
        if band.high is None:
            yield f"{band.name} over faster links"
        else:
            yield f"{band.name} up to {_speed(band.high)}"


def _speed(bit_s: float) -> str:
    for unit, size in (("Gbit/s", 1e9), ("Mbit/s", 1e6), ("kbit/s", 1e3)):
        if bit_s >= size:
            return f"{_two_digits(bit_s / size)} {unit}"
    return f"{_two_digits(bit_s)} bit/s"


def _two_digits(value: float) -> str:
    """Two digits that count: borders are no better known."""
    return f"{float(f'{value:.1e}'):,.{max(0, places_of_three(value) - 1)}f}"
