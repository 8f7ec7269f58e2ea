import struct
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hwkd.errors import HwkdError, InputError
from hwkd.measure.eager.coding import HEADER_BYTES, analyse, bits_estimated, decode, encode
from hwkd.models.base import padded
from hwkd.models.build import build
from hwkd.models.spec import HyperpriorSpec, PatchSpec

SPECS = {
    "gdn": HyperpriorSpec("gdn", (8, 8, 8), 12, 8, 8),
    "mean": HyperpriorSpec("mean", (8, 8, 8), 12, 8, 8),
    "patch": PatchSpec(M=12, H=8, Z=8, C=16, widths=(16,), post=(8,)),
    "rates": PatchSpec(
        M=12, H=8, Z=8, C=16, widths=(16,), post=(8,), anchors=3, context=(4, 8), hyper_kernel=1
    ),
}


def make_codec(name):
    torch.manual_seed(0)
    codec = build(SPECS[name])
    # Untrained latents all round to 0: spread them, so that symbols run beyond the tables too.
    y_layer = codec.g_a.linear if isinstance(SPECS[name], PatchSpec) else codec.g_a[-1]
    for layer, gain in ((y_layer, 100), (codec.h_a[-1], 1000)):
        layer.weight.data.mul_(gain)
    return codec


@pytest.fixture(scope="module", params=SPECS)
def codec(request):
    return make_codec(request.param)


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def expected_output(codec, image):
    """x_hat of forward() in evaluation mode: what the bytes must give, since every symbol travels exactly."""
    with torch.no_grad():
        was_training = codec.training
        x_hat = codec.eval()(padded(image, 64)).x_hat
        codec.train(was_training)
    height, width = image.shape[:2]
    return (x_hat[0, :, :height, :width].clamp(0, 1) * 255).round().permute(1, 2, 0).numpy()


@settings(max_examples=12, deadline=None)
@given(height=st.integers(1, 70), width=st.integers(1, 130), seed=st.integers(0, 99))
def test_bytes_give_what_forward_gives_at_any_size(codec, height, width, seed):
    image = noise(height, width, seed)
    decoded = decode(codec, encode(codec, image))
    assert decoded.dtype == np.uint8
    assert decoded.shape == image.shape
    assert np.array_equal(decoded, expected_output(codec, image))


def test_latents_are_not_all_zero_so_the_round_trip_means_something(codec):
    latents = analyse(codec, noise(64, 64))
    assert latents.y.round().unique().numel() > 20
    assert latents.z.round().unique().numel() > 5


def test_padding_repeats_the_last_row_and_column():
    x = padded(noise(1, 2), 64)
    assert x.shape == (1, 3, 64, 64)
    assert torch.equal(x[..., 1:, :], x[..., :1, :].expand(-1, -1, 63, -1))
    assert torch.equal(x[..., 2:], x[..., 1:2].expand(-1, -1, -1, 62))


def test_training_mode_is_left_as_it_was_and_does_not_matter():
    codec = make_codec("gdn")
    codec.train()
    codec.h_s.eval()
    image = noise(64, 64)
    stream = encode(codec, image)
    assert codec.training
    assert codec.g_a.training
    assert not codec.h_s.training
    assert encode(codec.eval(), image) == stream


def test_estimated_bits_are_those_of_forwards_likelihoods(codec):
    image = noise(64, 128)
    with torch.no_grad():
        output = codec.eval()(padded(image, 64))
    bits = -sum(
        p.double().log2().sum().item() for p in (output.y_likelihoods, output.z_likelihoods)
    )
    assert bits_estimated(codec, analyse(codec, image)) == pytest.approx(bits, rel=1e-5)


def test_header_is_21_bytes_and_states_the_size():
    stream = encode(make_codec("gdn"), noise(3, 5))
    magic, version, width, height, z_length, y_length, crc = struct.unpack_from("<4sBHHIII", stream)
    assert (magic, version, width, height) == (b"HWKE", 1, 5, 3)
    assert HEADER_BYTES == 21
    assert len(stream) == 21 + z_length + y_length
    assert crc == zlib.crc32(stream[:17] + stream[21:])


def test_every_damaged_byte_is_refused():
    codec = make_codec("gdn")
    stream = encode(codec, noise(8, 8))
    for position in range(len(stream)):
        damaged = bytearray(stream)
        damaged[position] ^= 0x10
        with pytest.raises(InputError):
            decode(codec, bytes(damaged))


@pytest.mark.parametrize("length", [0, 4, 20, 21, -1])
def test_a_truncated_stream_is_refused(length):
    codec = make_codec("gdn")
    with pytest.raises(InputError, match="encode the image again"):
        decode(codec, encode(codec, noise(8, 8))[:length])


@pytest.mark.parametrize(
    ("width", "height", "message"), [(0, 4, "size is 0x4"), (65535, 65535, "is too large")]
)
def test_an_impossible_size_is_refused_before_anything_is_allocated(width, height, message):
    fields = struct.pack("<4sBHHII", b"HWKE", 1, width, height, 0, 0)
    with pytest.raises(InputError, match=message):
        decode(make_codec("gdn"), fields + struct.pack("<I", zlib.crc32(fields)))


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 3), np.float32),
    ],
    ids=["grey", "rgba", "empty", "float"],
)
def test_encode_refuses_what_is_not_an_rgb_image(image):
    with pytest.raises(InputError, match=r"must be a uint8 array \[H, W, 3\]"):
        encode(make_codec("gdn"), image)


def test_encode_refuses_a_side_that_the_header_cannot_hold():
    with pytest.raises(InputError, match="65536x1 is too large"):
        encode(make_codec("gdn"), np.zeros((1, 65536, 3), np.uint8))


def test_damaged_weights_are_the_works_failure():
    codec = make_codec("gdn")
    next(codec.g_a.parameters()).data.fill_(float("nan"))
    with pytest.raises(HwkdError, match="not finite") as error:
        encode(codec, noise(8, 8))
    assert error.value.exit_code == 1
