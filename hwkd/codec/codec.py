"""Images to bytes and back with a bundle.

    image -> pad to 64 -> encoder -> y, z;  z -> hyper -> index;  z and (y, index) -> entropy coder -> stream
    stream -> z -> hyper -> index -> y -> decoder -> cut to size -> image

In a bundle of all rates, the three networks also get inputs that depend on the quality (hwkd/runtime/gains.py), and the decoder gets
the centroids of y (hwkd/centroids.py).

A large image goes through the networks in tiles, so that memory stays bounded. The tiles overlap by the networks' reach.
Each tile's y is then coded in a segment of its own.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from hwkd.codec import entropy
from hwkd.codec.entropy import DamagedStream
from hwkd.codec.networks import Indexes, Networks, Symbols, checked_array, default_runtime, gains_of
from hwkd.codec.search import RateTarget, encode_to
from hwkd.codec.shipped import named_bundle
from hwkd.codec.stream import Stream, pack, unpack
from hwkd.codec.tables import Array, Tables
from hwkd.errors import InputError
from hwkd.images import MAX_PIXELS, Pixels, pixels_of
from hwkd.runtime.bundle import Bundle, arrays, read_bundle
from hwkd.runtime.exact import INDEXES
from hwkd.runtime.gains import Rate, chosen_quality
from hwkd.runtime.manifest import TABLES
from hwkd.runtime.session import usable_cores

# Cutting a large image, or its latents, into windows that overlap by the networks' reach.


@dataclass(frozen=True)
class Span:
    """A span of one axis: the window [start, stop) is computed, and its part [first, last) is kept."""

    start: int
    stop: int
    first: int
    last: int

    @property
    def window(self) -> slice:
        """The part to compute."""
        return slice(self.start, self.stop)

    @property
    def kept(self) -> slice:
        """The place of the kept part in the whole."""
        return slice(self.first, self.last)

    @property
    def inside(self) -> slice:
        """The place of the kept part in the window."""
        return slice(self.first - self.start, self.last - self.start)

    def times(self, factor: int) -> "Span":
        """The same span on an axis of `factor` times the resolution."""
        return Span(
            factor * self.start, factor * self.stop, factor * self.first, factor * self.last
        )


def spans(length: int, tile: int, before: int, after: int) -> Iterator[Span]:
    """The spans that keep [0, length) in pieces of `tile`. Each is computed with a margin, as far as the axis extends."""
    for first in range(0, length, tile):
        last = min(first + tile, length)
        yield Span(max(first - before, 0), min(last + after, length), first, last)


def tiles(
    height: int, width: int, tile: int, before: int, after: int
) -> Iterator[tuple[Span, Span]]:
    """(rows, columns) of each tile, row by row."""
    for rows in spans(height, tile, before, after):
        for columns in spans(width, tile, before, after):
            yield rows, columns


Y_PX, Z_PX = 16, 64
"""Pixels of one position of y, and of z, along an axis."""

TILE_PX = 1536
"""Side of the tiles of large images."""

MAX_TILE_PX = 65472
"""The largest side that a stream's header can hold."""

WHOLE_PIXELS = 2048 * 2048
"""Images up to this many padded pixels are not cut."""


class Codec:
    """One bundle in one runtime, ready to encode and decode. Only one thread at a time may use it.

    Args:
        bundle: the bundle that it runs.
        runtime: the runtime that runs it.
        threads: threads of the networks.
        is_soon: for one image: ready sooner, but slower from then on.
    """

    def __init__(
        self, bundle: Bundle, runtime: str, threads: int, *, is_soon: bool = False
    ) -> None:
        self.bundle, self.runtime, self.threads = bundle, runtime, threads
        self._networks = Networks(bundle, runtime, threads, is_soon=is_soon)
        self._gains = gains_of(bundle)
        held = arrays(bundle, TABLES)
        self._z_tables = _tables(held, "z.", bundle.manifest.Z)
        self._y_tables = _tables(held, "y.", INDEXES)

    @classmethod
    def load(
        cls, bundle: Path | str | Bundle, runtime: str | None = None, threads: int | None = None
    ) -> "Codec":
        """The codec of a bundle.

        Args:
            bundle: the name of one that ships ("patch-medium"), a .hwkd file, or a bundle that is already read. The name of a
                shipped bundle has priority over a file of that name; a Path is always a file.
            runtime: one of hwkd.runtime.session.RUNTIMES; by default OpenVINO if it is installed, else ONNX Runtime.
            threads: threads of the networks; by default all cores that the process may use.
        Raises:
            InputError: there is no bundle of that name, the file is not a bundle, or there is no such runtime.
        """
        path = named_bundle(bundle) if isinstance(bundle, str) else bundle
        held = path if isinstance(path, Bundle) else read_bundle(path)
        return cls(held, runtime or default_runtime(held), threads or usable_cores())

    def encode(
        self,
        image: Pixels | Image.Image,
        tile_px: int | None = None,
        max_pixels: int = MAX_PIXELS,
        *,
        quality: int | None = None,
        max_bytes: int | None = None,
        bpp: float | None = None,
        min_psnr_db: float | None = None,
    ) -> bytes:
        """The stream of `image`, any size from 1x1.

        Args:
            image: [H, W, 3] uint8 in sRGB, or an image of Pillow's as hwkd.images.pixels_of takes it.
            tile_px: side of the tiles, a multiple of 64; 0 for the whole image at once. By default TILE_PX for images of more
                than WHOLE_PIXELS.
            quality: for a bundle of all rates, one of its qualities (hwkd/qualities.py); by default DEFAULT_QUALITY or the
                nearest that it has. A bundle of one rate takes none.
            max_bytes, bpp, min_psnr_db: a requirement on the stream in place of `quality` (hwkd/codec/search.py).
        Raises:
            InputError: `image` is not such an array or image, or has more than `max_pixels`; a side is not a multiple of 64;
                the bundle lacks the quality.
            SelfTestFailed, HwkdError: as `Networks`.
        """
        if isinstance(image, Image.Image):
            image = pixels_of(image)
        _check_image(image, max_pixels)
        asked = RateTarget(quality, max_bytes, bpp, min_psnr_db)
        if asked.is_searched:
            return encode_to(self, image, asked, tile_px, max_pixels).stream
        height, width = image.shape[:2]
        _check_padded(width, height, max_pixels)
        rows, columns = -(-height // Z_PX), -(-width // Z_PX)
        if tile_px is None:
            tile_px = TILE_PX if rows * columns * Z_PX**2 > WHOLE_PIXELS else 0
        _check_tile(tile_px)
        rate = self._rate_of(quality)
        y, z = self._latents(image, rows, columns, tile_px, rate)
        segments = tuple(
            self._write_y(y[:, across.kept, along.kept], index)
            for across, along, index in self._indexes(z, tile_px, rate)
        )
        coded_z, told = self._write_z(z), 0 if rate is None else rate.quality
        return pack(Stream(width, height, self.bundle.id, tile_px, coded_z, segments, told))

    def decode(self, data: bytes, max_pixels: int = MAX_PIXELS) -> Pixels:
        """The image, [H, W, 3] uint8, of a stream that `encode` wrote with the same bundle, in any runtime.

        Raises:
            InputError: `data` is not a stream, is damaged, or belongs to another model; the bundle lacks its quality; the image
                has more than `max_pixels`.
            SelfTestFailed, HwkdError: as `Networks`.
        """
        stream = unpack(data, max_pixels)
        if stream.model_id != self.bundle.id:
            raise InputError(
                f"the stream was written with the model {stream.model_id.hex()}, and this is {self.bundle.id_hex} "
                f"({self.bundle.manifest.name}); give its bundle with --model"
            )
        _check_padded(stream.width, stream.height, max_pixels)
        return self._image(stream, *self._read(stream))

    def symbols(self, stream: Stream) -> Symbols:
        """y, [M, H/16, W/16] of the padded size, in `stream`: the same on every machine. Raises as `decode`."""
        return self._read(stream)[0]

    def _read(self, stream: Stream) -> tuple[Symbols, Indexes]:
        """y and the index of the scale of each symbol."""
        rows, columns = -(-stream.height // Z_PX), -(-stream.width // Z_PX)
        manifest, rate = self.bundle.manifest, self._rate_in(stream)
        z = self._read_z(stream.z, (manifest.Z, rows, columns))
        if z.size and max(-int(z.min()) - 1, int(z.max())) > manifest.largest_z:
            raise DamagedStream(f"a symbol of z over {manifest.largest_z}")
        factor = Z_PX // Y_PX
        y = np.empty((manifest.M, factor * rows, factor * columns), _smallest(manifest.largest_y))
        indexes = np.empty(y.shape, np.uint8)
        for segment, (across, along, index) in zip(
            stream.segments, self._indexes(z, stream.tile_px, rate), strict=True
        ):
            found = self._read_y(segment, index)
            if found.size and max(-int(found.min()) - 1, int(found.max())) > manifest.largest_y:
                raise DamagedStream(f"a symbol of y over {manifest.largest_y}")
            if found.shape == y.shape:
                return found, index  # not cut, so not copied
            y[:, across.kept, along.kept] = found
            indexes[:, across.kept, along.kept] = index
        return y, indexes

    def _rate_of(self, quality: int | None) -> Rate | None:
        """The rate at which `encode` runs for `quality`."""
        chosen = chosen_quality(self.bundle.manifest, quality)
        return None if self._gains is None or chosen is None else self._gains.rate(chosen)

    def _rate_in(self, stream: Stream) -> Rate | None:
        """The rate at which `stream` was written."""
        low, high = self.bundle.manifest.qualities or (0, 0)
        if not low <= stream.quality <= high:
            has = f"has the qualities {low} to {high}" if high else "codes at one rate, which is 0"
            raise InputError(
                f"the stream says quality {stream.quality}, and {self.bundle.manifest.name} {has}: it is damaged; encode "
                "the image again"
            )
        return None if self._gains is None else self._gains.rate(stream.quality)

    # The four runs of the entropy coder are methods, so that hwkd.measure can time them.

    def _write_z(self, z: Symbols) -> bytes:
        return entropy.encode(z.ravel(), _channels(z.shape), self._z_tables)

    def _write_y(self, y: Symbols, index: Indexes) -> bytes:
        symbols = y.astype(np.int32, copy=False).ravel()
        return entropy.encode(symbols, index.ravel(), self._y_tables, self._silent)

    def _read_z(self, data: bytes, shape: tuple[int, int, int]) -> Symbols:
        return entropy.decode(data, _channels(shape), self._z_tables).reshape(shape)

    def _read_y(self, data: bytes, index: Indexes) -> Symbols:
        symbols = entropy.decode(data, index.ravel(), self._y_tables, self._silent)
        return symbols.reshape(index.shape)

    @property
    def _silent(self) -> int | None:
        return self.bundle.manifest.silent_index

    def _latents(
        self, image: Pixels, rows: int, columns: int, tile_px: int, rate: Rate | None
    ) -> tuple[Symbols, Symbols]:
        """y and z of the whole padded image, computed tile by tile."""
        manifest = self.bundle.manifest
        factor = Z_PX // Y_PX
        y = np.empty((manifest.M, factor * rows, factor * columns), _smallest(manifest.largest_y))
        z = np.empty((manifest.Z, rows, columns), np.int32)
        before, after = (side // Z_PX for side in manifest.reach.encoder_px)
        for across, along in tiles(rows, columns, _side(tile_px, rows, columns), before, after):
            window = _padded(image, across.times(Z_PX), along.times(Z_PX))
            y_window, z_window = self._networks.analyse(window, rate)
            size = (across.stop - across.start, along.stop - along.start)
            checked_array("y", y_window, (manifest.M, factor * size[0], factor * size[1]))
            checked_array("z", z_window, (manifest.Z, *size))
            if (across.last - across.first, along.last - along.first) == (rows, columns):
                return y_window, z_window  # not cut, so not copied
            z[:, across.kept, along.kept] = z_window[:, across.inside, along.inside]
            across, along = across.times(factor), along.times(factor)
            y[:, across.kept, along.kept] = y_window[:, across.inside, along.inside]
        return y, z

    def _indexes(
        self, z: Symbols, tile_px: int, rate: Rate | None
    ) -> Iterator[tuple[Span, Span, Indexes]]:
        """(rows, columns) of y and the indexes there, for each tile."""
        manifest = self.bundle.manifest
        factor, reach = Z_PX // Y_PX, manifest.reach.hyper_z
        rows, columns = z.shape[1:]
        for across, along in tiles(rows, columns, _side(tile_px, rows, columns), reach, reach):
            index = self._networks.indexes(z[:, across.window, along.window], rate)
            across, along = across.times(factor), along.times(factor)
            checked_array(
                "index",
                index,
                (manifest.M, across.stop - across.start, along.stop - along.start),
            )
            yield across, along, np.ascontiguousarray(index[:, across.inside, along.inside])

    def _image(self, stream: Stream, y: Symbols, indexes: Indexes) -> Pixels:
        image = np.empty((stream.height, stream.width, 3), np.uint8)
        rate = self._rate_in(stream)
        reach = self.bundle.manifest.reach.decoder_y
        rows, columns = y.shape[1:]
        tile_px = stream.tile_px
        if rows * columns * Y_PX**2 > WHOLE_PIXELS:
            # Independent of the stream: its writer must not decide how much memory is taken here.
            tile_px = min(tile_px or TILE_PX, TILE_PX)
        side = _side(tile_px, rows, columns, Y_PX)
        for across, along in tiles(rows, columns, side, reach, reach):
            window = (slice(None), across.window, along.window)
            pixels = self._networks.synthesise(y[window], indexes[window], rate)
            across, along = across.times(Y_PX), along.times(Y_PX)
            checked_array(
                "image", pixels, (across.stop - across.start, along.stop - along.start, 3)
            )
            target = image[across.kept, along.kept]
            target[:] = pixels[across.inside, along.inside][: target.shape[0], : target.shape[1]]
        return image


def _tables(held: Mapping[str, Array], prefix: str, least: int) -> Tables:
    tables = Tables.from_arrays(held, prefix)
    if tables.count < least:
        raise InputError(
            f"the bundle has {tables.count} tables {prefix}, and {least} are needed: get the bundle again"
        )
    return tables


def _channels(shape: tuple[int, ...]) -> npt.NDArray[np.uint16]:
    """The table of each symbol of z in an array of this shape: the symbol's channel."""
    return np.repeat(np.arange(shape[0], dtype=np.uint16), shape[1] * shape[2])


def _side(tile_px: int, rows: int, columns: int, position_px: int = Z_PX) -> int:
    """The side of a tile in positions of `position_px` pixels; the longer of rows and columns if the image is not cut."""
    return tile_px // position_px if tile_px else max(rows, columns)


def _smallest(largest: int) -> type[np.signedinteger[Any]]:
    """The type in which many symbols are kept."""
    return np.int16 if largest <= np.iinfo(np.int16).max else np.int32


def _padded(image: Pixels, rows: Span, columns: Span) -> Pixels:
    """The window of `image`, padded by repeating its last row and column."""
    window = image[rows.window, columns.window]
    below = rows.stop - rows.start - window.shape[0]
    beside = columns.stop - columns.start - window.shape[1]
    if not below and not beside:
        return window
    return np.pad(window, ((0, below), (0, beside), (0, 0)), mode="edge")


def _check_image(image: Pixels, max_pixels: int) -> None:
    if not isinstance(image, np.ndarray):
        raise InputError(
            f"an image must be a uint8 array [H, W, 3] or an image of Pillow's, got {type(image).__name__}; read it with "
            "hwkd.images.read_rgb"
        )
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise InputError(
            f"an image must be a uint8 array [H, W, 3] with at least one pixel, got {image.dtype} "
            f"{list(image.shape)}; read it with hwkd.images.read_rgb"
        )
    if image.shape[0] * image.shape[1] > max_pixels:
        raise InputError(
            f"an image of {image.shape[1]}x{image.shape[0]} has {image.shape[0] * image.shape[1]} pixels, and "
            f"{max_pixels} are accepted; cut it"
        )


def _check_padded(width: int, height: int, max_pixels: int) -> None:
    """Refuse an image that is too large after padding: a strip one pixel high is padded to 64 times its pixels."""
    padded = -(-width // Z_PX) * -(-height // Z_PX) * Z_PX**2
    limit = 2 * max(max_pixels, WHOLE_PIXELS)
    if padded > limit:
        raise InputError(
            f"an image of {width}x{height} is padded to {padded} pixels, with sides of multiples of {Z_PX}, and {limit} "
            "are accepted; cut it"
        )


def _check_tile(tile_px: int) -> None:
    if tile_px % Z_PX or not 0 <= tile_px <= MAX_TILE_PX:
        raise InputError(
            f"tiles must have a side of 0 (no tiles) or a multiple of {Z_PX} up to {MAX_TILE_PX} pixels, got {tile_px}"
        )
