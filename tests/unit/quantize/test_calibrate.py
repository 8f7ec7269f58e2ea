import math

import pytest
import torch
from torch import Tensor

from hwkd.bits import BitPlan
from hwkd.errors import InputError
from hwkd.models.base import HyperpriorCodec
from hwkd.models.spec import PatchSpec
from hwkd.quantize.brevitas_qat import quantize, quantized_layers
from hwkd.quantize.inputs import conv_layers, layer_inputs
from hwkd.quantize.qat import calibrate, is_calibrated
from tests.unit.quantize.conftest import lively

LMBDAS = (0.0018, 0.0018 * 100 ** (49 / 99), 0.18)
"""Of qualities 1, 50 and 100: 50 is 49 of 99 steps up from 0.0018 to a hundred times that."""


def test_scale_is_the_largest_input_over_the_integer_range(
    codec: HyperpriorCodec, images: Tensor
) -> None:
    peaks: dict[str, float] = {}

    def keep(name: str) -> object:
        return lambda _, args: peaks.__setitem__(
            name, max(peaks.get(name, 0), float(args[0].abs().max()))
        )

    for name, layer in conv_layers(codec).items():
        layer.register_forward_pre_hook(keep(name))
    with torch.no_grad():
        for lmbda in LMBDAS:
            codec(images, lmbda=lmbda)
    quantize(codec, BitPlan())
    calibrate(codec, [images])
    checked = 0
    for name, layer_input in layer_inputs(codec).items():
        if layer_input.kind != "activation" or name.startswith("h_s."):
            continue
        top = 128 if layer_input.signed else 255
        # Fewer than 100,000 values: the 99.999th percentile is the maximum or its neighbour.
        scale = float(quantized_layers(codec)[name].input_quant.scale())
        assert scale == pytest.approx(max(peaks[name], 2**-10) / top, rel=0.05), name
        checked += 1
    assert checked > 3


def test_calibration_repeats_exactly_and_forgets_what_was(
    codec: HyperpriorCodec, images: Tensor
) -> None:
    quantize(codec, BitPlan())
    calibrate(codec, [images])
    first = {k: v.clone() for k, v in codec.state_dict().items()}
    calibrate(codec, [images * 0.1])
    assert any(not torch.equal(v, first[k]) for k, v in codec.state_dict().items())
    calibrate(codec, [images])
    assert all(torch.equal(v, first[k]) for k, v in codec.state_dict().items())


def test_calibration_changes_no_weight_and_keeps_the_mode(
    codec: HyperpriorCodec, images: Tensor
) -> None:
    quantize(codec, BitPlan())
    before = {k: v.clone() for k, v in codec.state_dict().items() if "scaling_impl" not in k}
    codec.train()
    assert not is_calibrated(codec)
    calibrate(codec, [images])
    assert is_calibrated(codec)
    assert codec.training and all(m.training for m in codec.modules())
    assert all(torch.equal(v, codec.state_dict()[k]) for k, v in before.items())


def test_calibration_counts_images_and_clipped_latents(
    codec: HyperpriorCodec, images: Tensor
) -> None:
    quantize(codec, BitPlan())
    with torch.no_grad():
        last = quantized_layers(codec)["g_a.linear" if hasattr(codec.g_a, "linear") else "g_a.6"]
        last.bias[0] = 500.0
    seen = calibrate(codec, [images, images[:1]])
    assert seen.images == 3
    # A codec of all rates is seen at the highest quality, too, with the gain that stands there.
    gain = math.sqrt(0.18 / 0.025) if codec.serves_all_rates else 1
    assert 450 <= seen.largest_y / gain <= 550
    # One of the 12 channels of y lies beyond 127, everywhere.
    assert seen.clipped_y_fraction == pytest.approx(1 / 12)


def test_training_right_after_calibration_keeps_the_scales(
    codec: HyperpriorCodec, images: Tensor
) -> None:
    quantize(codec, BitPlan())
    calibrate(codec, [images])
    before = {k: v.clone() for k, v in codec.state_dict().items()}
    codec.train()
    codec(images)
    assert all(torch.equal(v, before[k]) for k, v in codec.state_dict().items())


def test_no_image_is_refused(codec: HyperpriorCodec) -> None:
    quantize(codec, BitPlan())
    with pytest.raises(InputError) as error:
        calibrate(codec, [])
    assert (
        str(error.value)
        == "calibration needs at least one image, got none; give a folder of photographs"
    )


def test_float_codec_is_refused(codec: HyperpriorCodec, images: Tensor) -> None:
    with pytest.raises(
        InputError, match=r"^this model is not quantized; quantize it before it is calibrated$"
    ):
        calibrate(codec, [images])


def test_a_codec_of_all_rates_is_calibrated_at_its_lowest_middle_and_highest_quality(
    images: Tensor,
) -> None:
    spec = PatchSpec(M=12, H=8, Z=8, C=16, widths=(16,), post=(8,), anchors=3)
    codec = lively(spec)
    peaks: list[float] = []
    codec.h_a.register_forward_pre_hook(lambda _, args: peaks.append(float(args[0].abs().max())))
    with torch.no_grad():
        for lmbda in LMBDAS:
            codec(images, lmbda=lmbda)
    quantize(codec, BitPlan())
    seen = calibrate(codec, [images])
    assert seen.images == len(images)
    assert peaks[0] < peaks[1] < peaks[2]
    scale = float(quantized_layers(codec)["h_a.0"].input_quant.scale())
    assert scale == pytest.approx(peaks[2] / 255, rel=0.05)
    # And stands where it can be used on batches of any size.
    codec(images[:1])
    assert float(codec.gains.lmbda) == pytest.approx(0.0018 * 100 ** (49 / 99))  # of quality 50
