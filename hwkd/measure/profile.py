"""The parts of every model's profile, and the profile on a target, by prediction.

On this host, hwkd.measure.eager.profile measures a model in torch, and hwkd.measure.bundles measures a bundle.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

import numpy as np

from hwkd import __version__
from hwkd.bits import BitPlan
from hwkd.errors import HwkdError, InputError
from hwkd.images import Pixels, embedded_images
from hwkd.measure.energy.codecarbon import emissions_g_per_1000
from hwkd.measure.energy.measure import ImageEnergy, measure_energy
from hwkd.measure.energy.meter import Meter
from hwkd.measure.energy.sensors import OpenedMeter
from hwkd.measure.layers import LayerCost
from hwkd.measure.machine import HostFacts, host_facts, installed_version
from hwkd.measure.predict.target import predicted_entries
from hwkd.measure.record import (
    PLAN,
    SCHEMA,
    Entry,
    Macs,
    ModelFacts,
    Provenance,
    Quality,
    Record,
    Setting,
    Size,
)
from hwkd.qualities import DEFAULT_QUALITY
from hwkd.quantity import not_known
from hwkd.quantize.precision import plan_precision
from hwkd.target import Target

LIBRARIES = (
    *("torch", "compressai", "fvcore", "onnxruntime", "openvino", "llvmlite"),
    *("codecarbon", "pyJoules"),
)
"""Packages with versions that a record keeps, if they are installed."""
SEED = 0
"""Seed of a bare architecture's random weights."""
MEMORY_RUNS = 1
FLOAT_BYTES = 4


@dataclass(frozen=True)
class Profiled:
    """A model to profile, in any form.

    Attributes:
        text: the model as the user named it; `hwkd.measure.memory` loads it again by this text.
        bits: None in float.
        macs, layers: of the float model, for one image of the profiled size.
    """

    text: str
    facts: ModelFacts
    bits: BitPlan | None
    size: Size
    macs: Macs
    layers: tuple[LayerCost, ...]
    quality: Quality | None


@dataclass(frozen=True)
class ProfilePlan:
    """The measurements to make on the host.

    Attributes:
        threads: one or several numbers. The first is the main one, for which memory and energy are measured.
        runtimes: installed runtimes in which graphs are run.
        seconds: seconds for the latencies of each number of threads, and for the energy of each side.
        meter: None for no energy.
        country: ISO code for emissions; None for none.
        memory: whether to start the processes that measure it.
        why_no_meter: the reason, if a meter was searched for and none was found.
        quality: quality of models of all rates.
    """

    threads: tuple[int, ...]
    runtimes: tuple[str, ...]
    seconds: float
    meter: OpenedMeter | None
    country: str | None
    memory: bool
    why_no_meter: str = ""
    quality: int = DEFAULT_QUALITY


def quality_note(quality: int, *, memory: bool) -> str:
    """A note that a model of all rates was measured at one of its qualities.

    Args:
        memory: whether memory was measured too.
    """
    other = f" (memory at {DEFAULT_QUALITY})" if memory and quality != DEFAULT_QUALITY else ""
    return f"Coded at quality {quality}{other}: one model serves all rates, and entropy coding takes as long as an image has bits."


def profile_target(
    subject: Profiled, width: int, height: int, target: Target, command: str
) -> Record:
    """Predict `subject` on `target`: by its precision plan if the model is quantized, else in float.

    Raises:
        InputError: as `plan_precision`.
    """
    plan = None
    if subject.bits is not None:
        bits = subject.bits
        plan = plan_precision(target, bits.weight_bits, bits.act_bits, family=subject.facts.family)
    entries, notes = predicted_entries(subject.layers, target, plan)
    sentences = list(notes) if plan is None else [*notes, *map(PLAN.__add__, plan.sentences())]
    return record_of(
        subject, target.name, False, width, height, entries, sentences, command, host_facts()
    )


def photograph(width: int, height: int) -> Pixels:
    """An embedded photograph, mirrored at its edges to the requested size, [height, width, 3] uint8.

    The time of entropy coding depends on the bits of an image, so noise would not do. Raises InputError as
    hwkd.images.embedded_images.
    """
    image = embedded_images("eval")["rocket.jpg"]
    rows, columns = max(0, height - image.shape[0]), max(0, width - image.shape[1])
    padded = np.pad(image, ((0, rows), (0, columns), (0, 0)), mode="symmetric")
    return np.ascontiguousarray(padded[:height, :width])


def energy_notes(wanted: ProfilePlan) -> list[str]:
    """Notes on the sensors that were passed over, with the reasons."""
    if wanted.meter is not None:
        return [f"energy: {reason}" for reason in wanted.meter.passed_over]
    return [f"energy: {wanted.why_no_meter}"] if wanted.why_no_meter else []


def record_of(
    subject: Profiled,
    target: str,
    is_host: bool,
    width: int,
    height: int,
    entries: Sequence[Entry],
    notes: Sequence[str],
    command: str,
    facts: HostFacts,
) -> Record:
    """The record of the findings, with the current time.

    Args:
        facts: facts of this host.
    """
    versions = {n: held for n in LIBRARIES if (held := installed_version(n)) is not None}
    return Record(
        schema=SCHEMA,
        target=target,
        is_host=is_host,
        width=width,
        height=height,
        model=subject.facts,
        size=subject.size,
        macs=subject.macs,
        layers=subject.layers,
        entries=tuple(entries),
        provenance=Provenance(
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            command=command,
            host=str(facts),
            versions={"hwkd": __version__, **versions},
            seed=SEED,
        ),
        quality=subject.quality,
        notes=tuple(dict.fromkeys(notes)),
    )


# Energy of encode and of decode on this host as entries of a record.


def energy_entries(
    runs: Mapping[str, Callable[[], object]],
    meter: Meter,
    part: str,
    setting: Setting,
    *,
    pixels: int,
    seconds: float,
    country: str | None,
) -> list[Entry]:
    """energy_mj and power_w of encode and decode, and emissions if a country is given.

    If the meter fails, the figures are not known, with the reason.

    Args:
        runs: by side; each handles one image of `pixels`.
        part: one of hwkd.measure.record.PARTS: the part of the work that `runs` do.
        seconds: seconds for each side.
        country: ISO code for the emissions of its electricity.

    Raises:
        InputError: as `hwkd.measure.energy.measure.measure_energy`.
    """
    entries: list[Entry] = []
    for side, run in runs.items():
        try:
            energy = measure_energy(run, meter, pixels=pixels, seconds=seconds)
        except InputError:
            raise
        except HwkdError as error:
            # The failure of a sensor does not affect the other measurements.
            entries += [
                Entry(name, side, part, setting, not_known(f"{meter.name}: {error}"))
                for name in ("energy_mj", "power_w")
            ]
            continue
        entries += _energies(energy, side, part, setting, country)
    return entries


def _energies(
    energy: ImageEnergy, side: str, part: str, setting: Setting, country: str | None
) -> list[Entry]:
    entries = [
        Entry("energy_mj", side, part, setting, energy.energy_mj),
        Entry("power_w", side, part, setting, energy.power_w),
    ]
    joules = energy.energy_mj.value
    if country is not None and joules is not None:
        grams = emissions_g_per_1000(joules / 1e3, country)
        entries.append(Entry("emissions_g_per_1000", side, part, setting, grams))
    return entries
