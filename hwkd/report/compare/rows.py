"""The rows of a comparison: settings, figures and columns. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hwkd.errors import InputError
from hwkd.measure.record import Entry, Record, Setting
from hwkd.quantity import MIB, Quantity, added, not_known, per_second

# Which rows a comparison has: the settings of the records that the user wants. Pure.

WHICH = ("first", "all")
"""first: the first setting of each record that has a figure; all: a row for each."""

PARTS = ("end_to_end", "networks")
COMPARED = ("latency_ms", "energy_mj")


@dataclass(frozen=True)
class SettingFilter:
    """The properties that a setting must have to be compared; None: anything.

    Attributes:
        runtime: name of the runtime, with or without its version ("openvino", "openvino 2026.4.1").
    """

    runtime: str | None = None
    threads: int | None = None
    unit: str | None = None
    precision: str | None = None

    def __str__(self) -> str:
        given = {name: value for name, value in vars(self).items() if value is not None}
        return " ".join(f"--{name} {value}" for name, value in given.items())

    def takes(self, setting: Setting) -> bool:
        """Whether `setting` has all that is wanted, upper and lower case alike."""
        has_runtime = self.runtime is None or f"{setting.runtime} ".lower().startswith(
            f"{self.runtime} ".lower()
        )
        return (
            has_runtime
            and self.threads in (None, setting.threads)
            and (self.unit is None or self.unit.lower() == setting.unit.lower())
            and (self.precision is None or self.precision.lower() == setting.precision.lower())
        )


@dataclass(frozen=True)
class Row:
    """One row of a comparison: a record in one of its settings; None where the record has no figure with one."""

    record: Record
    setting: Setting | None

    def entry(self, name: str, side: str, part: str) -> Entry | None:
        """The record's entry of that name, side and part in this row's setting."""
        for entry in self.record.entries:
            key = (entry.name, entry.side, entry.part, entry.setting)
            if key == (name, side, part, self.setting):
                return entry
        return None

    def has(self, name: str, part: str) -> bool:
        """Whether both sides' figures are known."""
        entries = [self.entry(name, side, part) for side in ("encode", "decode")]
        return all(e is not None and e.quantity.value is not None for e in entries)


def choose_rows(
    records: Sequence[Record], wanted: SettingFilter, which: str = "first"
) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    """The rows to compare, in the order of `records`, and a sentence for each record that is left out.

    A record that is given twice is taken once, where it stands first: so `teacher.json folder/` puts one in front.
    Settings without a known figure are passed over where the record has others.

    Raises:
        InputError: no records, or `wanted` fits no setting of any of them.
    """
    distinct: list[Record] = []
    for record in records:
        if record not in distinct:
            distinct.append(record)
    if not distinct:
        raise InputError(
            "no records to compare: give record files (.json), folders of them, TARGET/MODEL or TARGET; "
            "make some with `hwkd profile`"
        )
    rows: list[Row] = []
    left_out: list[str] = []
    for record in distinct:
        settings = settings_of(record)
        if not settings and not str(wanted):
            rows.append(Row(record, None))
            continue
        fitting = [setting for setting in settings if wanted.takes(setting)]
        if not fitting:
            name = f"{record.model.name} on {record.target}"
            left_out.append(f"Left out: {name} has no setting that fits {wanted}.")
        rows += [Row(record, setting) for setting in (fitting[:1] if which == "first" else fitting)]
    if not rows:
        raise _no_fit(distinct, wanted)
    return tuple(rows), tuple(left_out)


def settings_of(record: Record) -> tuple[Setting, ...]:
    """The settings in which `record` has latency or energy of the networks or end to end, in order of its entries.

    Only settings with a known figure; if there are none, settings with figures that have a reason why they are not known.
    """
    entries = [e for e in record.entries if e.name in COMPARED and e.part in PARTS]
    known = [e for e in entries if e.quantity.value is not None]
    return tuple(dict.fromkeys(e.setting for e in known or entries))


def choose_part(rows: Sequence[Row], name: str) -> str:
    """The part for the figures `name`: end to end if every row with any such figure has it end to end, else networks."""
    having = [row for row in rows if any(row.has(name, part) for part in PARTS)]
    if having and all(row.has(name, "end_to_end") for row in having):
        return "end_to_end"
    return "networks"


def row_names(rows: Sequence[Row]) -> tuple[str, ...]:
    """A name for each row, only as long as needed to differ from the others: model, target, setting."""
    by_model = [row.record.model.name for row in rows]
    by_target = [f"{row.record.model.name} on {row.record.target}" for row in rows]
    full = [f"{name} ({row.setting})" for name, row in zip(by_target, rows, strict=True)]
    models, targets = Counter(by_model), Counter(by_target)
    return tuple(
        m if models[m] == 1 else t if targets[t] == 1 else f
        for m, t, f in zip(by_model, by_target, full, strict=True)
    )


def _no_fit(records: Sequence[Record], wanted: SettingFilter) -> InputError:
    there: dict[str, list[str]] = {}
    for record in records:
        for setting in settings_of(record):
            there.setdefault(str(setting), []).append(record.model.name)
    if not there:
        return InputError(
            f"no setting fits {wanted}: the records hold no latency and no energy; compare them without it"
        )
    listed = "; ".join(f"{s} ({', '.join(dict.fromkeys(m))})" for s, m in there.items())
    return InputError(f"no setting fits {wanted}; the records have: {listed}")


# The figures of one row of a comparison, by name. Pure.
MEGAPIXEL = 1e6


@dataclass(frozen=True)
class Scope:
    """The scope of the figures of a comparison.

    Attributes:
        latency_part, energy_part: one of hwkd.measure.record.PARTS.
        is_per_pixel: MACs are for a pixel, latency and energy for a megapixel, instead of all for an image.
    """

    latency_part: str
    energy_part: str
    is_per_pixel: bool = False


def figures_of(row: Row, scope: Scope) -> dict[str, Quantity]:
    """Every figure of `row` under the key of its column (hwkd.report.compare.rows)."""
    megapixels = row.record.pixels / MEGAPIXEL if scope.is_per_pixel else 1.0
    return {
        **_size(row.record),
        **_quality(row.record),
        **_macs(row.record, scope.is_per_pixel),
        **_throughput(row, scope.latency_part, megapixels),
        **_energy(row, scope.energy_part, megapixels),
    }


def _size(record: Record) -> dict[str, Quantity]:
    size = record.size
    memory = (size.weight_bytes_fp32 + size.buffer_bytes) / MIB
    return {
        "parameters_m": Quantity(size.parameters / 1e6, "counted"),
        "memory_mib": Quantity(memory, "computed"),
        "weight_mib": Quantity(size.weight_bytes / MIB, "computed"),
    }


def _quality(record: Record) -> dict[str, Quantity]:
    quality = record.quality
    if quality is None:
        missing = not_known(
            "the record has no evaluation"
            if record.model.is_trained
            else "an architecture without trained weights has no quality"
        )
        return {"psnr_db": missing, "bpp": missing, "ms_ssim": missing}

    def cell(value: float) -> Quantity:
        return Quantity(value, "measured", quality.source, on=quality.on)

    no_ms_ssim = not_known("the record's evaluation has no MS-SSIM")
    return {
        "psnr_db": cell(quality.psnr_db),
        "bpp": cell(quality.bpp),
        "ms_ssim": no_ms_ssim if quality.ms_ssim is None else cell(quality.ms_ssim),
    }


def _macs(record: Record, is_per_pixel: bool) -> dict[str, Quantity]:
    macs = record.macs
    kmac_per_pixel = 1e3 * record.pixels
    unit = kmac_per_pixel if is_per_pixel else 1e9
    return {
        "encode_gmacs": Quantity(macs.encode_macs / unit, "counted"),
        "decode_gmacs": Quantity(macs.decode_macs / unit, "counted"),
        "total_gmacs": Quantity(macs.total_macs / unit, "counted"),
        "kmac_per_pixel": Quantity(macs.total_macs / kmac_per_pixel, "counted"),
    }


def _throughput(row: Row, part: str, megapixels: float) -> dict[str, Quantity]:
    encode, decode = (
        _entry(row, "latency_ms", side, part, 1 / megapixels) for side in ("encode", "decode")
    )
    total = added(encode, decode)
    return {
        "encode_ms": encode,
        "decode_ms": decode,
        "total_ms": total,
        "fps": per_second(total),
    }


def _energy(row: Row, part: str, megapixels: float) -> dict[str, Quantity]:
    def of(side: str, factor: float) -> Quantity:
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


def _emissions(row: Row, part: str, factor: float) -> Quantity:
    """Emissions of encoder and decoder: the record's figure for both, else the sum of the two."""
    if row.entry("emissions_g_per_1000", "both", part):
        return _entry(row, "emissions_g_per_1000", "both", part, factor)
    sides = (
        _entry(row, "emissions_g_per_1000", side, part, factor) for side in ("encode", "decode")
    )
    return added(*sides)


def _entry(row: Row, name: str, side: str, part: str, factor: float) -> Quantity:
    if row.setting is None:
        return not_known("the record holds no latency and no energy")
    entry = row.entry(name, side, part)
    if entry is None:
        return not_known(f"the record has no {name} of this part in this setting")
    return entry.quantity.scaled(factor)


# The columns that comparisons have, for an image and for a pixel. Pure.


@dataclass(frozen=True)
class Column:
    """A figure's column.

    Attributes:
        key: key of the figure (hwkd.report.compare.rows).
        name: the heading, unit included.
        group: counts, size, quality, latency, energy, emissions or published. Columns of one group are found the same way
            and share their notes.
        digits: digits after the point; None: three significant digits.
        is_difference: whether a change is a difference, not in percent.
        has_interval: whether output for machines has low and high. Output for people has them too, unless is_derived.
        is_derived: whether the figure is computed from its neighbours.
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


# The rows of a comparison, with their figures. Pure.

SIZE = ("parameters_m", "memory_mib", "weight_mib", "psnr_db", "bpp")
"""The figures that do not depend on where a model runs."""

Figures = Mapping[str, Quantity]


@dataclass(frozen=True)
class Compared:
    """The rows of a comparison with their figures, by which all its tables are made.

    Attributes:
        names: a name for each row, to distinguish them in sentences.
        figures: figures of each row (hwkd.report.compare.rows).
        left_out: a sentence for each record that no row stands for.
    """

    rows: tuple[Row, ...]
    names: tuple[str, ...]
    figures: tuple[Figures, ...]
    scope: Scope
    left_out: tuple[str, ...]


def compare(
    records: Sequence[Record],
    wanted: SettingFilter | None = None,
    which: str = "first",
    *,
    is_per_pixel: bool = False,
) -> Compared:
    """The rows of `records` that are wanted, each with its figures.

    Raises:
        InputError: no records, no setting that is wanted, or images of different sizes without is_per_pixel.
    """
    rows, left_out = choose_rows(records, wanted or SettingFilter(), which)
    if not is_per_pixel:
        _check_one_size(rows)
    scope = Scope(choose_part(rows, "latency_ms"), choose_part(rows, "energy_mj"), is_per_pixel)
    figures = tuple(figures_of(row, scope) for row in rows)
    return Compared(rows, row_names(rows), figures, scope, left_out)


def model_rows(compared: Compared) -> list[int]:
    """The places of the first row of each model: rows that differ in target or setting only are of one model."""
    first: dict[tuple[object, ...], int] = {}
    for i, (row, figures) in enumerate(zip(compared.rows, compared.figures, strict=True)):
        model = row.record.model
        key = (model.name, model.weight_bits, *(figures[k].value for k in SIZE))
        first.setdefault(key, i)
    return list(first.values())


def of_all(compared: Compared, *keys: str) -> list[tuple[str, Quantity]]:
    """The figures `keys` of all rows, with the rows' names."""
    return [
        (name, figures[key])
        for name, figures in zip(compared.names, compared.figures, strict=True)
        for key in keys
    ]


def names_of(compared: Compared, keys: tuple[str, ...]) -> list[str]:
    """The headings of the columns `keys`."""
    return [c.name for c in columns_for(keys, is_per_pixel=compared.scope.is_per_pixel)]


def _check_one_size(rows: Sequence[Row]) -> None:
    sizes: dict[str, list[str]] = {}
    for row in rows:
        sizes.setdefault(f"{row.record.width}x{row.record.height}", []).append(
            row.record.model.name
        )
    if len(sizes) > 1:
        listed = ", ".join(f"{s} ({', '.join(dict.fromkeys(m))})" for s, m in sizes.items())
        raise InputError(
            f"the records are of images of different sizes: {listed}; one table holds one size: give records of one, or "
            "compare with --per-pixel"
        )
