"""Bundles as models that are measured: facts, costs, quality, the profile on this host, records where none ship."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hwkd.bits import BitPlan
from hwkd.codec.codec import Z_PX, Codec
from hwkd.codec.shipped import shipped
from hwkd.errors import InputError
from hwkd.files import data_folder
from hwkd.images import ImageSource, Pixels
from hwkd.measure.coder import (
    STAGES_NOTE,
    int8_setting,
    open_coders,
    picture,
    split,
    stage_latencies,
)
from hwkd.measure.layers import NETWORKS, LayerCost
from hwkd.measure.machine import host_facts, host_name
from hwkd.measure.memory import measure_memory
from hwkd.measure.profile import (
    FLOAT_BYTES,
    MEMORY_RUNS,
    Profiled,
    ProfilePlan,
    energy_entries,
    energy_notes,
    photograph,
    profile_target,
    quality_note,
    record_of,
)
from hwkd.measure.quality import evaluate_bundle
from hwkd.measure.record import (
    NO_RECORDS,
    Entry,
    Macs,
    ModelFacts,
    Quality,
    Record,
    Size,
    find_records,
    read_record,
)
from hwkd.measure.timing import keep_memory, pinned, watch_machine
from hwkd.runtime.bundle import BUNDLE_SUFFIX, Bundle, arrays, is_bundle, read_bundle
from hwkd.runtime.manifest import TABLES, Card, Manifest
from hwkd.runtime.session import preferred_runtimes, runtime_label
from hwkd.schema import read_table
from hwkd.target import Target, list_targets, load_target

# What is profiled of a bundle: facts, size, counts and quality.


@dataclass(frozen=True)
class BundleSubject(Profiled):
    """A bundle; its networks run in integers, and its costs are those of the float model."""

    bundle: Bundle

    @property
    def qualities(self) -> tuple[int, int] | None:
        """The lowest and the highest quality that it has; None of one rate."""
        return self.bundle.manifest.qualities


def load_bundle_subject(text: str, width: int, height: int) -> BundleSubject:
    """The bundle in the file `text`, for images of width x height.

    Raises:
        InputError: as hwkd.runtime.bundle.read_bundle and `read_costs`.
    """
    bundle = read_bundle(Path(text))
    manifest, costs = bundle.manifest, read_costs(bundle)
    facts = ModelFacts(
        name=f"{manifest.name}{BUNDLE_SUFFIX}",
        architecture=manifest.architecture,
        spec=manifest.spec,
        family=manifest.family,
        weight_bits=manifest.weight_bits,
        is_trained=True,
        lmbda=manifest.lmbda,
        sha256=bundle.sha256,
    )
    size = Size(
        parameters=costs.parameters,
        weight_bytes_fp32=FLOAT_BYTES * costs.parameters,
        weight_bytes=costs.weight_bytes,
        buffer_bytes=sum(table.nbytes for table in arrays(bundle, TABLES).values()),
    )
    macs, layers = costs.for_image(width, height)
    quality = card_quality(manifest.card)
    return BundleSubject(text, facts, bits_of(bundle), size, macs, layers, quality, bundle)


def bits_of(bundle: Bundle) -> BitPlan:
    """The bits that most weights and the activations of `bundle` have, for its plan on a target.

    Raises:
        InputError: activations of a number of bits that no quantizer takes.
    """
    return BitPlan(bundle.manifest.most_weight_bits, bundle.manifest.act_bits)


def card_quality(card: Card | None) -> Quality | None:
    """The card's quality figures on Kodak's images, or else on its first set; None where it has neither.

    For a bundle of all rates they are at the default quality, or the nearest to it; the source names the quality.
    """
    figures = None if card is None else card.on_kodak or card.on_first
    # Images that all came back without error have no PSNR.
    if card is None or figures is None or not figures.psnr_db or not figures.bpp:
        return None
    # A shipped teacher's card says it in these words, and figures on the same images are compared.
    name = "Kodak" if figures is card.on_kodak else figures.on
    quality = "" if figures.quality is None else f", quality {figures.quality}"
    source = f"the bundle's card (real bytes, {figures.runtime}{quality})"
    on = f"{name}, {figures.images} images"
    return Quality(figures.psnr_db, figures.bpp, on, source, figures.ms_ssim)


def evaluated_bundle(
    subject: BundleSubject, images: ImageSource, quality: int | None
) -> BundleSubject:
    """`subject` with its quality measured on `images`, from its own streams.

    Args:
        quality: quality of a bundle of all rates; None for a bundle of one rate.
    Raises:
        InputError, HwkdError: as hwkd.codec.codec.Codec and `evaluate_bundle`.
    """
    found = evaluate_bundle(Codec.load(subject.bundle), images, quality=quality)
    return replace(subject, quality=found.recorded(images, quality))


# The costs of a bundle's model (costs.json), counted when it was exported: read without torch.
#
# Every layer works on the area of the image, padded to multiples of 64, so one block of 64x64 gives the costs of any size.

COSTS = "costs.json"
"""The part's name."""

MAX_BYTES = 4 * 2**20
_MOST = 2**53
"""The largest accepted number: a float holds it exactly. A forged number could be too large to divide."""
_SHOWN = 300


@dataclass(frozen=True)
class Costs:
    """The counts of the float model, for one block of 64x64 pixels.

    Attributes:
        parameters: number of parameters, entropy models included.
        weight_bytes: bytes of the four networks at the bits that the bundle stores, with scales.
        macs: multiply-accumulates of each network.
        layers: the layers in the order they run.

    Raises:
        InputError: a number below 0 or beyond any model, a layer of no network, a text that is not one line.
    """

    parameters: int
    weight_bytes: int
    macs: Macs
    layers: tuple[LayerCost, ...]

    def __post_init__(self) -> None:
        counts = [self.parameters, self.weight_bytes, *self.macs.not_counted.values()]
        counts += [getattr(self.macs, network) for network in NETWORKS]
        for layer in self.layers:
            if layer.network not in NETWORKS:
                raise InputError(
                    f"network of layer {layer.name!r} must be one of {', '.join(NETWORKS)}; got {layer.network!r}"
                )
            counts += [value for value in vars(layer).values() if isinstance(value, int)]
        for value in counts:
            if not 0 <= value <= _MOST:
                raise InputError(f"counts must be 0 to {_MOST}, got {value}")
        for text in (*self.macs.not_counted, *(layer.name for layer in self.layers)):
            if not text.isprintable():
                raise InputError(f"{text!r} is not one line of printable text")

    def for_image(self, width: int, height: int) -> tuple[Macs, tuple[LayerCost, ...]]:
        """MACs and layers for one image of width x height pixels.

        Raises:
            InputError: a size under 1x1.
        """
        if width < 1 or height < 1:
            raise InputError(f"an image of {width}x{height} has no MACs to count; give 1x1 or more")
        blocks = -(-width // Z_PX) * -(-height // Z_PX)
        by_network = {network: blocks * getattr(self.macs, network) for network in NETWORKS}
        macs = Macs(**by_network, not_counted=self.macs.not_counted)
        return macs, tuple(layer.times(blocks) for layer in self.layers)


def read_costs(bundle: Bundle) -> Costs:
    """The costs in `bundle`.

    Raises:
        InputError: a bundle without them, or with such as no export writes; every field is checked.
    """
    content = bundle.parts.get(COSTS)
    if content is None:
        raise InputError(
            f"the bundle {bundle.manifest.name} does not say what its model costs (it has no {COSTS}): export it again "
            "with this hwkd"
        )
    if len(content) > MAX_BYTES:
        raise _refused(f"{len(content)} bytes, and {MAX_BYTES} are accepted")
    try:
        raw: Any = json.loads(content)
    # Deeply nested JSON overflows the stack; wrong UTF-8 is a ValueError too.
    except (ValueError, RecursionError) as error:
        raise _refused(f"not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise _refused(f"got {type(raw).__name__}; an object is accepted")
    try:
        return read_table(Costs, raw, COSTS)
    except (InputError, RecursionError) as error:
        raise _refused(str(error).removeprefix(f"{COSTS}: ")) from error


def macs_per_pixel(bundle: Bundle) -> float:
    """Multiply-accumulates per pixel of the four networks, each once, for sides that are multiples of 64.

    Raises as `read_costs`.
    """
    macs, _ = read_costs(bundle).for_image(Z_PX, Z_PX)
    return macs.total_macs / Z_PX**2


def _refused(reason: str) -> InputError:
    line = "".join(sign if sign.isprintable() else "?" for sign in reason[:_SHOWN])
    return InputError(f"the part {COSTS}: {line}; export the bundle again")


# A bundle's profile on this host: the int8 networks and the whole way, in each runtime.

CHILD = (sys.executable, "-m", "hwkd.measure.memory")


def profile_bundle(
    subject: BundleSubject,
    width: int,
    height: int,
    wanted: ProfilePlan,
    command: str,
    progress: Callable[[str], None] = lambda _: None,
) -> Record:
    """Measure `subject` on this machine.

    Counts: as hwkd.measure.coder, memory and energy say. Latencies are measured in every runtime of `wanted`
    that runs the bundle; memory and energy in the first of them that hwkd.runtime.session.preferred_runtimes names.

    Args:
        progress: called with each step's name before it; `bundle_steps` has their number.

    Raises:
        InputError: no runtime for the bundle.
        InputError, HwkdError: as the measurements.
    """
    image, notes = _image(width, height)
    notes.append(f"Latency and energy: {keep_memory()} (hwkd/measure/timing.py says why).")
    runtimes = runtimes_for(subject, wanted)
    progress("opening")
    # OpenVINO counts cores once for the whole process, so everything is opened before the cores are fixed.
    quality = None if subject.qualities is None else wanted.quality
    opened = {n: open_coders(subject.bundle, runtimes, image, n, quality) for n in wanted.threads}
    main_threads = wanted.threads[0]
    able, _ = split(opened[main_threads])
    label, coder = next(iter(able.items()))
    setting = int8_setting(label, main_threads)
    entries: list[Entry] = []
    with watch_machine() as watch:
        for threads, coders in opened.items():
            progress("latency by stage")
            entries += stage_latencies(coders, threads=threads, seconds=wanted.seconds)
        if wanted.meter is not None:
            progress("energy")
            with pinned(main_threads):
                entries += energy_entries(
                    {"encode": coder.encode, "decode": coder.decode},
                    wanted.meter.meter,
                    "end_to_end",
                    setting,
                    pixels=width * height,
                    seconds=wanted.seconds,
                    country=wanted.country,
                )
    notes += watch.notes
    if wanted.memory:
        # Its processes are other processes to the watch above.
        progress("memory")
        runtime = next(name for name in runtimes if runtime_label(name) == label)
        entries += measure_memory(
            subject.text,
            width,
            height,
            threads=main_threads,
            repeats=MEMORY_RUNS,
            setting=setting,
            command=(*CHILD, runtime),
        )
    notes += energy_notes(wanted)
    notes += [_precision_note(subject.bundle.manifest), STAGES_NOTE]
    if quality is not None:
        notes.append(quality_note(quality, memory=wanted.memory))
    facts = host_facts()
    return record_of(subject, host_name(facts), True, width, height, entries, notes, command, facts)


def bundle_steps(wanted: ProfilePlan) -> int:
    """How often `profile_bundle` calls its progress."""
    return 1 + len(wanted.threads) + (wanted.meter is not None) + wanted.memory


def runtimes_for(subject: BundleSubject, wanted: ProfilePlan) -> tuple[str, ...]:
    """The runtimes of `wanted` that the bundle has graphs for, the preferred one first.

    Raises:
        InputError: there is none.
    """
    graphs = subject.bundle.manifest.graphs.values()
    found = tuple(
        name
        for name in preferred_runtimes()
        if name in wanted.runtimes and all(name in of_network for of_network in graphs)
    )
    if not found:
        raise InputError(
            f'no runtime for {subject.text} is installed: pip install "hwkd[runtime]", or leave host out of --target'
        )
    return found


def _image(width: int, height: int) -> tuple[Pixels, list[str]]:
    """The image to code, and a note where it is not an embedded photograph, which need scikit-image."""
    try:
        return photograph(width, height), []
    except InputError:
        return picture(width, height), [
            "Coded: an image made in code, for want of the embedded photographs of scikit-image; entropy coding takes "
            "as long as an image has bits."
        ]


def _precision_note(manifest: Manifest) -> str:
    """A sentence on the parts of the encoder and the decoder that ran in float."""
    runtimes: dict[str, list[str]] = {}
    for one in manifest.executed:
        in_float = runtimes.setdefault(one.runtime, [])
        if one.in_float and one.network != "hyper":
            products = sum(n for precision, n in one.counts.items() if precision != "elementwise")
            in_float.append(
                f"{len(one.in_float)} of {products} in the {one.network} ({', '.join(one.in_float)})"
            )
    if not runtimes:
        return "What ran in float is not known: no runtime was asked when the bundle was exported."
    told = "; ".join(f"{name}: {', '.join(found) or 'none'}" for name, found in runtimes.items())
    return (
        f"Convolutions and matrix products in float, as each runtime told when the bundle was exported: {told}; those of "
        "h_s hold whole numbers in float32 on purpose."
    )


# Records by what the user names, a board without records of its own included: there they are predicted.

FLOAT_BITS = "32"
"""ModelFacts.weight_bits of a model in float."""


def records_named(text: str) -> tuple[Record, ...]:
    """The records that `text` names, as hwkd.measure.record.find_records; of a target that none ship for, or of the
    user's own board (a .toml file), those of the models that ship, predicted.

    Raises:
        InputError: nothing of that name, or a file that is no record and no target.
    """
    if text.endswith(".toml"):
        return predicted_records(load_target(text))
    is_target = text in list_targets() and not Path(text).exists()
    if is_target and not has_records(text):
        return predicted_records(load_target(text))
    return find_records(text)


def has_records(target: str) -> bool:
    """Whether records of this target ship."""
    return (data_folder("profiles") / target).is_dir()


def all_shipped_records() -> tuple[Record, ...]:
    """Every record that ships, and for targets that none ship for those of `predicted_records`; by target, and of each
    the most MACs first."""
    records = [read_record(path) for path in _paths()]
    for name in list_targets():
        if not has_records(name):
            records += predicted_records(load_target(name))
    return tuple(sorted(records, key=lambda r: (r.target, -r.macs.total_macs, r.model.name)))


def predicted_records(target: Target) -> tuple[Record, ...]:
    """The models that records ship of, on `target`: predicted from their layers, the most MACs first.

    Raises:
        InputError: as hwkd.measure.profile.profile_target.
    """
    found: dict[str, Record] = {}
    for path in _paths():
        record = read_record(path)
        found.setdefault(record.model.name, record)
    return predicted_for(list(found.values()), target)


def predicted_for(records: Sequence[Record], target: Target) -> tuple[Record, ...]:
    """The models of `records`, which are in float or bundles that ship, on `target`; the most MACs first.

    Raises:
        InputError: a quantized model that is no bundle that ships: a record does not hold all of its bits.
    """
    made = [
        profile_target(
            _subject(record),
            record.width,
            record.height,
            target,
            f"hwkd profile {record.model.name.removesuffix(BUNDLE_SUFFIX)} --target {target.name}",
        )
        for record in records
    ]
    return tuple(sorted(made, key=lambda r: (-r.macs.total_macs, r.model.name)))


def _subject(record: Record) -> Profiled:
    model = record.model
    if is_bundle(model.name):
        bundle = shipped().get(model.name.removesuffix(BUNDLE_SUFFIX))
        if bundle is not None:
            return load_bundle_subject(str(bundle), record.width, record.height)
    if model.weight_bits != FLOAT_BITS:
        raise InputError(
            f"{model.name} is quantized and does not ship: profile it on the target with `hwkd profile`"
        )
    return Profiled(
        model.name, model, None, record.size, record.macs, record.layers, record.quality
    )


def _paths() -> list[Path]:
    folder = data_folder("profiles")
    return sorted(p for p in folder.glob("*/*.json") if p.parent.name not in NO_RECORDS)
