"""A family of students that hwkd does not have: relu with 3x3 kernels in g_a. All that a new family needs stands here."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from torch import nn

from hwkd.models.compat import conv
from hwkd.models.families.family import Layer, Spec
from hwkd.models.families.hyperprior import HyperpriorFamily, HyperpriorSpec
from hwkd.models.hyperprior import ConvHyperprior

if TYPE_CHECKING:
    from torch import Tensor

KERNEL = 3


class SmallKernels(ConvHyperprior):
    def __init__(self, spec: HyperpriorSpec) -> None:
        super().__init__(spec)
        g_a = cast(nn.Sequential, self.g_a)
        for i, layer in enumerate(g_a):
            if isinstance(layer, nn.Conv2d):
                g_a[i] = conv(layer.in_channels, layer.out_channels, KERNEL)


@dataclass(frozen=True)
class SmallKernelsFamily(HyperpriorFamily):
    def recognise(self, state: "Mapping[str, Tensor]") -> HyperpriorSpec | None:
        is_small = state["g_a.0.weight"].shape[2] == KERNEL
        return super().recognise(state) if is_small else None

    def layers(self, spec: Spec) -> Iterator[Layer]:
        for layer in super().layers(spec):
            yield replace(layer, kernel=KERNEL) if layer.name.startswith("g_a.") else layer


FAMILY = SmallKernelsFamily(
    "small",
    HyperpriorSpec,
    "tests.fakes.small_kernels:SmallKernels",
    "hwkd.export.hyperprior_graphs:GRAPHS",
    "small",
    has_transposed=True,
)
