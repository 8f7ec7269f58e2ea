"""The networks that other runtimes were timed on, beside those of ncnn's benchmark (`benchmark_networks`).

torchvision's definitions where it has them, else written out here from the papers and the authors' published shapes. Only
shapes matter: batch norms are folded, and ReLUs run inside the convolution before. The products of attention in YOLO11
(20x20 places) are left out, they are under 2 % of its MACs.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import hwkd.models.compat  # noqa: F401  (mends torchvision before it is imported)
from hwkd.errors import unknown
from hwkd.measure.eager.benchmark_networks import (
    Classifier,
    Squeeze,
    conv,
    from_torchvision,
    separable,
)
from hwkd.measure.eager.macs import layer_noter, operator_of
from hwkd.measure.layers import LayerCost


def other_layers(
    wanted: Iterable[tuple[str, int, int]], progress: Callable[[str], None] | None = None
) -> Mapping[tuple[str, int, int], tuple[LayerCost, ...]]:
    """The layers of networks of NETWORKS for an input of (name, width, height).

    progress: called with each name before it is counted.

    Raises:
        InputError: a name that is not in NETWORKS.
    """
    found = {}
    for name, width, height in dict.fromkeys(wanted):
        if name not in NETWORKS:
            raise unknown("network", name, sorted(NETWORKS))
        if progress is not None:
            progress(name)
        found[name, width, height] = shape_layers(NETWORKS[name], width, height)
    return found


def shape_layers(build: Callable[[], nn.Module], width: int, height: int) -> tuple[LayerCost, ...]:
    """As `hwkd.measure.eager.macs.network_layers`, from shapes alone: no value is computed, no weight is made.

    The MACs of a convolution or a dense layer are its weights times the places of its output, as fvcore counts them.
    """
    found: list[LayerCost] = []
    with torch.device("meta"):
        model, x = build(), torch.zeros(1, 3, height, width)
    for name, module in model.named_modules():
        if operator_of(module) is not None:
            module.register_forward_hook(layer_noter(name, found))
    with torch.no_grad():
        model.eval()(x)
    return tuple(
        replace(layer, macs=layer.weights * (layer.out_values // layer.c_out)) for layer in found
    )


def _act(c_in: int, c_out: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Module:
    return nn.Sequential(conv(c_in, c_out, kernel, stride, groups), nn.SiLU())


def _round8(channels: float) -> int:
    """To a multiple of 8, by no more than 10 % down."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def _mobilenet_v1(width: float) -> nn.Module:
    """Howard et al. 2017, arXiv 1704.04861, table 1, every width times `width`."""
    c_in = int(32 * width)
    layers: list[nn.Module] = [conv(3, c_in, 3, 2)]
    for channels, stride in (
        *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
        *((512, 1),) * 5,
        *((1024, 2), (1024, 1)),
    ):
        layers += separable(c_in, int(channels * width), stride)
        c_in = int(channels * width)
    return Classifier(layers, c_in)


def _mobilenet_v2(width: float) -> nn.Module:
    from torchvision import models

    return cast(nn.Module, models.mobilenet_v2(width_mult=width))


class _Expanded(nn.Module):
    """EfficientNet's block without squeeze and excitation, added to its input where the shapes agree."""

    def __init__(self, c_in: int, c_out: int, kernel: int, widen: int, stride: int) -> None:
        super().__init__()
        inside = c_in * widen
        first = [conv(c_in, inside, 1)] if widen > 1 else []
        self.branch = nn.Sequential(
            *first, conv(inside, inside, kernel, stride, inside), conv(inside, c_out, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.branch(x))


def _efficientnet_lite(width: float, depth: float) -> nn.Module:
    """tensorflow/tpu's EfficientNet-Lite: stem and head are not widened, first and last stage not deepened."""
    blocks = (
        *((16, 3, 1, 1, 1), (24, 3, 6, 2, 2), (40, 5, 6, 2, 2), (80, 3, 6, 2, 3)),
        *((112, 5, 6, 1, 3), (192, 5, 6, 2, 4), (320, 3, 6, 1, 1)),
    )
    layers: list[nn.Module] = [conv(3, 32, 3, 2)]
    c_in = 32
    for i, (channels, kernel, widen, stride, repeats) in enumerate(blocks):
        c_out = _round8(channels * width)
        n = repeats if i in (0, len(blocks) - 1) else -int(-repeats * depth // 1)
        for k in range(n):
            layers.append(_Expanded(c_in, c_out, kernel, widen, stride if k == 0 else 1))
            c_in = c_out
    return Classifier([*layers, conv(c_in, 1280, 1)], 1280)


class _Mixed(nn.Module):
    """Depthwise convolutions with one kernel for each share of the channels (MixConv)."""

    def __init__(self, channels: int, kernels: tuple[int, ...], stride: int) -> None:
        super().__init__()
        each = channels // len(kernels)
        self.shares = [channels - each * (len(kernels) - 1), *[each] * (len(kernels) - 1)]
        self.parts = nn.ModuleList(
            conv(c, c, k, stride, c) for c, k in zip(self.shares, kernels, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        parts = zip(self.parts, x.split(self.shares, 1), strict=True)
        return torch.cat([part(u) for part, u in parts], 1)


class _MixBlock(nn.Module):
    """wide, narrow: whether the 1x1 convolutions are split in two. squeeze: channels inside, 0 for none."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        widen: int,
        kernels: tuple[int, ...],
        stride: int,
        split: tuple[int, int],
        squeeze: int,
    ) -> None:
        super().__init__()
        inside = c_in * widen

        def act() -> list[nn.Module]:
            return [nn.SiLU()] if squeeze else []

        first = [conv(c_in, inside, 1, groups=split[0]), *act()] if widen > 1 else []
        middle = [_Mixed(inside, kernels, stride), *act()]
        squeezed = [Squeeze(inside, squeeze)] if squeeze else []
        last = conv(inside, c_out, 1, groups=split[1])
        self.branch = nn.Sequential(*first, *middle, *squeezed, last)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.branch(x))


_3, _35, _357, _3579 = (3,), (3, 5), (3, 5, 7), (3, 5, 7, 9)
_MIX_S = (
    *((1, 16, 1, _3, 1, (1, 1), 0), (1, 24, 6, _3, 2, (2, 2), 0), (1, 24, 3, _3, 1, (2, 2), 0)),
    *((1, 40, 6, _357, 2, (1, 1), 0.5), (3, 40, 6, _35, 1, (2, 2), 0.5)),
    *((1, 80, 6, _357, 2, (1, 2), 0.25), (2, 80, 6, _35, 1, (1, 2), 0.25)),
    *((1, 120, 6, _357, 1, (2, 2), 0.5), (2, 120, 3, _3579, 1, (2, 2), 0.5)),
    *((1, 200, 6, (*_3579, 11), 2, (1, 1), 0.5), (2, 200, 6, _3579, 1, (1, 2), 0.5)),
)
_MIX_M = (
    *((1, 24, 1, _3, 1, (1, 1), 0), (1, 32, 6, _357, 2, (2, 2), 0), (1, 32, 3, _3, 1, (2, 2), 0)),
    *((1, 40, 6, _3579, 2, (1, 1), 0.5), (3, 40, 6, _35, 1, (2, 2), 0.5)),
    *((1, 80, 6, _357, 2, (1, 1), 0.25), (3, 80, 6, _3579, 1, (2, 2), 0.25)),
    *((1, 120, 6, _3, 1, (1, 1), 0.5), (3, 120, 3, _3579, 1, (2, 2), 0.5)),
    *((1, 200, 6, _3579, 2, (1, 1), 0.5), (3, 200, 6, _3579, 1, (1, 2), 0.5)),
)


def _mixnet(large: bool, width: float) -> nn.Module:
    """MixNet-S, -M and -L (M, 1.3 times as wide), Tan and Le 2019, arXiv 1907.09595."""
    c_in = _round8((24 if large else 16) * width)
    layers: list[nn.Module] = [conv(3, c_in, 3, 2)]
    for repeats, channels, widen, kernels, stride, split, squeeze in _MIX_M if large else _MIX_S:
        c_out = _round8(channels * width)
        for k in range(repeats):
            step = stride if k == 0 else 1
            inside = int(c_in * squeeze)
            layers.append(_MixBlock(c_in, c_out, widen, kernels, step, split, inside))
            c_in = c_out
    return Classifier([*layers, conv(c_in, 1536, 1)], 1536)


class _Residual(nn.Module):
    """ResNet's blocks: two 3x3, or 1x1, 3x3, 1x1 to twice the channels."""

    def __init__(self, c_in: int, c_out: int, stride: int = 1, is_bottleneck: bool = False) -> None:
        super().__init__()
        out = 2 * c_out if is_bottleneck else c_out
        convs = (
            (conv(c_in, c_out, 1), conv(c_out, c_out, 3, stride), conv(c_out, out, 1))
            if is_bottleneck
            else (conv(c_in, c_out, 3, stride), conv(c_out, c_out, 3))
        )
        self.branch = nn.Sequential(*convs)
        is_same = stride == 1 and c_in == out
        self.short = nn.Identity() if is_same else conv(c_in, out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.branch(x) + self.short(x))


class _Pyramid(nn.Module):
    """PIDNet's parallel aggregation of means (PAPPM)."""

    def __init__(self, c_in: int, inside: int, c_out: int) -> None:
        super().__init__()
        self.means = nn.ModuleList(
            nn.AvgPool2d(k, s, p) for k, s, p in ((5, 2, 2), (9, 4, 4), (17, 8, 8))
        )
        self.scales = nn.ModuleList(conv(c_in, inside, 1) for _ in range(5))
        self.process = conv(4 * inside, 4 * inside, 3, groups=4)
        self.narrow, self.short = conv(5 * inside, c_out, 1), conv(c_in, c_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[-2:]
        first = self.scales[0](x)
        means = [mean(x) for mean in self.means] + [x.mean((2, 3), keepdim=True)]
        pairs = zip(self.scales[1:], means, strict=True)
        parts = [first + F.interpolate(scale(u), size=size) for scale, u in pairs]
        u = torch.cat((first, self.process(torch.cat(parts, 1))), 1)
        return cast(Tensor, self.narrow(u) + self.short(x))


class _PIDNetS(nn.Module):
    """PIDNet-S with 19 classes (Xu et al. 2023, arXiv 2206.02066; XuJiacong/PIDNet): three branches of unlike size."""

    def __init__(self) -> None:
        super().__init__()
        R = _Residual
        self.stem = nn.Sequential(
            *(conv(3, 32, 3, 2), conv(32, 32, 3, 2), R(32, 32), R(32, 32), R(32, 64, 2)),
            R(64, 64),
        )
        self.i3 = nn.Sequential(R(64, 128, 2), R(128, 128), R(128, 128))
        self.i4 = nn.Sequential(R(128, 256, 2), R(256, 256), R(256, 256))
        self.i5 = nn.Sequential(R(256, 256, 2, True), R(512, 256, 1, True))
        self.p3, self.p4 = (nn.Sequential(R(64, 64), R(64, 64)) for _ in range(2))
        self.p5 = R(64, 64, 1, True)
        self.to_p3, self.to_p4 = conv(128, 64, 1), conv(256, 64, 1)
        self.gates = nn.ModuleList(conv(64, 32, 1) for _ in range(4))
        self.d3, self.d4, self.d5 = R(64, 32), R(32, 32, 1, True), R(64, 64, 1, True)
        self.to_d3, self.to_d4 = conv(128, 32, 3), conv(256, 64, 3)
        self.pyramid = _Pyramid(512, 96, 128)
        self.bag = nn.ModuleList(conv(128, 128, 1) for _ in range(2))
        self.head = nn.Sequential(conv(128, 128, 3), conv(128, 19, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        size = x.shape[-2:]

        def up(u: Tensor) -> Tensor:
            return F.interpolate(u, size=size)

        def gated(p: Tensor, i: Tensor, k: int) -> Tensor:
            low, high = self.gates[k](i), self.gates[k + 1](p)
            return cast(Tensor, p + up(i) * (up(low) * high).sum(1, keepdim=True))

        p, d, x = self.p3(x), self.d3(x), self.i3(x)
        p, d = gated(p, self.to_p3(x), 0), d + up(self.to_d3(x))
        x = self.i4(x)
        p, d = gated(self.p4(p), self.to_p4(x), 2), self.d4(d) + up(self.to_d4(x))
        p, d, x = self.p5(p), self.d5(d), up(self.pyramid(self.i5(x)))
        return cast(Tensor, self.head(self.bag[0](p + d) + self.bag[1](x + d)))


class _Bottleneck(nn.Module):
    def __init__(self, c: int, kernels: tuple[int, int], inside: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(_act(c, inside, kernels[0]), _act(inside, c, kernels[1]))

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, x + self.branch(x))


class _CrossStage(nn.Module):
    """CSP: one half through `repeats` bottlenecks, beside the other half (YOLOX; C3k of YOLO11)."""

    def __init__(self, c_in: int, c_out: int, repeats: int, kernels: tuple[int, int]) -> None:
        super().__init__()
        half = c_out // 2
        self.one, self.two = _act(c_in, half), _act(c_in, half)
        self.inside = nn.Sequential(*(_Bottleneck(half, kernels, half) for _ in range(repeats)))
        self.last = _act(2 * half, c_out)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.last(torch.cat((self.inside(self.one(x)), self.two(x)), 1)))


class _Pools(nn.Module):
    """Pools of several sizes side by side, between 1x1 convolutions (SPP)."""

    def __init__(self, c: int, kernels: tuple[int, ...]) -> None:
        super().__init__()
        self.first = _act(c, c // 2)
        self.pools = nn.ModuleList(nn.MaxPool2d(k, 1, k // 2) for k in kernels)
        self.last = _act(c // 2 * (len(kernels) + 1), c)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return cast(Tensor, self.last(torch.cat((x, *(pool(x) for pool in self.pools)), 1)))


class _Branch(nn.Module):
    """One half of YOLOX's decoupled head: two 3x3 convolutions, then 1x1 to each of `outputs` channels."""

    def __init__(self, channels: int, outputs: tuple[int, ...]) -> None:
        super().__init__()
        self.convs = nn.Sequential(_act(channels, channels, 3), _act(channels, channels, 3))
        self.outputs = nn.ModuleList(conv(channels, o, 1) for o in outputs)

    def forward(self, x: Tensor) -> list[Tensor]:
        u = self.convs(x)
        return [output(u) for output in self.outputs]


class _YoloX(nn.Module):
    """YOLOX with 80 classes (Ge et al. 2021, arXiv 2107.08430; Megvii-BaseDetection/YOLOX)."""

    def __init__(self, depth: float, width: float) -> None:
        super().__init__()
        c = [int(n * width) for n in (64, 128, 256, 512, 1024)]
        n = round(3 * depth)

        def csp(c_in: int, c_out: int, repeats: int = n) -> nn.Module:
            return _CrossStage(c_in, c_out, repeats, (1, 3))

        self.stem = _act(12, c[0], 3)
        self.dark3 = nn.Sequential(
            *(_act(c[0], c[1], 3, 2), csp(c[1], c[1]), _act(c[1], c[2], 3, 2)),
            csp(c[2], c[2], 3 * n),
        )
        self.dark4 = nn.Sequential(_act(c[2], c[3], 3, 2), csp(c[3], c[3], 3 * n))
        self.dark5 = nn.Sequential(
            _act(c[3], c[4], 3, 2), _Pools(c[4], (5, 9, 13)), csp(c[4], c[4])
        )
        self.side5, self.side4 = _act(c[4], c[3]), _act(c[3], c[2])
        self.up4, self.up3 = csp(2 * c[3], c[3]), csp(2 * c[2], c[2])
        self.down3, self.down4 = _act(c[2], c[2], 3, 2), _act(c[3], c[3], 3, 2)
        self.out4, self.out5 = csp(2 * c[2], c[3]), csp(2 * c[3], c[4])
        w = c[2]

        def branch(outputs: tuple[int, ...]) -> nn.Module:
            return _Branch(w, outputs)

        self.stems = nn.ModuleList(_act(k, w) for k in c[2:])
        self.classes = nn.ModuleList(branch((80,)) for _ in range(3))
        self.boxes = nn.ModuleList(branch((4, 1)) for _ in range(3))

    def forward(self, x: Tensor) -> list[Tensor]:
        three = self.dark3(self.stem(F.pixel_unshuffle(x, 2)))
        four = self.dark4(three)
        side5 = self.side5(self.dark5(four))
        side4 = self.side4(self.up4(torch.cat((F.interpolate(side5, scale_factor=2), four), 1)))
        three = self.up3(torch.cat((F.interpolate(side4, scale_factor=2), three), 1))
        four = self.out4(torch.cat((self.down3(three), side4), 1))
        five = self.out5(torch.cat((self.down4(four), side5), 1))
        found: list[Tensor] = []
        levels = (three, four, five)
        heads = zip(self.stems, self.classes, self.boxes, levels, strict=True)
        for stem, classes, boxes, u in heads:
            u = stem(u)
            found += [*classes(u), *boxes(u)]
        return found


class _C3k2(nn.Module):
    """YOLO11's block; is_deep: bottlenecks inside of a cross stage of their own."""

    def __init__(self, c_in: int, c_out: int, repeats: int, is_deep: bool, e: float = 0.5) -> None:
        super().__init__()
        c = int(c_out * e)
        self.first, self.last = _act(c_in, 2 * c), _act((2 + repeats) * c, c_out)
        self.inside = nn.ModuleList(
            _CrossStage(c, c, 2, (3, 3)) if is_deep else _Bottleneck(c, (3, 3), c // 2)
            for _ in range(repeats)
        )

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.first(x).chunk(2, 1))
        for inside in self.inside:
            parts.append(inside(parts[-1]))
        return cast(Tensor, self.last(torch.cat(parts, 1)))


class _Attention(nn.Module):
    """YOLO11's C2PSA, without the two products of attention."""

    def __init__(self, c_in: int, repeats: int) -> None:
        super().__init__()
        c = c_in // 2
        self.first, self.last = _act(c_in, 2 * c), _act(2 * c, c_in)
        self.blocks = nn.ModuleList(
            nn.ModuleList(
                (
                    *(conv(c, 2 * c, 1), conv(c, c, 3, groups=c), conv(c, c, 1)),
                    nn.Sequential(_act(c, 2 * c), conv(2 * c, c, 1)),
                )
            )
            for _ in range(repeats)
        )

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.first(x).chunk(2, 1)
        for qkv, place, project, feed in cast(Iterable[Iterable[nn.Module]], self.blocks):
            b = b + project(place(qkv(b).chunk(2, 1)[1]))
            b = b + feed(b)
        return cast(Tensor, self.last(torch.cat((a, b), 1)))


class _Yolo11(nn.Module):
    """YOLO11 with 80 classes (ultralytics, yolo11.yaml)."""

    def __init__(self, depth: float, width: float, most: int, is_deep: bool) -> None:
        super().__init__()
        a, b, c, d, e = (int(min(n, most) * width) for n in (64, 128, 256, 512, 1024))
        n = max(1, round(2 * depth))

        def block(c_in: int, c_out: int, deep: bool = is_deep, inside: float = 0.5) -> nn.Module:
            return _C3k2(c_in, c_out, n, deep, inside)

        self.b3 = nn.Sequential(
            *(_act(3, a, 3, 2), _act(a, b, 3, 2), block(b, c, inside=0.25), _act(c, c, 3, 2)),
            block(c, d, inside=0.25),
        )
        self.b4 = nn.Sequential(_act(d, d, 3, 2), block(d, d, True))
        self.b5 = nn.Sequential(
            *(_act(d, e, 3, 2), block(e, e, True), _Pools(e, (5, 5, 5)), _Attention(e, n))
        )
        self.up4, self.up3 = block(e + d, d), block(d + d, c)
        self.down3, self.down4 = _act(c, c, 3, 2), _act(d, d, 3, 2)
        self.out4, self.out5 = block(c + d, d), block(d + e, e, True)
        boxes, classes = max(16, c // 4, 64), max(c, 80)
        self.boxes = nn.ModuleList(
            nn.Sequential(_act(k, boxes, 3), _act(boxes, boxes, 3), conv(boxes, 64, 1))
            for k in (c, d, e)
        )
        self.classes = nn.ModuleList(
            nn.Sequential(
                *(_act(k, k, 3, groups=k), _act(k, classes), _act(classes, classes, 3, 1, classes)),
                *(_act(classes, classes), conv(classes, 80, 1)),
            )
            for k in (c, d, e)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        three = self.b3(x)
        four = self.b4(three)
        five = self.b5(four)
        up4 = self.up4(torch.cat((F.interpolate(five, scale_factor=2), four), 1))
        three = self.up3(torch.cat((F.interpolate(up4, scale_factor=2), three), 1))
        four = self.out4(torch.cat((self.down3(three), up4), 1))
        five = self.out5(torch.cat((self.down4(four), five), 1))
        heads = zip(self.boxes, self.classes, (three, four, five), strict=True)
        return [head(u) for box, kind, u in heads for head in (box, kind)]


def _fcn_resnet18() -> nn.Module:
    """ResNet-18 with a head of 3x3 and 1x1 at a stride of 32, without enlargement (dusty-nv/pytorch-segmentation)."""
    from torchvision import models

    trunk = list(models.resnet18().children())[:-2]
    return nn.Sequential(*trunk, conv(512, 128, 3), conv(128, 21, 1))


def _yolo11(depth: float, width: float, most: int, is_deep: bool) -> Callable[[], nn.Module]:
    return lambda: _Yolo11(depth, width, most, is_deep)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "mobilenet_v1_0.25": lambda: _mobilenet_v1(0.25),
    "mobilenet_v1_0.5": lambda: _mobilenet_v1(0.5),
    "mobilenet_v1_1.0": lambda: _mobilenet_v1(1.0),
    "mobilenet_v2_0.5": lambda: _mobilenet_v2(0.5),
    "mobilenet_v2_1.0": lambda: _mobilenet_v2(1.0),
    "mobilenet_v2_1.4": lambda: _mobilenet_v2(1.4),
    "mobilenet_v3_small": from_torchvision("mobilenet_v3_small"),
    "mobilenet_v3_large": from_torchvision("mobilenet_v3_large"),
    "efficientnet_lite0": lambda: _efficientnet_lite(1.0, 1.0),
    "efficientnet_lite1": lambda: _efficientnet_lite(1.0, 1.1),
    "efficientnet_lite2": lambda: _efficientnet_lite(1.1, 1.2),
    "efficientnet_lite3": lambda: _efficientnet_lite(1.2, 1.4),
    "efficientnet_lite4": lambda: _efficientnet_lite(1.4, 1.8),
    "mixnet_s": lambda: _mixnet(False, 1.0),
    "mixnet_m": lambda: _mixnet(True, 1.0),
    "mixnet_l": lambda: _mixnet(True, 1.3),
    "resnet18": from_torchvision("resnet18"),
    "resnet34": from_torchvision("resnet34"),
    "resnet50": from_torchvision("resnet50"),
    "fcn_resnet18": _fcn_resnet18,
    "pidnet_s": _PIDNetS,
    "yolox_s": lambda: _YoloX(1 / 3, 0.5),
    "yolox_m": lambda: _YoloX(2 / 3, 0.75),
    "yolox_l": lambda: _YoloX(1.0, 1.0),
    "yolo11n": _yolo11(0.5, 0.25, 1024, False),
    "yolo11s": _yolo11(0.5, 0.5, 1024, False),
    "yolo11m": _yolo11(0.5, 1.0, 512, True),
    "yolo11l": _yolo11(1.0, 1.0, 512, True),
    "yolo11x": _yolo11(1.0, 1.5, 512, True),
}
"""By name: how to build it. Those that ncnn's benchmark has too are here as their authors publish them."""
