"""Reading a file of weights, in any form CompressAI's users have, into tensors under CompressAI's present names.

Nothing is unpickled but tensors and plain values: torch.load(weights_only=True), or safetensors.
"""

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

from hwkd.errors import InputError
from hwkd.models.compat import load_pretrained, remap_old_keys

WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Where training scripts put the weights among other things (CompressAI's examples: the first)."""

# Losses are often stored as NumPy scalars; rebuilding one runs no code of the file's. Its maker's name differs
# between NumPy 1 and 2.
_scalar = np.float64(0).__reduce__()[0]
_NUMPY_SCALARS: list[Any] = [
    (_scalar, "numpy.core.multiarray.scalar"),
    (_scalar, "numpy._core.multiarray.scalar"),
    np.dtype,
    type(np.dtype(np.float32)),
    type(np.dtype(np.float64)),
]

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
        refused = re.search(r"Unsupported global: GLOBAL (\S+)", str(error))
        if isinstance(error, pickle.UnpicklingError) and refused:
            raise InputError(
                f"{path} holds a Python object ({refused[1]}), which is not loaded because it could run code; "
                "save the weights alone: torch.save(model.state_dict(), FILE)"
            ) from error
        raise _damaged(path) from error


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


def _check_finite(path: Path, state: dict[str, Tensor]) -> None:
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            wrong = int((~torch.isfinite(tensor)).sum())
            raise InputError(
                f"{path}: {wrong} of the {tensor.numel()} values of {name} are NaN or infinite (a training that "
                "diverged?); give an earlier checkpoint"
            )
