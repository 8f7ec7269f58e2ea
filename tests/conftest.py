"""What tests of every folder share: seeds, photograph-like images made in code, tiny models."""

import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest

if TYPE_CHECKING:
    from hwkd.models.spec import Spec

Photo = Callable[[int, int, int], npt.NDArray[np.uint8]]


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test starts from the same random numbers, whatever ran before it."""
    random.seed(0)
    np.random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


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
    """A tiny student of each family, all with M=12 and Z=8."""
    from hwkd.models.spec import HyperpriorSpec, PatchSpec

    return {
        "gdn": HyperpriorSpec("gdn", (8, 8, 8), 12, 8, 8),
        "relu": HyperpriorSpec("relu", (8, 8, 8), 12, 8, 8),
        "patch": PatchSpec(M=12, H=8, Z=8, C=16, widths=(16,), post=(8,)),
    }


@pytest.fixture(scope="session")
def made_teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that `tiny_teacher_file` copies: made once."""
    import torch

    from hwkd.models.build import build
    from hwkd.models.patch import PatchCodec
    from hwkd.models.spec import PatchSpec
    from hwkd.models.weights import save_weights

    torch.manual_seed(7)
    model = build(PatchSpec(M=12, H=8, Z=8, C=16, widths=(16, 16), post=(8,)))
    assert isinstance(model, PatchCodec)
    photos = np.stack([make_photo(256, 256, seed) for seed in range(4)])
    model.start_from_pca(torch.from_numpy(photos).permute(0, 3, 1, 2).float() / 255, 0.025)
    model.eval().update(force=True)
    path = tmp_path_factory.mktemp("teacher") / "tiny-teacher.safetensors"
    save_weights(path, model, half=False, metadata={"lmbda": "0.025"})
    return path


@pytest.fixture
def tiny_teacher_file(tmp_path: Path, made_teacher: Path) -> Path:
    """A tiny patch teacher's weights in safetensors, its PCA start on made images, lmbda 0.025 in the header."""
    return Path(shutil.copy(made_teacher, tmp_path))
