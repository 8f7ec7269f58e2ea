"""Encoder and decoder graphs of a quantized codec of any family."""

import onnx

from hwkd.deploy.coder_ends import Latents
from hwkd.deploy.conv_graphs import Layers, conv_decoder, conv_encoder
from hwkd.deploy.graph import Form
from hwkd.deploy.patch_graphs import patch_decoder, patch_encoder
from hwkd.models.base import HyperpriorCodec
from hwkd.models.hyperprior import ConvHyperprior
from hwkd.models.patch import PatchCodec


def encoder_graph(
    codec: HyperpriorCodec, layers: Layers, latents: Latents, form: Form
) -> onnx.ModelProto:
    """g_a, h_a and rounding (hwkd/deploy/coder_ends.py)."""
    if isinstance(codec, PatchCodec):
        return patch_encoder(codec, layers, latents, form)
    assert isinstance(codec, ConvHyperprior)  # nothing else is quantized
    return conv_encoder(codec, layers, latents, form)


def decoder_graph(
    codec: HyperpriorCodec, layers: Layers, latents: Latents, form: Form
) -> onnx.ModelProto:
    """g_s and rounding."""
    if isinstance(codec, PatchCodec):
        return patch_decoder(codec, layers, latents, form)
    assert isinstance(codec, ConvHyperprior)
    return conv_decoder(codec, layers, latents, form)
