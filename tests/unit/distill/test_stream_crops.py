import multiprocessing
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import wait
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hwkd.distill.stream import StreamedSet, open_stream
from hwkd.distill.stream_crops import StreamedCrops
from hwkd.distill.stream_entries import Entry
from hwkd.errors import HwkdError, InputError

Photo = Callable[[int, int, int], np.ndarray]


@pytest.fixture
def images(image_folder: Path) -> StreamedSet:
    return open_stream(image_folder, 64, 0, 2, lambda _name: None)


@pytest.fixture
def entries(images: StreamedSet) -> tuple[Entry, ...]:
    return images.train


def _positions(height: int, width: int, blue: int) -> np.ndarray:
    """Each pixel holds its own place: red its row, green its column; blue tells the image."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows, columns, np.full_like(rows, blue)], 2).astype(np.uint8)


def _set_of(folder: Path, **pictures: np.ndarray) -> tuple[Entry, ...]:
    made = []
    for name, picture in pictures.items():
        path = folder / f"{name}.png"
        Image.fromarray(picture).save(path)
        height, width = picture.shape[:2]
        made.append(Entry(path.name, str(path), 0, path.stat().st_size, width, height))
    return tuple(made)


def test_crops_are_float_images_in_0_1_channels_last(entries: tuple[Entry, ...]) -> None:
    x = StreamedCrops(entries, 64, 0, {}).batch(3)
    assert x.shape == (3, 3, 64, 64) and x.dtype == torch.float32
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert 0 <= x.min() < x.max() <= 1


def test_every_crop_is_a_piece_of_the_image_it_names(tmp_path: Path) -> None:
    pictures = {"a": _positions(96, 200, 10), "b": _positions(250, 80, 20)}
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


def test_the_order_does_not_depend_on_the_number_of_workers(entries: tuple[Entry, ...]) -> None:
    sources = [StreamedCrops(entries, 64, 3, {}, workers=n) for n in (0, 1, 2)]
    for _ in range(20):
        batches = [source.batch(4) for source in sources]
        assert all(torch.equal(batches[0], x) for x in batches)
        assert len({source.last_names for source in sources}) == 1
    for source in sources:
        source.close()


def test_two_processes_share_one_batch(entries: tuple[Entry, ...]) -> None:
    whole, first, second = (StreamedCrops(entries, 64, 3, {}) for _ in range(3))
    for _ in range(20):
        x = whole.batch(5)
        parts = first.batch(5, range(0, 2)), second.batch(5, range(2, 5))
        assert torch.equal(x, torch.cat(parts))
        assert whole.last_names == first.last_names + second.last_names
    assert first.state() == second.state() == whole.state()


@pytest.mark.parametrize("step", [1, 8, 13])
def test_a_restored_state_goes_on_exactly(entries: tuple[Entry, ...], step: int) -> None:
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


def test_another_batch_size_is_refused(entries: tuple[Entry, ...]) -> None:
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


def test_the_death_of_a_worker_is_one_line(entries: tuple[Entry, ...]) -> None:
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
from hwkd.distill.stream import open_stream

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
    program = "import hwkd.distill.stream_workers, sys; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
