"""How far a tile depends on what lies beyond it: the halo that makes tiled coding equal to coding the whole."""

from collections.abc import Iterable
from dataclasses import dataclass

from hwkd.codec.codec import Y_PX, Z_PX
from hwkd.models.base import HyperpriorCodec
from hwkd.models.patch import POST, PatchCodec, PatchSynthesis
from hwkd.models.spec import PATCH
from hwkd.quantize.inputs import Layer, conv_layers
from hwkd.runtime.manifest import Reach


@dataclass(frozen=True)
class _Step:
    """What one operation reads: output positions [first, last] need inputs from `before` to `after`."""

    kernel: int = 1
    stride: int = 1
    padding: int = 0
    up: int = 1

    def inputs(self, first: int, last: int) -> tuple[int, int]:
        first, last = first // self.up, last // self.up
        return (
            first * self.stride - self.padding,
            last * self.stride - self.padding + self.kernel - 1,
        )


def reach(codec: HyperpriorCodec) -> Reach:
    """The reach of `codec`'s networks, from the kernels, strides and paddings of its layers."""
    layers = conv_layers(codec)
    g_a, h_a = _steps(codec, layers, "g_a."), _steps(codec, layers, "h_a.")
    context = [_step(layers[name]) for name in layers if name == "g_s.context.conv_in"]
    before_y, after_y = _through([*g_a, *context], 0, 0)
    before_z, after_z = _through([*g_a, *h_a], 0, 0)
    before = max(-before_y, -before_z)
    after = max(after_y - (Y_PX - 1), after_z - (Z_PX - 1))
    first_z, last_z = _through(_steps(codec, layers, "h_s."), 0, Z_PX // Y_PX - 1)
    first_y, last_y = _through(_steps(codec, layers, "g_s."), 0, Y_PX - 1)
    return Reach(
        encoder_px=(_up_to(before, Z_PX), _up_to(after, Z_PX)),
        hyper_z=max(-first_z, last_z),
        # Even, so that a tile begins on an even place: the means' context tells even from odd ones.
        decoder_y=_up_to(max(-first_y, last_y), 2 if context else 1),
    )


def _steps(codec: HyperpriorCodec, layers: dict[str, Layer], transform: str) -> list[_Step]:
    """The operations of a transform in order; of the patch family's two branches the longer one."""
    convolutions = [_step(layer) for name, layer in layers.items() if name.startswith(transform)]
    if not isinstance(codec, PatchCodec) or transform == "h_a.":
        return convolutions
    if transform == "g_a.":
        return [_Step(kernel=PATCH, stride=PATCH), *convolutions]
    shuffle = _Step(up=2)
    if transform == "h_s.":
        return [convolutions[0], shuffle, convolutions[1], shuffle, convolutions[2]]
    pairs = 2 * len(codec.g_s.post) if isinstance(codec.g_s, PatchSynthesis) else 0
    trunk, post = (
        convolutions[: len(convolutions) - pairs],
        convolutions[len(convolutions) - pairs :],
    )
    return [*trunk, _Step(up=PATCH // POST), *post, _Step(up=POST)]


def _step(layer: Layer) -> _Step:
    kernel, stride, padding = layer.kernel_size[0], layer.stride[0], layer.padding[0]
    if isinstance(padding, str):
        raise TypeError(f"padding {padding!r} has no number")
    if type(layer).__name__.endswith("ConvTranspose2d"):
        # Output o takes the inputs i with o = stride i - padding + k: as many on both sides of o / stride.
        return _Step(
            kernel=2 * (kernel // (2 * stride)) + 1, padding=kernel // (2 * stride), up=stride
        )
    return _Step(kernel, stride, padding)


def _through(steps: Iterable[_Step], first: int, last: int) -> tuple[int, int]:
    for step in reversed(list(steps)):
        first, last = step.inputs(first, last)
    return first, last


def _up_to(length: int, unit: int) -> int:
    return -(-max(length, 0) // unit) * unit
