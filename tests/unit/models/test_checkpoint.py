"""Files that are not a teacher: one line each, and nothing in them is run."""

import argparse
import collections
import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from hwkd.bits import BitPlan
from hwkd.errors import HwkdError, InputError
from hwkd.models.build import build
from hwkd.models.checkpoint import fill, read_checkpoint, save_weights
from hwkd.models.spec import HyperpriorSpec
from hwkd.models.teacher import load_teacher
from hwkd.quantize.qat import calibrate, quantize

SPEC = HyperpriorSpec("gdn", (8, 8, 8), 12, 8, 8)
TRY = "give a CompressAI checkpoint (.pth.tar, .pth, .pt), a .safetensors file or a run folder"
CLASSES = "recognised are bmshj2018-hyperprior (GDN or ReLU), mbt2018-mean, patch"


def message_of(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_teacher(str(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.pth"


def save(path: Path, form: str) -> bytes:
    model = build(SPEC)
    if form == "safetensors":
        save_weights(path, model, half=False, metadata={})
    else:
        torch.save(model.state_dict(), path, _use_new_zipfile_serialization=form == "zip")
    return path.read_bytes()


@pytest.mark.parametrize("part", [0.001, 0.5, 0.999])
@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
def test_a_file_cut_short_is_said_to_be(form: str, part: float, path: Path) -> None:
    content = save(path, form)
    path.write_bytes(content[: int(len(content) * part)])
    assert message_of(path) == f"{path} is cut short or damaged; copy or download it again"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "{} is empty; copy or download it again"),
        (b"\x89PNG\r\n\x1a\n and so on", "{} is not a checkpoint; " + TRY),
        (
            b"<!DOCTYPE html><title>404</title>",
            "{} is not a checkpoint but a web page (a download that went wrong); " + TRY,
        ),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:12\n",
            "{} is not a checkpoint but a Git LFS pointer to one (`git lfs pull` fetches it); "
            + TRY,
        ),
    ],
    ids=["empty", "image", "page", "pointer"],
)
def test_what_is_no_checkpoint_is_named(content: bytes, message: str, path: Path) -> None:
    path.write_bytes(content)
    assert message_of(path) == message.format(path)


def test_a_zip_that_torch_did_not_write(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", "{}")
    assert message_of(path) == f"{path} is a zip file, but not one that torch.save wrote; {TRY}"


class Trap:
    """Unpickling it would leave a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("legacy", [True, False])
def test_objects_are_refused_and_not_run(legacy: bool, path: Path, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    torch.save({"state_dict": Trap(mark)}, path, _use_new_zipfile_serialization=not legacy)
    message = message_of(path)
    assert not mark.exists()
    assert message.startswith(f"{path} holds a Python object (")
    assert message.endswith("save the weights alone: torch.save(model.state_dict(), FILE)")


def test_a_plain_pickle_is_refused_and_not_run(path: Path, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    path.write_bytes(pickle.dumps(Trap(mark), protocol=2))
    message_of(path)
    assert not mark.exists()


def test_a_whole_model_is_refused_by_its_class(path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), path)
    assert message_of(path).startswith(
        f"{path} holds a Python object (torch.nn.modules.linear.Linear), which is not loaded because it could run code"
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_counted(value: float, path: Path) -> None:
    state = build(SPEC).state_dict()
    state["g_a.2.weight"].view(-1)[:3] = value
    torch.save(state, path)
    assert message_of(path) == (
        f"{path}: 3 of the 1600 values of g_a.2.weight are NaN or infinite (a training that diverged?); "
        "give an earlier checkpoint"
    )


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ([1, 2], "{} holds a list, not a model's weights; " + TRY),
        ({"epoch": 3, "loss": 0.5}, "{} holds no weights (it holds epoch, loss); " + TRY),
        (
            {"a.g_a.0.weight": torch.ones(1), "b.g_a.0.weight": torch.ones(1)},
            "{} holds several models ('a.', 'b.'); save the one you want alone: torch.save(model.state_dict(), FILE)",
        ),
        (
            {"fc.weight": torch.ones(4, 2), "fc.bias": torch.ones(4)},
            "{} holds not a codec known here (2 tensors, among them fc.weight [4, 2], fc.bias [4]); "
            + CLASSES,
        ),
    ],
    ids=["list", "no weights", "two models", "classifier"],
)
def test_what_a_file_holds_instead_is_named(held: object, message: str, path: Path) -> None:
    torch.save(held, path)
    assert message_of(path) == message.format(path)


def test_other_classes_of_compressai_are_named(path: Path) -> None:
    from compressai import models

    for cls, sizes, said in (
        (models.FactorizedPrior, (8, 12), "bmshj2018-factorized, which has no hyperprior"),
        (models.FactorizedPriorReLU, (8, 12), "bmshj2018-factorized, which has no hyperprior"),
        (
            models.JointAutoregressiveHierarchicalPriors,
            (8, 12),
            "mbt2018, whose context model is autoregressive",
        ),
        (models.Cheng2020Anchor, (8,), "cheng2020-anchor, whose context model is autoregressive"),
        (models.Cheng2020Attention, (8,), "cheng2020-attn, whose context model is autoregressive"),
        (models.ScaleHyperpriorVbr, (8, 12), "a variable-rate model (a -vbr class of CompressAI)"),
    ):
        torch.save(cls(*sizes).state_dict(), path)
        assert message_of(path) == f"{path} holds {said}; {CLASSES}"


def test_a_missing_an_extra_and_a_misshapen_tensor(path: Path) -> None:
    whole = build(SPEC).state_dict()
    torch.save({k: v for k, v in whole.items() if k != "h_s.2.bias"}, path)
    assert message_of(path) == (
        f"{path} does not fit its class ConvHyperprior: it lacks h_s.2.bias (1 missing, 0 too many)"
    )
    torch.save({**whole, "g_a.7.weight": torch.ones(1)}, path)
    assert message_of(path) == (
        f"{path} does not fit its class ConvHyperprior: it has g_a.7.weight, which it should not "
        "(0 missing, 1 too many)"
    )
    torch.save({**whole, "h_s.2.weight": torch.ones(8, 9, 5, 5)}, path)
    assert message_of(path) == (
        f"{path}: h_s.2.weight is float32 [8, 9, 5, 5], expected float32 [8, 8, 5, 5]; "
        "the file mixes two models or was changed"
    )
    torch.save({**whole, "h_s.2.weight": whole["h_s.2.weight"].to(torch.int8)}, path)
    assert "h_s.2.weight is int8 [8, 8, 5, 5], expected float32" in message_of(path)


def test_entropy_tables_that_do_not_fit_are_refused(path: Path) -> None:
    model = build(SPEC)
    model.update()
    state = dict(model.state_dict())
    state["entropy_bottleneck._cdf_length"] = state["entropy_bottleneck._cdf_length"] + 100
    torch.save(state, path)
    assert message_of(path) == (
        f"{path}: the entropy tables of entropy_bottleneck do not fit the model; save it again after "
        "model.update(force=True)"
    )


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (None, "is not a run folder: it has no config.json"),
        ("{", "does not describe a run"),
        ('{"steps": 3}', "does not describe a run (KeyError('spec'))"),
        ('{"spec": {"family": "gdn"}}', "does not describe a run"),
    ],
)
def test_a_folder_that_is_no_run(config: str | None, said: str, tmp_path: Path) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    assert said in message_of(tmp_path)


def test_a_checkpoint_keeps_the_precision_and_texts_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_weights(path, build(SPEC), half=True, metadata={"steps": "7"})
    held = read_checkpoint(path)
    assert held.state["g_a.0.weight"].dtype == torch.float16
    assert held.state["entropy_bottleneck.quantiles"].dtype == torch.float32
    assert set(held.metadata) == {"spec", "steps"}


@pytest.mark.parametrize(
    "extra",
    [np.float32(1), np.float64(1), np.int64(3), np.uint8(3), np.bool_(True), np.str_("a")],
    ids=lambda value: type(value).__name__,
)
def test_scalars_of_numpy_are_no_obstacle(extra: object, path: Path) -> None:
    torch.save({"state_dict": {"g_a.0.weight": torch.ones(2)}, "epoch": extra}, path)
    assert read_checkpoint(path).state["g_a.0.weight"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("extra", "name"),
    [
        (collections.defaultdict(list, a=[1]), "collections.defaultdict"),
        (argparse.Namespace(a=1), "argparse.Namespace"),
        (np.zeros(3), "_reconstruct"),
    ],
)
def test_an_object_that_is_not_loaded_is_named_and_the_file_not_called_damaged(
    extra: object, name: str, path: Path
) -> None:
    torch.save({"state_dict": {"g_a.0.weight": torch.ones(2)}, "epoch": extra}, path)
    with pytest.raises(InputError, match=r"holds a Python object \(.*" + name):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("tensor", "kind"),
    [
        (torch.eye(2).to_sparse(), "a torch.sparse_coo tensor"),
        (torch.ones(2, device="meta"), "a meta tensor, which has no values"),
        (torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8), "a quantized tensor"),
        (torch.ones(2, dtype=torch.complex64), "a complex tensor"),
    ],
    ids=["sparse", "meta", "quantized", "complex"],
)
def test_a_tensor_that_cannot_be_computed_with_is_named(
    tensor: torch.Tensor, kind: str, path: Path
) -> None:
    torch.save({"g_a.0.weight": tensor}, path)
    with pytest.raises(InputError, match=f"g_a.0.weight is {kind}, and dense weights"):
        read_checkpoint(path)


def test_weights_of_eight_bits_of_float_are_read(tmp_path: Path) -> None:
    path = tmp_path / "f8.safetensors"
    held = torch.ones(2).to(torch.float8_e4m3fn)
    safetensors.torch.save_file({"g_a.0.weight": held}, path)
    assert read_checkpoint(path).state["g_a.0.weight"].float().tolist() == [1, 1]


def test_memory_that_runs_out_is_no_damage(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"g_a.0.weight": torch.ones(2)}, path)

    def fail(*_args: object, **_kwargs: object) -> None:
        raise RuntimeError(
            "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"
        )

    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(HwkdError, match="there is not enough memory to read"):
        read_checkpoint(path)


def test_a_whole_file_that_torch_cannot_load_is_not_called_damaged(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"g_a.0.weight": torch.ones(2)}, path)

    def fail(*_args: object, **_kwargs: object) -> None:
        raise RuntimeError("a version of the future")

    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(InputError, match=r"is whole, but torch cannot load it \(a version of the"):
        read_checkpoint(path)


def test_a_text_of_the_header_may_hold_a_name_that_is_no_text(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    save_weights(tmp_path / "a.safetensors", build(SPEC), half=False, metadata={"data": name})
    held = read_checkpoint(tmp_path / "a.safetensors")
    assert held.metadata["data"] == "caf\\udce9"


SPEC_WEIGHTS = HyperpriorSpec("relu", (8, 8, 8), 12, 8, 8)
METADATA = {"lmbda": "0.025", "teacher": "t", "data": "d", "e": "1", "f": "2", "g": "3"}


def test_equal_weights_make_equal_files(tmp_path):
    """safetensors itself writes its metadata in random order; six texts would rarely fall in place by chance."""
    model = build(SPEC_WEIGHTS)
    contents = set()
    for i in range(8):
        path = tmp_path / f"{i}.safetensors"
        save_weights(path, model, half=False, metadata=METADATA)
        contents.add(path.read_bytes())
    assert len(contents) == 1


def test_the_file_is_safetensors_with_aligned_tensors(tmp_path):
    model = build(SPEC_WEIGHTS)
    path = tmp_path / "w.safetensors"
    save_weights(path, model, half=False, metadata=METADATA)
    size = int.from_bytes(path.read_bytes()[:8], "little")
    assert size % 8 == 0
    header = json.loads(path.read_bytes()[8 : 8 + size])
    assert METADATA.items() <= header["__metadata__"].items()
    held = safetensors.torch.load_file(path)
    assert all(held[name].equal(tensor) for name, tensor in model.state_dict().items())


def test_a_quantized_models_file_fills_a_new_one(tmp_path):
    model = build(SPEC_WEIGHTS)
    plan = BitPlan(4, 8)
    quantize(model, plan)
    x = torch.rand(2, 3, 64, 64)
    calibrate(model, [x])
    model.eval().update(force=True)
    path = tmp_path / "w.safetensors"
    save_weights(path, model, half=False, metadata={})
    again = build(SPEC_WEIGHTS)
    quantize(again, plan)
    again.eval()
    fill(again, read_checkpoint(path).state, "w")
    with torch.no_grad():
        assert again(x).x_hat.equal(model(x).x_hat)
