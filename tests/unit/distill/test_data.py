from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from hwkd.distill.data import Crops, DeviceCrops, load_images, whole_image
from hwkd.errors import InputError

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
