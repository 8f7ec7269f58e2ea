"""The families of the scale hyperprior: gdn, relu, and mean, which only teaches. Its networks: hwkd/models/hyperprior.py."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, cast

from hwkd.errors import InputError, unknown
from hwkd.models.families.family import (
    BLOCK,
    ChannelRange,
    Family,
    Layer,
    LayerInput,
    Spec,
    all_families,
    channel_range,
    check_channels,
    first_given,
    hyper_analysis,
    latent_ranges,
    register,
    student_names,
)

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class HyperpriorSpec(Spec):
    """A scale hyperprior of stride-2 convolutions (Balle et al. 2018), or mbt2018-mean as a teacher.

    family: gdn (the paper's), relu (ReLU in place of GDN), mean (mbt2018-mean: GDN, and means beside the scales).
    widths: channels after the first three layers of g_a; g_s mirrors them.
    M: channels of y. H: channels inside h_a and h_s. Z: channels of z.
    """

    family: str
    widths: tuple[int, int, int]
    M: int
    H: int
    Z: int

    def __post_init__(self) -> None:
        if self.family not in [f.name for f in all_families() if f.spec_type is HyperpriorSpec]:
            raise unknown("family", self.family, student_names())
        if len(self.widths) != 3:
            raise InputError(
                f"family {self.family} takes one width or three, got {len(self.widths)}: {self.widths}"
            )
        check_channels(self)

    def __str__(self) -> str:
        n = self.widths[0] if len(set(self.widths)) == 1 else "-".join(map(str, self.widths))
        return f"{self.family} N={n} M={self.M} H={self.H} Z={self.Z}"


@dataclass(frozen=True)
class HyperpriorFamily(Family):
    """One of those with a `HyperpriorSpec`. is_mean: whether h_s gives means beside the scales."""

    is_mean: bool = False

    def student(
        self,
        widths: tuple[int, ...],
        M: int,
        hyper: int | None,
        hyper_latent: int | None,
        post: tuple[int, ...] | None,
        *,
        all_rates: bool,
    ) -> HyperpriorSpec:
        """N, or one for each of the three layers inside g_a; the hyper networks are as wide as the last."""
        if len(widths) not in (1, 3):
            raise InputError(
                f"family {self.name} takes one width or three (--width 64 or --width 32,48,64), got {len(widths)}"
            )
        n1, n2, n3 = widths if len(widths) == 3 else widths * 3
        H = first_given(hyper, n3)
        return HyperpriorSpec(self.name, (n1, n2, n3), M, H, first_given(hyper_latent, H))

    def recognise(self, state: "Mapping[str, Tensor]") -> HyperpriorSpec | None:
        """By GDN's parameters, and by the channels of h_s, which are 2 M with means."""
        n1, n2, n3, M = (state[f"g_a.{i}.weight"].shape[0] for i in (0, 2, 4, 6))
        H, Z = state["h_a.0.weight"].shape[0], state["h_a.4.weight"].shape[0]
        is_mean = state["h_s.4.weight"].shape[0] == 2 * M
        has_gdn = "g_a.1.gamma" in state
        if is_mean != self.is_mean or (not is_mean and has_gdn != self.has_gdn):
            return None
        return HyperpriorSpec(self.name, (n1, n2, n3), M, H, Z)

    def layers(self, spec: Spec) -> Iterator[Layer]:
        """As hwkd/models/hyperprior.py."""
        channels = (3, *spec.widths, spec.M)
        at = BLOCK**2
        for i, (c_in, c_out) in enumerate(pairwise(channels)):
            yield Layer(f"g_a.{2 * i}", c_in, c_out, at, 5, stride=2)
            at //= 4
            if self.has_gdn and i < 3:
                yield Layer(f"g_a.{2 * i + 1}", c_out, c_out, at, operator="gdn")
        yield from hyper_analysis(spec)
        for i, c_in, c_out, at_i in ((0, spec.Z, spec.H, 1), (2, spec.H, spec.H, 4)):
            yield Layer(f"h_s.{i}", c_in, c_out, at_i, 5, stride=2, operator="transposed")
        yield Layer("h_s.4", spec.H, spec.M, at, 3)
        for i, (c_in, c_out) in enumerate(pairwise(channels[::-1])):
            yield Layer(f"g_s.{2 * i}", c_in, c_out, at, 5, stride=2, operator="transposed")
            at *= 4
            if self.has_gdn and i < 3:
                yield Layer(f"g_s.{2 * i + 1}", c_out, c_out, at, operator="gdn")

    def given_inputs(self, spec: Spec) -> dict[str, LayerInput]:
        """The pixels, and the symbols of y, which have 8 bits."""
        return {
            "g_a.0": LayerInput("pixels", signed=False),
            "g_s.0": LayerInput("symbols", signed=True),
        }

    def width_names(self) -> tuple[str, ...]:
        """Of the three layers inside g_a."""
        return ("N1", "N2", "N3")

    def ranges(self, teacher: HyperpriorSpec) -> tuple[ChannelRange, ...]:
        """No layer wider than the teacher's."""
        names = self.width_names()
        widths = (
            channel_range(n, 8, most, 8) for n, most in zip(names, teacher.widths, strict=True)
        )
        return (*widths, *latent_ranges(teacher))

    def from_values(self, values: Mapping[str, int]) -> HyperpriorSpec:
        """The student with these channels."""
        widths = tuple(values[name] for name in self.width_names())
        return HyperpriorSpec(
            self.name, cast(tuple[int, int, int], widths), values["M"], values["H"], values["Z"]
        )


_CODEC = "hwkd.models.hyperprior:ConvHyperprior"
_GRAPHS = "hwkd.export.hyperprior_graphs:GRAPHS"
_CHECKPOINT = "bmshj2018-hyperprior (GDN or ReLU)"

GDN = register(
    HyperpriorFamily(
        "gdn", HyperpriorSpec, _CODEC, _GRAPHS, _CHECKPOINT, has_gdn=True, has_transposed=True
    )
)
RELU = register(
    HyperpriorFamily("relu", HyperpriorSpec, _CODEC, _GRAPHS, _CHECKPOINT, has_transposed=True)
)
MEAN = register(
    HyperpriorFamily(
        "mean",
        HyperpriorSpec,
        "hwkd.models.hyperprior:MeanScaleCodec",
        None,
        "mbt2018-mean",
        has_gdn=True,
        has_transposed=True,
        is_mean=True,
    )
)
