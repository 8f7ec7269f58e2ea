"""Files of weights: read in any form CompressAI's users have, put into a model with every mismatch explained, written."""

import hashlib
import json
import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from hwkd.errors import HwkdError, InputError
from hwkd.files import write_bytes
from hwkd.models.base import HyperpriorCodec
from hwkd.models.build import recognise
from hwkd.models.compat import load_pretrained, remap_old_keys
from hwkd.models.spec import spec_to_json

# Reading a file of weights, in any form CompressAI's users have, into tensors under CompressAI's present names.
#
# Nothing is unpickled but tensors and plain values: torch.load(weights_only=True), or safetensors.

WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Where training scripts put the weights among other things (CompressAI's examples: the first)."""

# Losses are often stored as NumPy scalars; rebuilding one runs no code of the file's. Its maker's name differs
# between NumPy 1 and 2.
_scalar = np.float64(0).__reduce__()[0]
_NUMPY_SCALARS: list[Any] = [
    (_scalar, "numpy.core.multiarray.scalar"),
    (_scalar, "numpy._core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(kind)) for kind in (*"?bBhHiIlLqQefdgFD", "U", "S")),
]

_REFUSED = re.compile(
    r"Unsupported (?:global: GLOBAL|class) (\S+)|but got <class '([^']+)'>|Trying to instantiate (\S+)"
)
"""How torch's loader names what it does not take."""

_SAVE_ALONE = "save the weights alone: torch.save(model.state_dict(), FILE)"
_SHOWN = 160
"""Characters of what a library says."""

_TRY = "give a CompressAI checkpoint (.pth.tar, .pth, .pt), a .safetensors file or a run folder"


@dataclass(frozen=True)
class Checkpoint:
    """What a file of weights holds.

    state: parameters and buffers, in the precision they are stored in, named as CompressAI 1.2.8 names them.
    metadata: the texts in a safetensors header; empty for other files. sha256: of the whole file, hexadecimal.
    """

    state: dict[str, Tensor]
    metadata: dict[str, str]
    sha256: str


def read_checkpoint(path: Path) -> Checkpoint:
    """Read `path`: what torch.save wrote (a state dict, bare or among other things), or safetensors.

    Names are brought to their present form: what stands before `g_a.` (DataParallel's `module.`, Lightning's
    `model.`) and torch.compile's `_orig_mod.` go, the entropy bottleneck's old names are replaced.

    Raises:
        InputError: no such file, cut short or damaged, no weights in it, or a weight that is NaN or infinite.
    """
    content = _content(path)
    metadata: dict[str, str] = {}
    raw: object
    if content.startswith((b"PK", b"\x80")) and not _has_safetensors_header(content):
        raw = _read_torch(path, content)
    elif content[8:9] == b"{" or path.suffix == ".safetensors":
        raw, metadata = _read_safetensors(path, content)
    else:
        raise InputError(f"{path} is not a checkpoint{_what_it_is(content)}; {_TRY}")
    state = _present_names(path, _tensors(path, raw))
    _check_finite(path, state)
    return Checkpoint(state, metadata, hashlib.sha256(content).hexdigest())


def _has_safetensors_header(content: bytes) -> bool:
    """Whether `content` starts with the length of a JSON header: one of 128 + 256 n bytes looks like a pickle's start."""
    return content[8:9] == b"{" and int.from_bytes(content[:8], "little") < len(content)


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"no such file: {path}; {_TRY}") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}; {_TRY}") from error
    if not content:
        raise InputError(f"{path} is empty; copy or download it again")
    return content


def _what_it_is(content: bytes) -> str:
    if content.startswith(b"version https://git-lfs"):
        return " but a Git LFS pointer to one (`git lfs pull` fetches it)"
    if content[:256].lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return " but a web page (a download that went wrong)"
    return ""


def _damaged(path: Path) -> InputError:
    return InputError(f"{path} is cut short or damaged; copy or download it again")


def _read_torch(path: Path, content: bytes) -> object:
    if content.startswith(b"PK"):
        try:
            names = zipfile.ZipFile(BytesIO(content)).namelist()
        except zipfile.BadZipFile as error:
            raise _damaged(path) from error
        if not any(name.endswith("data.pkl") for name in names):
            raise InputError(f"{path} is a zip file, but not one that torch.save wrote; {_TRY}")
    try:
        with torch.serialization.safe_globals(_NUMPY_SCALARS):
            return torch.load(BytesIO(content), map_location="cpu", weights_only=True)
    # A damaged pickle can fail in any way: struct, key, value, unicode, ...
    except Exception as error:
        check_memory(error, path)
        refused = _REFUSED.search(str(error))
        if isinstance(error, pickle.UnpicklingError) and refused:
            name = next(filter(None, refused.groups()))
            raise InputError(
                f"{path} holds a Python object ({name}), which is not loaded because it could run code; {_SAVE_ALONE}"
            ) from error
        if content.startswith(b"PK") and _is_whole(content):
            cause = str(error).strip().partition("\n")[0] or type(error).__name__
            raise InputError(
                f"{path} is whole, but torch cannot load it ({cause[:_SHOWN]}); {_SAVE_ALONE}"
            ) from error
        raise _damaged(path) from error


def check_memory(error: Exception, path: Path) -> None:
    """Raise HwkdError where `error` is that memory ran out: torch says so in words of a RuntimeError."""
    if isinstance(error, MemoryError) or "allocate memory" in str(error):
        raise HwkdError(
            f"there is not enough memory to read {path}; close other programs, and run the same command again"
        ) from error


def _is_whole(content: bytes) -> bool:
    """Whether every part of a zip has the checksum that it should have."""
    try:
        return zipfile.ZipFile(BytesIO(content)).testzip() is None
    except Exception:  # a damaged zip fails in any way
        return False


def _read_safetensors(path: Path, content: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        tensors = safetensors.torch.load(content)
    except (SafetensorError, KeyError, ValueError) as error:
        raise _damaged(path) from error
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return tensors, header.get("__metadata__", {})


def _tensors(path: Path, raw: object) -> dict[str, Tensor]:
    for key in WRAPPERS:
        if isinstance(raw, Mapping) and isinstance(raw.get(key), Mapping):
            raw = raw[key]
            break
    if not isinstance(raw, Mapping):
        raise InputError(f"{path} holds a {type(raw).__name__}, not a model's weights; {_TRY}")
    tensors = {k: v for k, v in raw.items() if isinstance(k, str) and isinstance(v, Tensor)}
    if not tensors:
        held = ", ".join(map(str, list(raw)[:5])) or "nothing"
        raise InputError(f"{path} holds no weights (it holds {held}); {_TRY}")
    return tensors


def _present_names(path: Path, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    state = {name.replace("_orig_mod.", ""): tensor for name, tensor in tensors.items()}
    starts = sorted({name[: f".{name}".find(".g_a.")] for name in state if ".g_a." in f".{name}"})
    if len(starts) > 1:
        named = ", ".join(repr(start or "g_a.") for start in starts)
        raise InputError(
            f"{path} holds several models ({named}); save the one you want alone: "
            "torch.save(model.state_dict(), FILE)"
        )
    if starts:
        start = starts[0]
        state = {name[len(start) :]: t for name, t in state.items() if name.startswith(start)}
    state = load_pretrained(state)
    # remap_old_keys takes every name that starts like the module for the module's.
    old = {name: t for name, t in state.items() if name.startswith("entropy_bottleneck.")}
    rest = {name: t for name, t in state.items() if name not in old}
    return {**rest, **remap_old_keys("entropy_bottleneck", old)}


def _unusual(tensor: Tensor) -> str:
    """What keeps a tensor from being computed with; "" for nothing."""
    if tensor.is_meta:
        return "a meta tensor, which has no values"
    if tensor.is_quantized:
        return "a quantized tensor"
    if tensor.is_complex():
        return "a complex tensor"
    return "" if tensor.layout == torch.strided else f"a {tensor.layout} tensor"


def _check_finite(path: Path, state: dict[str, Tensor]) -> None:
    for name, tensor in state.items():
        kind = _unusual(tensor)
        if kind:
            raise InputError(
                f"{path}: {name} is {kind}, and dense weights in float are needed; give another checkpoint"
            )
        if not tensor.is_floating_point():
            continue
        # torch has no isfinite for floats of eight bits.
        tensor = tensor if tensor.element_size() > 1 else tensor.float()
        if not bool(torch.isfinite(tensor).all()):
            wrong = int((~torch.isfinite(tensor)).sum())
            raise InputError(
                f"{path}: {wrong} of the {tensor.numel()} values of {name} are NaN or infinite (a training that "
                "diverged?); give an earlier checkpoint"
            )


# Putting the weights of a file into a model, with every mismatch explained.

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


# Writing a model's weights to a safetensors file that says what it holds.

HALVED = ("g_a.", "g_s.", "h_a.", "h_s.")


def save_weights(
    path: Path, model: HyperpriorCodec, *, half: bool, metadata: dict[str, str]
) -> None:
    """Write the parameters and buffers of `model`, entropy tables included where it has them.

    Args:
        half: store the parameters of the four transforms in float16. The entropy models and all constants keep
            their precision (1e-9 is 0 in float16, and the quantiles decide the tables), as does a tensor with
            values beyond float16.
        metadata: texts for the file's header, "lmbda" or "steps" say; "spec" is added.
    Raises:
        HwkdError, InputError: as `hwkd.files.replacing`.
    """
    parameters = {name for name, _ in model.named_parameters()}
    state = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    header = {"spec": spec_to_json(recognise(state, metadata, str(path))), **metadata}
    # safetensors takes text alone, and a folder's name may hold bytes that are none.
    header = {k: v.encode(errors="backslashreplace").decode() for k, v in header.items()}
    if half:
        for name in parameters:
            if name.startswith(HALVED):
                state[name] = _halved(state[name])
    write_bytes(path, _in_one_order(safetensors.torch.save(state, header)))


def _in_one_order(content: bytes) -> bytes:
    """A safetensors file with its header sorted: the library writes the metadata in random order.

    So equal weights make equal files, with the same sha256.
    """
    size = int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8 : 8 + size]), sort_keys=True).encode()
    header += b" " * (-len(header) % 8)  # the format aligns the tensors to 8 bytes
    return len(header).to_bytes(8, "little") + header + content[8 + size :]


def _halved(tensor: Tensor) -> Tensor:
    halved = tensor.half()
    return halved if bool(torch.isfinite(halved).all()) else tensor
