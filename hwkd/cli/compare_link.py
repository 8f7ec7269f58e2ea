"""`hwkd compare --link`: energy to encode and to send, against JPEG and WebP on the same machine and images."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from hwkd.errors import InputError
from hwkd.images import ImageSource, open_images
from hwkd.measure.classic import LABELS
from hwkd.measure.classic_energy import measure_classic
from hwkd.measure.energy.meter import Meter
from hwkd.measure.energy.sensors import KINDS, open_meter
from hwkd.measure.host import host_facts, host_name
from hwkd.measure.links import LINKS, Link, parse_link
from hwkd.measure.record import Record
from hwkd.quantity import Quantity, not_known
from hwkd.report.compare.break_even import Sender, break_even_table, classic_sender
from hwkd.report.table import Table

ALL = "all"


def parse_links(text: str) -> tuple[Link, ...]:
    """The link that `text` names, or all of them for "all". Raises InputError as `parse_link`."""
    return tuple(LINKS.values()) if text == ALL else (parse_link(text),)


def link_tables(
    records: Sequence[Record], links: Sequence[Link], data: Path | None
) -> tuple[Table, ...]:
    """A table for each record of this machine whose quality on these images and encoding energy are known. JPEG and WebP
    are measured with the sensor that the record's energy was found with. Below the last table: what is not compared.

    Args:
        data: the images; None for the embedded photographs.

    Raises:
        InputError: no record of that kind (the message says what each of them lacks), or a sensor that is not there now.
    """
    images = open_images(data)
    usable = []
    lacking: dict[str, list[str]] = {}
    for record in records:
        lack = _lack(record, images)
        if lack is None:
            usable.append(record)
        else:
            lacking.setdefault(lack, []).append(f"{record.model.name} on {record.target}")
    if not usable:
        folder = "" if data is None else f" {data}"
        raise InputError(
            f"--link needs a profile of a trained model on this machine, on {images}; make one with `hwkd profile MODEL "
            f"--target host --evaluate{folder} --save DIR`. {_said(lacking)}"
        )
    # A break-even between a sensor's figure and an estimate would say nothing.
    names = dict.fromkeys(_meter_name(record) for record in usable)
    meters = {name: open_meter(name).meter for name in names}
    with Console(stderr=True).status("measuring JPEG and WebP"):
        tables = [_table(r, links, images, meters[_meter_name(r)]) for r in usable]
    if lacking:
        notes = (*tables[-1].notes, f"Not compared: {_said(lacking)}.")
        tables[-1] = replace(tables[-1], notes=notes)
    return tuple(tables)


def _said(lacking: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{', '.join(whose)}: {lack}" for lack, whose in lacking.items())


def _lack(record: Record, images: ImageSource) -> str | None:
    """What keeps a record from being compared; None for nothing."""
    here = host_name(host_facts())
    if not record.is_host:
        return "predicted, and JPEG and WebP cannot be timed there"
    if record.target != here:
        return f"another machine, this one is {here}"
    if record.quality is None:
        return "its quality was not measured"
    if record.quality.on != str(images):
        return f"its quality is known on {record.quality.on} only"
    if _energy(record).value is None:
        return f"its energy is not known ({_energy(record).reason})"
    if _meter_name(record) not in KINDS:
        return (
            f"its energy was found by {_energy(record).by!r}, which is no sensor that hwkd can open"
        )
    return None


def _energy(record: Record) -> Quantity:
    """To encode one image, pixels to bytes."""
    for entry in record.entries:
        if (entry.name, entry.side, entry.part) == ("energy_mj", "encode", "end_to_end"):
            return entry.quantity
    return not_known("it was profiled without energy, or without trained weights")


def _meter_name(record: Record) -> str:
    """The sensor that the record's energy was found with; `by` begins with it (hwkd.measure.energy.measure)."""
    return _energy(record).by.partition(":")[0]


def _table(record: Record, links: Sequence[Link], images: ImageSource, meter: Meter) -> Table:
    quality = record.quality
    assert quality is not None
    bits = Quantity(
        quality.bpp * record.pixels, "computed", f"mean bits per pixel on {quality.on} x pixels"
    )
    student = Sender(record.model.name, _energy(record).scaled(1e-3), bits)
    classics = []
    for codec in LABELS:
        found = measure_classic(codec, images, quality.psnr_db, meter)
        energy_mj = found.encode_mj_per_mpx.scaled(record.pixels / 1e6)
        classics.append(classic_sender(found.equal, record.pixels, energy_mj))
    return break_even_table(student, classics, links, quality.psnr_db)
