"""The networks of ncnn's benchmark. Predictions are fitted on their published timings.

torchvision's definitions where it has them, changed where the benchmark's differ (Caffe's strides and kernels), else
written out here from the papers. Only shapes matter. Batch norms are left out: they are folded
into the convolution before. ReLUs are left out too: they run inside the convolution.
"""

from collections.abc import Callable, Mapping
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import hwkd.models.compat  # noqa: F401  (mends torchvision before it is imported)
from hwkd.measure.eager.macs import network_layers
from hwkd.measure.layers import LayerCost


def benchmark_layers(
    progress: Callable[[str], None] | None = None,
) -> Mapping[str, tuple[LayerCost, ...]]:
    """The layers of every network by its name in the benchmark, at the input size the benchmark uses.

    Args:
        progress: called with each name before it is counted.
    """
    found = {}
    for name, (build, size) in NETWORKS.items():
        if progress is not None:
            progress(name)
        found[name] = network_layers(build(), torch.zeros(1, 3, size, size))
    return found


def conv(c_in: int, c_out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A convolution padded so that only `stride` changes the size."""
    return nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups)


def separable(c_in: int, c_out: int, stride: int) -> list[nn.Module]:
    """A depthwise convolution of 3x3, then one of 1x1."""
    return [conv(c_in, c_in, 3, stride, c_in), conv(c_in, c_out, 1)]


def _mobilenet_trunk() -> list[nn.Module]:
    """Howard et al. 2017, arXiv 1704.04861, table 1."""
    layers: list[nn.Module] = [conv(3, 32, 3, 2)]
    for c_in, c_out, stride in (
        (32, 64, 1),
        (64, 128, 2),
        (128, 128, 1),
        (128, 256, 2),
        (256, 256, 1),
        (256, 512, 2),
        *((512, 512, 1),) * 5,
        (512, 1024, 2),
        (1024, 1024, 1),
    ):
        layers += separable(c_in, c_out, stride)
    return layers


class Classifier(nn.Module):
    """Convolutions, the mean over the image, one dense layer."""

    def __init__(self, features: list[nn.Module], channels: int) -> None:
        super().__init__()
        self.features = nn.Sequential(*features)
        self.classifier = nn.Linear(channels, 1000)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] to [B, 1000]."""
        return cast(Tensor, self.classifier(self.features(x).mean((2, 3))))


class _MobilenetSSD(nn.Module):
    """MobileNet with the six prediction layers of SSD at 300 pixels, 21 classes (Liu et al. 2016, chuanqi305's)."""

    def __init__(self) -> None:
        super().__init__()
        trunk = _mobilenet_trunk()
        self.first, self.second = nn.Sequential(*trunk[:23]), nn.Sequential(*trunk[23:])
        self.extra = nn.ModuleList(
            nn.Sequential(conv(c, mid, 1), conv(mid, out, 3, 2))
            for c, mid, out in ((1024, 256, 512), (512, 128, 256), (256, 128, 256), (256, 64, 128))
        )
        heads = list(zip((512, 1024, 512, 256, 256, 128), (3, 6, 6, 6, 6, 6), strict=True))
        self.places = nn.ModuleList(conv(c, 4 * boxes, 1) for c, boxes in heads)
        self.classes = nn.ModuleList(conv(c, 21 * boxes, 1) for c, boxes in heads)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = [self.first(x)]
        maps.append(self.second(maps[0]))
        for extra in self.extra:
            maps.append(extra(maps[-1]))
        return [
            head(u)
            for u, a, b in zip(maps, self.places, self.classes, strict=True)
            for head in (a, b)
        ]


class _Inverted(nn.Module):
    """Widen by 1x1, depthwise, narrow by 1x1, added to the input where the shapes agree (MobileNetV2)."""

    def __init__(self, c_in: int, c_out: int, kernel: int, widen: int, stride: int) -> None:
        super().__init__()
        inside = c_in * widen
        first = [conv(c_in, inside, 1)] if widen > 1 else []
        self.branch = nn.Sequential(
            *first, conv(inside, inside, kernel, stride, inside), conv(inside, c_out, 1)
        )
        self.is_residual = c_in == c_out and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        u = cast(Tensor, self.branch(x))
        return x + u if self.is_residual else u


def _proxylessnas() -> nn.Module:
    """ProxylessNAS (mobile), Cai et al. 2019, arXiv 1812.00332, figure 4: (c_in, c_out, kernel, widen, stride)."""
    blocks = (
        (32, 16, 3, 1, 1),
        *((16, 32, 5, 3, 2), (32, 32, 3, 3, 1)),
        *((32, 40, 7, 3, 2), (40, 40, 3, 3, 1), (40, 40, 5, 3, 1), (40, 40, 5, 3, 1)),
        *((40, 80, 7, 6, 2), (80, 80, 5, 3, 1), (80, 80, 5, 3, 1), (80, 80, 5, 3, 1)),
        *((80, 96, 5, 6, 1), (96, 96, 5, 3, 1), (96, 96, 5, 3, 1), (96, 96, 5, 3, 1)),
        *((96, 192, 7, 6, 2), (192, 192, 7, 6, 1), (192, 192, 7, 3, 1), (192, 192, 7, 3, 1)),
        (192, 320, 7, 6, 1),
    )
    features = [conv(3, 32, 3, 2), *(_Inverted(*b) for b in blocks), conv(320, 1280, 1)]
    return Classifier(features, 1280)


class Squeeze(nn.Module):
    """Squeeze and excitation: the image's mean through two 1x1 convolutions scales the channels."""

    def __init__(self, channels: int, inside: int) -> None:
        super().__init__()
        self.narrow, self.widen = nn.Conv2d(channels, inside, 1), nn.Conv2d(inside, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """`x`, [B, channels, H, W], scaled."""
        return x * cast(Tensor, self.widen(self.narrow(x.mean((2, 3), keepdim=True))))


class _V2Block(nn.Module):
    """EfficientNetV2's blocks (Tan and Le 2021, arXiv 2104.00298, figure 2): fused, or with squeeze and excitation."""

    def __init__(self, c_in: int, c_out: int, widen: int, stride: int, is_fused: bool) -> None:
        super().__init__()
        inside = c_in * widen
        layers: list[nn.Module]
        if not is_fused:
            squeeze = Squeeze(inside, c_in // 4)
            middle = [conv(inside, inside, 3, stride, inside), nn.SiLU(), squeeze]
            layers = [conv(c_in, inside, 1), nn.SiLU(), *middle, conv(inside, c_out, 1)]
        elif widen == 1:
            layers = [conv(c_in, c_out, 3, stride), nn.SiLU()]
        else:
            layers = [conv(c_in, inside, 3, stride), nn.SiLU(), conv(inside, c_out, 1)]
        self.branch = nn.Sequential(*layers)
        self.is_residual = c_in == c_out and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        u = cast(Tensor, self.branch(x))
        return x + u if self.is_residual else u


def _efficientnetv2_b0() -> nn.Module:
    layers: list[nn.Module] = [conv(3, 32, 3, 2), nn.SiLU()]
    for c_in, c_out, widen, stride, repeats, is_fused in (
        (32, 16, 1, 1, 1, True),
        (16, 32, 4, 2, 2, True),
        (32, 48, 4, 2, 2, True),
        (48, 96, 4, 2, 3, False),
        (96, 112, 6, 1, 5, False),
        (112, 192, 6, 2, 8, False),
    ):
        layers.append(_V2Block(c_in, c_out, widen, stride, is_fused))
        layers += [_V2Block(c_out, c_out, widen, 1, is_fused) for _ in range(repeats - 1)]
    return Classifier([*layers, conv(192, 1280, 1)], 1280)


class _ShuffleUnit(nn.Module):
    """Grouped 1x1, depthwise 3x3, grouped 1x1, added to the input or put beside its mean (ShuffleNet, figure 2)."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        inside, added = c_out // 4, c_out - c_in if stride == 2 else c_out
        # The first unit's 1x1 convolution has too few channels to be grouped (section 3.2).
        first = conv(c_in, inside, 1, groups=1 if c_in == 24 else 3)
        self.branch = nn.Sequential(
            first, conv(inside, inside, 3, stride, inside), conv(inside, added, 1, groups=3)
        )
        self.mean = nn.AvgPool2d(3, 2, 1) if stride == 2 else None

    def forward(self, x: Tensor) -> Tensor:
        u = cast(Tensor, self.branch(x))
        return x + u if self.mean is None else torch.cat((self.mean(x), u), 1)


def _shufflenet() -> nn.Module:
    """ShuffleNet 1x with 3 groups, Zhang et al. 2017, arXiv 1707.01083, table 1."""
    layers: list[nn.Module] = [conv(3, 24, 3, 2), nn.MaxPool2d(3, 2, 1)]
    c_in = 24
    for c_out, repeats in ((240, 4), (480, 8), (960, 4)):
        for i in range(repeats):
            layers.append(_ShuffleUnit(c_in, c_out, 2 if i == 0 else 1))
            c_in = c_out
    return Classifier(layers, 960)


class _SplitStage(nn.Module):
    """YOLOv4-tiny's block: half of the channels take two 3x3 convolutions more. Gives its output and its last map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.whole, self.last = conv(channels, channels, 3), conv(channels, channels, 1)
        self.one, self.two = conv(half, half, 3), conv(half, half, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        u = cast(Tensor, self.whole(x))
        one = self.one(u[:, u.shape[1] // 2 :])
        last = self.last(torch.cat((self.two(one), one), 1))
        return torch.cat((u, last), 1), last


class _Yolov4Tiny(nn.Module):
    """YOLOv4-tiny at 416 pixels, 80 classes (Wang et al. 2021, arXiv 2011.08036; AlexeyAB/darknet's .cfg)."""

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Sequential(conv(3, 32, 3, 2), conv(32, 64, 3, 2))
        self.stages = nn.ModuleList(_SplitStage(c) for c in (64, 128, 256))
        self.halve = nn.MaxPool2d(2)
        self.neck = nn.Sequential(conv(512, 512, 3), conv(512, 256, 1))
        self.coarse = nn.Sequential(conv(256, 512, 3), conv(512, 255, 1))
        self.up = conv(256, 128, 1)
        self.fine = nn.Sequential(conv(384, 256, 3), conv(256, 255, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        u, last = cast(Tensor, self.start(x)), x
        for stage in self.stages:
            u, last = stage(u)
            u = self.halve(u)
        u = self.neck(u)
        up = F.interpolate(self.up(u), scale_factor=2)
        return self.coarse(u), self.fine(torch.cat((up, last), 1))


def _alexnet() -> nn.Module:
    """Caffe's, with its two groups (Krizhevsky et al. 2012); torchvision's is another."""
    features = [
        *(nn.Conv2d(3, 96, 11, 4), nn.MaxPool2d(3, 2), conv(96, 256, 5, 1, 2), nn.MaxPool2d(3, 2)),
        *(conv(256, 384, 3), conv(384, 384, 3, 1, 2), conv(384, 256, 3, 1, 2)),
        nn.MaxPool2d(3, 2),
    ]
    dense = [nn.Linear(9216, 4096), nn.Linear(4096, 4096), nn.Linear(4096, 1000)]
    return nn.Sequential(*features, nn.Flatten(), *dense)


def from_torchvision(name: str) -> Callable[[], nn.Module]:
    """Builds torchvision's network of that name, with random weights."""

    def build() -> nn.Module:
        from torchvision import models

        return cast(nn.Module, models.get_model(name))

    return build


def _googlenet() -> nn.Module:
    """torchvision's has 3x3 kernels where the paper and Caffe have 5x5."""
    # torchvision.models.googlenet is both a module and the function of that name in its parent.
    from torchvision.models.googlenet import GoogLeNet, Inception

    model = GoogLeNet(aux_logits=False, init_weights=False)
    for module in model.modules():
        if isinstance(module, Inception):
            narrow = module.branch3[1].conv
            module.branch3[1].conv = conv(narrow.in_channels, narrow.out_channels, 5)
    return cast(nn.Module, model)


def _resnet50() -> nn.Module:
    """Caffe's halves the image in the 1x1 convolution, torchvision's in the 3x3."""
    from torchvision.models import resnet

    model = resnet.resnet50()
    for module in model.modules():
        if isinstance(module, resnet.Bottleneck):
            module.conv1.stride, module.conv2.stride = module.conv2.stride, (1, 1)
    return cast(nn.Module, model)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "squeezenet": (from_torchvision("squeezenet1_1"), 227),
    "mobilenet": (lambda: Classifier(_mobilenet_trunk(), 1024), 224),
    "mobilenet_v2": (from_torchvision("mobilenet_v2"), 224),
    "mobilenet_v3": (from_torchvision("mobilenet_v3_large"), 224),
    "shufflenet": (_shufflenet, 224),
    "shufflenet_v2": (from_torchvision("shufflenet_v2_x1_0"), 224),
    "mnasnet": (from_torchvision("mnasnet1_0"), 224),
    "proxylessnasnet": (_proxylessnas, 224),
    "efficientnet_b0": (from_torchvision("efficientnet_b0"), 224),
    "efficientnetv2_b0": (_efficientnetv2_b0, 224),
    "regnety_400m": (from_torchvision("regnet_y_400mf"), 224),
    "googlenet": (_googlenet, 224),
    "resnet18": (from_torchvision("resnet18"), 224),
    "alexnet": (_alexnet, 227),
    "vgg16": (from_torchvision("vgg16"), 224),
    "resnet50": (_resnet50, 224),
    "mobilenet_ssd": (_MobilenetSSD, 300),
    "yolov4-tiny": (_Yolov4Tiny, 416),
}
"""For each name in the benchmark: how to build the network, and the side of its input in pixels."""
