"""Sensitivity to bits as tables: the layers, the allocations, and the bits that these give. Pure."""

from collections.abc import Sequence

from hwkd.measure.allocations import Checked, bits_in_words
from hwkd.measure.sensitivity import Sensitivity
from hwkd.quantize.allocate import KIB
from hwkd.report.table import Table

NA = "n/a"
LOSS = "rd_loss is bpp + lmbda 255^2 MSE, bpp of real bytes"


def tried_bits(found: Sensitivity) -> list[int]:
    """The bits that any layer was measured in, the most first."""
    return sorted({point.bits for point in found.points}, reverse=True)


def layers_table(found: Sensitivity, model: str, images: str) -> Table:
    """A row for each layer: what its weights in fewer bits change of the loss, the other layers as they are."""
    tried = tried_bits(found)
    rows = []
    for layer in found.layers:
        changes = found.changes_percent(layer)
        cells = [f"{changes[b]:+,.3f}" if b in changes else NA for b in tried]
        rows.append((layer.name, f"{layer.weight_count:,}", str(layer.weight_bits), *cells))
    notes = [
        "Change of rd_loss in percent with the weights of one layer at a time in so many bits, measured, nothing trained; "
        f"{LOSS}, lmbda {found.lmbda:g}.",
        f"On {images}. Below 0: the rounding happened to suit these images.",
    ]
    if any(NA in row for row in rows):
        notes.append("n/a: not fewer bits than the layer has.")
    columns = ("layer", "weights", "bits", *(f"{b} bits" for b in tried))
    return Table(f"Sensitivity of {model}", columns, tuple(rows), tuple(notes))


def points_table(found: Sensitivity) -> Table:
    """Every measurement, with what it did to rate and distortion."""
    layers = {layer.name: layer for layer in found.layers}
    base = found.base
    rows = [
        (
            point.layer,
            str(layers[point.layer].weight_bits),
            str(point.bits),
            f"{point.coded.rd_loss(found.lmbda) - base.rd_loss(found.lmbda):+.5f}",
            f"{found.change_percent(point.coded):+.3f}",
            f"{point.coded.bpp - base.bpp:+.5f}",
            f"{point.coded.psnr_db - base.psnr_db:+.4f}",
        )
        for point in found.points
    ]
    notes = (
        f"Changes against the model as it is: rd_loss {base.rd_loss(found.lmbda):.4f}, {base.bpp:.4f} bpp, "
        f"{base.psnr_db:.3f} dB.",
    )
    columns = ("layer", "bits", "tried", "rd_loss", "rd_loss_percent", "bpp", "psnr_db")
    return Table("Every measurement", columns, tuple(rows), notes)


def allocations_table(
    found: Sensitivity, checked: Sequence[Checked], images: str, notes: Sequence[str]
) -> Table:
    """A row for each allocation, on the images to check on; the first is the model as it is."""
    first = checked[0].coded.rd_loss(found.lmbda)
    rows = []
    for each in checked:
        allocation, coded = each.allocation, each.coded
        loss = coded.rd_loss(found.lmbda)
        rows.append(
            (
                allocation.name,
                bits_in_words(allocation.bits),
                f"{allocation.mean_bits:.2f}",
                f"{allocation.weight_bytes / KIB:,.1f}",
                f"{coded.bpp:.4f}",
                f"{coded.psnr_db:.3f}",
                f"{loss:.4f}",
                f"{100 * (loss / first - 1):+,.2f}",
                f"{allocation.added_percent:+,.2f}",
            )
        )
    said = (
        f"Measured on {images}, which the allocations were not made from; nothing trained. {LOSS}.",
        "weight_kib: computed, scales and biases included. added_percent: the layers' own changes added up, from the other "
        "images; far from rd_loss_percent where layers' errors do not add.",
        *notes,
    )
    columns = (
        *("allocation", "bits", "mean_bits", "weight_kib", "bpp", "psnr_db"),
        *("rd_loss", "rd_loss_percent", "added_percent"),
    )
    return Table("Allocations", columns, tuple(rows), said)


def bits_table(checked: Sequence[Checked]) -> Table:
    """The bits of each layer in each of these allocations."""
    names = [each.allocation.name for each in checked]
    rows = tuple(
        (layer, *(str(each.allocation.bits[layer]) for each in checked))
        for layer in checked[0].allocation.bits
    )
    return Table("Bits of each layer", ("layer", *names), rows)
