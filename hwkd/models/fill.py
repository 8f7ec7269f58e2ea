"""Putting the weights of a file into a model, with every mismatch explained."""

from collections.abc import Mapping

import torch
from torch import Tensor

from hwkd.errors import InputError
from hwkd.models.base import HyperpriorCodec

# Buffers that compressai's update() computes; each module's are useful together or not at all.
TABLES = {
    "entropy_bottleneck": ("_quantized_cdf", "_offset", "_cdf_length"),
    "gaussian_conditional": ("_quantized_cdf", "_offset", "_cdf_length", "scale_table"),
}


def fill(model: HyperpriorCodec, state: Mapping[str, Tensor], source: str) -> None:
    """Load `state` into a new `model`, in float32, and compute the entropy tables it lacks.

    Constants that half precision would spoil (a likelihood bound of 1e-9 is 0 there) are the model's own unless
    stored in float32; so are those the file leaves out.

    Args:
        source: the file, for the messages.
    Raises:
        InputError: weights missing, of another shape, or too many; entropy tables that do not fit.
    """
    parameters = dict(model.named_parameters())
    kept = model.state_dict()
    # Quantizers have buffers that no state dict holds, and do not load any.
    buffers = {name: buffer for name, buffer in model.named_buffers() if name in kept}
    unknown = [name for name in state if name not in parameters and name not in buffers]
    missing = [name for name in parameters if name not in state]
    if unknown or missing:
        found = f"lacks {missing[0]}" if missing else f"has {unknown[0]}, which it should not"
        raise InputError(
            f"{source} does not fit its class {type(model).__name__}: it {found} "
            f"({len(missing)} missing, {len(unknown)} too many)"
        )
    for name, parameter in parameters.items():
        held = state[name]
        if held.shape != parameter.shape or not held.is_floating_point():
            raise InputError(
                f"{source}: {name} is {_described(held)}, expected {_described(parameter)}; "
                "the file mixes two models or was changed"
            )
    whole = {name: state[name] for name in parameters}
    for name, own in buffers.items():
        held = state.get(name, own)
        whole[name] = held if held.dtype == own.dtype and held.shape == own.shape else own
    for module, names in TABLES.items():
        whole |= _tables(module, names, state, source)
    model.load_state_dict(whole)
    model.update()


def _tables(
    module: str, names: tuple[str, ...], state: Mapping[str, Tensor], source: str
) -> dict[str, Tensor]:
    """The module's tables, or none of them where one is absent, empty or not in its own precision."""
    tables = {f"{module}.{name}": state.get(f"{module}.{name}") for name in names}
    present = {name: t for name, t in tables.items() if t is not None and t.numel() > 0}
    scales = present.get(f"{module}.scale_table")
    if len(present) < len(names) or (scales is not None and scales.dtype != torch.float32):
        return {}
    cdf, offset, length = list(present.values())[:3]
    rows = len(scales) if scales is not None else len(state["entropy_bottleneck.quantiles"])
    # The native coder trusts these sizes.
    fits = cdf.ndim == 2 and len(cdf) == rows and offset.shape == length.shape == (rows,)
    if not fits or not bool(((length >= 2) & (length <= cdf.shape[1])).all()):
        raise InputError(
            f"{source}: the entropy tables of {module} do not fit the model; save it again after "
            "model.update(force=True)"
        )
    return present


def _described(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
