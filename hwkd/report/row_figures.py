"""The figures of one row of a comparison, by name. Pure."""

from dataclasses import dataclass

from hwkd.measure.record import Record
from hwkd.report.cells import Cell, a_second, added, from_quantity, unknown_cell
from hwkd.report.compare.rows import Row

MIB = 2**20
MEGAPIXEL = 1e6


@dataclass(frozen=True)
class Scope:
    """What the figures of a comparison hold for.

    latency_part, energy_part: of hwkd.measure.record.PARTS. is_per_pixel: MACs for a pixel, latency and energy for a
    megapixel, instead of all for an image.
    """

    latency_part: str
    energy_part: str
    is_per_pixel: bool = False


def figures_of(row: Row, scope: Scope) -> dict[str, Cell]:
    """Every figure of `row` under the key of its column (hwkd.report.columns)."""
    megapixels = row.record.pixels / MEGAPIXEL if scope.is_per_pixel else 1.0
    return {
        **_size(row.record),
        **_quality(row.record),
        **_macs(row.record, scope.is_per_pixel),
        **_throughput(row, scope.latency_part, megapixels),
        **_energy(row, scope.energy_part, megapixels),
    }


def _size(record: Record) -> dict[str, Cell]:
    size = record.size
    memory = (size.weight_bytes_fp32 + size.buffer_bytes) / MIB
    return {
        "parameters_m": Cell(size.parameters / 1e6, "counted"),
        "memory_mib": Cell(memory, "computed"),
        "weight_mib": Cell(size.weight_bytes / MIB, "computed"),
    }


def _quality(record: Record) -> dict[str, Cell]:
    quality = record.quality
    if quality is None:
        missing = unknown_cell(
            "the record has no evaluation"
            if record.model.is_trained
            else "an architecture without trained weights has no quality"
        )
        return {"psnr_db": missing, "bpp": missing, "ms_ssim": missing}

    def cell(value: float) -> Cell:
        return Cell(value, "measured", quality.source, basis=quality.on)

    no_ms_ssim = unknown_cell("the record's evaluation has no MS-SSIM")
    return {
        "psnr_db": cell(quality.psnr_db),
        "bpp": cell(quality.bpp),
        "ms_ssim": no_ms_ssim if quality.ms_ssim is None else cell(quality.ms_ssim),
    }


def _macs(record: Record, is_per_pixel: bool) -> dict[str, Cell]:
    macs = record.macs
    kmac_per_pixel = 1e3 * record.pixels
    unit = kmac_per_pixel if is_per_pixel else 1e9
    return {
        "encode_gmacs": Cell(macs.encode_macs / unit, "counted"),
        "decode_gmacs": Cell(macs.decode_macs / unit, "counted"),
        "total_gmacs": Cell(macs.total_macs / unit, "counted"),
        "kmac_per_pixel": Cell(macs.total_macs / kmac_per_pixel, "counted"),
    }


def _throughput(row: Row, part: str, megapixels: float) -> dict[str, Cell]:
    encode, decode = (
        _entry(row, "latency_ms", side, part, 1 / megapixels) for side in ("encode", "decode")
    )
    total = added(encode, decode)
    return {
        "encode_ms": encode,
        "decode_ms": decode,
        "total_ms": total,
        "fps": a_second(total),
    }


def _energy(row: Row, part: str, megapixels: float) -> dict[str, Cell]:
    def of(side: str, factor: float) -> Cell:
        return _entry(row, "energy_mj", side, part, factor)

    encode, decode = of("encode", 1 / megapixels), of("decode", 1 / megapixels)
    for_one = MEGAPIXEL / row.record.pixels
    return {
        "encode_mj": encode,
        "decode_mj": decode,
        "total_mj": added(encode, decode),
        "mj_per_mpx": added(of("encode", for_one), of("decode", for_one)),
        "emissions_g_per_1000": _emissions(row, part, 1 / megapixels),
    }


def _emissions(row: Row, part: str, factor: float) -> Cell:
    """Of encoder and decoder: the record's figure for both, else the sum of the two."""
    if row.entry("emissions_g_per_1000", "both", part):
        return _entry(row, "emissions_g_per_1000", "both", part, factor)
    sides = (
        _entry(row, "emissions_g_per_1000", side, part, factor) for side in ("encode", "decode")
    )
    return added(*sides)


def _entry(row: Row, name: str, side: str, part: str, factor: float) -> Cell:
    if row.setting is None:
        return unknown_cell("the record holds no latency and no energy")
    entry = row.entry(name, side, part)
    if entry is None:
        return unknown_cell(f"the record has no {name} of this part in this setting")
    return from_quantity(entry.quantity, factor)
