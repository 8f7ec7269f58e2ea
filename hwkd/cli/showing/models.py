"""`hwkd models`: the trained models that come with hwkd."""

import argparse
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hwkd.cli.model_names import ZOO
from hwkd.cli.tables import TableOptions, emit_all
from hwkd.codec.shipped import shipped
from hwkd.measure.bundles import macs_per_pixel
from hwkd.metrics import Curve
from hwkd.models.shipped import WeightsCard, is_half, read_card, shipped_names, shipped_path
from hwkd.options import option
from hwkd.qualities import DEFAULT_QUALITY, HIGHEST, LOWEST, lmbda_at
from hwkd.quantity import MIB
from hwkd.report.bundles import bits_cell, hours_in_words
from hwkd.report.compare.published import read_published_curves
from hwkd.report.table import Table, number, span
from hwkd.runtime.bundle import Bundle, read_bundle
from hwkd.runtime.manifest import NOT_RECORDED, Manifest

HELP = "list the trained models that come with hwkd, and CompressAI's that it fetches"

EXAMPLES = """examples:
  hwkd models
  hwkd models --format md
"""


@dataclass(frozen=True, kw_only=True)
class ModelsOptions(TableOptions):
    """The options of `hwkd models`."""

    all: bool = option("those that JPEG beats, too (other formats have them always)", default=False)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `hwkd models` to `parser`."""
    ModelsOptions.add_to(parser)


def run(args: argparse.Namespace) -> int:
    """Print the tables of shipped models."""
    options = ModelsOptions.of(args)
    bundles = [(name, read_bundle(path), path.stat().st_size) for name, path in shipped().items()]
    teachers = [
        (read_card(name), is_half(name), shipped_path(name).stat().st_size)
        for name in shipped_names()
    ]
    tables = [bundles_table(bundles), teachers_table(teachers, ZOO)]
    if options.format == "table" and not options.all:
        against = _against_jpeg(bundles, teachers)
        behind = {name: more for name, more in against if more is not None and more.percent > 0}
        tables = [_without(table, behind) for table in tables]
    emit_all(tables, options)
    return 0


# Models that nobody would use: JPEG takes fewer bits for the same PSNR.


def _against_jpeg(
    bundles: Sequence[tuple[str, Bundle, int]], teachers: Sequence[tuple[WeightsCard, bool, int]]
) -> Iterator[tuple[str, "MoreBits | None"]]:
    """Each model with known quality on Kodak, and how many more bits than JPEG it takes there."""
    jpeg = read_published_curves().named("JPEG").curve
    for name, bundle, _ in bundles:
        card = bundle.manifest.card
        figures = [] if card is None else [f for f in card.figures if f.on.casefold() == KODAK]
        points = [(f.bpp, f.psnr_db) for f in figures if f.psnr_db is not None]
        if points:
            yield name, more_bits(jpeg, points)
    for teacher, _, _ in teachers:
        if teacher.kodak_bpp is not None and teacher.kodak_psnr_db is not None:
            point = (teacher.kodak_bpp, teacher.kodak_psnr_db)
            yield teacher.name, more_bits(jpeg, [point])


@dataclass(frozen=True)
class MoreBits:
    """More bits than those of a curve at the same PSNR, in percent; less than 0: fewer.

    Attributes:
        begins_db: where the curve begins, if that is above the model's PSNR: there it takes fewer bits still, so the model takes
            more than `percent`. None if the curve reaches the PSNR.
    """

    percent: float
    begins_db: float | None = None

    def __str__(self) -> str:
        # What is at least so much is rounded down.
        if self.begins_db is not None:
            return f"by more than {math.floor(self.percent):,} %"
        return f"by {self.percent:,.0f} %"


def more_bits(anchor: Curve, points: Sequence[tuple[float, float]]) -> MoreBits | None:
    """Mean change of rate of points (bpp, PSNR in dB) from `anchor` at their own PSNRs.

    Between the anchor's points, the logarithm of its rate is a straight line over PSNR. Points beyond its ends are left out;
    if all of them lie below its PSNRs, they are compared with its first rate. This needs no scipy, which
    `hwkd compare --results` uses for its BD-rates.

    Returns:
        None for points that all lie above the anchor's PSNRs, or on both sides of them: it does not say what it would take.
    """
    order = np.argsort(anchor.psnr_db)
    psnrs, rates = np.take(anchor.psnr_db, order), np.log(np.take(anchor.bpp, order))
    within = [point for point in points if psnrs[0] <= point[1] <= psnrs[-1]]
    if not within and any(psnr_db > psnrs[-1] for _, psnr_db in points):
        return None
    compared = within or points
    changes = [np.log(bpp) - np.interp(psnr_db, psnrs, rates) for bpp, psnr_db in compared]
    percent = float(100 * np.expm1(np.mean(changes)))
    return MoreBits(percent, None if within else float(psnrs[0]))


def _without(table: Table, behind: Mapping[str, MoreBits]) -> Table:
    """The table without the rows of these models, and with a note that lists them."""
    rows = tuple(row for row in table.rows if row[0] not in behind)
    hidden = [row[0] for row in table.rows if row[0] in behind]
    if not hidden:
        return table
    is_one = len(hidden) == 1
    count = (
        "1 model is not listed, as it takes"
        if is_one
        else f"{len(hidden)} models are not listed, as they take"
    )
    listed = ", ".join(f"{name} {behind[name]}" for name in hidden)
    begins = dict.fromkeys(behind[name].begins_db for name in hidden)
    bounds = "".join(
        f" More than: JPEG's published curve begins at {db:.1f} dB, and these reach less."
        for db in begins
        if db is not None
    )
    note = f"{count} more bits than JPEG for the same PSNR on Kodak: {listed}.{bounds} --all lists {'it' if is_one else 'them'}."
    return replace(table, rows=rows, notes=(note, *table.notes))


# The trained models that come with hwkd, as tables: bundles to encode with, teachers to distil from.
KODAK = "kodak"

_FIGURES = "kodak_psnr_db, kodak_bpp: measured, means over Kodak's 24 images, bpp of real bytes, header included."
_NO_FIGURE = "its card tells of no figure on Kodak"
_ALL_RATES = (
    f"lmbda from one to another: a model of all rates; its kodak_psnr_db and kodak_bpp are at quality {DEFAULT_QUALITY}, or the "
    "nearest that its card tells of."
)


def bundles_table(held: Sequence[tuple[str, Bundle, int]]) -> Table:
    """The table of the bundles.

    Args:
        held: for each bundle, its name, the bundle, and the bytes of its file.

    Raises:
        InputError: a bundle does not state its costs.
    """
    rows = []
    trained_on = []
    for name, bundle, file_bytes in held:
        manifest, card = bundle.manifest, bundle.manifest.card
        on_kodak = None if card is None else card.on_kodak
        if card is not None:
            trained_on.append((name, card.data, card.licence))
        rows.append(
            (
                name,
                manifest.family,
                manifest.architecture,
                _lmbdas(manifest),
                bits_cell(manifest),
                number(macs_per_pixel(bundle) / 1e3, ".2f"),
                number(file_bytes / MIB, ".2f"),
                number(on_kodak.psnr_db if on_kodak else None, ",.2f", _NO_FIGURE),
                number(on_kodak.bpp if on_kodak else None, ",.3f", _NO_FIGURE),
            )
        )
    notes = (
        *_data_notes(trained_on),
        "bits: of weights / activations. kmac_per_pixel: each of the four networks once.",
        _FIGURES,
        *((_ALL_RATES,) if any(b.manifest.qualities for _, b, _ in held) else ()),
        "`hwkd info MODEL` shows the card of one: teacher, steps, hours, limits, figures.",
    )
    columns = ("model", "family", "architecture", "lmbda", "bits", "kmac_per_pixel", "size_mib")
    return Table(
        "Bundles, to encode and decode with",
        (*columns, "kodak_psnr_db", "kodak_bpp"),
        tuple(rows),
        notes if rows else ("No bundle comes with this installation; `hwkd export` writes one.",),
        ("architecture", "bits", "lmbda", "family"),
    )


def teachers_table(held: Sequence[tuple[WeightsCard, bool, int]], zoo: Iterable[str]) -> Table:
    """The table of the teachers.

    Args:
        held: for each teacher, its card, whether the weights are stored in half precision, and the bytes of their file.
        zoo: names of CompressAI's architectures that can teach.
    """
    rows = tuple(
        (
            card.name,
            str(card.spec),
            _of_all_rates((LOWEST, HIGHEST)) if card.lmbda is None else number(card.lmbda, "g"),
            number(card.steps, ","),
            hours_in_words(card.hours),
            "float16" if is_half else "float32",
            number(file_bytes / MIB, ".2f"),
            number(card.kodak_psnr_db, ",.2f", _NO_FIGURE),
            number(card.kodak_bpp, ",.3f", _NO_FIGURE),
        )
        for card, is_half, file_bytes in held
    )
    notes = (
        *_data_notes([(card.name, card.data, card.licence) for card, _, _ in held]),
        *((_ALL_RATES,) if any(card.lmbda is None for card, _, _ in held) else ()),
        *(
            f"{card.name}, hardware: {card.hardware}. {' '.join(card.limits)}".rstrip()
            for card, _, _ in held
        ),
        _FIGURES,
        f"CompressAI's zoo, fetched on first use: {', '.join(zoo)}, as NAME:QUALITY (bmshj2018-hyperprior:5).",
    )
    columns = ("model", "architecture", "lmbda", "steps", "hours", "weights", "size_mib")
    least = ("architecture", "weights", "hours", "lmbda")
    named = (*columns, "kodak_psnr_db", "kodak_bpp")
    return Table("Teachers, to distil from", named, rows, notes, least)


def _data_notes(trained_on: Sequence[tuple[str, str, str]]) -> tuple[str, ...]:
    """A sentence for each distinct data and licence, with the names of the models, or "All"."""
    names: dict[tuple[str, str], list[str]] = {}
    for name, data, licence in trained_on:
        names.setdefault((data, licence), []).append(name)
    return tuple(
        f"{'All' if len(models) == len(trained_on) > 1 else ', '.join(models)}: "
        f"trained on {data}; licence of the data: {licence}."
        for (data, licence), models in names.items()
    )


def _lmbdas(manifest: Manifest) -> str:
    if manifest.qualities is None:
        return number(manifest.lmbda, ",.4f", NOT_RECORDED)
    return _of_all_rates(manifest.qualities)


def _of_all_rates(qualities: tuple[int, int]) -> str:
    low, high = map(lmbda_at, qualities)
    return span(f"{low:.4f} to {high:.4f}", low, high)
