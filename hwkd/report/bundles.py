"""A bundle as tables: what it is, what runs in which precision, its card."""

from collections.abc import Sequence
from dataclasses import replace

from hwkd.measure.bundles import COSTS
from hwkd.qualities import lmbda_at
from hwkd.quantity import MIB
from hwkd.report.table import Table, missing, number, numbers
from hwkd.runtime.bundle import Bundle
from hwkd.runtime.manifest import (
    GAINS,
    HYPER_LAYERS,
    NOT_RECORDED,
    SELFTEST,
    TABLES,
    Card,
    Manifest,
)

# A bundle as tables: what it is, and what of it runs in which precision.


def bundle_tables(bundle: Bundle) -> tuple[Table, ...]:
    """The facts of the manifest, the card where there is one, and the nodes that ran in each precision."""
    card = bundle.manifest.card
    return (_facts(bundle), *(() if card is None else card_tables(card)), _executed(bundle))


def first_tables(bundle: Bundle) -> tuple[tuple[Table, ...], tuple[str, ...]]:
    """What most ask of a bundle, on one screen; and what that leaves out, in words."""
    facts, card = _facts(bundle), bundle.manifest.card
    kept = tuple(row for row in facts.rows if row[0] not in bundle.manifest.provenance)
    left_out = ("provenance", "what runs in which precision", "parts")
    if card is None:
        return (replace(facts, rows=kept),), left_out
    of_card = _card_facts(card)
    kept += tuple(row for row in of_card.rows if row[0] in _FIRST_OF_CARD)
    # The plan ends with what is to be typed on a board.
    first = replace(facts, rows=kept, notes=bundle.manifest.plan[::-1])
    if not card.figures:
        return (first,), ("the card", *left_out)
    figures = _card_figures(card)
    # Those of the set that was given last: the embedded photographs, which come first, are two.
    last = tuple(row for row in figures.rows if row[0] == card.figures[-1].on)
    return (first, replace(figures, rows=last)), ("the card", "figures of other images", *left_out)


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
        (
            name,
            uses.get(name, "not known to this hwkd"),
            number(len(content), ","),
            manifest.parts[name],
        )
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
        ("bits of weights / activations", bits_cell(manifest)),
        ("target", manifest.target),
        ("unpacked size", f"{total / MIB:.2f} MiB in {len(bundle.parts)} parts"),
        *sorted(manifest.provenance.items()),
    ]
    return Table(
        manifest.name, ("fact", "value"), tuple(rows), (*manifest.differences, *manifest.plan)
    )


def bits_cell(manifest: Manifest) -> str:
    """The bits of weights and activations; in words only where some layers' are others."""
    weights, acts = manifest.weight_bits, manifest.act_bits
    text = f"{weights} / {acts}"
    return numbers(text, int(weights), acts) if weights.isdecimal() else text


def _rate(manifest: Manifest) -> tuple[str, str]:
    if manifest.qualities is not None:
        low, high = manifest.qualities
        return "qualities", f"{low} to {high}, lmbda {lmbda_at(low):g} to {lmbda_at(high):g}"
    return "lmbda", number(manifest.lmbda, "g", NOT_RECORDED)


def _executed(bundle: Bundle) -> Table:
    rows = tuple(
        (
            one.network,
            one.runtime,
            ", ".join(f"{count} {precision}" for precision, count in one.counts.items()),
            number(len(one.in_float)),
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


# A bundle's card as tables: where the model comes from, and what it did to images.

_FIRST_OF_CARD = ("licence of the data", "hours", "known limits")


def _in_a_row(texts: Sequence[str]) -> str:
    """Sentences as they are, and a semicolon behind each of the others but the last."""
    last = len(texts) - 1
    return " ".join(
        text if i == last or text.endswith(".") else f"{text};" for i, text in enumerate(texts)
    )


def card_tables(card: Card) -> tuple[Table, ...]:
    """The facts of the card, and its figures where there are any."""
    return (_card_facts(card), _card_figures(card)) if card.figures else (_card_facts(card),)


def hours_in_words(hours: float | None) -> str:
    """To three digits, so that a run of seconds is no zero; n/a for None."""
    return number(hours, ",.0f" if hours is not None and hours >= 100 else ".3g", NOT_RECORDED)


def _card_facts(card: Card) -> Table:
    rows = (
        ("data", _told(card.data)),
        ("licence of the data", _told(card.licence)),
        ("teacher", card.teacher or missing(NOT_RECORDED)),
        ("first weights from", card.start or missing(NOT_RECORDED)),
        ("seed", number(card.seed, "", NOT_RECORDED)),
        ("steps in float", number(card.float_steps, ",", NOT_RECORDED)),
        ("steps in bits", number(card.quantized_steps, ",", NOT_RECORDED)),
        ("hours", hours_in_words(card.hours)),
        ("hardware", _told(card.hardware)),
        ("recipe", card.recipe or "none"),
        (
            "known limits",
            _told(_in_a_row(card.limits) or NOT_RECORDED),
        ),
    )
    notes = (
        "Steps and hours are those of this training, and of the model that ships with hwkd where it went on from one; "
        "those of another run that its first weights come from stand in that run's own card. Hours: of training alone, "
        "all resumed parts together.",
    )
    return Table("Card", ("fact", "value"), rows, notes)


def _told(text: str) -> str:
    return missing(text, text) if text == NOT_RECORDED else text


def _card_figures(card: Card) -> Table:
    has_qualities = any(one.quality is not None for one in card.figures)
    rows = tuple(
        (
            one.on,
            *((number(one.quality, "", "of one rate"),) if has_qualities else ()),
            number(one.images),
            number(one.psnr_db, ",.3f", "infinite: an image came back without error"),
            number(
                one.ms_ssim, ",.5f", "an image is too small for it, or its package was not there"
            ),
            number(one.bpp, ",.4f"),
            number(one.rd_loss, ",.4f", "lmbda is not known"),
            one.runtime,
        )
        for one in card.figures
    )
    notes = (
        "Means over the images of a set, measured with this bundle when it was exported. bpp: of the stream's bytes, "
        "header included; rd_loss: bpp + lmbda * 255^2 * MSE, x in [0, 1]"
        + (", with the lmbda of the quality." if has_qualities else "."),
    )
    named = ("set", *(("quality",) if has_qualities else ()))
    columns = (*named, "images", "psnr_db", "ms_ssim", "bpp", "rd_loss", "runtime")
    least = ("runtime", "rd_loss", "images")
    return Table("Measured with this bundle", columns, rows, notes, least)
