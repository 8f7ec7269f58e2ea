"""Bundles in a bench: the product's own Codec, with a clock between its steps."""

import numpy as np
import numpy.typing as npt

from hwkd.codec.codec import Codec
from hwkd.codec.networks import Indexes, Networks, Symbols
from hwkd.codec.stream import unpack
from hwkd.images import MAX_PIXELS, Pixels
from hwkd.measure.bench_coder import Coder, StepClock, quality_of
from hwkd.runtime.bundle import Bundle
from hwkd.runtime.gains import Rate
from hwkd.runtime.session import runtime_label

PAD, ENCODER, HYPER, DECODER, CROP = "pad", "encoder", "hyper", "decoder", "crop"
ENTROPY_Z, ENTROPY_Y = "entropy z", "entropy y"
LATENTS = "latents"
CONTAINER = "container"

STEPS_TEXT = (
    "pad: the image checked and filled up to multiples of 64. encoder, hyper, decoder: the networks (hyper: h_s, with its "
    "index). entropy z, entropy y: the coder's, index in hand. latents: symbols checked and copied between networks "
    "and coder. container: the stream put together and its checksum, or taken apart and checked. crop: pixels into the image."
)
"""What the steps are, for the line below a table."""


class TimedCodec(Codec):
    """A Codec whose networks and runs of the entropy coder leave their times in `clock`."""

    def __init__(self, bundle: Bundle, runtime: str, threads: int) -> None:
        super().__init__(bundle, runtime, threads)
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

    def synthesise(self, y: Symbols, rate: Rate | None = None) -> Pixels:
        with self._clock.step(DECODER, then=CROP):
            return super().synthesise(y, rate)


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
        quality: of a bundle of all rates, whose coder is named with it; as hwkd.codec.codec.Codec.encode.
    Raises:
        InputError, HwkdError: as hwkd.codec.codec.Codec.
    """
    setting = runtime_label(runtime)
    codec = TimedCodec(bundle, runtime, threads)
    data = codec.encode(image, quality=quality)
    decoded = codec.decode(data)

    def encode() -> bytes:
        with codec.clock.run("encode", first=PAD):
            return codec.encode(image, quality=quality)

    def decode() -> Pixels:
        with codec.clock.run("decode", first=CONTAINER):
            return codec.decode(data)

    return Coder(
        name if bundle.manifest.qualities is None else f"{name} quality {_quality_in(data)}",
        setting,
        threads,
        encode,
        decode,
        len(data),
        quality_of(image, decoded),
        codec.clock,
        (ENTROPY_Z, ENTROPY_Y),
    )


def spread_of_y(
    bundle: Bundle, runtime: str, image: Pixels, quality: int | None = None
) -> npt.NDArray[np.float64]:
    """The root mean square of each channel of y for `image`, [M], the largest first. quality: as `bundle_coder`."""
    codec = Codec(bundle, runtime, 1)
    data = codec.encode(image, quality=quality)
    y = codec.symbols(unpack(data, MAX_PIXELS)).astype(np.float64)
    return np.sort(np.sqrt((y**2).mean(axis=(1, 2))))[::-1]


def _quality_in(data: bytes) -> int:
    return unpack(data, MAX_PIXELS).quality
