"""`hwkd compare`: profile records as resource comparison tables, as papers print them; results of training."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hwkd.cli.tables import TableOptions, emit_all
from hwkd.cli.talk import stderr_console
from hwkd.errors import InputError, unknown
from hwkd.images import ImageSource, open_images
from hwkd.measure.bundles import records_named
from hwkd.measure.classic import LABELS
from hwkd.measure.energy.measure import LINKS, Link, measure_classic, parse_link
from hwkd.measure.energy.meter import Meter
from hwkd.measure.energy.sensors import KINDS, open_meter
from hwkd.measure.equal_psnr import EqualPsnr, read_equal_psnr
from hwkd.measure.machine import host_facts, host_name
from hwkd.measure.record import Record
from hwkd.options import FIGURE_KINDS, option, whole
from hwkd.quantity import Quantity, not_known
from hwkd.report.compare.break_even import Sender, break_even_table, classic_sender
from hwkd.report.compare.crossover import (
    Device,
    answer,
    bench_device,
    energy_table,
    target_device,
    time_table,
)
from hwkd.report.compare.paper import paper_sheets
from hwkd.report.compare.published import read_paper, read_published_curves
from hwkd.report.compare.rows import WHICH, Row, SettingFilter, compare
from hwkd.report.compare.sheet import to_table
from hwkd.report.compare.tables import (
    AXES,
    glance_sheet,
    pareto_sheet,
    parse_axes,
    sheets,
)
from hwkd.report.results import read_result_files, results_tables, shipped_results
from hwkd.report.table import Table
from hwkd.target import Target, list_targets, load_target

HELP = "profile records side by side, or results on Kodak against published curves"

EXAMPLES = """examples:
  hwkd compare jetson-nano
  hwkd compare profiles/teacher.json profiles/ --runtime onnxruntime --threads 2
  hwkd compare my-board.toml
  hwkd compare profiles/ --paper --format latex -o tables.tex
  hwkd compare profiles/ --link lte --data photos/
  hwkd compare profiles/ --settings all --pareto psnr_db,bpp,total_mj --format csv
  hwkd compare --results --format md
  hwkd compare --results results/ --plot rd.svg
"""

MOST_THREADS = 4096


@dataclass(frozen=True, kw_only=True)
class CompareOptions(TableOptions):
    """The options of `hwkd compare`: of profile records from `profiles` to `data`, of results `results` and `plot`."""

    profiles: tuple[str, ...] = option(
        "a record (.json), a folder of them, a shipped TARGET/MODEL or TARGET, or a board of your own (.toml); the first one is what the others "
        "are compared with, and one that is given twice is taken once",
        "PROFILE",
        default=(),
        positional=True,
        nargs="*",
    )
    paper: bool = option(
        "three more tables: our rows beside those that arXiv 2509.10366 published", default=False
    )
    per_pixel: bool = option(
        "MACs for a pixel, latency and energy for a megapixel: for records of different image sizes",
        default=False,
    )
    settings: str = option(
        "of each record the first setting that has a figure and fits, or all (default: first)",
        default="first",
        choices=WHICH,
    )
    runtime: str | None = option('settings of this runtime only ("openvino")', "NAME")
    threads: int | None = option(
        "settings of this number of threads only", "N", whole(1, MOST_THREADS)
    )
    unit: str | None = option("settings of this unit only (cpu, gpu)", "NAME")
    precision: str | None = option("settings of this precision only (fp32, int8)", "P")
    pareto: str | None = option(
        "one more table: which rows no other beats on these axes, with commas between: "
        f"{', '.join(AXES)} (default: psnr_db,bpp, and total_mj and total_ms where every row has them)",
        "AXES",
        nargs="?",
        const="",
    )
    link: str | None = option(
        "which codec is the better choice: the link speeds at which each is done first, and energy to encode and send "
        "over wifi, lte, lora, all, or at so many joule per bit (2e-7). Of records of this machine: energy measured "
        "against JPEG and WebP. Without PROFILE: the machine of the shipped bench",
        "LINK",
    )
    data: Path | None = option(
        "images for --link, the ones the profile was evaluated on (default: the embedded photographs)",
        "DIR",
    )
    results: str | None = option(
        "instead of records: the results of `hwkd evaluate --save-results` in FOLDER, on Kodak, against published "
        "curves and the paper's (default: those that ship with hwkd)",
        "FOLDER",
        nargs="?",
        const="",
    )
    plot: Path | None = option(
        f"draw the rate-distortion curves of --results ({', '.join(FIGURE_KINDS)})", "FILE"
    )


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `hwkd compare` to `parser`."""
    CompareOptions.add_to(parser)


def run(args: argparse.Namespace) -> int:
    """Read the records, compare, print.

    Raises:
        InputError: there is no such record, image sizes differ, no setting fits, an axis is unknown, or options do not go
            together; also as `show_results`.
    """
    options = CompareOptions.of(args)
    check_results_options(options)
    if options.results is not None:
        show_results(options)
        return 0
    links = None if options.link is None else parse_links(options.link)
    if options.data is not None and links is None:
        raise InputError("--data gives the images for --link: add it, or leave --data out")
    axes = None if options.pareto is None else parse_axes(options.pareto)
    if links is not None and not options.profiles:
        devices = [bench_device(found) for found in shipped_benches()]
        emit_all(device_tables(devices, links), options, _answers(devices, links))
        return 0
    sets = [records_named(text) for text in options.profiles]
    if options.format == "table":
        sets = [trained_first(records) for records in sets]
    records = [record for each in sets for record in each]
    wanted = SettingFilter(options.runtime, options.threads, options.unit, options.precision)
    compared = compare(records, wanted, options.settings, is_per_pixel=options.per_pixel)
    tables = [
        *sheets(compared),
        *(paper_sheets(compared, read_paper()) if options.paper else ()),
        *(() if axes is None else (pareto_sheet(compared, axes),)),
    ]
    shown = [to_table(sheet, options.format) for sheet in tables]
    of_records = len(sheets(compared))
    boards = [load_target(text) for text in options.profiles if text.endswith(".toml")]
    is_predicted = links is not None and options.data is None
    devices = target_devices(compared.rows, boards) if is_predicted else []
    glance = to_table(glance_sheet(compared), options.format)
    left_out = (
        "intervals",
        "changes against the first row",
        "size, computation and energy in full",
    )

    def show() -> None:
        asked_for = shown[of_records:]
        first = (glance, *asked_for) if links is None else (*asked_for, glance)
        emit_all(tuple(shown), options, _answers(devices, links or ()), (first, left_out))

    if links is not None:
        shown += device_tables(devices, links)
        before = len(shown)
        try:
            if not devices or any(record.is_host and is_here(record) for record in records):
                for table in link_tables(records, links, options.data):
                    shown.append(table)
        except BaseException:
            # As in `hwkd evaluate`: what was measured is printed whatever ends the rest, be it Ctrl-C.
            if len(shown) > before:
                show()
            raise
    show()
    return 0


def trained_first(records: tuple[Record, ...]) -> tuple[Record, ...]:
    """The records of one PROFILE in reading order: trained models, the best quality first, then all others as they were."""
    known = [record for record in records if record.quality is not None]
    known.sort(key=lambda record: -(record.quality.psnr_db if record.quality else 0))
    return (*known, *(record for record in records if record.quality is None))


# `hwkd compare --results`: results of trained models against published curves, as tables and as a plot.

_FOR_RECORDS = (
    *("paper", "per_pixel", "settings", "runtime", "threads", "unit", "precision", "pareto"),
    *("link", "data"),
)
"""Options that apply to profile records only."""


def check_results_options(options: CompareOptions) -> None:
    """Refuse options that do not go together.

    Raises:
        InputError: neither records nor --results, or both; --plot without --results, or a kind of plot that cannot be drawn;
            an option that would have no effect.
    """
    if options.results is None:
        if options.plot is not None:
            raise InputError("--plot draws what --results reads: add it, or leave --plot out")
        if not options.profiles and options.link is None:
            raise InputError(
                "nothing to compare: give a PROFILE (`hwkd compare jetson-nano`), or --results"
            )
        return
    if options.profiles:
        raise InputError(
            f"--results prints tables of its own: leave out {' '.join(options.profiles)}, or --results"
        )
    given = options.given()
    for name in _FOR_RECORDS:
        if name in given:
            flag = f"--{name.replace('_', '-')}"
            raise InputError(f"{flag} is for profile records: leave it out, or --results")
    if options.plot is not None and options.plot.suffix.lower() not in FIGURE_KINDS:
        raise unknown("kind of plot", options.plot.suffix, FIGURE_KINDS)


def show_results(options: CompareOptions) -> None:
    """Print the tables of `options.results`, and draw `options.plot` if it is given.

    Raises:
        InputError: there are no results, or a file is not a result; a plot of results on other images than Kodak.
        HwkdError: a package for BD-rates or the plot is not installed.
    """
    folder = Path(options.results) if options.results else shipped_results()
    files = read_result_files(folder)
    if options.plot is not None and files.images:
        raise InputError(
            f"--plot draws results on Kodak beside published curves, and {folder} is of {files.images}: leave it out"
        )
    tables = results_tables(files, options.format)
    if options.plot is not None:
        from hwkd.report.plots.rd import draw_rd

        if not files.results:
            raise InputError(f"{folder} holds no curve to plot; add one, or leave --plot out")
        draw_rd(files, read_published_curves(), read_paper(), options.plot)
    # What people ask first is who needs fewer bits.
    rates = tuple(t for t in tables if t.title.startswith(("BD-rate", "Single models")))
    emit_all(tables, options, first=((*rates, *(t for t in tables if t not in rates)), ()))


# `hwkd compare --link`: which codec is the better choice. Of a target that is not here: predicted, from the shipped benches.


def target_devices(rows: Sequence[Row], boards: Sequence[Target]) -> list[Device]:
    """Each target of predicted rows at each quality of the shipped benches; those of which nothing is known are left out.

    Args:
        boards: targets that do not ship.
    """
    of_user = {board.name: board for board in boards}
    # Times of other codecs come from the machine whose speed is known beside the targets', wherever the bench ran since.
    of = {bench.psnr_db: bench for bench in shipped_benches("bench/carried")}
    benches = [bench for bench in shipped_benches() if bench.psnr_db in of]
    found = []
    for name in dict.fromkeys(row.record.target for row in rows if not row.record.is_host):
        if name not in of_user and name not in list_targets():
            continue
        target = of_user.get(name) or load_target(name)
        own = [row for row in rows if row.record.target == name]
        found += [target_device(bench, of[bench.psnr_db], own, target) for bench in benches]
    return [device for device in found if device is not None]


def shipped_benches(folder: str = "bench") -> tuple[EqualPsnr, ...]:
    """The shipped results of `hwkd bench --psnr` in `folder` of the results, the lowest quality first."""
    found = [read_equal_psnr(path) for path in (shipped_results() / folder).glob("*.json")]
    return tuple(sorted(found, key=lambda one: one.psnr_db))


def device_tables(devices: Sequence[Device], links: Sequence[Link]) -> tuple[Table, ...]:
    """Of each device who is done first, then of each who takes the least energy, where that is known."""
    energies = [energy_table(device, links) for device in devices]
    return (*map(time_table, devices), *(table for table in energies if table is not None))


def _answers(devices: Sequence[Device], links: Sequence[Link]) -> str:
    return " ".join(answer(device, links) for device in devices)


# Of records of this machine: energy to encode and to send, against JPEG and WebP on the same machine and images.

ALL = "all"


def parse_links(text: str) -> tuple[Link, ...]:
    """The link that `text` names, or all links for "all". Raises InputError as `parse_link`."""
    return tuple(LINKS.values()) if text == ALL else (parse_link(text),)


def link_tables(
    records: Sequence[Record], links: Sequence[Link], data: Path | None
) -> Iterator[Table]:
    """A table for each comparable record: of this machine, with known quality on these images and known encoding energy.

    Each is there as soon as it is measured.

    JPEG and WebP are measured with the sensor that measured the record's energy. Notes below the last table list what is
    not compared.

    Args:
        data: folder of the images; None for the embedded photographs.

    Raises:
        InputError: no record is comparable (the message names what each one lacks), or its sensor is not there now.
    """
    images = open_images(data).readable()
    images_sha256 = images.sha256()
    usable = []
    lacking: dict[str, list[str]] = {}
    for record in records:
        lack = _lack(record, images, images_sha256)
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
    # A break-even between a sensor's figure and an estimate would be meaningless.
    names = dict.fromkeys(_meter_name(record) for record in usable)
    meters = {name: open_meter(name).meter for name in names}
    with stderr_console().status("measuring JPEG and WebP"):
        for record in usable:
            table = _table(record, links, images, meters[_meter_name(record)])
            if lacking and record is usable[-1]:
                notes = (*table.notes, f"Not compared: {_said(lacking)}.")
                table = replace(table, notes=notes)
            yield table


def is_here(record: Record) -> bool:
    """Whether the record's target is called as this machine is."""
    return record.target == host_name(host_facts())


def _said(lacking: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{', '.join(whose)}: {lack}" for lack, whose in lacking.items())


def _lack(record: Record, images: ImageSource, images_sha256: str | None) -> str | None:
    """The reason why a record cannot be compared; None if it can.

    Args:
        images_sha256: sha256 of `images`.
    """
    if not record.is_host:
        return "predicted, and JPEG and WebP cannot be timed there"
    if not is_here(record):
        return f"another machine, this one is {host_name(host_facts())}"
    if record.quality is None:
        return "its quality was not measured"
    if record.quality.on != str(images):
        return f"its quality is known on {record.quality.on} only"
    if record.quality.images_sha256 != images_sha256:
        return f"its quality is of other images called {record.quality.on}: what the files hold differs"
    if _energy(record).value is None:
        return f"its energy is not known ({_energy(record).reason})"
    if _meter_name(record) not in KINDS:
        return (
            f"its energy was found by {_energy(record).by!r}, which is no sensor that hwkd can open"
        )
    return None


def _energy(record: Record) -> Quantity:
    """The energy to encode one image, from pixels to bytes."""
    for entry in record.entries:
        if (entry.name, entry.side, entry.part) == ("energy_mj", "encode", "end_to_end"):
            return entry.quantity
    return not_known("it was profiled without energy, or without trained weights")


def _meter_name(record: Record) -> str:
    """The name of the sensor that measured the record's energy; `by` begins with it (hwkd.measure.energy.measure)."""
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
