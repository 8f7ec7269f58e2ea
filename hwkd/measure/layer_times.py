"""How long each layer takes in eager torch, float32, on this host's CPU."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from hwkd.errors import InputError
from hwkd.measure.inference import evaluating
from hwkd.measure.layers import NETWORKS
from hwkd.measure.pinning import pinned
from hwkd.measure.timing import Latency, summarize
from hwkd.models.base import HyperpriorCodec
from hwkd.models.compat import GDN

LAYERS = (nn.Conv2d, nn.ConvTranspose2d, GDN)
"""What is timed as one layer; GDN with all that is in it, its reparametrization included."""

WARMUP_RUNS = 2


def layer_latencies(
    codec: HyperpriorCodec, width: int, height: int, *, threads: int, repeats: int
) -> dict[str, Latency]:
    """{layer: its latency} over runs of all four networks, each once a run, in the order they run.

    Layers have their names in the model, as `hwkd.measure.eager.macs.count_macs` gives them. "g_a.rest" and the like are
    the network's time outside its layers: activations, additions, moves, what comes before h_a and after h_s, and
    the hooks that take the times (about a microsecond a layer).

    Counts: wall-clock time of one image padded to multiples of 64, uniform noise, inside a whole network: a layer's
    input comes from the layer before and may be in a cache. Does not count: entropy coding, padding, conversion.

    Args:
        codec: a float model on the CPU.
        threads: within an operator, each on a core of its own.
        repeats: timed runs, 1 or more.

    Raises:
        InputError: a size under 1x1, no runs, threads as `pinned`.
    """
    if width < 1 or height < 1 or repeats < 1:
        raise InputError(
            f"needs an image of 1x1 or more and 1 run or more, got {width}x{height} and {repeats} runs"
        )
    side = codec.downsampling_factor
    size = (1, 3, math.ceil(height / side) * side, math.ceil(width / side) * side)
    x = torch.rand(size, generator=torch.Generator().manual_seed(0))
    runs: list[dict[str, float]] = []
    with evaluating(codec), pinned(threads), _timed_layers(codec) as layer_ms:
        for _ in range(WARMUP_RUNS + repeats):
            layer_ms.clear()
            network_ms = _run_networks(codec, x)
            for network, ms in network_ms.items():
                inside = sum(t for name, t in layer_ms.items() if name.startswith(f"{network}."))
                layer_ms[f"{network}.rest"] = ms - inside
            runs.append(dict(layer_ms))
    timed = runs[WARMUP_RUNS:]
    return {name: summarize([run[name] for run in timed]) for name in timed[0]}


def _run_networks(codec: HyperpriorCodec, x: torch.Tensor) -> dict[str, float]:
    """The time of each of NETWORKS in milliseconds, one run of each."""
    times: dict[str, float] = {}

    def timed(name: str, fn: Callable[[], torch.Tensor]) -> torch.Tensor:
        before = time.perf_counter_ns()
        result = fn()
        times[name] = (time.perf_counter_ns() - before) / 1e6
        return result

    y = timed("g_a", lambda: codec.g_a(x))
    z = timed("h_a", lambda: codec.hyper_analysis(y))
    z_hat, y_hat = torch.round(z), torch.round(y)
    timed("h_s", lambda: codec.entropy_parameters(z_hat)[0])
    timed("g_s", lambda: codec.g_s(y_hat))
    return times


@contextmanager
def _timed_layers(codec: HyperpriorCodec) -> Iterator[dict[str, float]]:
    """A dict that holds, after a run, each layer's time in milliseconds."""
    times: dict[str, float] = {}
    started: dict[str, int] = {}

    def start(name: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            started[name] = time.perf_counter_ns()

        return hook

    def stop(name: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            times[name] = (time.perf_counter_ns() - started[name]) / 1e6

        return hook

    handles = []
    for name, module in codec.named_modules():
        if name.startswith(NETWORKS) and isinstance(module, LAYERS):
            handles.append(module.register_forward_pre_hook(start(name)))
            handles.append(module.register_forward_hook(stop(name)))
    try:
        yield times
    finally:
        for handle in handles:
            handle.remove()
