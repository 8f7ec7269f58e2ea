import copy
import math

import pytest
import torch

from hwkd.export.coder_ends import Latents
from hwkd.export.latents import latents_of
from hwkd.models.image_tensors import padded
from hwkd.runtime.gains import WIDE_MAX

pytestmark = pytest.mark.usefixtures("in_one_thread")


@pytest.fixture
def with_peaks(tiny_codec_of, photo):
    """with_peaks({channel: peak}): the patch codec and two images on which y peaks so, other channels at `others`."""
    images = [padded(photo(64, 128, seed), 64) for seed in (1, 2)]

    def make(peaks: dict[int, float], family: str = "patch", others: float = 10):
        codec = copy.deepcopy(tiny_codec_of(family))
        with torch.no_grad():
            # y by its bias alone, but for 0.03: of one sign in the second half of the channels, the other before.
            for layer in (codec.g_a.linear, codec.g_a.head):
                layer.weight.zero_()
                layer.bias.zero_()
            codec.g_a.linear.weight[:, 0] = 0.06
            for channel in range(codec.M):
                sign = 1 if channel >= codec.M // 2 else -1
                codec.g_a.linear.bias[channel] = sign * peaks.get(channel, others)
        return codec, images

    return make


@pytest.mark.parametrize(
    ("peaks", "narrow_from"),
    [
        ({}, 0),
        ({0: 62.9}, 0),  # half of what 8 bits hold is no reason yet
        ({0: 63.1}, 8),
        ({2: 300}, 8),
        ({7: 64}, 8),
        ({0: 300, 8: 64}, 12),  # 16 channels, of which there are 12
        ({11: 1000}, 12),
    ],
)
def test_channels_up_to_the_last_loud_one_are_wide_eight_at_a_time(
    with_peaks, peaks: dict[int, float], narrow_from: int
) -> None:
    codec, images = with_peaks(peaks)
    largest_y = WIDE_MAX if narrow_from else 127
    assert latents_of(codec, images) == Latents(12, 8, largest_y, 127, narrow_from)


@pytest.mark.parametrize(
    ("peak", "narrow_from"), [(15.7, 0), (15.8, 8), (100, 8)], ids=["63 steps", "64 steps", "many"]
)
def test_with_gains_what_counts_is_steps_of_g_s_at_the_highest_quality(
    with_peaks, peak: float, narrow_from: int
) -> None:
    """Four a symbol there, where the gain is sqrt(0.18 / 0.025) in every channel."""
    codec, images = with_peaks({2: peak / math.sqrt(0.18 / 0.025)}, "rates", others=1)
    codec.set_lmbda(0.0018)
    largest_y = WIDE_MAX if narrow_from else 127
    assert latents_of(codec, images) == Latents(12, 8, largest_y, 127, narrow_from, True)


def test_the_loudest_of_all_images_counts(tiny_codec_of, photo) -> None:
    codec = tiny_codec_of("patch")
    quiet = [padded(photo(64, 64, 0), 64) / 2 + 0.25]
    both = [*quiet, padded(photo(64, 64, 0), 64)]
    loud = copy.deepcopy(codec)
    with torch.no_grad():
        factor = 70 / float(codec.g_a(both[1]).abs().max())
        for layer in (loud.g_a.linear, loud.g_a.head):
            layer.weight.mul_(factor)
            layer.bias.mul_(factor)
    assert latents_of(loud, quiet).narrow_from == 0
    assert latents_of(loud, both).narrow_from == 8
    assert latents_of(loud, both[::-1]).narrow_from == 8


@pytest.mark.parametrize("family", ["gdn", "relu"])
def test_other_families_have_8_bits_as_in_training(tiny_codec_of, photo, family: str) -> None:
    found = latents_of(tiny_codec_of(family), [padded(photo(64, 64, 0), 64)])
    assert found == Latents(12, 8, 127, 127, 12)
