"""Other bits for the weights of a quantized codec, its trained weights and activation scales as they are."""

from collections.abc import Mapping

from hwkd.bits import WEIGHT_BITS
from hwkd.errors import InputError
from hwkd.models.base import HyperpriorCodec
from hwkd.quantize.brevitas_qat import quantized_layers


def set_weight_bits(codec: HyperpriorCodec, bits: Mapping[str, int]) -> None:
    """Give the weights of the layers that `bits` names so many bits, in place; nothing is trained or calibrated anew.

    A weight's grid has no state (quantizers.py): its scales follow from the weights at each forward pass. So the codec
    computes what one does that is quantized with these bits and given the same state dict.

    Args:
        codec: quantized.
        bits: by layer, 2 to 8.
    Raises:
        InputError: a layer that `codec` has not, or bits out of range.
    """
    layers = quantized_layers(codec)
    for name, count in bits.items():
        if name not in layers or count not in WEIGHT_BITS:
            raise InputError(
                f"cannot give layer {name!r} {count} bits: accepted are {WEIGHT_BITS[0]} to {WEIGHT_BITS[-1]} for the "
                f"layers of a quantized model, {', '.join([*layers][:3])}, .."
            )
        proxy = layers[name].weight_quant
        proxy.quant_injector = proxy.quant_injector.let(bit_width=count)
        proxy.init_tensor_quant()
        proxy.train(layers[name].training)
