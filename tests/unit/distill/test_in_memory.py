from pathlib import Path

import pytest

from hwkd.distill.in_memory import check_fits
from hwkd.errors import InputError
from hwkd.images import find_images

BYTES = 3 * (3 * 96 * 128 + 128**2 + 128 * 160 + 112 * 144)
"""Of the six images of `image_folder`, decoded."""


def _meminfo(tmp_path: Path, kib: int) -> Path:
    path = tmp_path / "meminfo"
    path.write_text(f"MemTotal:       99999999 kB\nMemAvailable:   {kib} kB\n")
    return path


def test_images_up_to_four_fifths_of_the_free_memory_are_accepted(
    image_folder: Path, tmp_path: Path
) -> None:
    enough = -(-BYTES * 10 // 8 // 1024)
    check_fits(image_folder, find_images(image_folder), 64, _meminfo(tmp_path, enough))
    with pytest.raises(InputError, match="read them while training, with --stream, or give fewer"):
        check_fits(image_folder, find_images(image_folder), 64, _meminfo(tmp_path, enough - 1))


def test_the_sizes_are_named(
    image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hwkd.distill.in_memory.header_size", lambda _data: (20_000, 10_000))
    with pytest.raises(InputError) as error:
        check_fits(image_folder, find_images(image_folder), 64, _meminfo(tmp_path, 2_000_000))
    # Six of 0.6 GB, and 2.048 GB.
    assert str(error.value) == (
        f"the images of {image_folder} take 3.6 GB decoded, and 2.0 GB of memory are free, of which images may take "
        "80%: read them while training, with --stream, or give fewer"
    )


def test_images_that_are_not_kept_take_no_memory(image_folder: Path, tmp_path: Path) -> None:
    (image_folder / "broken.png").write_bytes(b"no image")
    check_fits(image_folder, find_images(image_folder), 256, _meminfo(tmp_path, 0))


def test_without_meminfo_nothing_is_refused(image_folder: Path, tmp_path: Path) -> None:
    check_fits(image_folder, find_images(image_folder), 64, tmp_path / "none")
