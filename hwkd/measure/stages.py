"""How long each stage of coding takes in eager torch, float32, on this host's CPU."""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from hwkd.errors import InputError
from hwkd.images import Pixels
from hwkd.measure.eager.coding import Latents, analyse, decode, encode, write
from hwkd.measure.host import eager_setting
from hwkd.measure.inference import evaluating
from hwkd.measure.pinning import pinned
from hwkd.measure.record import Entry
from hwkd.measure.timing import measure_in_turn
from hwkd.models.base import HyperpriorCodec
from hwkd.models.image_tensors import padded, to_pixels
from hwkd.quantity import not_known

Stages = dict[tuple[str, str], Callable[[], object]]
"""By (side, part) of hwkd.measure.record: one run of that stage, its inputs ready."""

WARMUP_ROUNDS = 2
UNTRAINED = "untrained weights: random ones give an arbitrary rate, and coding takes as long as the rate is high"


def stage_latencies(
    codec: HyperpriorCodec, image: Pixels, *, threads: int, seconds: float, is_trained: bool
) -> list[Entry]:
    """The latency of each stage for `image`: latency_ms entries, encode's and then decode's.

    Counts, encode: preprocess (8 bits to padded float), transform (g_a), hyper (h_a, h_s), entropy (z coded and read
    back, index building, y coded, the container), networks (transform and hyper in one run), end_to_end (pixels to
    bytes, as `hwkd.measure.eager.coding.encode`). Decode: entropy (z and y read, index building), hyper (h_s), transform
    (g_s), postprocess (cut to the image, 8 bits), networks, end_to_end (bytes to pixels).
    Does not count: reading and writing files, loading the model, the first runs.

    Every stage is run by itself on ready inputs, one run of each in turn, so stages need not add up to end_to_end.

    Args:
        codec: a float model on the CPU; of a quantized student its float twin.
        image: [H, W, 3] uint8, a photograph or like one: entropy coding takes as long as the image has bits.
        threads: within an operator, each on a core of its own.
        seconds: to spend on all timed runs together, at least MIN_RUNS_INTERVAL of each.
        is_trained: False for random weights, whose entropy and end_to_end stages are not known.

    Raises:
        InputError: a codec that is not on the CPU, an image that `encode` refuses (with trained
            weights), threads as `pinned`.
    """
    device = next(codec.parameters()).device
    if device.type != "cpu":
        raise InputError(
            f"host latency is measured on the CPU, the model is on {device}; move it with .cpu()"
        )
    with evaluating(codec), pinned(threads) as pinning:
        stages = _stages(codec, image, is_trained=is_trained)
        timed = {place: run for place, run in stages.items() if is_trained or not _codes(place)}
        latencies = measure_in_turn(timed, warmup=WARMUP_ROUNDS, seconds=seconds)
        by = f"wall clock, {pinning}"
    setting = eager_setting(threads)
    entries = []
    for side, part in stages:
        latency = latencies.get((side, part))
        quantity = not_known(UNTRAINED) if latency is None else latency.quantity(by)
        p95 = None if latency is None else latency.p95_ms
        entries.append(Entry("latency_ms", side, part, setting, quantity, p95=p95))
    return entries


def _codes(place: tuple[str, str]) -> bool:
    return place[1] in ("entropy", "end_to_end")


def _stages(codec: HyperpriorCodec, image: Pixels, *, is_trained: bool) -> Stages:
    """Every stage of `image`, with inputs from one pass over it."""
    # Random weights are not coded even once: the coder takes arbitrarily long over what they may give.
    latents = analyse(codec, image) if is_trained else _uncoded(codec, image)
    x = padded(image, codec.downsampling_factor)
    stream = write(codec, latents) if is_trained else b""
    z_hat = _read_z(codec, latents) if is_trained else torch.round(latents.z)
    y_hat = codec.gaussian_conditional.quantize(latents.y, "dequantize", latents.means_hat)
    x_hat = cast(Tensor, codec.g_s(y_hat))
    (y_string,) = _write_y(codec, latents) if is_trained else (b"",)

    def entropy_encode() -> object:
        codec.entropy_bottleneck.compress(latents.z)
        # h_s must see z as the decoder will.
        _read_z(codec, latents)
        return write(codec, latents)

    def entropy_decode() -> object:
        _read_z(codec, latents)
        indexes = codec.gaussian_conditional.build_indexes(latents.scales_hat)
        return codec.gaussian_conditional.decompress([y_string], indexes, means=latents.means_hat)

    def hyper_encode() -> object:
        return codec.hyper_analysis(latents.y), codec.entropy_parameters(z_hat)

    def networks_encode() -> object:
        return codec.hyper_analysis(codec.g_a(x)), codec.entropy_parameters(z_hat)

    def networks_decode() -> object:
        return codec.entropy_parameters(z_hat), codec.g_s(y_hat)

    return {
        ("encode", "preprocess"): lambda: padded(image, codec.downsampling_factor),
        ("encode", "transform"): lambda: codec.g_a(x),
        ("encode", "hyper"): hyper_encode,
        ("encode", "entropy"): entropy_encode,
        ("encode", "networks"): networks_encode,
        ("encode", "end_to_end"): lambda: encode(codec, image),
        ("decode", "entropy"): entropy_decode,
        ("decode", "hyper"): lambda: codec.entropy_parameters(z_hat),
        ("decode", "transform"): lambda: codec.g_s(y_hat),
        ("decode", "postprocess"): lambda: to_pixels(x_hat, latents.width, latents.height),
        ("decode", "networks"): networks_decode,
        ("decode", "end_to_end"): lambda: decode(codec, stream),
    }


def _uncoded(codec: HyperpriorCodec, image: Pixels) -> Latents:
    y = codec.g_a(padded(image, codec.downsampling_factor))
    z = codec.hyper_analysis(y)
    scales_hat, means_hat = codec.entropy_parameters(torch.round(z))
    return Latents(y, z, b"", scales_hat, means_hat, image.shape[1], image.shape[0])


def _read_z(codec: HyperpriorCodec, latents: Latents) -> Tensor:
    size = (latents.z.shape[2], latents.z.shape[3])
    return cast(Tensor, codec.entropy_bottleneck.decompress([latents.z_string], size))


def _write_y(codec: HyperpriorCodec, latents: Latents) -> list[bytes]:
    indexes = codec.gaussian_conditional.build_indexes(latents.scales_hat)
    return cast(
        list[bytes],
        codec.gaussian_conditional.compress(latents.y, indexes, latents.means_hat),
    )
