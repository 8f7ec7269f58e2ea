"""Metadata of an image file: its orientation, and the colour space of its pixels.

Pillow reports only a part of it, and refuses whole images for some damage in it. Colours of a space that the file declares
by numbers (primaries and a transfer function) are converted. If they cannot be, a note reports it: such colours are never
taken for sRGB silently.
"""

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

HEAD_BYTES = 2**16
"""The bytes at the start of a file that contain everything before its pixels."""

NOT_USABLE = "its metadata cannot be read and was passed over, its turn and its colours with it"

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = (
    b"IHDR",
    b"PLTE",
    b"tRNS",
    b"IDAT",
    b"IEND",
    b"gAMA",
    b"cHRM",
    b"sRGB",
    b"cICP",
    b"acTL",
)
_JPEG = b"\xff\xd8\xff"
_JPEG_KEPT = (0xE0, 0xEE)
"""The application segments that are kept: JFIF's, and Adobe's, which defines how the colours are stored."""
_SOS = 0xDA

_D65 = (0.3127, 0.3290)
_SRGB_PRIMARIES = (*_D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
"""White, red, green, blue, x and y of each (ITU-R BT.709, IEC 61966-2-1)."""
_ADOBE_RGB_PRIMARIES = (*_D65, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
_ADOBE_RGB_GAMMA = 563 / 256
"""Adobe RGB (1998), version 2005-05, section 4.3."""
_NEAR = 0.005
_SRGB_GAMMA = 1 / 2.2
_GAMMA_NEAR = 0.01

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The turn or flip for each orientation of EXIF (tag 274)."""

_PRIMARIES = {1: "BT.709", 9: "BT.2020", 11: "DCI-P3", 12: "Display P3", 22: "EBU 3213"}
_TRANSFERS = {1: "BT.709", 8: "linear", 13: "sRGB", 14: "BT.2020", 16: "PQ", 18: "HLG"}
"""The transfer functions of ITU-T H.273 that pictures use."""
_UNSPECIFIED = 2
_KNOWN_PRIMARIES = {
    1: _SRGB_PRIMARIES,
    9: (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    12: (*_D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
}
_KNOWN_GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0, 13: None}
"""The numbers of H.273 that are converted, as in `DeclaredSpace`. PQ and HLG need a display's brightness, and are not."""

_GAMMAS = (0.2, 5.0)
"""The range of exponents that are applied; outside of it, a file is taken to be damaged."""
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
"""From XYZ to the responses in which white points are adapted (ICC.1:2022, annex E)."""
_STEPS = 2**16 - 1
"""Steps of linear light between which sRGB's curve is looked up: the darkest 8-bit level is twenty of them."""


@dataclass(frozen=True)
class DeclaredSpace:
    """An RGB space that a file declares by numbers.

    Attributes:
        name: the space in words.
        gamma: linear light is a sample to the power of it; None for sRGB's curve.
        primaries: x and y of white, red, green and blue.
    """

    name: str
    gamma: float | None = None
    primaries: tuple[float, ...] = _SRGB_PRIMARIES

    def to_srgb(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """`pixels`, [H, W, 3] in this space, in sRGB. Colours outside of sRGB are clipped; white stays white.

        Raises:
            ValueError: numbers that make no space.
        """
        low, high = _GAMMAS
        if self.gamma is not None and not low <= self.gamma <= high:
            raise ValueError(f"gamma {self.gamma:g}")
        levels = np.arange(256, dtype=np.float32) / 255
        light = _linear(levels) if self.gamma is None else levels**self.gamma
        mixed = light.astype(np.float32)[pixels] @ self._to_linear_srgb().T
        stepped = (np.clip(mixed, 0, 1) * _STEPS + 0.5).astype(np.uint16)
        return _curve()[stepped]

    def _to_linear_srgb(self) -> npt.NDArray[np.float32]:
        return (np.linalg.inv(_to_d65(_SRGB_PRIMARIES)) @ _to_d65(self.primaries)).astype(
            np.float32
        )


def _linear(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Linear light of sRGB samples from 0 to 1 (IEC 61966-2-1)."""
    return np.where(samples <= 0.04045, samples / 12.92, ((samples + 0.055) / 1.055) ** 2.4)


def _curve() -> npt.NDArray[np.uint8]:
    """[_STEPS + 1], the 8-bit sRGB sample of each step of linear light."""
    light = np.arange(_STEPS + 1, dtype=np.float32) / _STEPS
    samples = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    levels: npt.NDArray[np.uint8] = np.rint(255 * samples).astype(np.uint8)
    return levels


def _to_d65(primaries: tuple[float, ...]) -> npt.NDArray[np.float64]:
    """[3, 3], from linear RGB of `primaries` to XYZ, with their white adapted to D65.

    Raises:
        ValueError: numbers that make no space.
    """
    xy = np.array(primaries, float).reshape(4, 2)
    if not np.isfinite(xy).all() or (xy[:, 1] <= 0).any():
        raise ValueError("primaries without light")
    white, *of_rgb = (np.array([x, y, 1 - x - y]) / y for x, y in xy)
    columns = np.stack(of_rgb, axis=1)
    if abs(np.linalg.det(columns)) < _NEAR:
        raise ValueError("primaries on one line")
    to_xyz = columns * np.linalg.solve(columns, white)
    x, y = _D65
    d65 = _BRADFORD @ np.array([x, y, 1 - x - y]) / y
    adapted = np.linalg.inv(_BRADFORD) @ np.diag(d65 / (_BRADFORD @ white)) @ _BRADFORD
    return np.asarray(adapted @ to_xyz)


def without_metadata(data: bytes) -> bytes | None:
    """The PNG or JPEG in `data` without metadata that its pixels do not need; None for another kind, or if nothing changes."""
    if data.startswith(_PNG):
        kept = _PNG + b"".join(part for kind, part in _chunks(data) if kind in _PNG_KEPT)
    elif data.startswith(_JPEG):
        kept = _bare_jpeg(data)
    else:
        return None
    return None if len(kept) == len(data) else kept


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(kind, the whole chunk) of each chunk of a PNG, as long as chunks are whole."""
    at = len(_PNG)
    while at + 8 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        yield data[at + 4 : at + 8], data[at : at + 12 + size]
        at += 12 + size


def _bare_jpeg(data: bytes) -> bytes:
    kept, at = [data[:2]], 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == _SOS:
            break
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        is_metadata = 0xE0 <= marker <= 0xEF or marker == 0xFE
        if not is_metadata or marker in _JPEG_KEPT:
            kept.append(data[at:end])
        at = end
    return b"".join([*kept, data[at:]])


def turn_of(image: Image.Image) -> tuple[Image.Transpose | None, tuple[str, ...]]:
    """The turn or flip of `image` by its EXIF data, and the messages if the data cannot be read.

    Call this before anything else reads the data: Pillow fails on damage only once, and takes the data for empty then.
    Pillow's exif_transpose writes the data anew, and fails on values that are not needed here.
    """
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1)), ()
    # Damage has no class of its own: the parser may raise anything.
    except Exception:
        return None, ("its EXIF data cannot be read, and whether it lies upright is not known",)


def colour_signals(image: Image.Image, head: bytes) -> tuple[DeclaredSpace | None, tuple[str, ...]]:
    """The space that the file declares by numbers, if it is not sRGB, and what else it declares, in words.

    The space is None where a colour profile, which Pillow passes on, counts instead.

    Args:
        head: the first HEAD_BYTES of the file.
    """
    has_profile = bool(image.info.get("icc_profile"))
    # Of several signals the strongest counts (PNG, third edition, section 4.3). In an AVIF it is the profile.
    found: DeclaredSpace | str = ""
    if not has_profile or image.format == "PNG":
        found = _coded_colours(image, head)
    if not found and not has_profile:
        found = _png(image) or _exif(image) or _tiff(image) or _bmp(head) or _jpeg_2000(image, head)
    said = []
    if found and not isinstance(found, DeclaredSpace):
        said.append(as_srgb(found))
    if ("icc_profile" in image.info and not has_profile) or _lacks_parts(image):
        said.append("its colour profile cannot be used and was dropped")
    return found if isinstance(found, DeclaredSpace) else None, tuple(said)


def as_srgb(what: str) -> str:
    """The note on colours that are not converted."""
    return f"its colours are {what}, and were taken as sRGB"


def _png(image: Image.Image) -> DeclaredSpace | None:
    if image.format != "PNG" or "srgb" in image.info:
        return None
    gamma, primaries = image.info.get("gamma"), image.info.get("chromaticity")
    parts: list[str] = []
    exponent, of_file = None, _SRGB_PRIMARIES
    if gamma is not None and abs(gamma - _SRGB_GAMMA) > _GAMMA_NEAR:
        parts.append(f"of gamma {gamma:.5g} (gAMA)")
        # gAMA is the exponent from light to a sample.
        exponent = 1 / gamma if gamma > 0 else math.inf
    if primaries is not None and len(primaries) == 8 and not _are_srgb(primaries):
        parts.append("of other primaries (cHRM)")
        of_file = primaries
    return DeclaredSpace(" and ".join(parts), exponent, of_file) if parts else None


def _are_srgb(primaries: tuple[float, ...]) -> bool:
    return len(primaries) == 8 and all(
        abs(a - b) <= _NEAR for a, b in zip(primaries, _SRGB_PRIMARIES, strict=True)
    )


def _coded_colours(image: Image.Image, head: bytes) -> DeclaredSpace | str:
    """The colours of a cICP chunk (PNG) or an nclx box (AVIF, HEIF): numbers of ITU-T H.273."""
    primaries = transfer = _UNSPECIFIED
    if image.format == "PNG":
        at = head.find(b"cICP")
        # The bytes could be pixels by chance; a chunk of this kind has four bytes of content.
        if (
            4 <= at <= len(head) - 6
            and head[at - 4 : at] == b"\0\0\0\4"
            and at < _start_of(head, b"IDAT")
        ):
            primaries, transfer = head[at + 4], head[at + 5]
    elif image.format in ("AVIF", "HEIF"):
        at = head.find(b"colrnclx")
        if at >= 0 and at + 12 <= len(head):
            primaries, transfer = struct.unpack_from(">HH", head, at + 8)
    # AVIF's usual transfer is BT.709's number for colours that are meant as sRGB.
    is_srgb = primaries in (1, _UNSPECIFIED) and transfer in (1, 6, 13, _UNSPECIFIED)
    if is_srgb or 0 in (primaries, transfer):
        return ""
    named = f"of H.273's {_PRIMARIES.get(primaries, primaries)} with transfer {_TRANSFERS.get(transfer, transfer)}"
    if image.format == "PNG":
        named += " (cICP)"
    # Unspecified ones are those that nearly all pictures have.
    known = _KNOWN_PRIMARIES.get(1 if primaries == _UNSPECIFIED else primaries)
    curve = 13 if transfer in (1, 6, _UNSPECIFIED) else transfer
    if known is None or curve not in _KNOWN_GAMMAS:
        return named
    return DeclaredSpace(named, _KNOWN_GAMMAS[curve], known)


def _start_of(head: bytes, kind: bytes) -> int:
    at = head.find(kind)
    return len(head) if at < 0 else at


def _exif(image: Image.Image) -> DeclaredSpace | str:
    try:
        exif = image.getexif()
        more = exif.get_ifd(ExifTags.IFD.Exif)
        has_index = ExifTags.IFD.Interop in more
        index = exif.get_ifd(ExifTags.IFD.Interop).get(1) if has_index else None
        space, gamma = more.get(ExifTags.Base.ColorSpace), more.get(ExifTags.Base.Gamma)
    except Exception:  # `turn_of` reports that the data cannot be read
        return ""
    if str(index).strip("\0 ") == "R03" or space == 2:
        return DeclaredSpace("Adobe RGB by its EXIF data", _ADOBE_RGB_GAMMA, _ADOBE_RGB_PRIMARIES)
    if isinstance(gamma, Real) and abs(float(gamma) - 2.2) > 0.05:
        return DeclaredSpace(f"of gamma {float(gamma):g} by its EXIF data", float(gamma))
    return "of no known space by its EXIF data" if space == 0xFFFF else ""


def _tiff(image: Image.Image) -> DeclaredSpace | str:
    tags: Any = getattr(image, "tag_v2", None)
    if tags is None:
        return ""
    try:
        white, primaries = tags.get(318), tags.get(319)
        if tags.get(301) is not None:
            return "of a transfer function of their own (tag 301)"
        if primaries is not None and len(primaries) == 6:
            found = tuple(map(float, (*(white or _D65), *primaries)))
            if not _are_srgb(found):
                return DeclaredSpace("of other primaries (tag 319)", None, found)
    except (TypeError, ValueError, ZeroDivisionError):
        return ""
    return ""


def _bmp(head: bytes) -> str:
    """The colour space in a BMP's header of version 4 or 5 (BITMAPV4HEADER)."""
    if head[:2] != b"BM" or len(head) < 122 or int.from_bytes(head[14:18], "little") < 108:
        return ""
    kind = head[70:74]
    if kind in (b"DEBM", b"KNIL"):  # "MBED" and "LINK", the lowest byte first
        return "of a colour profile, which BMP's reader does not hand on"
    has_primaries = any(head[74:122])
    if kind == bytes(4) and has_primaries:
        return "of primaries and gammas of their own (BMP)"
    return ""


def _jpeg_2000(image: Image.Image, head: bytes) -> str:
    if image.format != "JPEG2000":
        return ""
    at = head.find(b"colr")
    if at < 0 or at + 11 > len(head):
        return ""
    method = head[at + 4]
    if method in (2, 3):
        return "of a colour profile, which JPEG 2000's reader does not hand on"
    (space,) = struct.unpack_from(">I", head, at + 7)
    # sRGB, grey and sYCC, which its reader turns into RGB.
    return "" if method != 1 or space in (16, 17, 18) else f"of space {space} of JPEG 2000"


def _lacks_parts(image: Image.Image) -> bool:
    """Whether a JPEG holds a part of a colour profile and Pillow has not assembled it."""
    parts = [d for name, d in getattr(image, "applist", ()) if name == "APP2"]
    return not image.info.get("icc_profile") and any(d.startswith(b"ICC_PROFILE\0") for d in parts)
