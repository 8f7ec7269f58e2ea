"""Quantization-aware training with Brevitas: a codec's convolutions become fake-quantized ones, in place."""

from types import MethodType
from typing import TypeAlias

import torch
from brevitas.nn import QuantConv2d, QuantConvTranspose2d
from torch import nn

from hwkd.bits import BitPlan
from hwkd.errors import InputError
from hwkd.models.base import HyperpriorCodec
from hwkd.quantize.inputs import ENTROPY_PATH, Layer, LayerInput, conv_layers, layer_inputs
from hwkd.quantize.quantizers import BIAS, input_quantizer, weight_quantizer

QuantLayer: TypeAlias = QuantConv2d | QuantConvTranspose2d


def quantize(codec: HyperpriorCodec, plan: BitPlan) -> None:
    """Replace every convolution of g_a, h_a, h_s, g_s by its Brevitas counterpart with the same weights, in place.

    Weights: signed, narrow range, one scale per output channel. Biases: 32 bits. Inputs: as inputs.py says. h_s has
    power-of-two scales only, and takes integers: the medians of the entropy bottleneck are rounded, so that
    z_hat = round(z - median) + median is one. Training moves them again: call `round_medians` before evaluating.

    Parameter names stay; each learned activation adds one scalar parameter. The order is quantize, then `calibrate` or
    load_state_dict (a calibrated model's state dict brings the scales), then training; a model that is neither
    calibrated nor loaded would set its scales from its first training batches, unseen by a checkpoint.

    Use float32 (1.3 times the time of a float step). bf16 autocast runs, and may be used to train, but products of
    integer and scale are then rounded to 8 significant bits, so that layers leave their grids and h_s is not exact.

    Raises:
        InputError: already quantized; a teacher-only family; a pattern of the plan that matches no layer.
    """
    if quantized_layers(codec):
        raise InputError("this model is already quantized; start from its float checkpoint")
    inputs = layer_inputs(codec)
    plan.check_patterns(inputs)
    for name, layer in conv_layers(codec).items():
        parent, _, child = name.rpartition(".")
        quantized = _quantized(layer, name, inputs[name], plan)
        setattr(codec.get_submodule(parent), child, quantized)
    round_medians(codec)


@torch.no_grad()
def round_medians(codec: HyperpriorCodec) -> None:
    """Round the medians of z's entropy model, [Z, 1, 3] at index 1, to integers, in place."""
    codec.entropy_bottleneck.quantiles[:, :, 1].round_()


def quantized_layers(codec: HyperpriorCodec) -> dict[str, QuantLayer]:
    """The fake-quantized convolutions by name; empty before `quantize`."""
    return {
        name: layer
        for name, layer in conv_layers(codec).items()
        if isinstance(layer, QuantConv2d | QuantConvTranspose2d)
    }


def _quantized(layer: Layer, name: str, layer_input: LayerInput, plan: BitPlan) -> QuantLayer:
    weight_bits, act_bits = plan.bits_for(name)
    power_of_two = name.startswith(ENTROPY_PATH)
    arguments = {
        "in_channels": layer.in_channels,
        "out_channels": layer.out_channels,
        "kernel_size": layer.kernel_size,
        "stride": layer.stride,
        "padding": layer.padding,
        "dilation": layer.dilation,
        "groups": layer.groups,
        "bias": layer.bias is not None,
        "weight_quant": weight_quantizer(weight_bits, power_of_two=power_of_two),
        "bias_quant": BIAS,
        "input_quant": input_quantizer(layer_input, act_bits, power_of_two=power_of_two),
        "return_quant_tensor": False,
    }
    # Building a layer draws initial weights; the caller's stream of random numbers must not notice.
    with torch.random.fork_rng(devices=[]):
        quantized = (
            QuantConvTranspose2d(**arguments, output_padding=layer.output_padding)
            if isinstance(layer, nn.ConvTranspose2d)
            else QuantConv2d(**arguments)
        )
    # At each load of a state dict Brevitas builds a new scale parameter, which an optimizer made before would no
    # longer train; its export wants this very class, so the method is replaced on the object.
    quantized.input_quant.__dict__["_load_from_state_dict"] = MethodType(
        nn.Module._load_from_state_dict, quantized.input_quant
    )
    quantized.weight = layer.weight
    quantized.bias = layer.bias
    quantized.train(layer.training)
    return quantized
