import json

import safetensors.torch
import torch

from hwkd.bits import BitPlan
from hwkd.models.build import build
from hwkd.models.checkpoint import read_checkpoint
from hwkd.models.fill import fill
from hwkd.models.spec import HyperpriorSpec
from hwkd.models.weights import save_weights
from hwkd.quantize.brevitas_qat import quantize
from hwkd.quantize.qat import calibrate

SPEC = HyperpriorSpec("relu", (8, 8, 8), 12, 8, 8)
METADATA = {"lmbda": "0.025", "teacher": "t", "data": "d", "e": "1", "f": "2", "g": "3"}


def test_equal_weights_make_equal_files(tmp_path):
    """safetensors itself writes its metadata in random order; six texts would rarely fall in place by chance."""
    model = build(SPEC)
    contents = set()
    for i in range(8):
        path = tmp_path / f"{i}.safetensors"
        save_weights(path, model, half=False, metadata=METADATA)
        contents.add(path.read_bytes())
    assert len(contents) == 1


def test_the_file_is_safetensors_with_aligned_tensors(tmp_path):
    model = build(SPEC)
    path = tmp_path / "w.safetensors"
    save_weights(path, model, half=False, metadata=METADATA)
    size = int.from_bytes(path.read_bytes()[:8], "little")
    assert size % 8 == 0
    header = json.loads(path.read_bytes()[8 : 8 + size])
    assert METADATA.items() <= header["__metadata__"].items()
    held = safetensors.torch.load_file(path)
    assert all(held[name].equal(tensor) for name, tensor in model.state_dict().items())


def test_a_quantized_models_file_fills_a_new_one(tmp_path):
    model = build(SPEC)
    plan = BitPlan(4, 8)
    quantize(model, plan)
    x = torch.rand(2, 3, 64, 64)
    calibrate(model, [x])
    model.eval().update(force=True)
    path = tmp_path / "w.safetensors"
    save_weights(path, model, half=False, metadata={})
    again = build(SPEC)
    quantize(again, plan)
    again.eval()
    fill(again, read_checkpoint(path).state, "w")
    with torch.no_grad():
        assert again(x).x_hat.equal(model(x).x_hat)
