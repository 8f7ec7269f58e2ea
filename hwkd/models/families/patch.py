"""The family patch: a transform of 16x16 patches with learned residual trunks. Its networks: hwkd/models/patch.py."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from hwkd.errors import InputError
from hwkd.models.families.family import (
    ChannelRange,
    Family,
    Layer,
    LayerInput,
    Spec,
    channel_range,
    check_channels,
    first_given,
    hyper_analysis,
    latent_ranges,
    register,
)
from hwkd.qualities import MOST_ANCHORS

if TYPE_CHECKING:
    from torch import Tensor

PATCH = 16
"""Side of the patches, in pixels."""
PATCH_VALUES = 3 * PATCH * PATCH
POST = 4
"""The deblocking pairs work at a quarter of the resolution."""
POST_VALUES = 3 * POST * POST


@dataclass(frozen=True)
class PatchSpec(Spec):
    """A `patch` codec (hwkd/models/patch.py); g_s mirrors g_a.

    Attributes:
        M: channels of y.
        H: channels inside h_a and h_s.
        Z: channels of z.
        C: channels of the trunk at 1/16 of the resolution.
        widths: hidden width of each block of the trunk.
        post: hidden widths of the deblocking pairs at 1/4 of the resolution.
        anchors: number of lambdas at which the gains of a codec of all rates are learned. 0: a codec of one rate, without
            gains.
        context: number of channels of y with means predicted from their neighbours, and width of the layer that predicts
            them; () for none.
        hyper_kernel: side of the first convolution of h_a and of the last of h_s, 1 or 3.
    """

    M: int
    H: int
    Z: int
    C: int
    widths: tuple[int, ...]
    post: tuple[int, ...]
    anchors: int = 0
    context: tuple[int, ...] = ()
    hyper_kernel: int = 3
    family: str = "patch"

    def __post_init__(self) -> None:
        check_channels(self, lists=("widths", "post", "context"), besides=("anchors",))
        if type(self.anchors) is not int or self.anchors not in (0, *range(2, MOST_ANCHORS + 1)):
            raise InputError(
                f"anchors must be 0 (one rate) or 2 to {MOST_ANCHORS} (all rates), got {self.anchors}"
            )
        if self.hyper_kernel not in (1, 3):
            raise InputError(f"hyper_kernel must be 1 or 3, got {self.hyper_kernel}")
        if self.context and (len(self.context) != 2 or self.context[0] > self.M):
            raise InputError(
                f"context must be two numbers, channels of y (at most M, {self.M}) and a width, got {self.context}"
            )
        for name in ("M", "C"):
            if getattr(self, name) > PATCH_VALUES:
                raise InputError(
                    f"{name} of family patch must be 1 to {PATCH_VALUES} channels (the values of a 16x16 patch), "
                    f"got {getattr(self, name)}"
                )

    @property
    def serves_all_rates(self) -> bool:
        """Whether one model codes at every quality of hwkd/qualities.py."""
        return self.anchors > 0

    def __str__(self) -> str:
        parts = [f"M={self.M} H={self.H} Z={self.Z} C={self.C}"]
        for name in ("widths", "post", "context"):
            values = getattr(self, name)
            if values:
                parts.append(f"{name}={'-'.join(map(str, values))}")
        if self.hyper_kernel != 3:
            parts.append(f"hyper_kernel={self.hyper_kernel}")
        if self.anchors:
            parts.append(f"anchors={self.anchors}")
        return f"patch {' '.join(parts)}"


BLOCKS = 3
HYPER, HYPER_LATENT = 96, 64
ANCHORS = 5
CONTEXT = 48
"""Channels of y for which a student of all rates predicts the means, through a layer of twice as many."""
LATENT_OF_ALL_RATES = 320
"""Channels of y for a patch's 768 values: with 192 a linear codec ends at 37.5 dB on Kodak, with 320 at 46.2 dB."""
WIDE_TRUNK = 128
"""Channels of a trunk from which on its head's weights are held in two layers."""
POST_SHARE = 4
"""The deblocking pair works at 16 times the pixels of the trunk: it gets a quarter of its channels."""


@dataclass(frozen=True)
class PatchFamily(Family):
    """The one with a `PatchSpec`."""

    def student(
        self,
        widths: tuple[int, ...],
        M: int,
        hyper: int | None,
        hyper_latent: int | None,
        post: tuple[int, ...] | None,
        *,
        all_rates: bool,
    ) -> PatchSpec:
        """The trunk's channels, or the hidden width of each block, of which the trunk takes the largest."""
        C = max(widths)
        return PatchSpec(
            M=M,
            H=first_given(hyper, HYPER),
            Z=first_given(hyper_latent, hyper, HYPER_LATENT),
            C=C,
            widths=widths if len(widths) > 1 else widths * BLOCKS,
            post=post or (max(1, C // POST_SHARE),),
            anchors=ANCHORS if all_rates else 0,
            context=_context(M) if all_rates else (),
            hyper_kernel=1 if all_rates else 3,
        )

    def with_rates(self, spec: Spec, *, all_rates: bool) -> PatchSpec:
        """The spec with gains and a context, or without."""
        spec = cast(PatchSpec, spec)
        if not all_rates:
            return replace(spec, anchors=0, context=())
        return replace(spec, anchors=ANCHORS, context=_context(spec.M))

    def recognise(self, state: "Mapping[str, Tensor]") -> PatchSpec | None:
        """The spec of these weights, found by the linear path: no other family has one."""
        if "g_a.linear.weight" not in state:
            return None
        of_context = state.get("g_s.context.conv_in.weight")
        return PatchSpec(
            M=state["g_a.linear.weight"].shape[0],
            H=state["h_a.0.weight"].shape[0],
            Z=state["h_a.4.weight"].shape[0],
            C=state["g_a.stem.weight"].shape[0],
            widths=_hidden(state, "g_a.trunk.{}.mix_in.weight"),
            post=_hidden(state, "g_s.post.{}.conv_in.weight"),
            context=() if of_context is None else (of_context.shape[1], of_context.shape[0]),
            hyper_kernel=state["h_a.0.weight"].shape[2],
            anchors=len(state["gains.deviations"]) + 1 if "gains.deviations" in state else 0,
        )

    def layers(self, spec: Spec) -> Iterator[Layer]:
        """As hwkd/models/patch.py."""
        spec = cast(PatchSpec, spec)
        at = 16
        yield Layer("g_a.linear", PATCH_VALUES, spec.M, at)
        yield Layer("g_a.stem", PATCH_VALUES, spec.C, at)
        yield from _trunk("g_a", spec.C, spec.widths, at)
        yield Layer("g_a.head", spec.C, spec.M, at)
        for name in self.with_rest(spec):
            yield Layer(f"{name}_rest", spec.C, spec.M, at, bias=False)
        yield from hyper_analysis(spec, spec.hyper_kernel)
        yield Layer("h_s.0", spec.Z, 4 * spec.H, 1, 3)
        yield Layer("h_s.3", spec.H, 4 * spec.H, 4, 3)
        yield Layer("h_s.6", spec.H, spec.M, at, spec.hyper_kernel)
        if spec.context:
            channels, width = spec.context
            yield Layer("g_s.context.conv_in", channels, width, at, 3)
            yield Layer("g_s.context.conv_out", width, channels, at)
        yield Layer("g_s.linear", spec.M, PATCH_VALUES, at)
        yield Layer("g_s.stem", spec.M, spec.C, at)
        yield from _trunk("g_s", spec.C, spec.widths, at)
        yield Layer("g_s.head", spec.C, PATCH_VALUES, at)
        for i, w in enumerate(spec.post):
            yield Layer(f"g_s.post.{i}.conv_in", POST_VALUES, w, 16 * at, 3)
            yield Layer(f"g_s.post.{i}.conv_out", w, POST_VALUES, 16 * at, 3)

    def given_inputs(self, spec: Spec) -> dict[str, LayerInput]:
        """The pixels less 1/2; y_hat in whole numbers beyond 8 bits, or over its gain."""
        y_hat = LayerInput("fractions" if spec.serves_all_rates else "integers", signed=True)
        pixels = LayerInput("pixels", signed=True)
        return {
            "g_a.linear": pixels,
            "g_a.stem": pixels,
            "g_s.linear": y_hat,
            "g_s.stem": y_hat,
        }

    def with_rest(self, spec: Spec) -> tuple[str, ...]:
        """The head of the encoder, where its trunk is wide."""
        return ("g_a.head",) if cast(PatchSpec, spec).C >= WIDE_TRUNK else ()

    def why_not_quantized(self, spec: Spec) -> str | None:
        """A context in a codec of one rate."""
        if not cast(PatchSpec, spec).context or spec.serves_all_rates:
            return None
        return "a codec of one rate whose means have a context is not quantized: train it for all rates, or without context"

    def width_names(self) -> tuple[str, ...]:
        """The names of the widths of the blocks."""
        return tuple(f"w{i + 1}" for i in range(BLOCKS))

    def ranges(self, teacher: PatchSpec) -> tuple[ChannelRange, ...]:
        """No layer wider than the teacher's; the trunk's channels are the widest block's."""
        most = min(teacher.C, *teacher.widths)
        post = max(teacher.post, default=teacher.C // POST_SHARE)
        return (
            *(channel_range(name, 16, most, 8) for name in self.width_names()),
            *latent_ranges(teacher),
            channel_range("post", 4, post, 4),
        )

    def from_values(self, values: Mapping[str, int]) -> PatchSpec:
        """The student with these channels; its trunk takes the widest block's."""
        widths = tuple(values[name] for name in self.width_names())
        return PatchSpec(
            M=values["M"],
            H=values["H"],
            Z=values["Z"],
            C=max(widths),
            widths=widths,
            post=(values["post"],),
        )

    def uniform(self, width: int) -> dict[str, float]:
        """The channels, with hyper networks no wider than the trunk: wider ones would be most of a narrow student's weights."""
        return {
            **super().uniform(width),
            "H": min(HYPER, width),
            "Z": min(HYPER_LATENT, width),
            "post": width / POST_SHARE,
        }

    def options(self, spec: Spec) -> dict[str, Any]:
        """The options, with the deblocking pairs."""
        return {**super().options(spec), "post": list(cast(PatchSpec, spec).post)}


def _context(M: int) -> tuple[int, int]:
    channels = min(CONTEXT, M)
    return channels, 2 * channels


def _hidden(state: "Mapping[str, Tensor]", name: str) -> tuple[int, ...]:
    """The output channels of the layers `name` with 0, 1, 2, ... in its braces."""
    widths: list[int] = []
    while (key := name.format(len(widths))) in state:
        widths.append(state[key].shape[0])
    return tuple(widths)


def _trunk(network: str, C: int, widths: tuple[int, ...], at: int) -> Iterator[Layer]:
    for i, w in enumerate(widths):
        block = f"{network}.trunk.{i}"
        yield Layer(f"{block}.mix_in", C, w, at)
        yield Layer(f"{block}.mix", w, w, at, 3, groups=w)
        yield Layer(f"{block}.mix_out", w, C, at)
        yield Layer(f"{block}.feed_in", C, 2 * w, at)
        yield Layer(f"{block}.feed_out", 2 * w, C, at)


PATCH_FAMILY = register(
    PatchFamily(
        name="patch",
        spec_type=PatchSpec,
        codec="hwkd.models.patch:PatchCodec",
        graphs="hwkd.export.patch_graphs:GRAPHS",
        checkpoint="patch",
        default_width=96,
        optimizer="muon",  # its gains were measured for this family alone
        latent_of_all_rates=LATENT_OF_ALL_RATES,
        takes_post=True,
        h_s_gives_index=True,
        clips_g_a=False,
        float_notes=(
            "g_a and g_s: the residual additions of every block are float32",
            "g_a and g_s: the sum of linear and head is float32",
            "h_a: its input log(1 + |y|) is float32",
        ),
    )
)
