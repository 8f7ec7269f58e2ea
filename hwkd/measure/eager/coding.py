"""Real bytes from a codec in torch, for evaluation.

The container (little-endian): magic "HWKE", version u8, width u16, height u16, length of z u32, length of y u32,
CRC-32 u32 of everything else; then z, then y, as compressai's range coder writes them. It is not the product's
stream (.hwk): the entropy path is float here, so bytes decode only on the machine, with the torch, and under the
settings (threads, device) that wrote them. It exists so that bpp is a length of bytes and x_hat comes out of them.
"""

import math
import struct
import zlib
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from hwkd.errors import HwkdError, InputError
from hwkd.images import MAX_PIXELS, Pixels
from hwkd.measure.coder import StepClock
from hwkd.measure.eager.macs import eval_mode
from hwkd.models.base import HyperpriorCodec, padded, to_pixels

MAGIC = b"HWKE"
VERSION = 1
MAX_SIDE = 0xFFFF
_FIELDS = struct.Struct("<4sBHHII")
_CRC = struct.Struct("<I")
HEADER_BYTES = _FIELDS.size + _CRC.size


@dataclass(frozen=True)
class Latents:
    """What the encoder makes of one image, in evaluation mode.

    y: [1, M, H/16, W/16], z: [1, Z, H/64, W/64] with H and W the padded size; z_string: z coded;
    scales_hat, means_hat: the prior of y, of y's shape (means None where zero). width, height: of the image itself.
    """

    y: Tensor
    z: Tensor
    z_string: bytes
    scales_hat: Tensor
    means_hat: Tensor | None
    width: int
    height: int


def encode(codec: HyperpriorCodec, image: Pixels) -> bytes:
    """The bytes of `image`, [H, W, 3] uint8, any size from 1x1: `analyse`, then `write`.

    The image is padded to multiples of 64 by repeating its last row and column.

    Raises:
        InputError: not such an array, or a side or an area over the limits.
        HwkdError: the networks gave values that are not finite.
    """
    return write(codec, analyse(codec, image))


def analyse(codec: HyperpriorCodec, image: Pixels) -> Latents:
    """Run g_a, h_a and h_s over `image`; h_s sees z as the decoder will read it. Raises as `encode`."""
    _check_image(image)
    height, width = image.shape[:2]
    with eval_mode(codec):
        make_tables(codec)
        x = padded(image, codec.downsampling_factor).to(_device(codec))
        y = codec.g_a(x)
        z = codec.hyper_analysis(y)
        if not (torch.isfinite(y).all() and torch.isfinite(z).all()):
            raise HwkdError(
                "the encoder gave values that are not finite, so the weights are damaged or training diverged; "
                "use an earlier checkpoint"
            )
        (z_string,) = codec.entropy_bottleneck.compress(z)
        scales_hat, means_hat = _prior(codec, z_string, (z.shape[2], z.shape[3]))
        y = codec.residual(y)
    return Latents(y, z, z_string, scales_hat, means_hat, width, height)


def write(codec: HyperpriorCodec, latents: Latents) -> bytes:
    """The container around the coded z and y of `latents`."""
    with eval_mode(codec):
        indexes = codec.gaussian_conditional.build_indexes(latents.scales_hat)
        (y_string,) = codec.gaussian_conditional.compress(latents.y, indexes, latents.means_hat)
    z_string = latents.z_string
    fields = _FIELDS.pack(
        MAGIC, VERSION, latents.width, latents.height, len(z_string), len(y_string)
    )
    body: bytes = z_string + y_string
    return fields + _CRC.pack(zlib.crc32(fields + body)) + body


def decode(codec: HyperpriorCodec, data: bytes) -> Pixels:
    """The image, [H, W, 3] uint8, in bytes that `encode` wrote with the same codec on this machine.

    The CRC finds damage, not bytes of another codec: those give another image.

    Raises:
        InputError: not such bytes, cut short, damaged, or of a size over the limit.
    """
    width, height, z_string, y_string = _read(data)
    factor = codec.downsampling_factor
    z_size = (math.ceil(height / factor), math.ceil(width / factor))
    with eval_mode(codec):
        make_tables(codec)
        scales_hat, means_hat = _prior(codec, z_string, z_size)
        indexes = codec.gaussian_conditional.build_indexes(scales_hat)
        y_hat = codec.gaussian_conditional.decompress([y_string], indexes, means=means_hat)
        x_hat = codec.g_s(codec.decoded(y_hat, scales_hat))
    return to_pixels(x_hat, width, height)


@dataclass(frozen=True)
class TorchCodec:
    """A model that torch runs, as hwkd.measure.coder.ImageCodec: whole runs, without steps."""

    codec: HyperpriorCodec
    name: str
    setting: str
    threads: int
    clock: StepClock | None = None
    entropy: tuple[str, ...] = ()

    def encode(self, image: Pixels) -> bytes:
        """As `encode` of this module."""
        return encode(self.codec, image)

    def decode(self, stream: bytes) -> Pixels:
        """As `decode` of this module."""
        return decode(self.codec, stream)


def bits_estimated(codec: HyperpriorCodec, latents: Latents) -> float:
    """-log2 of the likelihoods of the rounded latents, summed, in bits: what an ideal entropy coder would write."""
    with eval_mode(codec):
        _, z_likelihoods = codec.entropy_bottleneck(latents.z)
        _, y_likelihoods = codec.gaussian_conditional(
            latents.y, latents.scales_hat, means=latents.means_hat
        )
        return -float(z_likelihoods.double().log2().sum() + y_likelihoods.double().log2().sum())


def make_tables(codec: HyperpriorCodec, *, anew: bool = False) -> None:
    """Make the codec's coding tables where it has none, or `anew` (after training has changed the weights)."""
    with torch.no_grad():
        codec.update(force=anew)


def _prior(
    codec: HyperpriorCodec, z_string: bytes, z_size: tuple[int, int]
) -> tuple[Tensor, Tensor | None]:
    """The prior of y from the coded z: the one path that both sides take."""
    z_hat = codec.entropy_bottleneck.decompress([z_string], z_size)
    return codec.entropy_parameters(z_hat)


def _device(codec: HyperpriorCodec) -> torch.device:
    return cast(torch.device, next(codec.parameters()).device)


def _check_image(image: Pixels) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise InputError(
            f"an image must be a uint8 array [H, W, 3] with at least one pixel, got {image.dtype} "
            f"{list(image.shape)}; read it with hwkd.images.read_rgb"
        )
    _check_size(image.shape[1], image.shape[0])


def _check_size(width: int, height: int) -> None:
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise InputError(
            f"{width}x{height} is too large: a side may have {MAX_SIDE} pixels and an image {MAX_PIXELS}; cut it"
        )


def _read(data: bytes) -> tuple[int, int, bytes, bytes]:
    """(width, height, z, y), everything checked before anything is decoded."""
    if len(data) < HEADER_BYTES or not data.startswith(MAGIC):
        raise InputError(
            f"not an evaluation stream: {len(data)} bytes starting {data[:4]!r}, expected {HEADER_BYTES} or more "
            f"starting {MAGIC!r}; encode the image again"
        )
    _, version, width, height, z_length, y_length = _FIELDS.unpack_from(data)
    (crc,) = _CRC.unpack_from(data, _FIELDS.size)
    if version != VERSION:
        raise InputError(
            f"an evaluation stream of version {version}; this hwkd reads {VERSION}: encode the image again"
        )
    if len(data) != HEADER_BYTES + z_length + y_length:
        raise InputError(
            f"the stream has {len(data)} bytes where its header says {HEADER_BYTES + z_length + y_length}: "
            "it is cut short or has grown; encode the image again"
        )
    body = data[HEADER_BYTES:]
    if zlib.crc32(data[: _FIELDS.size] + body) != crc:
        raise InputError("the stream is damaged (its CRC-32 differs); encode the image again")
    if width == 0 or height == 0:
        raise InputError(f"the stream's size is {width}x{height}; encode the image again")
    _check_size(width, height)
    return width, height, body[:z_length], body[z_length:]
