"""From a spec to an untrained model, and from the names and shapes of weights to the model they belong to."""

from collections.abc import Mapping

from torch import Tensor

from hwkd.errors import InputError
from hwkd.models.base import HyperpriorCodec
from hwkd.models.hyperprior import ConvHyperprior, MeanScaleCodec
from hwkd.models.patch import PatchCodec
from hwkd.models.spec import HyperpriorSpec, PatchSpec, Spec, spec_from_json

# From a spec to an untrained model.


def build(spec: Spec) -> HyperpriorCodec:
    """A model of this spec with random weights (torch's global generator)."""
    if isinstance(spec, HyperpriorSpec):
        return MeanScaleCodec(spec) if spec.family == "mean" else ConvHyperprior(spec)
    return PatchCodec(
        M=spec.M,
        H=spec.H,
        Z=spec.Z,
        C=spec.C,
        widths=spec.widths,
        post=spec.post,
        anchors=spec.anchors,
        hyper_kernel=spec.hyper_kernel,
        context=(spec.context[0], spec.context[1]) if spec.context else None,
    )


# From the names and shapes of weights to the model they belong to.

RECOGNISED = "bmshj2018-hyperprior (GDN or ReLU), mbt2018-mean, patch"
"""The classes a teacher may have, for messages."""


def recognise(state: Mapping[str, Tensor], metadata: Mapping[str, str], source: str) -> Spec:
    """The spec of the model that `state` belongs to.

    Args:
        state: tensors by name, as `read_checkpoint` gives them.
        metadata: of the file; its "spec" (written by `save_weights`) is taken at its word.
        source: the file, for the message.
    Raises:
        InputError: a class that is no teacher here; the message says which, or what the file looks like.
    """
    if "spec" in metadata:
        return spec_from_json(metadata["spec"])
    reason = _unsupported(state)
    if reason is None:
        try:
            return _patch(state) if "g_a.linear.weight" in state else _hyperprior(state)
        except (KeyError, IndexError):
            reason = f"not a codec known here ({_sample(state)})"
    raise InputError(f"{source} holds {reason}; recognised are {RECOGNISED}")


def _hyperprior(state: Mapping[str, Tensor]) -> HyperpriorSpec:
    n1, n2, n3, M = (state[f"g_a.{i}.weight"].shape[0] for i in (0, 2, 4, 6))
    H, Z = state["h_a.0.weight"].shape[0], state["h_a.4.weight"].shape[0]
    family = "gdn" if "g_a.1.gamma" in state else "relu"
    # h_s of mbt2018-mean ends in 2 M channels: scales and means.
    if state["h_s.4.weight"].shape[0] == 2 * M:
        family = "mean"
    return HyperpriorSpec(family, (n1, n2, n3), M, H, Z)


def _patch(state: Mapping[str, Tensor]) -> PatchSpec:
    return PatchSpec(
        M=state["g_a.linear.weight"].shape[0],
        H=state["h_a.0.weight"].shape[0],
        Z=state["h_a.4.weight"].shape[0],
        C=state["g_a.stem.weight"].shape[0],
        widths=_hidden(state, "g_a.trunk.{}.mix_in.weight"),
        post=_hidden(state, "g_s.post.{}.conv_in.weight"),
        context=_context(state),
        hyper_kernel=state["h_a.0.weight"].shape[2],
        anchors=len(state["gains.deviations"]) + 1 if "gains.deviations" in state else 0,
    )


def _context(state: Mapping[str, Tensor]) -> tuple[int, ...]:
    weight = state.get("g_s.context.conv_in.weight")
    return () if weight is None else (weight.shape[1], weight.shape[0])


def _hidden(state: Mapping[str, Tensor], name: str) -> tuple[int, ...]:
    """The output channels of the layers `name` with 0, 1, 2, ... in its braces."""
    widths: list[int] = []
    while (key := name.format(len(widths))) in state:
        widths.append(state[key].shape[0])
    return tuple(widths)


def _unsupported(state: Mapping[str, Tensor]) -> str | None:
    """The name of a class of CompressAI's that is no teacher here, or None."""
    if "Gain" in state:
        return "a variable-rate model (a -vbr class of CompressAI)"
    if any(name.startswith("latent_codec.") for name in state):
        return "a model with latent codecs (ELIC or a checkerboard context)"
    if "context_prediction.weight" in state:
        if "g_a.0.conv1.weight" not in state:
            return "mbt2018, whose context model is autoregressive"
        attention = any(".conv_a." in name for name in state)
        return (
            f"cheng2020-{'attn' if attention else 'anchor'}, whose context model is autoregressive"
        )
    has_hyperprior = any(name.startswith("h_a.") for name in state)
    if "g_a.6.weight" in state and "entropy_bottleneck.quantiles" in state and not has_hyperprior:
        return "bmshj2018-factorized, which has no hyperprior"
    return None


def _sample(state: Mapping[str, Tensor]) -> str:
    shown = [f"{name} {list(tensor.shape)}" for name, tensor in list(state.items())[:3]]
    return f"{len(state)} tensors, among them {', '.join(shown)}"
