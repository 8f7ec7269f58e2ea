"""What `hwkd verify` found, as tables: symbols of writers against readers, then each reader."""

from collections.abc import Sequence

from hwkd.codec.verify import Reader, Verification
from hwkd.codec.verify_coders import EXACT_LABEL
from hwkd.report.table import Table

NA = "n/a"
REFUSED = "refused"


def verify_tables(
    found: Verification, model: str, images: str, unchecked: Sequence[str], versions: str
) -> tuple[Table, Table]:
    """The matrix and the readers.

    Args:
        model: the bundle's name and id. images: which they were. unchecked: runtimes that were left out.
        versions: host and packages, in words.
    """
    return _matrix(found, model, images, unchecked), _readers(found, versions)


def _matrix(found: Verification, model: str, images: str, unchecked: Sequence[str]) -> Table:
    labels = [reader.label for reader in found.readers]
    rows = tuple(
        (
            f"{i} {writer}",
            *(str(found.differing.get((writer, reader), REFUSED)) for reader in labels),
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
        return (name, REFUSED, *[NA] * 4)
    share = reader.share_of_samples
    return (
        name,
        "passed",
        str(reader.indexes),
        str(reader.differing_indexes),
        NA if reader.largest_step is None else str(reader.largest_step),
        NA if share is None else f"{100 * share:.4f}",
    )
