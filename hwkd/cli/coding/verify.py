"""`hwkd verify`: checks that a bundle's streams decode to the same symbols in every runtime of this machine."""

import argparse
import platform
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from rich.progress import Progress

from hwkd import __version__
from hwkd.cli.model_names import SHIPPED_FIRST
from hwkd.cli.tables import TableOptions, emit_all
from hwkd.cli.talk import stderr_console
from hwkd.codec.shipped import named_bundle, shipped_or_as_given
from hwkd.codec.verify import (
    COUNT,
    EXACT_LABEL,
    Reader,
    Verification,
    crops,
    made_symbols,
    mixed,
    open_coders,
    qualities_to_try,
    verify,
)
from hwkd.errors import InputError
from hwkd.images import Pixels, embedded_images, open_images
from hwkd.measure.machine import host_facts
from hwkd.options import MOST, option, whole
from hwkd.qualities import HIGHEST, LOWEST
from hwkd.quantity import NA
from hwkd.report.table import Table, missing, number
from hwkd.runtime.bundle import read_bundle
from hwkd.runtime.session import RUNTIMES, usable_cores

HELP = "check that a bundle's streams decode to the same symbols in every runtime here"

EXAMPLES = """examples:
  hwkd verify small.hwkd
  hwkd verify small.hwkd --data photos/ --images 50
  hwkd verify small.hwkd --qualities 10 90
  hwkd verify small.hwkd --runtime onnxruntime --threads 1 --format md -o verified.md
"""

ALL = "all"


@dataclass(frozen=True, kw_only=True)
class VerifyOptions(TableOptions):
    """The options of `hwkd verify`."""

    bundle: str = option(
        "a .hwkd file (see `hwkd export`), or the name of one that ships (see `hwkd models`); "
        f"{SHIPPED_FIRST}",
        "BUNDLE",
        shipped_or_as_given,
        default=MISSING,
        positional=True,
    )
    runtime: tuple[str, ...] = option(
        "onnxruntime, openvino, or all that are installed (default: all)",
        "NAME",
        default=(ALL,),
        nargs="+",
    )
    data: Path | None = option(
        "images to code whole, beside those made in code (default: crops of the embedded photographs)",
        "DIR",
    )
    images: int | None = option(
        f"how many, every second one made in code (default: {COUNT}, or all of --data)",
        "N",
        whole(1, MOST),
    )
    qualities: tuple[int, ...] | None = option(
        "to code at, in turn over the images, with a bundle of all rates "
        "(default: its lowest, its default and its highest)",
        "Q",
        whole(LOWEST, HIGHEST),
        nargs="+",
    )
    threads: int = option(
        "beside 1 (default: all usable cores)",
        "N",
        lambda text: whole(1, usable_cores())(text),
        default=usable_cores(),
    )


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `hwkd verify` to `parser`."""
    VerifyOptions.add_to(parser)


def run(args: argparse.Namespace) -> int:
    """Compare and print; returns 0 if everything agrees, else 1."""
    options = VerifyOptions.of(args)
    images, count, what = _images(options.data, options.images)
    bundle = read_bundle(named_bundle(options.bundle))
    qualities = qualities_to_try(bundle.manifest, options.qualities)
    if qualities:
        what += f", at qualities {', '.join(map(str, qualities))} in turn"
    runtimes = None if ALL in options.runtime else list(dict.fromkeys(options.runtime))
    coders = open_coders(bundle, runtimes, sorted({1, options.threads}))
    console = stderr_console()
    # Without a terminal, rich would leave an empty line.
    made = made_symbols(bundle.manifest.Z, bundle.manifest.largest_z)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        tracked = progress.track(images, total=count, description="images")
        found = verify(coders, tracked, made, qualities)
    model = f"{bundle.manifest.name} ({bundle.id_hex})"
    unchecked = [name for name in RUNTIMES if name not in {coder.runtime for coder in coders}]
    emit_all(verify_tables(found, model, what, unchecked, _versions()), options, verdict(found))
    return 0 if found.holds else 1


def _images(folder: Path | None, asked: int | None) -> tuple[Iterable[Pixels], int, str]:
    """The images, their number, and their description in words."""
    if folder is not None:
        source = open_images(folder)
        count = asked or max(COUNT, 2 * len(source.paths))
        taken = min(len(source.paths), -(-count // 2))
        photographs: Iterable[Pixels] = (image for _, image in islice(source, taken))
        return mixed(photographs, count), count, f"{taken} of {source}, the others made in code"
    count = asked or COUNT
    try:
        embedded = embedded_images("eval")
    except InputError as error:
        # An installation for devices has no scikit-image.
        return mixed((), count), count, f"all made in code, as there are no photographs ({error})"
    what = f"crops of {' and '.join(embedded)}, every second one made in code"
    return mixed(crops(tuple(embedded.values())), count), count, what


def _versions() -> str:
    return (
        f"{host_facts()}; hwkd {__version__}, Python {platform.python_version()}, numpy {np.__version__}, "
        f"{platform.system()} {platform.machine()}"
    )


# The results of `hwkd verify` as tables: symbols of writers against readers, then each reader.
REFUSED = "refused"
NO_IMAGES = "no image of its own was compared"


def verify_tables(
    found: Verification, model: str, images: str, unchecked: Sequence[str], versions: str
) -> tuple[Table, Table]:
    """The matrix and the readers.

    Args:
        model: the bundle's name and id.
        images: the images, in words.
        unchecked: runtimes that were left out.
        versions: host and packages, in words.
    """
    return _matrix(found, model, images, unchecked), _readers(found, versions)


def verdict(found: Verification) -> str:
    """One line with the decision of `Verification.holds`."""
    symbols, indexes = (
        len(found.differing) * found.symbols,
        sum(r.indexes or 0 for r in found.readers),
    )
    wrong = sum(found.differing.values()), sum(r.differing_indexes or 0 for r in found.readers)
    refused = [reader.label for reader in found.readers if reader.refusal]
    said = (
        f"{'PASS' if found.holds else 'FAIL'}: {wrong[0]:,} of {_count(symbols)} symbols and {wrong[1]:,} of "
        f"{_count(indexes)} indexes differ"
    )
    return f"{said}; {', '.join(refused)}: {REFUSED} by the self-test" if refused else said


def _count(count: int) -> str:
    return f"{count / 1e6:.1f} M" if count >= 1_000_000 else f"{count:,}"


def _matrix(found: Verification, model: str, images: str, unchecked: Sequence[str]) -> Table:
    labels = [reader.label for reader in found.readers]
    refused = {reader.label: reader.refusal for reader in found.readers}
    rows = tuple(
        (
            f"{i} {writer}",
            *(
                number(found.differing[writer, reader])
                if (writer, reader) in found.differing
                else missing(refused.get(reader) or refused.get(writer) or REFUSED, REFUSED)
                for reader in labels
            ),
        )
        for i, writer in enumerate(labels, 1)
    )
    is_broken = any(found.differing.values()) or any(r.differing_indexes for r in found.readers)
    notes = [
        "Rows: writers. Columns: the same as readers, by their numbers.",
        f"{found.images} images: {images}.",
        f"Of each pair {found.symbols} symbols of y and z were compared, as read with as coded. 0 everywhere is the "
        "promise: streams decode to the same symbols wherever they were written."
        + (" It does not hold here." if is_broken else ""),
        f"{EXACT_LABEL}: the entropy path in numpy's int64, the reference. Only that path exists in whole numbers: its "
        "encoder and decoder are those of the first runtime.",
    ]
    notes += [
        f"{reader.label}: {REFUSED}: {reader.refusal}."
        for reader in found.readers
        if reader.refusal
    ]
    if unchecked:
        notes.append(
            f"Not checked: {' and '.join(unchecked)} (not installed, not in this bundle, or not asked for)."
        )
    # Numbers, as the names of five readers do not fit a terminal.
    columns = ("writer", *(str(i) for i, _ in enumerate(labels, 1)))
    return Table(f"Symbols of {model} that differ", columns, rows, tuple(notes))


def _readers(found: Verification, versions: str) -> Table:
    notes = []
    first = next((reader for reader in found.readers if reader.index_sha256), None)
    if first:
        notes = [
            f"Indexes: of the scales, held against those of {first.label}, for the z of each stream and for symbols of z made "
            "in code.",
            "Images: of the first writer's streams, held against the first runtime's, in 8-bit steps. The decoder needs "
            "no exactness: its roundings may come out otherwise, and symbols do not depend on it. "
            f"They are {NA} for {EXACT_LABEL}, whose images are the first runtime's.",
            f"sha256 of the indexes for symbols of z made in code: {first.index_sha256}. It is the same on every machine "
            "that keeps the promise for this bundle.",
        ]
    notes += [
        f"{reader.label}: its images differ by {reader.largest_step} steps: a rounding inside the network that comes out otherwise is passed on."
        for reader in found.readers
        if reader.largest_step is not None and reader.largest_step > 1
    ]
    notes.append(f"Ran on {versions}.")
    columns = ("reader", "self-test", "indexes", "differing", "largest_step", "samples_percent")
    rows = tuple(_row(f"{i} {reader.label}", reader) for i, reader in enumerate(found.readers, 1))
    return Table("Readers", columns, rows, tuple(notes))


def _row(name: str, reader: Reader) -> tuple[str, ...]:
    if reader.refusal:
        return (name, REFUSED, *[missing(reader.refusal)] * 4)
    share = reader.share_of_samples
    return (
        name,
        "passed",
        number(reader.indexes),
        number(reader.differing_indexes),
        number(reader.largest_step, "", NO_IMAGES),
        number(None if share is None else 100 * share, ".4f", NO_IMAGES),
    )
