"""One codec that can be run and timed, whatever it is made of; bundles as such codecs, in stages."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from hwkd.codec.codec import Codec
from hwkd.codec.entropy import use_compiled
from hwkd.codec.networks import Indexes, Networks, Symbols
from hwkd.codec.stream import unpack
from hwkd.errors import HwkdError
from hwkd.images import MAX_PIXELS, Pixels
from hwkd.measure.record import Entry, Setting
from hwkd.measure.timing import Latency, measure_in_turn, pinned, summarize
from hwkd.metrics import psnr_db
from hwkd.quantity import Quantity, not_known
from hwkd.runtime.bundle import Bundle
from hwkd.runtime.gains import Rate, chosen_quality
from hwkd.runtime.session import runtime_label

# What takes part in a bench: a way of coding one image, and where the time of each of its runs goes.

SIDES = ("encode", "decode")


class StepClock:
    """Splits each run of an encode or a decode into steps that follow one another without a gap.

    A step is a call that is timed, or what lies between two of them, which has a name too.
    runs: for each side, the milliseconds of each step of each run. A step that occurs several times in one run is summed.
    """

    def __init__(self, now_ns: Callable[[], int] = time.perf_counter_ns) -> None:
        self.runs: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
        self._now_ns = now_ns
        self._last_ns = 0
        self._between = ""
        self._steps: dict[str, float] = {}

    @contextmanager
    def run(self, side: str, first: str) -> Iterator[None]:
        """One run of `side`.

        Args:
            first: the name of what comes before the first timed call.
        """
        self._steps, self._between = {}, first
        self._last_ns = self._now_ns()
        yield
        self._lap(self._between)
        self.runs[side].append(self._steps)

    @contextmanager
    def step(self, name: str, then: str) -> Iterator[None]:
        """One timed call.

        Args:
            then: the name of what comes after it.
        """
        self.enter()
        yield
        self.leave(name, then)

    def enter(self) -> None:
        """Begin a timed call, for calls that no `with` block can enclose."""
        self._lap(self._between)

    def leave(self, name: str, then: str) -> None:
        """End it; arguments as for `step`."""
        self._lap(name)
        self._between = then

    def summary(self, side: str, runs: int, by: str) -> dict[str, Quantity]:
        """The median milliseconds of each step over the last `runs` runs, in the order of the steps."""
        timed = self.runs[side][-runs:]
        return {
            name: summarize([steps[name] for steps in timed]).quantity(by) for name in timed[-1]
        }

    def clear(self) -> None:
        """Forget the runs so far."""
        for runs in self.runs.values():
            runs.clear()

    def _lap(self, name: str) -> None:
        now_ns = self._now_ns()
        self._steps[name] = self._steps.get(name, 0.0) + (now_ns - self._last_ns) / 1e6
        self._last_ns = now_ns


_Stream = TypeVar("_Stream", bound=Sized)


class ImageCodec(Protocol[_Stream]):
    """A codec of images that can be run and timed: a bundle in a runtime, a model in torch, CompressAI, a format of Pillow."""

    @property
    def name(self) -> str:
        """The codec's name in tables."""

    @property
    def setting(self) -> str:
        """What runs the codec, with its version."""

    @property
    def threads(self) -> int:
        """How many it may use."""

    @property
    def clock(self) -> StepClock | None:
        """Where its runs leave their steps; None for a codec that shows no steps."""

    @property
    def entropy(self) -> tuple[str, ...]:
        """The names of the steps that are entropy coding."""

    def encode(self, image: Pixels, /) -> _Stream:
        """The stream of `image`, [H, W, 3] uint8. Its length is that of its bytes."""

    def decode(self, stream: _Stream, /) -> Pixels:
        """The image, [H, W, 3] uint8, in what `encode` gave."""


@dataclass(frozen=True)
class Coder:
    """A way of coding one image, ready to be timed: it has coded the image once.

    Attributes:
        name: the coder's name in tables.
        setting: what runs it, with its version, for tables.
        threads: number of threads that it may use.
        encode: turns pixels into bytes.
        decode: turns those bytes into pixels.
        stream_bytes: size of the stream.
        psnr_db: PSNR of the decoded image.
        clock: where the runs leave their steps; None for a coder that shows no steps.
        entropy: the names of the steps that are entropy coding.
        notes: sentences for people.
    """

    name: str
    setting: str
    threads: int
    encode: Callable[[], object]
    decode: Callable[[], object]
    stream_bytes: int
    psnr_db: Quantity
    clock: StepClock | None = None
    entropy: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Absent:
    """A way of coding that cannot be measured here, and why."""

    name: str
    setting: str
    reason: str


_Key = TypeVar("_Key")


def ready(
    codec: ImageCodec[_Stream],
    image: Pixels,
    *,
    no_psnr: str = "",
    note: Callable[[int], str] | None = None,
) -> Coder:
    """`codec` with `image`, [H, W, 3] uint8, which goes through it once.

    Args:
        no_psnr: why the PSNR of what comes back says nothing, where it does not.
        note: makes the coder's note from the number of its bytes.
    Raises:
        InputError, HwkdError: as the codec.
    """
    stream = codec.encode(image)
    decoded = codec.decode(stream)
    if codec.clock is not None:
        # What is opened and compiled in the first run is no part of its steps.
        codec.clock.clear()
    return Coder(
        codec.name,
        codec.setting,
        codec.threads,
        lambda: codec.encode(image),
        lambda: codec.decode(stream),
        len(stream),
        not_known(no_psnr, "computed") if no_psnr else quality_of(image, decoded),
        codec.clock,
        codec.entropy,
        () if note is None else (note(len(stream)),),
    )


def split(
    taking_part: Mapping[_Key, Coder | Absent],
) -> tuple[dict[_Key, Coder], dict[_Key, Absent]]:
    """The coders that can be measured, and those that cannot; each in order."""
    able = {key: one for key, one in taking_part.items() if isinstance(one, Coder)}
    absent = {key: one for key, one in taking_part.items() if isinstance(one, Absent)}
    return able, absent


def runs_of(coders: Mapping[_Key, Coder]) -> dict[tuple[_Key, str], Callable[[], object]]:
    """An encode and a decode of each, to be taken in turn, by the coder's key and the side."""
    runs: dict[tuple[_Key, str], Callable[[], object]] = {}
    for key, coder in coders.items():
        runs[key, "encode"], runs[key, "decode"] = coder.encode, coder.decode
    return runs


def quality_of(image: Pixels, decoded: Pixels) -> Quantity:
    """The PSNR of `decoded` in dB, of 8-bit RGB; not known where nothing was lost."""
    if (image == decoded).all():
        return not_known("the image came back without error, so its PSNR is infinite", "computed")
    return Quantity(psnr_db(image, decoded), "computed", "8-bit RGB of the decoded bytes")


# Bundles in a bench: the product's own Codec, with a clock between its steps.

PAD, ENCODER, HYPER, DECODER, CROP = "pad", "encoder", "hyper", "decoder", "crop"
ENTROPY_Z, ENTROPY_Y = "entropy z", "entropy y"
LATENTS = "latents"
CONTAINER = "container"

STEPS_TEXT = (
    "pad: the image checked and filled up to multiples of 64. encoder, hyper, decoder: the networks (hyper: h_s, with its "
    "index). entropy z, entropy y: the coder's, index in hand. latents: symbols checked and copied between networks "
    "and coder. container: the stream put together and its checksum, or taken apart and checked. crop: pixels into the image."
)
"""The meaning of the steps, for the line below a table."""


class TimedCodec(Codec):
    """A Codec that stores in `clock` the times of its networks and of its runs of the entropy coder."""

    def __init__(self, bundle: Bundle, runtime: str, threads: int) -> None:
        super().__init__(bundle, runtime, threads)
        use_compiled()  # what is timed is a codec that has coded for a while
        self.clock = StepClock()
        self._networks = _TimedNetworks(bundle, runtime, threads, self.clock)

    def _write_z(self, z: Symbols) -> bytes:
        with self.clock.step(ENTROPY_Z, then=CONTAINER):
            return super()._write_z(z)

    def _write_y(self, y: Symbols, index: Indexes) -> bytes:
        with self.clock.step(ENTROPY_Y, then=LATENTS):
            return super()._write_y(y, index)

    def _read_z(self, data: bytes, shape: tuple[int, int, int]) -> Symbols:
        with self.clock.step(ENTROPY_Z, then=LATENTS):
            return super()._read_z(data, shape)

    def _read_y(self, data: bytes, index: Indexes) -> Symbols:
        with self.clock.step(ENTROPY_Y, then=LATENTS):
            return super()._read_y(data, index)


class _TimedNetworks(Networks):
    def __init__(self, bundle: Bundle, runtime: str, threads: int, clock: StepClock) -> None:
        super().__init__(bundle, runtime, threads)
        self._clock = clock

    def analyse(self, image: Pixels, rate: Rate | None = None) -> tuple[Symbols, Symbols]:
        with self._clock.step(ENCODER, then=LATENTS):
            return super().analyse(image, rate)

    def indexes(self, z: Symbols, rate: Rate | None = None) -> Indexes:
        with self._clock.step(HYPER, then=LATENTS):
            return super().indexes(z, rate)

    def synthesise(self, y: Symbols, indexes: Indexes, rate: Rate | None = None) -> Pixels:
        with self._clock.step(DECODER, then=CROP):
            return super().synthesise(y, indexes, rate)


@dataclass(frozen=True)
class BundleCodec:
    """A bundle in a runtime.

    Attributes:
        quality: of a bundle of all rates, as hwkd.codec.codec.Codec.encode.
        clock: the clock of a TimedCodec.
    """

    codec: Codec
    name: str
    setting: str
    quality: int | None = None
    clock: StepClock | None = None
    entropy: tuple[str, ...] = (ENTROPY_Z, ENTROPY_Y)

    @property
    def threads(self) -> int:
        """Number of threads of the networks."""
        return self.codec.threads

    def encode(self, image: Pixels) -> bytes:
        """As hwkd.codec.codec.Codec.encode."""
        with self._run("encode", first=PAD):
            return self.codec.encode(image, quality=self.quality)

    def decode(self, stream: bytes) -> Pixels:
        """As hwkd.codec.codec.Codec.decode."""
        with self._run("decode", first=CONTAINER):
            return self.codec.decode(stream)

    def _run(self, side: str, first: str) -> AbstractContextManager[None]:
        return nullcontext() if self.clock is None else self.clock.run(side, first)


def bundle_coder(
    name: str,
    bundle: Bundle,
    runtime: str,
    image: Pixels,
    threads: int,
    quality: int | None = None,
) -> Coder:
    """`bundle` in `runtime` as a coder of `image`, [H, W, 3] uint8; the image has been through it once.

    Args:
        quality: of a bundle of all rates, as hwkd.codec.codec.Codec.encode. The coder's name has it.
    Raises:
        InputError, HwkdError: as hwkd.codec.codec.Codec.
    """
    codec = TimedCodec(bundle, runtime, threads)
    chosen = chosen_quality(bundle.manifest, quality)
    called = name if chosen is None else f"{name} quality {chosen}"
    label = runtime_label(runtime)
    return ready(BundleCodec(codec, called, label, quality, codec.clock), image)


def spread_of_y(
    bundle: Bundle, runtime: str, image: Pixels, quality: int | None = None
) -> npt.NDArray[np.float64]:
    """The root mean square of each channel of y for `image`, [M], the largest first.

    Args:
        quality: as `bundle_coder`.
    """
    codec = Codec(bundle, runtime, 1)
    data = codec.encode(image, quality=quality)
    y = codec.symbols(unpack(data, MAX_PIXELS)).astype(np.float64)
    return np.sort(np.sqrt((y**2).mean(axis=(1, 2))))[::-1]


# How long each stage of coding takes for a bundle, in each runtime.

WARMUP_ROUNDS = 2

_CODING = (LATENTS, ENTROPY_Z, ENTROPY_Y, CONTAINER)

STAGES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "encode": {
        "preprocess": (PAD,),
        "transform": (ENCODER,),
        "hyper": (HYPER,),
        "entropy": _CODING,
        "networks": (ENCODER, HYPER),
        "end_to_end": (PAD, ENCODER, HYPER, *_CODING),
    },
    "decode": {
        "entropy": _CODING,
        "hyper": (HYPER,),
        "transform": (DECODER,),
        "postprocess": (CROP,),
        "networks": (HYPER, DECODER),
        "end_to_end": (*_CODING, HYPER, DECODER, CROP),
    },
}
"""The steps of hwkd.measure.coder that make up each side and part of hwkd.measure.record."""

STAGES_NOTE = (
    "The encoder's graph holds g_a and h_a: both are in transform, and hyper is h_s alone. entropy: the coder, the "
    "container, and the symbols' way between networks and coder."
)


def int8_setting(label: str, threads: int) -> Setting:
    """The setting of a bundle's figures.

    Args:
        label: the runtime's label, with its version.
    """
    return Setting("cpu", label, "int8", threads)


def open_coders(
    bundle: Bundle,
    runtimes: Sequence[str],
    image: Pixels,
    threads: int,
    quality: int | None = None,
) -> dict[str, Coder | Absent]:
    """`bundle` as a coder of `image`, [H, W, 3] uint8, by the runtime's label; or why that runtime does not run it.

    Args:
        quality: as hwkd.measure.coder.bundle_coder.
    Raises:
        InputError, HwkdError: none of the runtimes runs it; the message has the reason of the first.
    """
    found: dict[str, Coder | Absent] = {}
    errors: list[HwkdError] = []
    name = bundle.manifest.name
    for runtime in runtimes:
        label = runtime_label(runtime)
        try:
            found[label] = bundle_coder(name, bundle, runtime, image, threads, quality)
        except HwkdError as error:
            errors.append(error)
            found[label] = Absent(name, label, str(error))
    if len(errors) == len(found):
        raise errors[0]
    return found


def stage_latencies(
    coders: Mapping[str, Coder | Absent], *, threads: int, seconds: float
) -> list[Entry]:
    """The latency of each stage in each runtime: latency_ms entries, encode's and then decode's.

    Counts: whole runs of hwkd.codec.codec.Codec, pixels in memory to bytes in memory and back, one of each runtime and
    side in turn; a stage is made of the steps inside them that STAGES says, so in one run the stages add up to
    end_to_end. Does not count: files, loading the bundle, the first runs.

    Args:
        coders: as `open_coders` gives them. threads: of the networks, each on a core of its own.
        seconds: time for all timed runs together, at least MIN_RUNS_INTERVAL of each.

    Raises:
        InputError: threads as `pinned`.
    """
    able, absent = split(coders)
    with pinned(threads) as pinning:
        rounds = measure_in_turn(runs_of(able), warmup=WARMUP_ROUNDS, seconds=seconds)
    entries = []
    for label in coders:
        setting = int8_setting(label, threads)
        for side in SIDES:
            if label in absent:
                unknown = not_known(absent[label].reason)
                entries += [
                    Entry("latency_ms", side, part, setting, unknown) for part in STAGES[side]
                ]
                continue
            for part, latency in _parts(able[label], side, rounds[label, side].runs):
                quantity = latency.quantity(f"wall clock inside whole runs, {pinning}")
                entries.append(
                    Entry("latency_ms", side, part, setting, quantity, p95=latency.p95_ms)
                )
    return entries


def _parts(coder: Coder, side: str, runs: int) -> Iterator[tuple[str, Latency]]:
    """Every part of `side` with its latency over the coder's last `runs` runs."""
    assert coder.clock is not None  # every bundle's coder has one
    timed = coder.clock.runs[side][-runs:]
    for part, steps in STAGES[side].items():
        yield part, summarize([sum(run[step] for step in steps if step in run) for run in timed])


# An image of any size, made in code.


def picture(width: int, height: int) -> Pixels:
    """A smooth image with some texture, [height, width, 3] uint8: about a photograph's rate, unlike noise.

    Made row by row, so that its making does not set the peak.
    """
    rng = np.random.default_rng(0)
    columns = np.arange(width)[:, None]
    image = np.empty((height, width, 3), np.uint8)
    for row in range(height):
        wave = np.sin(columns / 37 + np.sin(row / 53) + np.arange(3)) + np.sin(
            row / 29 + columns / 71
        )
        image[row] = (128 + 50 * wave + rng.normal(0, 4, (width, 3))).clip(0, 255).astype(np.uint8)
    return image
