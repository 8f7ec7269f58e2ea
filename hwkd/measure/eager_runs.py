"""One encode and one decode of an image in eager torch, ready to be repeated while energy is measured."""

from collections.abc import Callable, Mapping

import torch

from hwkd.images import Pixels
from hwkd.measure.eager.coding import decode, encode
from hwkd.models.base import HyperpriorCodec
from hwkd.models.image_tensors import padded

Runs = Mapping[str, Callable[[], object]]
"""By side."""


def whole_runs(codec: HyperpriorCodec, image: Pixels) -> Runs:
    """Pixels to bytes and bytes to pixels."""
    stream = encode(codec, image)
    return {"encode": lambda: encode(codec, image), "decode": lambda: decode(codec, stream)}


def network_runs(codec: HyperpriorCodec, image: Pixels) -> Runs:
    """The networks alone, for random weights."""
    x = padded(image, codec.downsampling_factor)
    y = codec.g_a(x)
    z_hat, y_hat = torch.round(codec.hyper_analysis(y)), torch.round(y)
    return {
        "encode": lambda: (codec.hyper_analysis(codec.g_a(x)), codec.entropy_parameters(z_hat)),
        "decode": lambda: (codec.entropy_parameters(z_hat), codec.g_s(y_hat)),
    }
