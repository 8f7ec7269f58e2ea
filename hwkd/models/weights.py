"""Writing a model's weights to a safetensors file that says what it holds."""

import json
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from hwkd.files import write_bytes
from hwkd.models.base import HyperpriorCodec
from hwkd.models.recognise import recognise
from hwkd.models.spec import spec_to_json

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
