"""A bundle's profile on this host: the int8 networks and the whole way, in each runtime."""

import sys
from collections.abc import Callable

from hwkd.errors import InputError
from hwkd.images import Pixels
from hwkd.measure.allocator import keep_memory
from hwkd.measure.bench_coder import Coder
from hwkd.measure.bundle_subject import BundleSubject
from hwkd.measure.coder import STAGES_NOTE, int8_setting, open_coders, stage_latencies
from hwkd.measure.energy_entries import energy_entries
from hwkd.measure.host import host_facts, host_name
from hwkd.measure.memory import measure_memory
from hwkd.measure.picture import picture
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
from hwkd.measure.watch import watch_machine
from hwkd.runtime.manifest import Manifest
from hwkd.runtime.session import preferred_runtimes, runtime_label

CHILD = (sys.executable, "-m", "hwkd.measure.memory_child")


def profile_bundle(
    subject: BundleSubject,
    width: int,
    height: int,
    wanted: Wanted,
    command: str,
    progress: Callable[[str], None] = lambda _: None,
) -> Record:
    """Measure `subject` on this machine.

    Counts: as hwkd.measure.coder, memory and energy say. Latencies are measured in every runtime of `wanted`
    that runs the bundle; memory and energy in the first of them that hwkd.runtime.session.preferred_runtimes names.

    Args:
        progress: called with each step's name before it; `bundle_steps` says how many there are.

    Raises:
        InputError: no runtime for the bundle.
        InputError, HwkdError: as the measurements.
    """
    image, notes = _image(width, height)
    notes.append(f"Latency and energy: {keep_memory()} (hwkd/measure/allocator.py says why).")
    runtimes = runtimes_for(subject, wanted)
    progress("opening")
    # OpenVINO counts cores once for the whole process, so everything is opened before the cores are fixed.
    quality = None if subject.qualities is None else wanted.quality
    opened = {n: open_coders(subject.bundle, runtimes, image, n, quality) for n in wanted.threads}
    main_threads = wanted.threads[0]
    label, coder = next(
        (label, coder) for label, coder in opened[main_threads].items() if isinstance(coder, Coder)
    )
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


def bundle_steps(wanted: Wanted) -> int:
    """How often `profile_bundle` calls its progress."""
    return 1 + len(wanted.threads) + (wanted.meter is not None) + wanted.memory


def runtimes_for(subject: BundleSubject, wanted: Wanted) -> tuple[str, ...]:
    """Those of `wanted` that the bundle has graphs for, the preferred one first.

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
    """What of the encoder and the decoder ran in float, in a sentence."""
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
