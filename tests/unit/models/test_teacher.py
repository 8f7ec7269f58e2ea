"""Teachers: files in CompressAI's own formats load as compressai loads them, to the bit."""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hwkd.errors import HwkdError, InputError
from hwkd.models import shipped
from hwkd.models.build import build
from hwkd.models.checkpoint import save_weights
from hwkd.models.compat import MeanScaleHyperprior, ScaleHyperprior, load_pretrained, model_urls
from hwkd.models.spec import HyperpriorSpec, PatchSpec, spec_to_json
from hwkd.models.teacher import Teacher, load_teacher
from tests.fakes.cards import write_card

SCALE = HyperpriorSpec("gdn", (8, 8, 8), 12, 8, 8)
MEAN = HyperpriorSpec("mean", (8, 8, 8), 12, 8, 8)
PATCH = PatchSpec(M=12, H=8, Z=8, C=16, widths=(16, 24), post=(8,))
CLASSES = [(ScaleHyperprior, SCALE), (MeanScaleHyperprior, MEAN)]
State = dict[str, torch.Tensor]


def trained(cls: Any, *, updated: bool = True) -> State:
    """The state dict of a compressai model whose every parameter has moved off its start, as training leaves it."""
    torch.manual_seed(1)
    model = cls(8, 12)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.endswith(("quantiles", "beta", "gamma")):
                parameter += 0.05 * torch.randn_like(parameter)
        model.g_a[6].weight *= 40
        model.h_a[4].weight *= 20
        model.entropy_bottleneck.quantiles += torch.rand(8, 1, 1) - 0.5
    if updated:
        model.update()
    return dict(model.state_dict())


def as_published(state: State) -> State:
    """Names as in the published files: the entropy bottleneck's lists under their names of 2020."""
    old = {"matrices": "_matrices", "biases": "_biases", "factors": "_factors"}
    renamed = {}
    for name, tensor in state.items():
        head, _, rest = name.partition(".")
        part, _, index = rest.partition(".")
        if head == "entropy_bottleneck" and part in old:
            name = f"{head}.{old[part]}.{index}"
        renamed[name] = tensor
    return renamed


def as_between(state: State) -> State:
    """Names as CompressAI 1.1 to 1.2.6 saved them: `_matrix0`."""
    old = {"matrices.": "_matrix", "biases.": "_bias", "factors.": "_factor"}
    for new, name in old.items():
        state = {
            k.replace(f"entropy_bottleneck.{new}", f"entropy_bottleneck.{name}"): v
            for k, v in state.items()
        }
    return state


@pytest.fixture
def x() -> torch.Tensor:
    rows, columns = np.mgrid[0:64, 0:128] / 128
    pixels = np.stack([rows, columns, np.sin(9 * rows + 5 * columns) / 2 + 0.5])
    noise = np.random.default_rng(0).uniform(-0.2, 0.2, pixels.shape)
    return torch.from_numpy((pixels + noise).clip(0, 1).astype(np.float32))[None]


@torch.no_grad()
def strings_of(teacher: Teacher, x: torch.Tensor) -> list[list[bytes]]:
    """y and z as compressai's entropy coder writes them, from the teacher's own parts."""
    model = teacher.model
    y = model.g_a(x)
    z_strings = model.entropy_bottleneck.compress(model.hyper_analysis(y))
    z_hat = model.entropy_bottleneck.decompress(z_strings, (1, 2))
    scales, means = model.entropy_parameters(z_hat)
    indexes = model.gaussian_conditional.build_indexes(scales)
    return [model.gaussian_conditional.compress(y, indexes, means=means), z_strings]


@torch.no_grad()
def assert_same(teacher: Teacher, reference: Any, x: torch.Tensor) -> None:
    reference.eval().update()
    ours, theirs = teacher.model(x), reference(x)
    assert torch.equal(ours.x_hat, theirs["x_hat"])
    assert torch.equal(ours.y_likelihoods, theirs["likelihoods"]["y"])
    assert torch.equal(ours.z_likelihoods, theirs["likelihoods"]["z"])
    assert ours.y_hat.abs().max() >= 2, "an image of zeros would prove nothing"
    assert strings_of(teacher, x) == reference.compress(x)["strings"]


FORMS: dict[str, Callable[[State], Any]] = {
    "bare": lambda s: s,
    "published": as_published,
    "1.2.6": as_between,
    "wrapped": lambda s: {
        "epoch": 3,
        "state_dict": s,
        "loss": np.float64(1.5),
        "optimizer": {"state": {}, "param_groups": [{"lr": 1e-4}]},
        "lr_scheduler": {"best": float("inf")},
    },
    "DataParallel": lambda s: {
        "state_dict": {f"module.{k}": v for k, v in as_published(s).items()}
    },
    "compiled": lambda s: {f"_orig_mod.{k}": v for k, v in s.items()},
    "compiled part": lambda s: {k.replace("g_a.", "g_a._orig_mod."): v for k, v in s.items()},
    "compiled DataParallel": lambda s: {f"module._orig_mod.{k}": v for k, v in s.items()},
    "Lightning": lambda s: {
        "state_dict": {f"model.{k}": v for k, v in s.items()} | {"other.w": torch.ones(1)}
    },
}


@pytest.mark.parametrize("updated", [True, False], ids=["updated", "not updated"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("cls", "spec"), CLASSES, ids=["scale", "mean"])
def test_a_file_of_any_form_gives_what_compressai_gives(
    cls: Any, spec: HyperpriorSpec, form: str, updated: bool, x: torch.Tensor, tmp_path: Path
) -> None:
    state = trained(cls, updated=updated)
    path = tmp_path / "teacher.pth.tar"
    torch.save(FORMS[form](state), path)
    teacher = load_teacher(str(path))
    assert (teacher.name, teacher.spec, teacher.lmbda) == ("teacher", spec, None)
    assert teacher.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert not teacher.model.training
    assert not any(p.requires_grad or p.dtype != torch.float32 for p in teacher.model.parameters())
    assert_same(teacher, cls.from_state_dict(load_pretrained(as_published(state))), x)


def test_the_serialization_before_torch_1_6_is_read(x: torch.Tensor, tmp_path: Path) -> None:
    state = trained(ScaleHyperprior)
    path = tmp_path / "old.pth.tar"
    torch.save(as_published(state), path, _use_new_zipfile_serialization=False)
    assert_same(load_teacher(str(path)), ScaleHyperprior.from_state_dict(state), x)


def test_stored_tables_are_used_and_not_computed_again(tmp_path: Path) -> None:
    state = trained(ScaleHyperprior)
    state["gaussian_conditional.scale_table"] = state["gaussian_conditional.scale_table"] * 1.5
    torch.save(state, tmp_path / "a.pt")
    table = load_teacher(str(tmp_path / "a.pt")).model.gaussian_conditional.scale_table
    assert torch.equal(table, state["gaussian_conditional.scale_table"])


def test_weights_without_their_buffers_are_enough(x: torch.Tensor, tmp_path: Path) -> None:
    state = trained(ScaleHyperprior)
    parameters = {k for k, _ in ScaleHyperprior(8, 12).named_parameters()}
    torch.save({k: v for k, v in state.items() if k in parameters}, tmp_path / "a.pt")
    assert_same(load_teacher(str(tmp_path / "a.pt")), ScaleHyperprior.from_state_dict(state), x)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_model_saved_in_another_precision_keeps_its_constants(
    dtype: torch.dtype, x: torch.Tensor, tmp_path: Path
) -> None:
    state = trained(ScaleHyperprior)
    cast = {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}
    torch.save(cast, tmp_path / "half.pt")
    rounded = {
        k: state[k]
        if k.endswith(("bound", "pedestal", "target", "scale_table"))
        else v.to(state[k].dtype)
        for k, v in cast.items()
    }
    assert_same(
        load_teacher(str(tmp_path / "half.pt")), ScaleHyperprior.from_state_dict(rounded), x
    )


@pytest.mark.parametrize(
    "spec",
    [
        PATCH,
        SCALE,
        MEAN,
        HyperpriorSpec("relu", (6, 8, 10), 12, 7, 5),
        HyperpriorSpec("gdn", (6, 8, 10), 12, 7, 5),
    ],
    ids=str,
)
@pytest.mark.parametrize("described", [True, False])
def test_saved_weights_come_back_to_the_bit(
    spec: Any, described: bool, x: torch.Tensor, tmp_path: Path
) -> None:
    torch.manual_seed(2)
    model = build(spec).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02 * torch.rand_like(parameter)
    model.update()
    path = tmp_path / "student.safetensors"
    save_weights(path, model, half=False, metadata={"lmbda": "0.025"})
    if not described:
        torch.save(model.state_dict(), path)
    teacher = load_teacher(str(path))
    assert (teacher.spec, teacher.lmbda) == (spec, 0.025 if described else None)
    for name, tensor in model.state_dict().items():
        assert torch.equal(teacher.model.state_dict()[name], tensor), name
    with torch.no_grad():
        assert torch.equal(teacher.model(x).x_hat, model(x).x_hat)


def test_half_narrows_the_transforms_alone(tmp_path: Path) -> None:
    model = build(SCALE)
    model.update()
    save_weights(tmp_path / "half.safetensors", model, half=True, metadata={})
    loaded = load_teacher(str(tmp_path / "half.safetensors")).model.state_dict()
    for name, tensor in model.state_dict().items():
        narrow = name.startswith(("g_", "h_")) and not name.endswith(("bound", "pedestal"))
        assert torch.equal(loaded[name], tensor.half().float() if narrow else tensor), name


@pytest.mark.parametrize("as_text", [True, False])
def test_a_run_folder_is_a_teacher(as_text: bool, tmp_path: Path) -> None:
    run = tmp_path / "run1"
    save_weights(run / "student.safetensors", build(PATCH), half=False, metadata={})
    spec = spec_to_json(PATCH)
    config = {"spec": spec if as_text else json.loads(spec), "lmbda": 0.013}
    (run / "config.json").write_text(json.dumps(config))
    teacher = load_teacher(str(run))
    assert (teacher.name, teacher.spec, teacher.lmbda) == ("run1", PATCH, 0.013)


def test_of_a_quantized_run_the_float_student_teaches(tmp_path: Path) -> None:
    run = tmp_path / "run1"
    save_weights(run / "float.safetensors", build(PATCH), half=False, metadata={})
    (run / "config.json").write_text(
        json.dumps({"spec": json.loads(spec_to_json(PATCH)), "bits": {"weights": 8}})
    )
    teacher = load_teacher(str(run))
    assert (teacher.name, teacher.spec, teacher.lmbda) == ("run1 (float)", PATCH, None)
    assert teacher.source == f"run {run}, its float student"


@pytest.fixture
def ship(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> shipped.WeightsCard:
    monkeypatch.setattr(shipped, "WEIGHTS", tmp_path)
    path = tmp_path / "patch-q5.safetensors"
    save_weights(path, build(PATCH), half=True, metadata={})
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    card = shipped.WeightsCard(
        name="patch-q5",
        file=path.name,
        spec=PATCH,
        lmbda=0.025,
        steps=7,
        training="by hand",
        hours=None,
        hardware="2 cores",
        data="noise",
        licence="CC0",
        limits=(),
        kodak_psnr_db=30.5,
        kodak_bpp=None,
        sha256=digest,
    )
    write_card(card)
    return card


def test_the_shipped_teacher_is_the_default(ship: shipped.WeightsCard) -> None:
    assert shipped.read_card("patch-q5") == ship
    for text in (None, "patch-q5"):
        teacher = load_teacher(text)
        assert (teacher.name, teacher.spec, teacher.lmbda) == ("patch-q5", PATCH, 0.025)
        assert teacher.source == "shipped with hwkd (patch-q5.safetensors)"


def test_a_changed_shipped_file_is_refused(ship: shipped.WeightsCard) -> None:
    write_card(dataclasses.replace(ship, sha256="0" * 64))
    with pytest.raises(HwkdError, match="is not the file its card describes"):
        load_teacher(None)


def test_an_installation_without_the_default_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "WEIGHTS", tmp_path)
    with pytest.raises(HwkdError, match="lacks the default teacher patch-q5"):
        load_teacher(None)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torch.hub's cache in an empty folder."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub" / "checkpoints"


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the zoo's server: the file's name ends in its digest, as the published ones do."""
    content = tmp_path / "content"
    torch.save(as_published(trained(ScaleHyperprior)), content)
    digest = hashlib.sha256(content.read_bytes()).hexdigest()
    path = content.rename(tmp_path / f"bmshj2018-hyperprior-5-{digest[:8]}.pth.tar")
    monkeypatch.setitem(model_urls["bmshj2018-hyperprior"]["mse"], 5, path.as_uri())
    return path


def test_the_zoo_is_downloaded_to_the_cache_compressai_reads(
    hub: Path, published: Path, x: torch.Tensor, capfd: pytest.CaptureFixture[str]
) -> None:
    teacher = load_teacher("bmshj2018-hyperprior:5")
    assert (teacher.name, teacher.spec, teacher.lmbda) == ("bmshj2018-hyperprior:5", SCALE, 0.025)
    assert teacher.source == f"CompressAI's zoo, {published.as_uri()}"
    assert [p.name for p in hub.iterdir()] == [published.name]
    out, err = capfd.readouterr()
    assert (out, "downloading file:" in err) == ("", True)
    published.unlink()
    from compressai.zoo import bmshj2018_hyperprior

    assert_same(teacher, bmshj2018_hyperprior(5, pretrained=True), x)
    assert load_teacher("bmshj2018-hyperprior:5").sha256 == teacher.sha256


def test_a_zoo_file_downloaded_by_hand_is_known_by_its_name(published: Path) -> None:
    teacher = load_teacher(str(published))
    assert (teacher.name, teacher.lmbda) == ("bmshj2018-hyperprior:5", 0.025)


def test_without_a_network_the_error_names_the_cache_and_the_way_round(
    hub: Path, published: Path
) -> None:
    published.unlink()
    with pytest.raises(HwkdError) as caught:
        load_teacher("bmshj2018-hyperprior:5")
    message = str(caught.value)
    assert caught.value.exit_code == 1
    assert message.startswith(f"could not fetch bmshj2018-hyperprior:5 from {published.as_uri()}: ")
    assert message.endswith(
        f"; it is kept in {hub} once fetched. Without a network put {published.name} there, "
        "or give a checkpoint file, or leave --teacher out"
    )


def test_a_damaged_file_in_the_cache_is_to_be_deleted(hub: Path, published: Path) -> None:
    hub.mkdir(parents=True)
    (hub / published.name).write_bytes(published.read_bytes()[:4000])
    with pytest.raises(
        HwkdError, match=r"is cut short or damaged.*\(delete it, and it is fetched again\)"
    ):
        load_teacher("bmshj2018-hyperprior:5")


def test_another_file_in_the_cache_is_no_published_one(hub: Path, published: Path) -> None:
    hub.mkdir(parents=True)
    torch.save({**trained(ScaleHyperprior), "epoch": 3}, hub / published.name)
    with pytest.raises(HwkdError, match=r"is not the file that CompressAI publishes.* delete it"):
        load_teacher("bmshj2018-hyperprior:5")


def test_a_file_of_ones_own_under_a_published_name_is_ones_own(published: Path) -> None:
    torch.save(trained(ScaleHyperprior), published)  # its weights are other ones
    teacher = load_teacher(str(published))
    assert teacher.name == published.name.removesuffix(".pth.tar") and teacher.lmbda is None


def test_what_is_fetched_must_be_the_published_file(hub: Path, published: Path) -> None:
    published.write_text("<html>please log in</html>")
    with pytest.raises(HwkdError, match="could not fetch bmshj2018-hyperprior:5"):
        load_teacher("bmshj2018-hyperprior:5")
    assert not [path for path in hub.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "bmshj2018-hyperprior",
            "'bmshj2018-hyperprior' is not NAME:QUALITY[:METRIC]; try bmshj2018-hyperprior:5",
        ),
        (
            "bmshj2018_hyperprior:5",
            "unknown zoo model 'bmshj2018_hyperprior': did you mean bmshj2018-hyperprior? "
            "Known: bmshj2018-hyperprior, mbt2018-mean",
        ),
        (
            "mbt2018-mean:9",
            "mbt2018-mean has no quality '9': it is 1 to 8; try mbt2018-mean:5",
        ),
        (
            "cheng2020-attn:3",
            "cheng2020-attn is in CompressAI's zoo but cannot teach here (no hyperprior, or an autoregressive "
            "context); use bmshj2018-hyperprior or mbt2018-mean",
        ),
        ("mbt2018-mean:3:ssim", "unknown metric 'ssim': did you mean ms-ssim? Known: ms-ssim, mse"),
        (
            "patch-q6",
            "unknown teacher 'patch-q6': did you mean patch-q5? Known: bmshj2018-hyperprior, mbt2018-mean, "
            "patch-q5 (see `hwkd models`)",
        ),
        (
            "no/such.pth",
            "no such file: no/such.pth; give a CompressAI checkpoint (.pth.tar, .pth, .pt), a .safetensors file "
            "or a run folder",
        ),
    ],
)
def test_a_name_that_is_none_says_what_is(
    ship: shipped.WeightsCard, text: str, message: str
) -> None:
    with pytest.raises(InputError) as caught:
        load_teacher(text)
    assert str(caught.value) == message
