"""A plugin for Pillow: after `import hwkd.pillow`, Image.open reads streams (.hwk) and Image.save writes them.

    image.save("a.hwk", quality=75)                            with the default bundle
    image.save("a.hwk", model="patch-small", max_bytes=20_000)
    Image.open("a.hwk")                                        size and mode at once, pixels when they are needed

save takes quality, max_bytes, bpp and min_psnr_db, as hwkd.Codec.encode; and model, as hwkd.Codec.load. open finds the
bundle by the stream: among those that ship, beside the file, in the current folder. If hwkd refuses something, an OSError
with its message is raised. A file that cannot be opened at all raises UnidentifiedImageError, which is an OSError.
"""

import atexit
import os
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import IO, Any

from PIL import Image, ImageFile, UnidentifiedImageError

from hwkd.codec.codec import Codec
from hwkd.codec.shipped import BundleIndex, default_bundle, named_bundle
from hwkd.codec.stream import LEAST_BYTES, MAGIC, read_size, unpack
from hwkd.errors import HwkdError, InputError
from hwkd.images import MAX_PIXELS

FORMAT = "HWK"
KEPT_CODECS = 2
"""Opening a bundle's networks takes longer than coding an image."""
_ASKED = ("quality", "max_bytes", "bpp", "min_psnr_db")
_ONE_AT_A_TIME = Lock()
"""A codec is for one thread; Pillow's users have many."""


class HwkImageFile(ImageFile.ImageFile):
    """A stream that is decoded when its pixels are needed."""

    format = FORMAT
    format_description = "hwkd stream"
    _is_decoded = False

    def _open(self) -> None:
        assert self.fp is not None
        self._start = self.fp.tell()
        try:
            self._size = read_size(self.fp.read(LEAST_BYTES))
        except InputError as error:
            raise UnidentifiedImageError(str(error)) from error
        self._mode = "RGB"
        self.tile = []

    def load(self) -> Any:
        """Decode, once. Raises OSError: a damaged stream, or no bundle of its model."""
        if not self._is_decoded:
            self._decode()
        return super().load()

    def _decode(self) -> None:
        assert self.fp is not None
        self.fp.seek(self._start)
        data = self.fp.read()
        # Pillow has judged the size when it opened the file, by its own limit.
        most = max(MAX_PIXELS, self.width * self.height)
        try:
            stream = unpack(data, most)
            beside = Path(os.fsdecode(self.filename)).parent if self.filename else Path()
            path = BundleIndex().bundle_of(stream.model_id, beside, None)
            with _ONE_AT_A_TIME:
                pixels = _codec(path).decode(data, most)
        except HwkdError as error:
            raise OSError(str(error)) from error
        if self._exclusive_fp:
            self.fp.close()
        self.fp = None
        self.im = Image.fromarray(pixels).im
        self._is_decoded = True


def _save(image: Image.Image, file: IO[bytes], _name: str | bytes) -> None:
    given: dict[str, Any] = image.encoderinfo
    model = given.get("model")
    try:
        if model is None:
            path = default_bundle()
        else:
            path = named_bundle(model) if isinstance(model, str) else Path(model)
        asked = {name: given[name] for name in _ASKED if name in given}
        with _ONE_AT_A_TIME:
            data = _codec(path).encode(image, **asked)
    except HwkdError as error:
        raise OSError(str(error)) from error
    file.write(data)


def _codec(path: Path) -> Codec:
    """The codec of the bundle at `path`, as that file is now."""
    changed_ns = path.stat().st_mtime_ns if path.exists() else 0
    return _kept(path, changed_ns)


@lru_cache(KEPT_CODECS)
def _kept(path: Path, _changed_ns: int) -> Codec:
    return Codec.load(path)


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(MAGIC)


# Before Python takes modules apart: a runtime's session needs its own to end.
atexit.register(_kept.cache_clear)

Image.register_open(FORMAT, HwkImageFile, _accept)
Image.register_save(FORMAT, _save)
Image.register_extension(FORMAT, ".hwk")
Image.register_mime(FORMAT, "image/x-hwk")
