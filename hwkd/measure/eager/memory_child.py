"""One encode or decode in a process of its own, for `hwkd.measure.memory`: prints its peak memory as JSON.

    python -m hwkd.measure.eager.memory_child encode|decode MODEL WIDTH HEIGHT THREADS STREAM

STREAM: where an encode writes its bytes and a decode finds them. A bare architecture runs its networks only: its
random weights give no stream worth coding.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from hwkd.measure.coder import picture
from hwkd.measure.eager.coding import TorchCodec
from hwkd.measure.eager.macs import eval_mode
from hwkd.measure.machine import eager_setting
from hwkd.measure.memory import peak_mib, report_peak, whole_run
from hwkd.measure.timing import pinned
from hwkd.models.base import HyperpriorCodec, padded
from hwkd.qualities import DEFAULT_QUALITY, lmbda_at


def main(arguments: list[str]) -> int:
    """Run one side once. The exit code is the error's, with its sentence on stderr."""
    side, model, width, height, threads, stream = arguments

    def measure() -> tuple[float, str]:
        with pinned(int(threads)):
            codec, is_trained = _load(model)
            size = (int(width), int(height))
            if is_trained:
                setting = eager_setting(int(threads))
                subject = TorchCodec(codec, model, setting.runtime, int(threads))
                run = whole_run(subject, side, size, Path(stream))
            else:
                run = _networks_run(codec, side, size)
            baseline_mib = peak_mib()
            with eval_mode(codec):
                run()
        return baseline_mib, "end_to_end" if is_trained else "networks"

    return report_peak(measure)


def _load(model: str) -> tuple[HyperpriorCodec, bool]:
    """(the codec, whether its weights are trained)."""
    from hwkd.models.spec import is_architecture, parse_architecture

    if is_architecture(model):
        from hwkd.models.build import build

        return build(parse_architecture(model)).eval().requires_grad_(False), False
    from hwkd.distill.run_folder import load_model

    codec = load_model(model).codec
    codec.set_lmbda(lmbda_at(DEFAULT_QUALITY))
    return codec, True


def _networks_run(codec: HyperpriorCodec, side: str, size: tuple[int, int]) -> Callable[[], object]:
    """The run that is measured of a bare architecture, its input ready."""
    width, height = size
    if side == "decode":
        return _decode_networks(codec, width, height)
    image = picture(width, height)

    def encode_networks() -> object:
        y = codec.g_a(padded(image, codec.downsampling_factor))
        return codec.entropy_parameters(codec.hyper_analysis(y).round())

    return encode_networks


def _decode_networks(codec: HyperpriorCodec, width: int, height: int) -> Callable[[], object]:
    import torch

    factor = codec.downsampling_factor
    rows, columns = -(-height // factor), -(-width // factor)
    z_hat = torch.zeros(1, codec.Z, rows, columns)
    y_hat = torch.zeros(1, codec.M, rows * factor // 16, columns * factor // 16)
    # One after the other, as a decoder runs them: the prior is gone before the image is made.
    return lambda: (codec.entropy_parameters(z_hat) and None, codec.g_s(y_hat))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
