"""A bundle as tables: what it is, and what of it runs in which precision."""

from hwkd.measure.bundle_costs import COSTS
from hwkd.qualities import lmbda_at
from hwkd.report.card_tables import card_tables
from hwkd.report.table import Table
from hwkd.runtime.bundle import Bundle
from hwkd.runtime.manifest import GAINS, HYPER_LAYERS, SELFTEST, TABLES, Manifest

MIB = 2**20


def bundle_tables(bundle: Bundle) -> tuple[Table, ...]:
    """The facts of the manifest, the card where there is one, and the nodes that ran in each precision."""
    card = bundle.manifest.card
    return (_facts(bundle), *(() if card is None else card_tables(card)), _executed(bundle))


def parts_table(bundle: Bundle) -> Table:
    """Each part, what it is for and how large it is."""
    manifest = bundle.manifest
    uses = {
        TABLES: "CDF tables",
        SELFTEST: "self-test",
        HYPER_LAYERS: "entropy path, exact",
        GAINS: "gains of all qualities",
        COSTS: "what it costs, for `hwkd profile`",
    }
    for network, graphs in manifest.graphs.items():
        for part in dict.fromkeys(graphs.values()):
            runtimes = " and ".join(runtime for runtime in graphs if graphs[runtime] == part)
            uses[part] = f"{network} for {runtimes}"
    rows = tuple(
        (name, uses.get(name, "not known to this hwkd"), f"{len(content):,}", manifest.parts[name])
        for name, content in sorted(bundle.parts.items())
    )
    notes = (
        "The sha256 of each part is what the manifest says; the model id is that of the manifest.",
    )
    return Table("Parts", ("part", "for", "bytes", "sha256"), rows, notes)


def _facts(bundle: Bundle) -> Table:
    manifest = bundle.manifest
    total = sum(map(len, bundle.parts.values()))
    rows = [
        ("model id", bundle.id_hex),
        ("architecture", manifest.architecture),
        _rate(manifest),
        ("bits of weights / activations", f"{manifest.weight_bits} / {manifest.act_bits}"),
        ("target", manifest.target),
        ("unpacked size", f"{total / MIB:.2f} MiB in {len(bundle.parts)} parts"),
        *sorted(manifest.provenance.items()),
    ]
    return Table(
        manifest.name, ("fact", "value"), tuple(rows), (*manifest.differences, *manifest.plan)
    )


def _rate(manifest: Manifest) -> tuple[str, str]:
    if manifest.qualities is not None:
        low, high = manifest.qualities
        return "qualities", f"{low} to {high}, lmbda {lmbda_at(low):g} to {lmbda_at(high):g}"
    return "lmbda", "n/a" if manifest.lmbda is None else f"{manifest.lmbda:g}"


def _executed(bundle: Bundle) -> Table:
    rows = tuple(
        (
            one.network,
            one.runtime,
            ", ".join(f"{count} {precision}" for precision, count in one.counts.items()),
            str(len(one.in_float)),
        )
        for one in bundle.manifest.executed
    )
    notes = (
        *(
            f"In float in {one.runtime}, {one.network}: {', '.join(one.in_float)}."
            for one in bundle.manifest.executed
            if one.in_float
        ),
        "Read from each runtime on the machine that exported: convolutions and matrix products by precision, other nodes as elementwise. "
        "hyper is meant to run in float32: its values are whole numbers.",
    )
    return Table(
        "What runs in which precision",
        ("network", "runtime", "nodes", "layers_in_float"),
        rows,
        notes,
    )
