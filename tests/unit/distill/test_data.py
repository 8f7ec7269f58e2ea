import io
import multiprocessing
import os
import select
import signal
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import wait
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from hwkd.distill.catalogue import ImageBytes
from hwkd.distill.data import (
    Crops,
    DeviceCrops,
    StreamedCrops,
    StreamedSet,
    load_images,
    open_stream,
    whole_image,
)
from hwkd.errors import HwkdError, InputError
from hwkd.images import find_images

Array = npt.NDArray[np.uint8]


def _tell(_name: str) -> None:
    return None


def _positions(height: int, width: int, blue: int) -> Array:
    """Each pixel holds its own place: red its row, green its column; blue tells the image."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows, columns, np.full_like(rows, blue)], 2).astype(np.uint8)


IMAGES = (("a", _positions(96, 200, 10)), ("b", _positions(250, 80, 20)))


def _pixels(crops: torch.Tensor) -> Array:
    return (crops * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def _as_cut(crop: Array) -> Array:
    """The crop with its turn and flip undone: of the 8 ways, the one whose rows and columns both rise."""
    for turns in range(4):
        for flipped in (False, True):
            back = np.rot90(crop[:, ::-1] if flipped else crop, -turns)
            if back[1, 0, 0] == back[0, 0, 0] + 1 and back[0, 1, 1] == back[0, 0, 1] + 1:
                return np.ascontiguousarray(back)
    raise AssertionError("no turn and flip makes this crop a piece of an image")


def test_crops_are_float_images_in_0_1_channels_last() -> None:
    x = Crops(IMAGES, 64, 0).batch(3)
    assert x.shape == (3, 3, 64, 64) and x.dtype == torch.float32
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert x.min() >= 0 and x.max() <= 1


def test_every_crop_is_a_piece_of_the_image_it_names() -> None:
    crops = Crops(IMAGES, 64, 0)
    by_name = dict(IMAGES)
    for _ in range(20):
        pixels = _pixels(crops.batch(4))
        assert len(crops.last_names) == 4
        for crop, name in zip(pixels, crops.last_names, strict=True):
            cut = _as_cut(crop)
            top, left = int(cut[0, 0, 0]), int(cut[0, 0, 1])
            assert np.array_equal(cut, by_name[name][top : top + 64, left : left + 64])


def test_crops_reach_all_corners_turns_and_flips() -> None:
    image = _positions(66, 66, 0)
    crops, places, ways = Crops((("a", image),), 64, 0), set(), set()
    for _ in range(60):
        for crop in _pixels(crops.batch(8)):
            cut = _as_cut(crop)
            places.add((int(cut[0, 0, 0]), int(cut[0, 0, 1])))
            ways.add((crop[0, 0] - cut[0, 0]).tobytes() + (crop[0, -1] - cut[0, 0]).tobytes())
    assert places == {(i, j) for i in range(3) for j in range(3)}
    assert len(ways) == 8


def test_images_are_chosen_in_proportion_to_their_pixels() -> None:
    images = (("small", _positions(64, 64, 0)), ("large", _positions(128, 192, 1)))
    crops, names = Crops(images, 64, 0), []
    for _ in range(100):
        crops.batch(16)
        names += crops.last_names
    # 1 : 6; four standard deviations of a binomial share at 1600 draws are 0.035.
    assert names.count("small") / 1600 == pytest.approx(1 / 7, abs=0.035)


def test_the_same_seed_gives_the_same_crops_and_another_seed_others() -> None:
    one, two, other = (Crops(IMAGES, 64, seed) for seed in (5, 5, 6))
    for _ in range(3):
        x = one.batch(4)
        assert torch.equal(x, two.batch(4))
        assert not torch.equal(x, other.batch(4))


def test_a_restored_state_continues_exactly() -> None:
    crops = Crops(IMAGES, 64, 5)
    crops.batch(3)
    state = crops.state()
    following = [crops.batch(3) for _ in range(3)]
    again = Crops(IMAGES, 64, 99)
    again.restore(state)
    assert all(torch.equal(x, again.batch(3)) for x in following)


def test_the_state_is_a_snapshot_that_later_crops_leave_alone() -> None:
    crops = Crops(IMAGES, 64, 5)
    state = crops.state()
    first = crops.batch(2)
    crops.restore(state)
    assert torch.equal(crops.batch(2), first)


def test_small_images_are_left_out_and_named(image_folder: Path) -> None:
    told: list[str] = []
    images = load_images(image_folder, 128, 0, told.append)
    assert told == ["a.png", "b.png", "c.jpg", "d.PNG", "e.jpeg", "f.png"]
    assert sorted(n for n, _ in images.train + images.held_out) == ["c.jpg", "d.PNG"]
    assert images.notes == (
        "skipped a.png: smaller than the crop (96 < 128 pixels)",
        "skipped b.png: smaller than the crop (96 < 128 pixels)",
        "skipped e.jpeg: smaller than the crop (96 < 128 pixels)",
        "skipped f.png: smaller than the crop (112 < 128 pixels)",
    )


@pytest.mark.parametrize("seed", range(5))
def test_held_out_images_are_never_trained_on(image_folder: Path, seed: int) -> None:
    images = load_images(image_folder, 64, seed, _tell)
    train, held_out = ([n for n, _ in part] for part in (images.train, images.held_out))
    assert len(train) == 5 and len(held_out) == 1
    assert sorted(train + held_out) == ["a.png", "b.png", "c.jpg", "d.PNG", "e.jpeg", "more/f.png"]
    assert [n for n, _ in load_images(image_folder, 64, seed, _tell).held_out] == held_out
    assert images.source == str(image_folder)


def test_the_seed_chooses_the_held_out_image(image_folder: Path) -> None:
    chosen = {load_images(image_folder, 64, seed, _tell).held_out[0][0] for seed in range(12)}
    assert len(chosen) > 2


@pytest.mark.parametrize(("count", "held"), [(2, 1), (29, 1), (31, 2), (200, 8)])
def test_a_twentieth_is_held_out_at_least_one_at_most_eight(
    tmp_path: Path, count: int, held: int
) -> None:
    for i in range(count):
        Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / f"{i:03}.png")
    images = load_images(tmp_path, 64, 0, _tell)
    assert (len(images.train), len(images.held_out)) == (count - held, held)


def test_a_broken_file_is_skipped_and_named(image_folder: Path) -> None:
    (image_folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnot really")
    images = load_images(image_folder, 64, 0, _tell)
    assert len(images.train) + len(images.held_out) == 6
    (note,) = images.notes
    assert note.startswith(f"skipped broken.png: {image_folder / 'broken.png'} is not a readable")


def test_a_folder_of_images_that_are_all_too_small_is_refused(image_folder: Path) -> None:
    with pytest.raises(InputError) as error:
        load_images(image_folder, 256, 0, _tell)
    assert str(error.value) == (
        f"{image_folder} holds no image of at least 256x256 pixels (largest short side: 128); "
        "two are needed, one to train on and one to hold out: use larger images or a smaller --crop"
    )


def test_one_usable_image_is_not_enough(image_folder: Path) -> None:
    (image_folder / "d.PNG").unlink()
    with pytest.raises(InputError) as error:
        load_images(image_folder, 128, 0, _tell)
    assert str(error.value) == (
        f"{image_folder} holds only one image of at least 128x128 pixels (largest short side: 128); "
        "two are needed, one to train on and one to hold out: use larger images or a smaller --crop"
    )


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        load_images(tmp_path / "none", 64, 0, _tell)
    assert str(error.value) == (
        f"no such folder: {tmp_path / 'none'}; give an existing folder with images "
        "(.png .jpg .jpeg .webp .tif .tiff)"
    )


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        load_images(tmp_path, 64, 0, _tell)
    assert str(error.value) == (
        f"no images in {tmp_path} or below; accepted are files ending in "
        ".png .jpg .jpeg .webp .tif .tiff"
    )


def test_embedded_photographs_hold_out_a_scene_of_their_own() -> None:
    images = load_images(None, 256, 0, _tell)
    assert [n for n, _ in images.train] == [
        "astronaut.png",
        "motorcycle_left.png",
        "motorcycle_right.png",
    ]
    assert [n for n, _ in images.held_out] == ["coffee.png"]


def test_embedded_photographs_smaller_than_the_crop_are_left_out() -> None:
    # astronaut is 512x512; the motorcycles are 500 high, the held-out coffee 400.
    images = load_images(None, 512, 0, _tell)
    assert [n for n, _ in images.train] == ["astronaut.png"]
    assert images.notes == (
        "skipped motorcycle_left.png: smaller than the crop (500 < 512 pixels)",
        "skipped motorcycle_right.png: smaller than the crop (500 < 512 pixels)",
    )
    with pytest.raises(InputError) as error:
        load_images(None, 576, 0, _tell)
    assert str(error.value) == (
        "the embedded photographs hold no image of at least 576x576 pixels (largest short side: 512): "
        "use a smaller --crop, or images of your own with --data"
    )


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (64, 64, (64, 64)),
        (127, 200, (64, 192)),
        (512, 700, (512, 512)),
        (600, 130, (512, 128)),
    ],
)
def test_whole_image_takes_the_largest_multiples_of_64_up_to_512(
    height: int, width: int, expected: tuple[int, int]
) -> None:
    x = whole_image(np.zeros((height, width, 3), np.uint8))
    assert tuple(x.shape) == (1, 3, *expected) and x.dtype == torch.float32


def test_whole_image_is_the_centre() -> None:
    x = whole_image(_positions(100, 81, 7))
    # (100 - 64) / 2 = 18 rows and (81 - 64) // 2 = 8 columns are left out before it.
    assert [round(v.item() * 255) for v in x[0, :, 0, 0]] == [18, 8, 7]
    assert [round(v.item() * 255) for v in x[0, :, -1, -1]] == [18 + 63, 8 + 63, 7]


def test_crops_cut_on_a_device_are_those_cut_in_memory(photo) -> None:
    images = tuple((f"{i}.png", photo(96 + 8 * i, 128, i)) for i in range(3))
    here, there = Crops(images, 64, 5), DeviceCrops(images, 64, 5, "cpu")
    for rows in (None, range(2, 5)):
        assert torch.equal(here.batch(8, rows), there.batch(8, rows))
        assert here.last_names == there.last_names
    there.restore(here.state())
    assert torch.equal(here.batch(3), there.batch(3))


Photo = Callable[[int, int, int], np.ndarray]


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


@pytest.fixture
def images(image_folder: Path) -> StreamedSet:
    return open_stream(image_folder, 64, 0, 2, lambda _name: None)


@pytest.fixture
def entries(images: StreamedSet) -> tuple[ImageBytes, ...]:
    return images.train


def _positions_stream_crops(height: int, width: int, blue: int) -> np.ndarray:
    """Each pixel holds its own place: red its row, green its column; blue tells the image."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows, columns, np.full_like(rows, blue)], 2).astype(np.uint8)


def _set_of(folder: Path, **pictures: np.ndarray) -> tuple[ImageBytes, ...]:
    made = []
    for name, picture in pictures.items():
        path = folder / f"{name}.png"
        Image.fromarray(picture).save(path)
        height, width = picture.shape[:2]
        made.append(ImageBytes(path.name, str(path), 0, path.stat().st_size, width, height))
    return tuple(made)


def test_stream_crops_crops_are_float_images_in_0_1_channels_last(
    entries: tuple[ImageBytes, ...],
) -> None:
    x = StreamedCrops(entries, 64, 0, {}).batch(3)
    assert x.shape == (3, 3, 64, 64) and x.dtype == torch.float32
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert 0 <= x.min() < x.max() <= 1


def test_stream_crops_every_crop_is_a_piece_of_the_image_it_names(tmp_path: Path) -> None:
    pictures = {
        "a": _positions_stream_crops(96, 200, 10),
        "b": _positions_stream_crops(250, 80, 20),
    }
    crops = StreamedCrops(_set_of(tmp_path, **pictures), 64, 0, {})
    places, ways = set(), set()
    for _ in range(40):
        x = (crops.batch(2) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        for crop, name in zip(x, crops.last_names, strict=True):
            top, left, blue = (int(v) for v in crop.min((0, 1)))
            piece = pictures[name[0]][top : top + 64, left : left + 64]
            assert blue == piece[0, 0, 2]
            turned = [np.rot90(p, k) for k in range(4) for p in (piece, piece[:, ::-1])]
            (way,) = [i for i, t in enumerate(turned) if np.array_equal(t, crop)]
            places.add((name, top, left))
            ways.add(way)
    assert len(places) > 60 and len(ways) == 8


def test_the_order_does_not_depend_on_the_number_of_workers(
    entries: tuple[ImageBytes, ...],
) -> None:
    sources = [StreamedCrops(entries, 64, 3, {}, workers=n) for n in (0, 1, 2)]
    for _ in range(20):
        batches = [source.batch(4) for source in sources]
        assert all(torch.equal(batches[0], x) for x in batches)
        assert len({source.last_names for source in sources}) == 1
    for source in sources:
        source.close()


def test_two_processes_share_one_batch(entries: tuple[ImageBytes, ...]) -> None:
    whole, first, second = (StreamedCrops(entries, 64, 3, {}) for _ in range(3))
    for _ in range(20):
        x = whole.batch(5)
        parts = first.batch(5, range(0, 2)), second.batch(5, range(2, 5))
        assert torch.equal(x, torch.cat(parts))
        assert whole.last_names == first.last_names + second.last_names
    assert first.state() == second.state() == whole.state()


@pytest.mark.parametrize("step", [1, 8, 13])
def test_a_restored_state_goes_on_exactly(entries: tuple[ImageBytes, ...], step: int) -> None:
    source = StreamedCrops(entries, 64, 3, {})
    for _ in range(step):
        source.batch(4)
    state = source.state()
    following = [source.batch(4) for _ in range(12)]
    again = StreamedCrops(entries, 64, 3, {})
    again.batch(4)
    again.restore(state)
    assert all(torch.equal(x, again.batch(4)) for x in following)
    # Another number of processes goes on with the same batches.
    share = StreamedCrops(entries, 64, 3, {})
    share.restore(state)
    assert all(torch.equal(x[1:3], share.batch(4, range(1, 3))) for x in following)


def test_another_batch_size_is_refused(entries: tuple[ImageBytes, ...]) -> None:
    source = StreamedCrops(entries, 64, 3, {})
    source.batch(4)
    with pytest.raises(ValueError, match="batches of 4, got 5"):
        source.batch(5)


def test_another_image_stands_in_for_a_damaged_one(images: StreamedSet, image_folder: Path) -> None:
    broken = next(name for name in images.train_names if name.endswith(".png"))
    path = image_folder / broken
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    late, known = (images.crops(64, 3, is_long=True) for _ in range(2))
    other = StreamedCrops(images.train, 64, 3, {})
    seen = set()
    for _ in range(30):
        x = late.batch(3)
        seen |= set(late.last_names)
        # Whether the damage is found on the way, at other rows' turn, or is known before, the batch is the same.
        assert torch.equal(x, known.batch(3)) and torch.equal(x[2:], other.batch(3, range(2, 3)))
    assert seen == set(images.train_names) - {broken}
    (note,) = images.notes
    assert note.startswith(f"another image stood in: {broken} is not a readable image (")


def test_images_that_are_all_damaged_end_the_run(images: StreamedSet, image_folder: Path) -> None:
    for name in images.train_names:
        (image_folder / name).write_bytes(b"")
    with pytest.raises(InputError) as error:
        images.crops(64, 0).batch(2)
    assert str(error.value).startswith("none of the 5 training images can be read: ")


def test_a_file_that_is_gone_ends_the_run(images: StreamedSet, image_folder: Path) -> None:
    for name in images.train_names:
        (image_folder / name).unlink()
    with pytest.raises(InputError, match="could be read when the run began: put it back"):
        images.crops(64, 0, is_long=True).batch(2)


def test_an_image_that_shrank_is_replaced_by_another(
    images: StreamedSet, image_folder: Path
) -> None:
    small = images.train_names[0]
    Image.new("RGB", (32, 32)).save(image_folder / small)
    crops = images.crops(64, 0)
    crops.batch(5)
    assert small not in crops.last_names
    assert images.notes[0].startswith(f"another image stood in: {small} has 32x32 pixels, and its ")


def test_the_death_of_a_worker_is_one_line(entries: tuple[ImageBytes, ...]) -> None:
    source = StreamedCrops(entries, 64, 3, {}, workers=1)
    source.batch(2)
    (worker,) = multiprocessing.active_children()
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(HwkdError, match="a process that decodes training images ended before"):
        for _ in range(100):
            source.batch(2)


def test_images_are_decoded_before_they_are_asked_for(image_folder: Path) -> None:
    """With nobody asking, all that may be done ahead gets done, beside whatever the training does."""
    crops = open_stream(image_folder, 64, 0, 1, lambda name: None).crops(64, 0, is_long=True)
    crops.batch(2)
    assert crops._flow is not None
    ahead = list(crops._flow.gi_frame.f_locals["waiting"])
    assert len(ahead) >= 2
    # However long it takes.
    assert wait(ahead).not_done == set()
    crops.close()


PROGRAM = """
import multiprocessing, pathlib, sys
from hwkd.distill.data import open_stream

images = open_stream(pathlib.Path(sys.argv[1]), 64, 0, 1, lambda name: None)
crops = images.crops(64, 0, is_long=True)
crops.batch(2)
print(*(child.pid for child in multiprocessing.active_children()), flush=True)
sys.stdin.read()
"""


def test_workers_end_with_the_process_that_they_work_for(image_folder: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(image_folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    worker = int(process.stdout.readline())
    its_end = os.pidfd_open(worker)
    os.kill(worker, signal.SIGINT)  # as from a terminal: no word of it
    process.kill()
    _, said = process.communicate()
    assert said == ""
    # Readable when the worker has ended, however long that takes; one that outlives its parent is waited for without end.
    select.select([its_end], [], [])
    os.close(its_end)


def test_workers_hold_no_torch() -> None:
    program = "import hwkd.distill.decode, sys; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
