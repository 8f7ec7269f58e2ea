"""Encoder and decoder graphs of the families gdn and relu."""

from collections.abc import Mapping
from typing import cast

import onnx
from torch import nn

from hwkd.errors import HwkdError
from hwkd.export.coder_ends import Latents, decoder_model, encoder_model, open_image, open_symbols
from hwkd.export.float_graphs import FrozenGDN
from hwkd.export.graph_writer import Form, GraphWriter
from hwkd.models.compat import GDN
from hwkd.models.hyperprior import ConvHyperprior
from hwkd.quantize.integer import IntegerLayer

Layers = Mapping[str, IntegerLayer]


def conv_encoder(
    codec: ConvHyperprior, layers: Layers, latents: Latents, form: Form
) -> onnx.ModelProto:
    """g_a, then h_a on |y|."""
    graph = GraphWriter(form)
    y = chain(graph, open_image(graph), codec.g_a, "g_a", layers)
    z = chain(graph, graph.node("Abs", [y]), codec.h_a, "h_a", layers)
    return encoder_model(graph, y, z, latents)


def conv_decoder(
    codec: ConvHyperprior, layers: Layers, latents: Latents, form: Form
) -> onnx.ModelProto:
    """g_s."""
    graph = GraphWriter(form)
    x_hat = chain(graph, open_symbols(graph, latents), codec.g_s, "g_s", layers)
    return decoder_model(graph, x_hat, latents)


def chain(graph: GraphWriter, x: str, transform: nn.Module, name: str, layers: Layers) -> str:
    """The layers of a Sequential called `name`, one after the other."""
    for i, module in enumerate(cast(nn.Sequential, transform)):
        layer = layers.get(f"{name}.{i}")
        if layer is not None:
            x = graph.convolution(x, layer)
        elif isinstance(module, nn.ReLU):
            x = graph.relu(x)
        elif isinstance(module, GDN):
            x = _gdn(graph, x, FrozenGDN(module), f"{name}.{i}")
        else:
            raise HwkdError(f"{name}.{i} is a {type(module).__name__}, which no graph is known for")
    return x


def _gdn(graph: GraphWriter, x: str, gdn: FrozenGDN, name: str) -> str:
    """x / sqrt(beta + gamma x^2), or times it for the inverse, in float32."""
    weights = [
        graph.constant(f"{name}.gamma", gdn.gamma.numpy()),
        graph.constant(f"{name}.beta", gdn.beta.numpy()),
    ]
    square = graph.node("Mul", [x, x])
    norm = graph.node("Sqrt", [graph.node("Conv", [square, *weights], kernel_shape=[1, 1])])
    return graph.node("Mul" if gdn.inverse else "Div", [x, norm])
