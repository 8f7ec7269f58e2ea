"""Encoder and decoder graphs of the families of hwkd/models/hyperprior.py: gdn and relu."""

from collections.abc import Iterable

import onnx
from torch import Tensor

from hwkd.export.graph_writer import Form, GraphWriter
from hwkd.export.graphs import (
    Graphs,
    LatentRanges,
    Layers,
    Operations,
    chain,
    convolution_steps,
    decoder_model,
    encoder_model,
    open_image,
    open_symbols,
)
from hwkd.models.hyperprior import ConvHyperprior
from hwkd.quantize.qat import SYMBOL_MAX


def _encoder(
    codec: ConvHyperprior, layers: Layers, latents: LatentRanges, form: Form
) -> onnx.ModelProto:
    """g_a, then h_a on |y|."""
    graph = GraphWriter(form)
    y = chain(graph, open_image(graph), codec.g_a, "g_a", layers)
    z = chain(graph, graph.node("Abs", [y]), codec.h_a, "h_a", layers)
    return encoder_model(graph, y, z, latents)


def _decoder(
    codec: ConvHyperprior, layers: Layers, latents: LatentRanges, form: Form
) -> onnx.ModelProto:
    """g_s."""
    graph = GraphWriter(form)
    x_hat = chain(graph, open_symbols(graph, latents), codec.g_s, "g_s", layers)
    return decoder_model(graph, x_hat, latents)


def _latents(
    codec: ConvHyperprior, images: Iterable[Tensor]
) -> tuple[ConvHyperprior, LatentRanges]:
    """Every symbol has 8 bits, as in training."""
    return codec, LatentRanges(codec.M, codec.Z, SYMBOL_MAX, SYMBOL_MAX, codec.M)


def _operations(codec: ConvHyperprior) -> Operations:
    g_a, h_a, h_s, g_s = (convolution_steps(codec, f"{t}.") for t in ("g_a", "h_a", "h_s", "g_s"))
    return Operations(g_a, h_a, h_s, g_s)


GRAPHS = Graphs(_encoder, _decoder, _latents, _operations)
