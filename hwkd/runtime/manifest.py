"""A bundle's manifest (manifest.json): the model and its card, the use of its parts, what ran, where it comes from."""

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from hwkd.errors import InputError
from hwkd.qualities import DEFAULT_QUALITY, HIGHEST, LOWEST, check_quality
from hwkd.runtime.exact import SYMBOL_LIMIT
from hwkd.runtime.session import RUNTIMES
from hwkd.schema import check_among, check_not_empty, check_range, check_texts, read_table

# The model card in a bundle's manifest: what the model was trained on, how, by whom, its limits and its figures.

NOT_RECORDED = "not recorded"
"""The text of a card's field that nobody has given."""

KODAK = "kodak"
"""The name, in any case, of the set that models are compared on: 24 images of 768x512."""

_MOST = 10**12


@dataclass(frozen=True)
class SetFigures:
    """The bundle's figures on one set of images, at one quality; every figure is the mean over them, each counting once.

    Attributes:
        on: the set's name.
        images: number of images.
        runtime: the runtime that ran the networks, with its version.
        psnr_db: PSNR of the 8-bit output; None where an image came back without any error.
        ms_ssim: None where an image is too small for it, or its package was not there.
        bpp: bits of the stream, header included, per pixel of the image.
        rd_loss: bpp + lmbda * 255^2 * MSE, with x in [0, 1]; None where lmbda is not known.
        quality: quality of a bundle of all rates; None for a bundle of one rate.

    Raises:
        InputError: a field outside its range.
    """

    on: str
    images: int
    runtime: str
    psnr_db: float | None
    ms_ssim: float | None
    bpp: float
    rd_loss: float | None
    quality: int | None = None

    def __post_init__(self) -> None:
        check_not_empty(self, "on", "runtime")
        check_range("images", self.images, 1, _MOST)
        check_range("bpp", self.bpp, 0, _MOST)
        if self.quality is not None:
            check_quality(self.quality)
        for name, high in (("psnr_db", 200), ("ms_ssim", 1), ("rd_loss", _MOST)):
            value = getattr(self, name)
            if value is not None:
                check_range(name, value, 0, high)


@dataclass(frozen=True)
class Card:
    """Where a model comes from and what it can do. Every text is one line, NOT_RECORDED where nobody has given it.

    Attributes:
        data: the training data.
        licence: the licence of that data.
        teacher: the teacher, with the sha256 of its file; "none" where only rate and distortion were trained for.
        start: where the first weights came from. Steps of another run are not counted here.
        seed: the seed of all random numbers; None where not known.
        float_steps, quantized_steps: steps of the two phases; None where not known. quantized_steps is 0 for a model that
            was quantized after training.
        hours: time of both phases, all resumed parts together, without preparation and evaluation; None where not known.
        hardware: what ran the training.
        recipe: the recipe's name; None for none.
        limits: known limits, in sentences.
        figures: figures measured with this very bundle: one for each set of images, and for each of several qualities in a
            bundle of all rates.

    Raises:
        InputError: a field outside its range, or figures of one set and quality twice.
    """

    data: str
    licence: str
    teacher: str | None
    start: str | None
    seed: int | None
    float_steps: int | None
    quantized_steps: int | None
    hours: float | None
    hardware: str
    recipe: str | None
    limits: tuple[str, ...]
    figures: tuple[SetFigures, ...] = ()

    def __post_init__(self) -> None:
        check_not_empty(self, "data", "licence", "hardware")
        for name in ("teacher", "start", "recipe"):
            if getattr(self, name) is not None:
                check_not_empty(self, name)
        for name in ("seed", "float_steps", "quantized_steps", "hours"):
            value = getattr(self, name)
            if value is not None:
                check_range(name, value, 0, _MOST)
        if not all(self.limits):
            raise InputError("limits holds an empty text; sentences are accepted")
        names = [_named(one) for one in self.figures]
        if len(set(names)) < len(names):
            raise InputError(
                f"figures must be of different sets or qualities, got {', '.join(names)}"
            )

    @property
    def on_kodak(self) -> SetFigures | None:
        """The figures on Kodak, as `on_first`; None where they were not measured."""
        return _usual(one for one in self.figures if one.on.casefold() == KODAK)

    @property
    def on_first(self) -> SetFigures | None:
        """The figures on the first set, of several qualities those of the nearest to the default; None where there are none."""
        return _usual(one for one in self.figures if one.on == self.figures[0].on)


def _usual(figures: Iterable[SetFigures]) -> SetFigures | None:
    return min(
        figures,
        key=lambda one: 0 if one.quality is None else abs(one.quality - DEFAULT_QUALITY),
        default=None,
    )


def _named(one: SetFigures) -> str:
    return one.on if one.quality is None else f"{one.on} quality {one.quality}"


# What a bundle says of itself (manifest.json): the model, how its parts are used, what ran and where it comes from.

FORMAT = 3
MANIFEST, GUARD = "manifest.json", "manifest.sha256"
TABLES, SELFTEST, HYPER_LAYERS = "tables.npz", "selftest.npz", "hyper.npz"
"""Parts that every bundle has: the integer CDF tables, the self-test, the exact layers of h_s."""

GAINS = "gains.npz"
"""The part that a bundle of all rates has beside them (hwkd/runtime/gains.py)."""

NETWORKS = ("encoder", "hyper", "decoder")

_PART = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_WEIGHT_BITS = re.compile(r"([2-8])( \(.+\))?")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SHOWN = 300
"""Characters of a message that quotes a manifest: a forged one may hold millions in one field."""


@dataclass(frozen=True)
class ReceptiveField:
    """How far a tile's symbols, or a position's, depend on what lies beyond it.

    Attributes:
        encoder_px: how far y and z of a tile depend on the image, to its left and top, and to its right and bottom, in
            pixels; multiples of 64.
        hyper_z: how far the scale indexes depend on z, in positions of z.
        decoder_y: how far the image depends on y, in positions of y.
    """

    encoder_px: tuple[int, int]
    hyper_z: int
    decoder_y: int

    def __post_init__(self) -> None:
        if len(self.encoder_px) != 2:
            raise InputError(f"encoder_px must be two numbers, got {len(self.encoder_px)}")
        for name, value in (
            ("encoder_px", self.encoder_px[0]),
            ("encoder_px", self.encoder_px[1]),
            ("hyper_z", self.hyper_z),
            ("decoder_y", self.decoder_y),
        ):
            check_range(name, value, 0, 4096)
        if any(side % 64 for side in self.encoder_px):
            raise InputError(f"encoder_px must be multiples of 64, got {list(self.encoder_px)}")


@dataclass(frozen=True)
class Executed:
    """What a runtime really ran of a network, as it reported after it had optimized the graph.

    Attributes:
        runtime: the runtime, with its version.
        counts: precision -> number of nodes.
        in_float: names of the nodes that ran in float.
    """

    network: str
    runtime: str
    counts: Mapping[str, int]
    in_float: tuple[str, ...]

    def __post_init__(self) -> None:
        check_among("network", self.network, NETWORKS)
        check_not_empty(self, "runtime")
        for precision, count in self.counts.items():
            check_range(f"counts.{precision}", count, 0, 2**31 - 1)


@dataclass(frozen=True)
class Manifest:
    """The content of manifest.json; every text is one line.

    Attributes:
        name, family: name and family of the model.
        architecture: the architecture in words.
        spec: the same as one line of JSON, not read here.
        M, Z: channels of y and of z.
        lmbda: the lambda trained for; None where it is not known, and for a bundle of all rates.
        qualities: the lowest and the highest quality that the bundle codes at (hwkd/qualities.py); None: it has one rate.
        weight_bits: bits of the weights in words, "7 (h_s.* 6)".
        act_bits: bits of the activations.
        target: the name of the device it is made for.
        plan: the sentences of its precision plan.
        graphs: network of NETWORKS -> runtime of RUNTIMES -> part.
        largest_y: symbols of y lie in -largest_y - 1 .. largest_y.
        largest_z: those of z likewise.
        silent_index: the scale index of symbols that are not coded; None where all are coded.
        differences: how far the exported networks are from the trained ones on real images, in sentences.
        provenance: what was exported, what exported it and how it was quantized, in free texts.
        card: what the model was trained on, and what it can do; None where nothing is known of it.
        parts: part -> its sha256 in hex; empty until hwkd.runtime.bundle.write_bundle fills it in.

    Raises:
        InputError: a field outside its range. The message names the field, the received value and the accepted values.
    """

    name: str
    family: str
    architecture: str
    spec: str
    M: int
    Z: int
    lmbda: float | None
    qualities: tuple[int, int] | None
    weight_bits: str
    act_bits: int
    target: str
    plan: tuple[str, ...]
    graphs: Mapping[str, Mapping[str, str]]
    reach: ReceptiveField
    largest_y: int
    largest_z: int
    silent_index: int | None
    executed: tuple[Executed, ...]
    differences: tuple[str, ...]
    provenance: Mapping[str, str]
    card: Card | None
    parts: Mapping[str, str] = field(default_factory=dict)
    format: int = FORMAT

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise InputError(f"format must be {FORMAT}, got {self.format}")
        check_not_empty(self, "name", "family", "architecture", "spec", "weight_bits", "target")
        if not _WEIGHT_BITS.fullmatch(self.weight_bits):
            raise InputError(
                f"weight_bits must be 2 to 8, then exceptions in brackets, got {self.weight_bits!r}"
            )
        for name, high in (("M", 4096), ("Z", 4096), ("act_bits", 16)):
            check_range(name, getattr(self, name), 1, high)
        check_range("largest_y", self.largest_y, 1, 2**20 - 1)
        # The bound of the entropy path is proven for 8 bits (hwkd.runtime.exact.SYMBOL_LIMIT).
        check_range("largest_z", self.largest_z, 1, SYMBOL_LIMIT - 1)
        if self.silent_index is not None:
            check_range("silent_index", self.silent_index, 0, 63)
        if self.lmbda is not None and not 0 < self.lmbda < math.inf:
            raise InputError(f"lmbda must be a finite number above 0, got {self.lmbda}")
        self._check_qualities()
        for network in NETWORKS:
            if not self.graphs.get(network):
                raise InputError(f"graphs.{network} is missing; each network needs a graph")
        for network, graphs in self.graphs.items():
            check_among("graphs", network, NETWORKS)
            for runtime in graphs:
                check_among(f"graphs.{network}", runtime, RUNTIMES)
        for part, sha256 in self.parts.items():
            if not _PART.fullmatch(part) or part in (MANIFEST, GUARD):
                raise InputError(
                    f"parts: {part!r} is no name for a part; small letters, digits, dots, dashes and underscores are "
                    f"accepted, and not {MANIFEST} or {GUARD}"
                )
            if not _SHA256.fullmatch(sha256):
                raise InputError(f"parts.{part}: got {sha256!r}; 64 hex digits are accepted")
        check_texts(asdict(self))

    @property
    def most_weight_bits(self) -> int:
        """The bits of the weights, exceptions aside."""
        return int(self.weight_bits[0])

    def _check_qualities(self) -> None:
        if self.qualities is None:
            return
        if (
            len(self.qualities) != 2
            or not LOWEST <= self.qualities[0] <= self.qualities[1] <= HIGHEST
        ):
            raise InputError(
                f"qualities must be the lowest and the highest, {LOWEST} to {HIGHEST}, got {list(self.qualities)}"
            )
        if self.lmbda is not None:
            raise InputError(f"lmbda must be null where there are qualities, got {self.lmbda}")

    def check_parts(self) -> None:
        """Raise InputError where a part that the bundle's use needs is not among `parts`, or gains without qualities."""
        named = [part for graphs in self.graphs.values() for part in graphs.values()]
        gains = () if self.qualities is None else (GAINS,)
        for part in (TABLES, SELFTEST, HYPER_LAYERS, *gains, *named):
            if part not in self.parts:
                raise InputError(f"parts: {part!r} is missing; the bundle cannot be used without")
        if GAINS in self.parts and not gains:
            raise InputError(f"parts: {GAINS!r} is there, and a bundle of one rate has no gains")


def manifest_to_json(manifest: Manifest) -> bytes:
    """The bytes of manifest.json: equal for equal manifests."""
    text = json.dumps(
        asdict(manifest), sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False
    )
    return text.encode(errors="backslashreplace") + b"\n"


def manifest_from_json(content: bytes) -> Manifest:
    """The manifest that `manifest_to_json` wrote, with all its parts.

    Raises:
        InputError: not JSON, of another format, a field that is missing, unknown, of another type or out of range, or
            a part that is needed and not listed.
    """
    try:
        raw: Any = json.loads(content)
    # Deeply nested JSON overflows the stack; wrong UTF-8 is a ValueError too.
    except (ValueError, RecursionError) as error:
        raise _refused(f"not JSON: {error}") from error
    if not isinstance(raw, dict) or "format" not in raw:
        raise _refused("it has no format")
    # Before anything else: another format has other fields, and would be refused for the wrong reason.
    if type(raw["format"]) is int and raw["format"] > FORMAT:
        raise InputError(
            f"a bundle of format {raw['format']}; this hwkd reads format {FORMAT}: update hwkd"
        )
    if type(raw["format"]) is int and raw["format"] < FORMAT:
        raise InputError(
            f"a bundle of format {raw['format']}, which an earlier hwkd wrote; this hwkd reads format {FORMAT}: get the "
            "bundle again, or export it again"
        )
    try:
        manifest = read_table(Manifest, raw, MANIFEST)
        manifest.check_parts()
    except (InputError, OverflowError) as error:  # a whole number too large for a float
        raise _refused(str(error).removeprefix(f"{MANIFEST}: ")) from error
    return manifest


def _refused(reason: str) -> InputError:
    shown = reason if len(reason) <= _SHOWN else reason[:_SHOWN] + "..."
    line = "".join(sign if sign.isprintable() else "?" for sign in shown)
    return InputError(f"{MANIFEST}: {line}; export the bundle again")
