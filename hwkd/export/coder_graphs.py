"""Encoder and decoder graphs of a quantized codec of any family."""

import onnx

from hwkd.export.coder_ends import Latents
from hwkd.export.conv_graphs import Layers, conv_decoder, conv_encoder
from hwkd.export.graph_writer import Form
from hwkd.export.graphs import patch_decoder, patch_encoder
from hwkd.models.base import HyperpriorCodec
from hwkd.models.hyperprior import ConvHyperprior
from hwkd.models.patch import PatchCodec


def encoder_graph(
    codec: HyperpriorCodec, layers: Layers, latents: Latents, form: Form
) -> onnx.ModelProto:
    """g_a, h_a and rounding (hwkd/export/coder_ends.py)."""
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
