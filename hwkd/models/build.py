"""Build an untrained model from a spec, and find the model of given weights by their names and shapes."""

from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module

from torch import Tensor

from hwkd.errors import InputError
from hwkd.models.base import HyperpriorCodec
from hwkd.models.families.family import all_families, family_of
from hwkd.models.spec import Spec, spec_from_json

# From a spec to an untrained model.


def build(spec: Spec) -> HyperpriorCodec:
    """A model of this spec with random weights (torch's global generator)."""
    module, _, name = family_of(spec).codec.partition(":")
    codec = getattr(import_module(module), name)(spec)
    assert isinstance(codec, HyperpriorCodec)
    return codec


# From the names and shapes of weights to the model they belong to.


def recognise(state: Mapping[str, Tensor], metadata: Mapping[str, str], source: str) -> Spec:
    """The spec of the model that `state` belongs to.

    Args:
        state: tensors by name, as `read_checkpoint` gives them.
        metadata: metadata of the file. Its "spec" (written by `save_weights`) is trusted.
        source: the file, for the message.
    Raises:
        InputError: a class that is no teacher here; the message says which, or what the file looks like.
    """
    if "spec" in metadata:
        return spec_from_json(metadata["spec"])
    reason = _unsupported(state)
    if reason is None:
        # The last first: a family that is made of another's parts comes after it.
        for family in reversed(all_families()):
            with suppress(KeyError, IndexError):
                spec = family.recognise(state)
                if spec is not None:
                    return spec
        reason = f"not a codec known here ({_sample(state)})"
    recognised = ", ".join(dict.fromkeys(family.checkpoint for family in all_families()))
    raise InputError(f"{source} holds {reason}; recognised are {recognised}")


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
