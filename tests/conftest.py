"""What tests of every folder share: seeds, photograph-like images made in code, tiny models."""

import random
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from torch import Tensor

    from hwkd.models.base import HyperpriorCodec
    from hwkd.models.patch import PatchAnalysis, PatchCodec, PatchSynthesis
    from hwkd.models.spec import PatchSpec, Spec

Photo = Callable[[int, int, int], npt.NDArray[np.uint8]]

# How long an example takes, or is drawn, is the machine's affair.
settings.register_profile("hwkd", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("hwkd")


@pytest.fixture(scope="session", autouse=True)
def without_jpeg_xl() -> Iterator[None]:
    """Where the plugin for JPEG XL is installed it is not seen, so that tests print the same everywhere."""
    from hwkd.measure import pillow_formats

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pillow_formats, "find_spec", lambda name: None)
        yield


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test starts from the same random numbers, whatever ran before it."""
    random.seed(0)
    np.random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


EXPORTED_ON = (96, 128, 0)
"""Height, width and seed of the photo that tiny bundles are exported on."""


def make_photo(height: int, width: int, seed: int) -> npt.NDArray[np.uint8]:
    """A photograph's rough statistics, [height, width, 3]: blurred colour fields, some edges, a little noise."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width] / 64
    image = np.full((height, width, 3), 128.0)
    for octave in range(4):
        frequency = rng.uniform(0.3, 1.0, 2) * 2**octave
        phase = rng.uniform(0, 2 * np.pi, 3)
        angle = (frequency[0] * rows + frequency[1] * columns)[:, :, None] + phase
        image += 40 / 2**octave * np.sin(angle)
    for _ in range(3):
        top, left = rng.integers(0, height), rng.integers(0, width)
        image[top : top + height // 3, left : left + width // 3] += rng.uniform(-50, 50, 3)
    image += rng.normal(0, 2, image.shape)
    return image.round().clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def photo() -> Photo:
    """photo(height, width, seed): a photograph-like image, [height, width, 3] uint8; equal for equal arguments."""
    return make_photo


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """Six images of 96x128 to 128x160 pixels, PNG and JPEG, one of them in a subfolder."""
    from PIL import Image

    folder = tmp_path / "images"
    (folder / "more").mkdir(parents=True)
    for seed, (name, height, width) in enumerate(
        (
            ("a.png", 96, 128),
            ("b.png", 128, 96),
            ("c.jpg", 128, 128),
            ("d.PNG", 128, 160),
            ("e.jpeg", 96, 128),
            ("more/f.png", 112, 144),
        )
    ):
        Image.fromarray(make_photo(height, width, seed)).save(folder / name)
    return folder


@pytest.fixture(scope="session")
def tiny_specs() -> "dict[str, Spec]":
    """A tiny student of each family, all with M=12 and Z=8; "rates": of family patch, for all rates; "wide": with so wide
    a trunk that its head is held in two layers."""
    from hwkd.models.spec import HyperpriorSpec, PatchSpec

    return {
        "gdn": HyperpriorSpec("gdn", (8, 8, 8), 12, 8, 8),
        "relu": HyperpriorSpec("relu", (8, 8, 8), 12, 8, 8),
        "patch": PatchSpec(M=12, H=8, Z=8, C=16, widths=(16,), post=(8,)),
        "rates": PatchSpec(12, 8, 8, 16, (16,), (8,), 3, (4, 8), hyper_kernel=1),
        "wide": PatchSpec(12, 8, 8, 128, (8,), (8,), 3, (4, 8), hyper_kernel=1),
    }


@pytest.fixture(scope="session")
def all_rates_spec() -> "PatchSpec":
    """A tiny student of all rates, with all that such a student has; wide enough in one layer for Muon."""
    from hwkd.models.spec import PatchSpec

    return PatchSpec(
        M=12,
        H=8,
        Z=8,
        C=48,
        widths=(48,),
        post=(8,),
        anchors=3,
        context=(4, 8),
        hyper_kernel=1,
    )


@contextmanager
def one_thread() -> Iterator[None]:
    """torch computes in one thread: two that wait for each other on a busy machine take 12 s for a PCA of 0.2 s."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@pytest.fixture
def in_one_thread() -> Iterator[None]:
    """The test as under `one_thread`."""
    with one_thread():
        yield


@pytest.fixture
def board_file(tmp_path: Path) -> Path:
    """my-board.toml: a board that no record ships for, a Raspberry Pi 5 by another name."""
    from hwkd.files import data_folder

    text = (data_folder("targets") / "raspberry-pi-5.toml").read_text(encoding="utf-8")
    path = tmp_path / "my-board.toml"
    made = text.replace('name = "raspberry-pi-5"', 'name = "my-board"')
    path.write_text(made.replace("Raspberry Pi 5: 4x", "A board of my own: 4x"), encoding="utf-8")
    return path


@pytest.fixture
def installed_board(board_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of that board, whose file lies in the targets/ of an installation's copy."""
    import hwkd.files

    root = tmp_path / "root"
    shutil.copytree(hwkd.files.data_folder("targets"), root / "targets")
    (root / "profiles").symlink_to(hwkd.files.data_folder("profiles"))
    shutil.copy(board_file, root / "targets")
    monkeypatch.setattr(hwkd.files, "_PACKAGE", root / "hwkd")
    return "my-board"


@pytest.fixture(scope="module")
def brief_latencies() -> Iterator[None]:
    """A run's report times each network for a moment, and on a small image."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hwkd.report.run.LATENCY_SECONDS", 0.01)
        patch.setattr("hwkd.report.run.LATENCY_SIZE", (64, 64))
        yield


@pytest.fixture(scope="module")
def brief_windows() -> Iterator[None]:
    """Energy is measured in windows of one call in place of a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hwkd.measure.energy.measure.MIN_WINDOW_S", 1e-6)
        patch.setattr("hwkd.measure.energy.measure.SETTLE_S", 0.0)
        yield


@pytest.fixture(scope="module")
def small_photographs() -> Iterator[None]:
    """The embedded photographs to evaluate on are cut to 192x176 pixels, which is still enough for MS-SSIM."""
    from hwkd.images import embedded_images

    def cut(split: Literal["train", "eval"]) -> dict[str, npt.NDArray[np.uint8]]:
        return {name: image[:176, :192] for name, image in embedded_images(split).items()}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hwkd.images.folders.embedded_images", cut)
        yield


@pytest.fixture(scope="module")
def brief_export(small_photographs: None) -> Iterator[None]:
    """An export quantizes and fits its tables on few small crops, and measures on small photographs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hwkd.export.export.CALIBRATION_SIDE", 64)
        patch.setattr("hwkd.export.export.FITTED_CROPS", 8)
        yield


def start_from_pca(codec: "PatchCodec", x: "Tensor") -> None:
    """`codec` from the principal components of `x`, each with the sign that agrees with fixed random numbers.

    Either sign is right. Which one comes out is a matter of the library's kernels, and what the random branches beside it
    make of it is not the same.
    """
    import torch

    with one_thread():
        codec.start_from_pca(x, 0.025)
    analysis, synthesis = cast("PatchAnalysis", codec.g_a), cast("PatchSynthesis", codec.g_s)
    with torch.no_grad():
        chance = torch.from_numpy(np.random.default_rng(0).normal(size=(768, 1)))
        for layer in (analysis.linear, analysis.stem):
            signs = torch.sign(layer.weight[:, :, 0, 0].double() @ chance).float()
            layer.weight.mul_(signs[:, :, None, None])
            if layer is analysis.linear:
                synthesis.linear.weight.mul_(signs[None, :, :, None])


@pytest.fixture(scope="session")
def made_teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that `tiny_teacher_file` copies: made once."""
    import torch

    from hwkd.models.build import build
    from hwkd.models.checkpoint import save_weights
    from hwkd.models.patch import PatchCodec
    from hwkd.models.spec import PatchSpec

    torch.manual_seed(7)
    model = build(PatchSpec(M=12, H=8, Z=8, C=16, widths=(16, 16), post=(8,)))
    assert isinstance(model, PatchCodec)
    photos = np.stack([make_photo(256, 256, seed) for seed in range(4)])
    start_from_pca(model, torch.from_numpy(photos).permute(0, 3, 1, 2).float() / 255)
    model.eval().update(force=True)
    path = tmp_path_factory.mktemp("teacher") / "tiny-teacher.safetensors"
    save_weights(path, model, half=False, metadata={"lmbda": "0.025"})
    return path


@pytest.fixture
def tiny_teacher_file(tmp_path: Path, made_teacher: Path) -> Path:
    """A tiny patch teacher's weights in safetensors, its PCA start on made images, lmbda 0.025 in the header."""
    return Path(shutil.copy(made_teacher, tmp_path))


@pytest.fixture(scope="session")
def made_codecs() -> "list[tuple[HyperpriorCodec, dict[str, Tensor]]]":
    """The codecs that `tiny_codec_of` has made, each with a copy of its state."""
    return []


@pytest.fixture(autouse=True)
def shared_codecs_stay(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that changes a codec which others share fails itself, and not one of those."""
    yield
    if "tiny_codec_of" in request.fixturenames:
        for codec, state in request.getfixturevalue("made_codecs"):
            codec.set_lmbda(0.025)
            for name, value in codec.state_dict().items():
                assert value.equal(state[name]), f"the test changes {name} of a shared codec"


@pytest.fixture(scope="session")
def tiny_codec_of(
    tiny_specs: "dict[str, Spec]", made_codecs: "list[tuple[HyperpriorCodec, dict[str, Tensor]]]"
) -> "Callable[[str], HyperpriorCodec]":
    """tiny_codec_of(family): a tiny codec quantized to 7/8 bits on made photos, with its tables; not to be changed.

    Every branch of it does something, and its latents and scales are those of a codec that codes: no training. Its steps are
    powers of two, so that every processor and every runtime computes the same (tests/fakes/exact_codec.py). Its channels
    of y stand in the order of `tiny_bundle_of`.
    """

    @cache
    @one_thread()
    def make(family: str) -> "HyperpriorCodec":
        import torch

        from hwkd.bits import BitPlan
        from hwkd.export.graphs import latents_of
        from hwkd.models.base import padded
        from hwkd.models.build import build
        from hwkd.models.inherit import fit_to_data
        from hwkd.models.patch import PatchCodec
        from hwkd.quantize.ptq import post_training_quantize
        from tests.fakes.exact_codec import put_on_powers_of_two

        torch.manual_seed(7)
        codec = build(tiny_specs[family])
        photos = np.stack([make_photo(256, 256, seed) for seed in range(4)])
        x = torch.from_numpy(photos).permute(0, 3, 1, 2).float() / 255
        convolution = torch.nn.Conv2d | torch.nn.ConvTranspose2d
        with torch.no_grad():
            for parameter in codec.parameters():
                # Residual branches start at zero.
                if parameter.dim() == 4 and not parameter.any():
                    parameter.normal_(0, 0.02)
            for transform in (codec.h_a, codec.h_s):
                layers = [m for m in transform.modules() if isinstance(m, convolution)]
                for layer in layers:
                    layer.weight.mul_(3)
            if isinstance(codec, PatchCodec):
                start_from_pca(codec, x)
                if codec.gains is not None:
                    codec.gains.deviations.normal_(0, 0.1)
                    cast("PatchSynthesis", codec.g_s).context.conv_out.weight.normal_(0, 0.3)
            else:
                fit_to_data(codec, x)
                layers[-1].bias.fill_(2)  # about the spread that fit_to_data gives y
        with pytest.MonkeyPatch.context() as patched:
            # The factors of the balance are no powers of two, nor is the room above what is seen.
            patched.setattr("hwkd.quantize.ptq.balance_stream", lambda *_: None)
            patched.setattr("hwkd.quantize.qat.HEADROOM", 1.0)
            quantized = post_training_quantize(codec.eval(), BitPlan(7, 8), [x[:, :, :128]])
        put_on_powers_of_two(quantized)
        quantized.update(force=True)
        ordered, _ = latents_of(quantized, [padded(make_photo(*EXPORTED_ON), 64)])
        made_codecs.append((ordered, deepcopy(ordered.state_dict())))
        return ordered

    return make


@pytest.fixture(scope="session")
def tiny_bundle_of(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_codec_of: "Callable[[str], HyperpriorCodec]",
    tiny_specs: "dict[str, Spec]",
) -> Callable[[str], Path]:
    """tiny_bundle_of(family): the bundle of `tiny_codec_of` for x86-avx2, made once."""

    @cache
    @one_thread()
    def make(family: str) -> Path:
        from hwkd.bits import BitPlan
        from hwkd.export.export import Source, prepare
        from hwkd.measure.eager.bundle_file import write_bundle_file
        from hwkd.target import load_target

        source = Source(
            name=f"tiny-{family}",
            codec=tiny_codec_of(family),
            spec=tiny_specs[family],
            lmbda=0.025,
            bits=BitPlan(7, 8),
            provenance={"data": "made in code"},
        )
        images = {"photo": make_photo(*EXPORTED_ON)}
        prepared = prepare(source, load_target("x86-avx2"), images)
        path = tmp_path_factory.mktemp("bundle") / f"tiny-{family}.hwkd"
        write_bundle_file(path, prepared, images)
        return path

    return make


@pytest.fixture(scope="session")
def tiny_bundle(tiny_bundle_of: Callable[[str], Path]) -> Path:
    """A tiny bundle of family patch."""
    return tiny_bundle_of("patch")


@pytest.fixture(scope="session")
def tiny_bundles(tiny_bundle_of: Callable[[str], Path]) -> dict[str, Path]:
    """A tiny bundle of each family, and one of all rates."""
    return {family: tiny_bundle_of(family) for family in ("gdn", "relu", "patch", "rates")}


@pytest.fixture(scope="session")
def rates_bundle(tiny_bundle_of: Callable[[str], Path]) -> Path:
    """A tiny bundle of all rates."""
    return tiny_bundle_of("rates")
