"""A model's profile: on this host by measurement, on a target by prediction. Gives `hwkd.measure.record.Record`s."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from hwkd import __version__
from hwkd.deploy.plan import plan_precision
from hwkd.images import Pixels, embedded_images
from hwkd.measure.allocator import keep_memory
from hwkd.measure.energy_entries import energy_entries
from hwkd.measure.graph_latency import graph_latencies
from hwkd.measure.host import HostFacts, eager_setting, host_facts, host_name
from hwkd.measure.layer_times import layer_latencies
from hwkd.measure.machine_packages import installed_version
from hwkd.measure.memory import measure_memory
from hwkd.measure.meters import OpenedMeter
from hwkd.measure.predict_target import predicted_entries
from hwkd.measure.record import PLAN, SCHEMA, Entry, Provenance, Record
from hwkd.measure.stages import stage_latencies
from hwkd.measure.subject import SEED, Subject
from hwkd.measure.watch import watch_machine
from hwkd.target import Target

LIBRARIES = ("torch", "compressai", "fvcore", "onnxruntime", "openvino", "codecarbon", "pyJoules")
LAYER_RUNS = 10
MEMORY_RUNS = 1


@dataclass(frozen=True)
class Wanted:
    """What to measure on the host.

    threads: one or several numbers; the first is the main one, for which memory and energy are measured. runtimes:
    beside eager torch, for the exported float networks. seconds: for the latencies of each number of threads, and for
    the energy of each side. meter: None for no energy. country: ISO code for emissions, None for none. memory: whether
    to start the processes that measure it.
    """

    threads: tuple[int, ...]
    runtimes: tuple[str, ...]
    seconds: float
    meter: OpenedMeter | None
    country: str | None
    memory: bool


def profile_host(
    subject: Subject,
    width: int,
    height: int,
    wanted: Wanted,
    command: str,
    progress: Callable[[str], None] = lambda _: None,
) -> Record:
    """Measure `subject` on this machine.

    Counts: as hwkd.measure.stages, layer_times, graph_latency, memory and energy say. A bare architecture has random
    weights: its networks are measured, entropy coding and the whole way are not.

    Args:
        progress: called with each step's name before it; `host_steps` says how many there are.

    Raises:
        InputError, HwkdError: as the measurements.
    """
    image = photograph(width, height)
    codec, is_trained = subject.codec, subject.facts.is_trained
    entries: list[Entry] = []
    notes = [f"Latency and energy in torch: {keep_memory()} (hwkd/measure/allocator.py says why)."]
    with watch_machine() as watch:
        for threads in wanted.threads:
            progress("latency by stage")
            entries += stage_latencies(
                codec, image, threads=threads, seconds=wanted.seconds, is_trained=is_trained
            )
            progress("latency by layer")
            entries += _layer_entries(subject, width, height, threads)
            if wanted.runtimes:
                progress("latency in other runtimes")
                entries += graph_latencies(
                    codec,
                    width,
                    height,
                    runtimes=wanted.runtimes,
                    threads=threads,
                    seconds=wanted.seconds,
                )
        if wanted.meter is not None:
            progress("energy")
            entries += energy_entries(
                subject,
                image,
                wanted.meter.meter,
                threads=wanted.threads[0],
                seconds=wanted.seconds,
                country=wanted.country,
            )
    notes += watch.notes
    if wanted.memory:
        # Its processes are other processes to the watch above.
        progress("memory")
        has_twin = is_trained and subject.bits is not None
        text = f"{subject.text}:float" if has_twin else subject.text
        entries += measure_memory(
            text, width, height, threads=wanted.threads[0], repeats=MEMORY_RUNS
        )
    if wanted.meter is not None:
        notes += [f"energy: {reason}" for reason in wanted.meter.passed_over]
    if subject.bits is not None:
        notes.append(
            "Latency, memory and energy are those of the float twin in float32: eager torch has no int8 kernels for it."
        )
    facts = host_facts()
    return _record(subject, host_name(facts), True, width, height, entries, notes, command, facts)


def host_steps(wanted: Wanted) -> int:
    """How often `profile_host` calls its progress."""
    latencies = len(wanted.threads) * (3 if wanted.runtimes else 2)
    return latencies + (wanted.meter is not None) + wanted.memory


def profile_target(
    subject: Subject, width: int, height: int, target: Target, command: str
) -> Record:
    """Predict `subject` on `target`, by its precision plan where the model is quantized, else in float.

    Raises:
        InputError: as `plan_precision`.
    """
    plan = None
    if subject.bits is not None:
        bits = subject.bits
        plan = plan_precision(target, bits.weight_bits, bits.act_bits, family=subject.facts.family)
    entries, notes = predicted_entries(subject.layers, target, plan)
    sentences = list(notes) if plan is None else [*notes, *map(PLAN.__add__, plan.sentences())]
    return _record(
        subject, target.name, False, width, height, entries, sentences, command, host_facts()
    )


def photograph(width: int, height: int) -> Pixels:
    """An embedded photograph, mirrored at its edges to the size asked for: entropy coding takes as long as an image
    has bits, so noise would not do. [height, width, 3] uint8."""
    image = embedded_images("eval")["rocket.jpg"]
    rows, columns = max(0, height - image.shape[0]), max(0, width - image.shape[1])
    padded = np.pad(image, ((0, rows), (0, columns), (0, 0)), mode="symmetric")
    return np.ascontiguousarray(padded[:height, :width])


def _layer_entries(subject: Subject, width: int, height: int, threads: int) -> list[Entry]:
    latencies = layer_latencies(subject.codec, width, height, threads=threads, repeats=LAYER_RUNS)
    setting = eager_setting(threads)
    by = "wall clock around the layer inside a whole run"
    sides = {"g_a": "encode", "h_a": "encode", "h_s": "both", "g_s": "decode"}
    return [
        Entry(
            "latency_ms",
            sides[name.partition(".")[0]],
            "layer",
            setting,
            latency.quantity(by),
            layer=name,
            p95=latency.p95_ms,
        )
        for name, latency in latencies.items()
    ]


def _record(
    subject: Subject,
    target: str,
    is_host: bool,
    width: int,
    height: int,
    entries: Sequence[Entry],
    notes: Sequence[str],
    command: str,
    facts: HostFacts,
) -> Record:
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
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            command=command,
            host=str(facts),
            versions={"hwkd": __version__, **versions},
            seed=SEED,
        ),
        quality=subject.quality,
        notes=tuple(dict.fromkeys(notes)),
    )
