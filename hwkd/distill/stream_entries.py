"""An image that can be read alone: where its bytes lie, in a file or in a shard, and what its header says."""

import io
import struct
import warnings
from dataclasses import dataclass
from typing import IO

from PIL import Image

from hwkd.errors import InputError
from hwkd.image_pixels import Pixels
from hwkd.images import MAX_PIXELS, read_image

# What Pillow's readers raise on a header that is none.
_NO_HEADER = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    struct.error,
    Image.DecompressionBombError,
)


@dataclass(frozen=True, slots=True)
class Entry:
    """An image's bytes: `size` of them in `file`, from `offset` on. name: as messages call it. width, height: pixels."""

    name: str
    file: str
    offset: int
    size: int
    width: int
    height: int

    def pixels(self) -> Pixels:
        """The image as `hwkd.images.read_image` gives it, [H, W, 3] uint8.

        Raises:
            BrokenImage: as `read_image`.
            InputError: the file can no longer be read.
        """
        try:
            with open(self.file, "rb") as file:
                file.seek(self.offset)
                data = file.read(self.size)
        except OSError as error:
            raise InputError(
                f"cannot read {self.file}: {error.strerror}; it could be read when the run began: put it back and go "
                "on with --resume"
            ) from error
        return read_image(io.BytesIO(data), 2 * MAX_PIXELS, self.name).pixels


def header_size(data: IO[bytes]) -> tuple[int, int] | None:
    """(width, height) as the header of an image says, before any turn by EXIF; None where there is no such header.

    Images that `Entry.pixels` would refuse for their number of pixels have none.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns at half the size that is accepted.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(data) as image:
                return image.size
    except _NO_HEADER:
        return None
