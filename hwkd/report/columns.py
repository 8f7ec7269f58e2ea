"""The columns that comparisons have, for an image and for a pixel. Pure."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Column:
    """A figure's column.

    key: of the figure (hwkd.report.row_figures). name: the heading, unit included. group: counts, size, quality,
    latency, energy, emissions or published: columns of one are found the same way and share their notes.
    digits: after the point; None: three significant ones. is_difference: change as a difference, not in percent.
    has_interval: machines get low and high, and people too unless is_derived: computed from its neighbours.
    """

    key: str
    name: str
    group: str
    digits: int | None
    is_difference: bool = False
    has_interval: bool = False
    is_derived: bool = False

    @property
    def change_name(self) -> str:
        """The heading of its change, for machines."""
        return f"{self.name}_{'difference' if self.is_difference else 'percent'}"

    @property
    def change_unit(self) -> str:
        """Behind its change, for people."""
        if not self.is_difference:
            return " %"
        return " dB" if self.name.endswith("_db") else ""


def columns_for(keys: tuple[str, ...], *, is_per_pixel: bool) -> tuple[Column, ...]:
    """The columns of `keys` in their order; those that say the same twice for a pixel are left out there."""
    if not is_per_pixel:
        return tuple(_COLUMNS[key] for key in keys)
    kept = (key for key in keys if key not in _FOR_AN_IMAGE_ONLY)
    return tuple(replace(_COLUMNS[k], name=_PER_PIXEL.get(k, k)) for k in kept)


def _column(key: str, group: str, digits: int | None, **more: bool) -> tuple[str, Column]:
    return key, Column(key, key, group, digits, **more)


_COLUMNS = dict(
    (
        _column("parameters_m", "counts", 3),
        _column("memory_mib", "size", 3),
        _column("weight_mib", "size", 3),
        _column("psnr_db", "quality", 2, is_difference=True),
        _column("ms_ssim", "quality", 4, is_difference=True),
        _column("bpp", "quality", 3),
        _column("encode_gmacs", "counts", 3),
        _column("decode_gmacs", "counts", 3),
        _column("total_gmacs", "counts", 3),
        _column("kmac_per_pixel", "counts", 2),
        _column("encode_ms", "latency", None, has_interval=True),
        _column("decode_ms", "latency", None, has_interval=True),
        _column("total_ms", "latency", None, has_interval=True),
        _column("fps", "latency", None, has_interval=True, is_derived=True),
        _column("encode_mj", "energy", None, has_interval=True),
        _column("decode_mj", "energy", None, has_interval=True),
        _column("total_mj", "energy", None, has_interval=True),
        _column("mj_per_mpx", "energy", None, has_interval=True, is_derived=True),
        _column("emissions_g_per_1000", "emissions", None, has_interval=True),
    )
)

_PER_PIXEL = {
    "encode_gmacs": "encode_kmac_per_pixel",
    "decode_gmacs": "decode_kmac_per_pixel",
    "total_gmacs": "total_kmac_per_pixel",
    "encode_ms": "encode_ms_per_mpx",
    "decode_ms": "decode_ms_per_mpx",
    "total_ms": "total_ms_per_mpx",
    "fps": "mpx_per_s",
    "encode_mj": "encode_mj_per_mpx",
    "decode_mj": "decode_mj_per_mpx",
    "total_mj": "total_mj_per_mpx",
    "emissions_g_per_1000": "emissions_g_per_1000_mpx",
}
_FOR_AN_IMAGE_ONLY = ("kmac_per_pixel", "mj_per_mpx")
