"""A profile record: what one model costs on one machine or target, every figure with how it was found.

Records lie at profiles/<target>/<model>.json. The schema has a version; a record of another one is refused.
"""

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from hwkd.errors import InputError, unknown
from hwkd.files import data_folder, write_text
from hwkd.measure.layers import NETWORKS, LayerCost
from hwkd.quantity import PUBLISHED, Quantity
from hwkd.schema import read_json, read_table

SCHEMA = 1

PLAN = "plan: "
"""The start of notes with the precision plan."""

SIDES = ("encode", "decode", "both")
"""encode: pixels to bytes; decode: bytes to pixels; both: a layer that both use (h_s), or the codec as a whole."""

PARTS = (
    "preprocess",  # 8-bit pixels to the networks' input, padded
    "transform",  # g_a, or g_s
    "hyper",  # h_a and h_s, or h_s
    "entropy",  # entropy coding of z and y, index building included
    "postprocess",  # the networks' output to 8-bit pixels, cut
    "networks",  # transform and hyper together
    "end_to_end",  # pixels to bytes, or bytes to pixels
    "layer",  # one layer, named by Entry.layer
)

NAMES = {
    "latency_ms": "milliseconds for one image",
    "energy_mj": "millijoules for one image, idle subtracted unless `by` says that it is included",
    "power_w": "mean power above idle while it works, in watts",
    "peak_mib": "peak resident set of a process that does this to one image, in MiB",
    "growth_mib_per_mpx": "growth of that peak with the image's size, in MiB for a megapixel",
    "emissions_g_per_1000": "grams of CO2 equivalent for 1,000 images",
}
"""The figures that a record's entries may hold; the unit is in the name."""


@dataclass(frozen=True)
class Setting:
    """How it ran: unit of the target (cpu, gpu), runtime with version, precision, threads (None where it has none)."""

    unit: str
    runtime: str
    precision: str
    threads: int | None = None

    def __post_init__(self) -> None:
        if not (self.unit and self.runtime and self.precision):
            raise InputError("a setting names unit, runtime and precision; one of them is empty")
        if self.threads is not None and self.threads < 1:
            raise InputError(f"threads must be 1 or more, got {self.threads}")

    def __str__(self) -> str:
        threads = (
            "" if self.threads is None else f", {self.threads} thread{'s' * (self.threads > 1)}"
        )
        return f"{self.unit}, {self.runtime} {self.precision}{threads}"


@dataclass(frozen=True)
class Entry:
    """One figure of a record.

    Attributes:
        name: one of NAMES.
        side: one of SIDES.
        part: one of PARTS.
        layer: the layer's name where part is "layer".
        p95: the 95th percentile of measured latencies, in the same unit.
    """

    name: str
    side: str
    part: str
    setting: Setting
    quantity: Quantity
    layer: str = ""
    p95: float | None = None

    def __post_init__(self) -> None:
        for what, value, accepted in (
            ("name", self.name, tuple(NAMES)),
            ("side", self.side, SIDES),
            ("part", self.part, PARTS),
        ):
            if value not in accepted:
                raise InputError(f"{what} must be one of {', '.join(accepted)}; got {value!r}")
        if (self.part == "layer") != bool(self.layer):
            raise InputError(f"part 'layer' and a layer's name go together, got {self.layer!r}")
        if self.quantity.found == PUBLISHED:
            raise InputError(f"a record's figures are found by hwkd, got a {PUBLISHED} {self.name}")
        self.quantity.check_not_negative(self.name)
        if self.p95 is not None and not (math.isfinite(self.p95) and self.p95 >= 0):
            raise InputError(f"p95 must be a finite number of 0 or more, got {self.p95}")


@dataclass(frozen=True)
class ModelFacts:
    """The model that was profiled.

    Attributes:
        name: the model's name in tables.
        architecture: the spec in words.
        spec: the spec as JSON (hwkd.models.spec), to build the model again.
        weight_bits: bits of the stored weights in words ("32", "8 (h_s.* 6)").
        is_trained: False for an architecture without weights; its quality is not known.
        lmbda: None for a bare architecture.
        sha256: digest of the weights; for a bundle, of its manifest. None for a bare architecture.
    """

    name: str
    architecture: str
    spec: str
    family: str
    weight_bits: str
    is_trained: bool
    lmbda: float | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Size:
    """Counted bytes.

    Attributes:
        parameters: number of the float model's parameters, entropy models included.
        weight_bytes_fp32: bytes of the parameters in float32.
        weight_bytes: bytes of the four transforms at their stored bits, with scales.
        buffer_bytes: bytes of the model's buffers (CDF tables of a trained model among them); for a bundle, of its CDF
            tables.
    """

    parameters: int
    weight_bytes_fp32: int
    weight_bytes: int
    buffer_bytes: int

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 0:
                raise InputError(f"{name} must be 0 or more, got {value}")


@dataclass(frozen=True)
class Macs:
    """Multiply-accumulates for one image.

    Attributes:
        g_a, h_a, h_s, g_s: multiply-accumulates of each network.
        not_counted: operator -> number of calls.
    """

    g_a: int
    h_a: int
    h_s: int
    g_s: int
    not_counted: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in NETWORKS:
            if getattr(self, name) < 0:
                raise InputError(f"MACs of {name} must be 0 or more, got {getattr(self, name)}")

    @property
    def encode_macs(self) -> int:
        """Multiply-accumulates of g_a, h_a and h_s: the encoder needs the prior too."""
        return self.g_a + self.h_a + self.h_s

    @property
    def decode_macs(self) -> int:
        """Multiply-accumulates of h_s and g_s."""
        return self.h_s + self.g_s

    @property
    def total_macs(self) -> int:
        """Each network once (arXiv 2509.10366, section 5): less than encoder plus decoder."""
        return self.g_a + self.h_a + self.h_s + self.g_s


@dataclass(frozen=True)
class Quality:
    """Rate and distortion, means over images, from real bytes.

    Attributes:
        ms_ssim: None where images are too small.
        on: which images.
        source: what measured it ("hwkd evaluate", "the model's card").
        images_sha256: digest of a folder's images (hwkd.images.content_sha256). None if `on` alone identifies the images.
    """

    psnr_db: float
    bpp: float
    on: str
    source: str
    ms_ssim: float | None = None
    images_sha256: str | None = None

    def __post_init__(self) -> None:
        if not (0 < self.bpp < math.inf and 0 < self.psnr_db < math.inf):
            raise InputError(
                f"psnr_db and bpp must be finite and above 0, got {self.psnr_db} and {self.bpp}"
            )
        if self.ms_ssim is not None and not 0 <= self.ms_ssim <= 1:
            raise InputError(f"ms_ssim must be 0 to 1, got {self.ms_ssim}")


@dataclass(frozen=True)
class Provenance:
    """The origin of a record.

    Attributes:
        created: ISO 8601 date and time, UTC.
        command: the command line that makes it again.
        host: the machine that ran the command. For a prediction it computed the figures, and does not change them.
        versions: versions of hwkd and the libraries.
        seed: the seed of everything random in it.
    """

    created: str
    command: str
    host: str
    versions: Mapping[str, str]
    seed: int = 0


@dataclass(frozen=True)
class Record:
    """One model on one target.

    Attributes:
        target: a target's name, or the name of the machine that was measured.
        is_host: whether the figures are of the machine that ran the command.
        width, height: size of the image, in pixels.
        notes: sentences on how far to trust it (a busy machine, a moving clock, layers of a kind that no timing was
            fitted on).
    """

    schema: int
    target: str
    is_host: bool
    width: int
    height: int
    model: ModelFacts
    size: Size
    macs: Macs
    layers: tuple[LayerCost, ...]
    entries: tuple[Entry, ...]
    provenance: Provenance
    quality: Quality | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise InputError(
                f"a record of schema {self.schema}; this hwkd reads schema {SCHEMA}: make it again with `hwkd profile`"
            )
        if self.width < 1 or self.height < 1:
            raise InputError(f"an image has 1x1 pixels or more, got {self.width}x{self.height}")
        for entry in self.entries:
            wrong = "predicted" if self.is_host else "measured"
            if entry.quantity.found == wrong and entry.quantity.value is not None:
                raise InputError(
                    f"{entry.name} of {entry.side} is {wrong}, but the record is "
                    f"{'of the machine itself' if self.is_host else 'of a machine that was not there'}"
                )

    @property
    def pixels(self) -> int:
        """The number of pixels of the image."""
        return self.width * self.height

    def notes_on(self, units: Collection[str]) -> tuple[str, ...]:
        """The notes on the record as a whole and on these units, the precision plan left out."""
        others = {e.setting.unit for e in self.entries} - set(units)
        return tuple(
            note
            for note in self.notes
            if not note.startswith((PLAN, *(note_on(self.target, unit) for unit in others)))
        )


def note_on(target: str, unit: str) -> str:
    """The start of a note on one unit of a target."""
    return f"{target}, {unit}: "


# Profile records as files: written whole, read with every field checked.

NO_RECORDS = ("published", "results")
"""The folders under profiles/ with other figures: other people's, and rate-distortion results."""

GIVE = "give a file that `hwkd profile` wrote"


def write_record(path: Path, record: Record) -> None:
    """Write `record` as JSON, one entry or layer a line, whole or not at all. Raises as hwkd.files.write_text."""
    content = asdict(record)
    parts = []
    for key, value in content.items():
        if key in ("layers", "entries"):
            lines = ",\n    ".join(json.dumps(_shortened(item)) for item in value)
            parts.append(f"  {json.dumps(key)}: [\n    {lines}\n  ]" if value else f'  "{key}": []')
        else:
            parts.append(f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}")
    write_text(path, "{\n" + ",\n".join(parts) + "\n}\n")


def read_record(path: Path) -> Record:
    """The record in the file at `path`.

    Raises:
        InputError: no such file, not JSON, of another schema, or with a field or a number that cannot be.
    """
    content = read_json(path, GIVE, "the record")
    if not isinstance(content, dict) or "schema" not in content:
        raise InputError(f"{path} is no profile record (it has no schema); {GIVE}")
    # Before anything else: another schema has other fields, and would be refused for the wrong reason.
    if content["schema"] != SCHEMA:
        raise InputError(
            f"{path} is a record of schema {content['schema']!r}; this hwkd reads schema {SCHEMA}: make it again with "
            "`hwkd profile`"
        )
    return read_table(Record, content, str(path))


def find_records(text: str) -> tuple[Record, ...]:
    """The records that `text` names.

    Args:
        text: a record's .json file; a folder, searched to the bottom; or TARGET/MODEL or TARGET among the records that
            ship with hwkd. Several records are ordered by target, and then by MACs, the most first.

    Raises:
        InputError: nothing of that name, a folder without records, or a file that is no record.
    """
    path = Path(text)
    if path.is_dir():
        return _all_below(path, text)
    if path.is_file() or path.suffix == ".json":
        return (read_record(path),)
    shipped = data_folder("profiles")
    target, _, model = text.strip("/").partition("/")
    targets = [p.name for p in shipped.iterdir() if p.is_dir() and p.name not in NO_RECORDS]
    if target not in targets:
        error = unknown("profile", target, targets)
        raise InputError(f"{error}; or give a record's .json file, or a folder of them")
    if not model:
        return _all_below(shipped / target, text)
    models = [p.stem for p in (shipped / target).glob("*.json")]
    if model not in models:
        raise unknown(f"record of {target}", model, models)
    return (read_record(shipped / target / f"{model}.json"),)


def _all_below(folder: Path, text: str) -> tuple[Record, ...]:
    paths = sorted(
        p for p in folder.rglob("*.json") if not set(NO_RECORDS) & set(p.relative_to(folder).parts)
    )
    if not paths:
        raise InputError(
            f"{text} holds no records (.json); make some with `hwkd profile --save {text}`"
        )
    # The largest model of each target first: it is the one that the others are compared with.
    records = [read_record(path) for path in paths]
    return tuple(sorted(records, key=lambda r: (r.target, -r.macs.total_macs, r.model.name)))


def _shortened(item: dict[str, object]) -> dict[str, object]:
    """Without what has its default anyway; an unknown value stays, so that nobody takes it for forgotten."""
    return {
        key: _shortened(value) if isinstance(value, dict) else value
        for key, value in item.items()
        if key in ("value", "network") or (value is not None and value != "")
    }
