"""Setting the activations' scales from real images, before training or instead of it."""

import math
import warnings
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from brevitas.core.restrict_val import PowerOfTwoRestrictValue
from brevitas.core.scaling import ParameterFromRuntimeStatsScaling
from torch import Tensor, nn

from hwkd.errors import InputError
from hwkd.models.base import HyperpriorCodec
from hwkd.models.patch import PatchCodec
from hwkd.qualities import DEFAULT_QUALITY, HIGHEST, LOWEST, lmbda_at
from hwkd.quantize.brevitas_qat import quantized_layers
from hwkd.quantize.inputs import TRANSFORMS

SYMBOL_MAX = 127

# An activation that is silent on the calibration images keeps a range of this at least, so that it can come back in
# training. (Brevitas' own floor, scaling_min_val, acts on the range in training but on the scale in evaluation.)
_SMALLEST_RANGE = 2.0**-10

_QUALITIES = (LOWEST, DEFAULT_QUALITY, HIGHEST)


@dataclass(frozen=True)
class Calibration:
    """What calibration saw.

    images: their number, each once. largest_y, largest_z: the largest |symbol|, after rounding. clipped_y_fraction: the share
    of y outside the 8 bits that `gdn` and `relu` give it at the entry of g_s (not clipped in `patch`).
    """

    images: int
    largest_y: int
    largest_z: int
    clipped_y_fraction: float


@torch.no_grad()
def calibrate(codec: HyperpriorCodec, batches: Iterable[Tensor]) -> Calibration:
    """Set each learned activation scale to the mean over `batches` of its input's 99.999th percentile of |value|; in g_a
    of `patch` to the largest |value|.

    There the trunk's channels reach far on a few patches, whose latents clipping would change by steps: at
    quality 100 the percentile cost 0.4 % of RD more. In g_s finer steps are worth more than those few.

    Runs the float weights on real images (Brevitas' calibration mode) with rounded latents; no weight changes, and
    earlier scales are forgotten. Afterwards each scale is a plain parameter. Deterministic on a CPU.

    A codec of all rates sees each batch at the lowest, the middle and the highest quality at once, so that a scale fits
    what is largest among them; afterwards it stands at DEFAULT_QUALITY, as a new one does.

    Args:
        codec: quantized.
        batches: images, [B, 3, H, W] in [0, 1], H and W multiples of 64.
    Raises:
        InputError: no batch; a codec that is not quantized.
    """
    with warnings.catch_warnings():
        # Brevitas announces at import that an optional package of GPU kernels is absent.
        warnings.simplefilter("ignore", UserWarning)
        from brevitas.graph.calibrate import calibration_mode
    if not quantized_layers(codec):
        raise InputError("this model is not quantized; quantize it before it is calibrated")
    for scaling in _learned_scales(codec):
        scaling.counter = 0
        scaling.buffer.fill_(1)
        scaling.value.fill_(1)
    was_training = codec.training
    codec.eval()
    images, outside, values, largest_y, largest_z = 0, 0, 0, 0, 0
    encoder = {
        layer: torch.zeros(())
        for name, layer in quantized_layers(codec).items()
        if isinstance(codec, PatchCodec) and name.startswith("g_a.") and _learned_scales(layer)
    }

    def see(layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        encoder[layer] = torch.maximum(encoder[layer], arguments[0].abs().max())

    with ExitStack() as stack:
        for layer in encoder:
            stack.enter_context(layer.register_forward_pre_hook(see))
        # Not the codec as a whole: Brevitas takes the entropy model's number `init_scale` for a method of its own.
        for transform in TRANSFORMS:
            stack.enter_context(calibration_mode(getattr(codec, transform)))
        for x in batches:
            images += len(x)
            if codec.serves_all_rates:
                lmbdas = torch.tensor([lmbda_at(quality) for quality in _QUALITIES])
                codec.set_lmbda(lmbdas.repeat_interleave(len(x)))
                x = x.repeat(len(_QUALITIES), 1, 1, 1)
            output = codec(x)
            y_hat, z_hat = output.y_hat, output.z_hat
            outside += int((y_hat.abs() > SYMBOL_MAX).sum())
            values += y_hat.numel()
            largest_y = max(largest_y, int(y_hat.abs().max()))
            largest_z = max(largest_z, int(z_hat.abs().max()))
    codec.set_lmbda(lmbda_at(DEFAULT_QUALITY))
    for layer, largest in encoder.items():
        for scaling in _learned_scales(layer):
            scaling.value.fill_(largest)
    for scaling in _learned_scales(codec):
        is_log2 = isinstance(scaling.restrict_scaling.restrict_value_impl, PowerOfTwoRestrictValue)
        scaling.value.clamp_(min=math.log2(_SMALLEST_RANGE) if is_log2 else _SMALLEST_RANGE)
    codec.train(was_training)
    if not images:
        raise InputError(
            "calibration needs at least one image, got none; give a folder of photographs"
        )
    return Calibration(images, largest_y, largest_z, outside / values)


def is_calibrated(codec: HyperpriorCodec) -> bool:
    """Whether every learned activation scale was set, by `calibrate` or by loading a state dict."""
    scales = _learned_scales(codec)
    return bool(quantized_layers(codec)) and all(s.counter > s.collect_stats_steps for s in scales)


def _learned_scales(codec: nn.Module) -> list[ParameterFromRuntimeStatsScaling]:
    return [m for m in codec.modules() if isinstance(m, ParameterFromRuntimeStatsScaling)]
