"""A model's profile on this host, in eager torch and with its float graphs in other runtimes."""

from collections.abc import Callable

from hwkd.measure.allocator import keep_memory
from hwkd.measure.eager.models import Subject
from hwkd.measure.eager.profile import graph_latencies
from hwkd.measure.eager_runs import network_runs, whole_runs
from hwkd.measure.energy_entries import energy_entries
from hwkd.measure.host import eager_setting, host_facts, host_name
from hwkd.measure.inference import evaluating
from hwkd.measure.layer_times import layer_latencies
from hwkd.measure.memory import measure_memory
from hwkd.measure.pinning import pinned
from hwkd.measure.profile import (
    MEMORY_RUNS,
    Wanted,
    energy_notes,
    photograph,
    quality_note,
    record_of,
)
from hwkd.measure.record import Entry, Record
from hwkd.measure.stages import stage_latencies
from hwkd.measure.watch import watch_machine
from hwkd.qualities import lmbda_at

LAYER_RUNS = 10


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
        wanted: its runtimes, beside eager torch, are those for the exported float networks.
        progress: called with each step's name before it; `host_steps` says how many there are.

    Raises:
        InputError, HwkdError: as the measurements.
    """
    image = photograph(width, height)
    codec, is_trained = subject.codec, subject.facts.is_trained
    codec.set_lmbda(lmbda_at(wanted.quality))
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
            threads = wanted.threads[0]
            with pinned(threads), evaluating(codec):
                entries += energy_entries(
                    whole_runs(codec, image) if is_trained else network_runs(codec, image),
                    wanted.meter.meter,
                    "end_to_end" if is_trained else "networks",
                    eager_setting(threads),
                    pixels=width * height,
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
    notes += energy_notes(wanted)
    if subject.bits is not None:
        notes.append(
            "Latency, memory and energy are those of the float twin in float32: eager torch has no int8 kernels for it; "
            "those in int8 are the bundle's (hwkd export, then hwkd profile NAME.hwkd)."
        )
    if subject.qualities is not None:
        notes.append(quality_note(wanted.quality, memory=wanted.memory))
    facts = host_facts()
    return record_of(subject, host_name(facts), True, width, height, entries, notes, command, facts)


def host_steps(wanted: Wanted) -> int:
    """How often `profile_host` calls its progress."""
    latencies = len(wanted.threads) * (3 if wanted.runtimes else 2)
    return latencies + (wanted.meter is not None) + wanted.memory


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
