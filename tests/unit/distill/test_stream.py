import io
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hwkd.distill.data import load_images, whole_image
from hwkd.distill.stream import StreamedSet, open_stream
from hwkd.errors import InputError
from hwkd.images import find_images

Photo = Callable[[int, int, int], np.ndarray]


def _tell(_name: str) -> None:
    return None


def _open(folder: Path, crop: int = 64, seed: int = 0, workers: int = 0) -> StreamedSet:
    return open_stream(folder, crop, seed, workers, _tell)


def _as_shard(folder: Path, shard: Path) -> Path:
    """The images of a folder in a tar file of their own."""
    shard.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(shard, "w") as archive:
        for path in find_images(folder):
            archive.add(path, path.relative_to(folder).as_posix())
    return shard


def test_a_folder_is_streamed_but_for_the_held_out_image(image_folder: Path) -> None:
    told: list[str] = []
    images = open_stream(image_folder, 64, 0, 0, told.append)
    names = ["a.png", "b.png", "c.jpg", "d.PNG", "e.jpeg", "more/f.png"]
    assert told == names
    assert sorted((*images.train_names, *(n for n, _ in images.held_out))) == names
    assert len(images.held_out) == 1 and images.notes == ()
    assert images.source == f"{image_folder}, streamed"
    sizes = dict(
        zip(names, (96 * 128, 96 * 128, 128**2, 128 * 160, 96 * 128, 112 * 144), strict=True)
    )
    assert images.pixels == sum(sizes[name] for name in images.train_names)


def test_the_same_images_are_held_out_as_of_a_folder_in_memory(image_folder: Path) -> None:
    for seed in range(4):
        streamed, loaded = (
            _open(image_folder, seed=seed),
            load_images(image_folder, 64, seed, _tell),
        )
        assert streamed.train_names == loaded.train_names
        for (name, image), (other, whole) in zip(streamed.held_out, loaded.held_out, strict=True):
            assert name == other and torch.equal(whole_image(image), whole_image(whole))


def test_of_a_large_held_out_image_the_centre_is_kept(tmp_path: Path, photo: Photo) -> None:
    for i in range(2):
        Image.fromarray(photo(600, 700, i)).save(tmp_path / f"{i}.png")
    ((name, image),) = _open(tmp_path).held_out
    assert image.shape == (512, 512, 3)
    whole = np.asarray(Image.open(tmp_path / name))
    assert torch.equal(whole_image(image), whole_image(whole))


def test_shards_give_the_crops_of_the_folder_that_they_were_made_of(
    image_folder: Path, tmp_path: Path
) -> None:
    shard = _as_shard(image_folder, tmp_path / "shards/train.tar")
    loose = _open(image_folder)
    for source, prefix in ((shard, "train.tar"), (shard.parent, "train.tar")):
        packed = _open(source)
        assert packed.source == f"{source}, 1 shard"
        assert packed.train_names == tuple(f"{prefix}/{name}" for name in loose.train_names)
        one, two = packed.crops(64, 1, is_long=True), loose.crops(64, 1, is_long=True)
        assert all(torch.equal(one.batch(3), two.batch(3)) for _ in range(12))


def test_each_image_is_seen_eight_times_an_epoch(image_folder: Path) -> None:
    crops = _open(image_folder).crops(64, 1, is_long=True)
    names: list[str] = []
    for _ in range(2 * 5 * 8):
        crops.batch(1)
        names += crops.last_names
    first, second = names[:40], names[40:]
    assert set(Counter(first).values()) == set(Counter(second).values()) == {8}
    assert len(set(first)) == len(set(second)) == 5


def test_a_few_crops_are_each_of_another_image(image_folder: Path) -> None:
    images = _open(image_folder)
    crops = images.crops(64, 1)
    crops.batch(5)
    assert sorted(crops.last_names) == sorted(images.train_names)
    crops.batch(5)
    assert sorted(crops.last_names) == sorted(images.train_names)


def test_small_and_unreadable_images_are_counted_in_notes(image_folder: Path) -> None:
    for i in range(7):
        (image_folder / f"broken{i}.png").write_bytes(b"\x89PNG\r\n\x1a\nnot really")
    images = _open(image_folder, 128)
    assert images.notes == (
        "skipped 4 images smaller than the crop (128 pixels): a.png (96), b.png (96), e.jpeg (96), more/f.png (112)",
        "skipped 7 images that cannot be read: broken0.png, broken1.png, broken2.png, broken3.png, broken4.png and 2 "
        "more",
    )
    assert sorted((*images.train_names, images.held_out[0][0])) == ["c.jpg", "d.PNG"]


def test_a_shard_of_images_that_are_all_too_small_is_refused(
    image_folder: Path, tmp_path: Path
) -> None:
    shard = _as_shard(image_folder, tmp_path / "train.tar")
    with pytest.raises(InputError) as error:
        _open(shard, 256)
    assert str(error.value) == (
        f"{shard} holds no image of at least 256x256 pixels (largest short side: 128); "
        "two are needed, one to train on and one to hold out: use larger images or a smaller --crop"
    )


def test_a_truncated_shard_is_refused_before_any_crop(image_folder: Path, tmp_path: Path) -> None:
    _as_shard(image_folder, tmp_path / "shards/a.tar")
    cut = _as_shard(image_folder, tmp_path / "shards/b.tar")
    cut.write_bytes(cut.read_bytes()[:-20_000])
    with pytest.raises(InputError) as error:
        _open(tmp_path / "shards")
    assert str(error.value).startswith(f"the shard {cut} is cut short or damaged: more/f.png has ")


def test_an_empty_and_a_missing_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no images in"):
        _open(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        _open(tmp_path / "none")


def test_a_damaged_image_is_not_held_out(image_folder: Path) -> None:
    sound = _open(image_folder).held_out[0][0]
    path = image_folder / sound
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    images = _open(image_folder)
    assert len(images.held_out) == 1 and images.held_out[0][0] != sound
    assert sound not in images.train_names and len(images.train) == 4
    (note,) = images.notes
    assert note.startswith(f"skipped {sound} is not a readable image (")


def test_nothing_to_hold_out_is_refused(tmp_path: Path, photo: Photo) -> None:
    for i in range(2):
        data = io.BytesIO()
        Image.fromarray(photo(80, 80, i)).save(data, "PNG")
        (tmp_path / f"{i}.png").write_bytes(data.getvalue()[:2000])
    with pytest.raises(InputError, match="can be held out: all but one are damaged"):
        _open(tmp_path)
