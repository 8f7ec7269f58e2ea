import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hwkd.distill.decode import find_shards, has_shards_only, shard_images
from hwkd.distill.stream_entries import Entry
from hwkd.errors import InputError
from hwkd.image_formats import png_bytes

Photo = Callable[[int, int, int], np.ndarray]
BLOCK = 512


def _write(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def _names(shard: Path) -> list[str]:
    return [name for name, _, _, _ in shard_images(shard)]


def test_images_are_found_where_their_bytes_lie(tmp_path: Path) -> None:
    shard = _write(tmp_path / "a.tar", {"0.jpg": b"x" * 700, "1.png": b"yz"})
    found = [(n, offset, size, data.read()) for n, offset, size, data in shard_images(shard)]
    # Each member is a header block and its data, filled up to whole blocks: 1 + 2, then 1 + 1.
    assert found == [("0.jpg", BLOCK, 700, b"x" * 700), ("1.png", 4 * BLOCK, 2, b"yz")]


def test_members_that_are_no_images_are_passed_over(tmp_path: Path) -> None:
    members = ("a/0.JPG", "a/0.json", "a/1.seg.png", "a/1.webp", "._2.jpg", "3", "4.d/5.tiff")
    shard = _write(tmp_path / "a.tar", dict.fromkeys(members, b"-"))
    assert _names(shard) == ["a/0.JPG", "a/1.webp", "4.d/5.tiff"]


def test_of_one_key_the_first_image_is_taken(tmp_path: Path) -> None:
    members = ("0.jpg", "0.json", "0.png", "1.png", "b/1.png")
    shard = _write(tmp_path / "a.tar", dict.fromkeys(members, b"-"))
    assert _names(shard) == ["0.jpg", "1.png", "b/1.png"]


def test_shards_of_webdataset_hold_the_images_that_it_reads_itself(
    tmp_path: Path, photo: Photo
) -> None:
    webdataset = pytest.importorskip("webdataset")
    images = [photo(40 + i, 48, i) for i in range(5)]
    pattern = str(tmp_path / "train-%03d.tar")
    with webdataset.ShardWriter(pattern, maxcount=2, verbose=0) as writer:
        for i, image in enumerate(images):
            writer.write({"__key__": f"{i:06}", "png": image, "json": {"place": i}})
    shards = find_shards(tmp_path)
    assert [s.name for s in shards] == ["train-000.tar", "train-001.tar", "train-002.tar"]
    ours = [
        Entry(name, str(shard), offset, size, 48, 0).pixels()
        for shard in shards
        for name, offset, size, _ in shard_images(shard)
    ]
    reader = webdataset.WebDataset([str(s) for s in shards], shardshuffle=False).decode("rgb8")
    theirs = [sample["png"] for sample in reader]
    assert len(ours) == len(theirs) == 5
    for image, our, their in zip(images, ours, theirs, strict=True):
        assert np.array_equal(our, image) and np.array_equal(their, image)


def test_webdataset_reads_what_tarfile_wrote(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    members = {"a/0.png": png_bytes(np.zeros((4, 4, 3), np.uint8)), "a/0.json": b"{}"}
    shard = _write(tmp_path / "a.tar", {**members, "a/1.png": members["a/0.png"]})
    keys = [s["__key__"] for s in webdataset.WebDataset(str(shard), shardshuffle=False)]
    assert [name.removesuffix(".png") for name in _names(shard)] == keys == ["a/0", "a/1"]


@pytest.mark.parametrize(
    ("length", "why"),
    [
        # Two members of 1 + 2 blocks, and then the end: cut in the first header, ...
        (100, "truncated header"),
        (2 * BLOCK, "0.png has 1000 bytes and the file ends before them"),
        (3 * BLOCK - 10, "unexpected end of data"),
        (3 * BLOCK, "at byte 1536 there is neither a member nor the archive's end"),
        (3 * BLOCK + 100, "at byte 1536 there is neither a member nor the archive's end"),
        (5 * BLOCK, "1.png has 1000 bytes and the file ends before them"),
        (6 * BLOCK, "at byte 3072 there is neither a member nor the archive's end"),
        (7 * BLOCK, "at byte 3072 there is neither a member nor the archive's end"),
    ],
)
def test_a_shard_that_is_cut_short_is_refused(tmp_path: Path, length: int, why: str) -> None:
    shard = _write(tmp_path / "a.tar", {"0.png": b"-" * 1000, "1.png": b"-" * 1000})
    shard.write_bytes(shard.read_bytes()[:length])
    with pytest.raises(InputError) as error:
        _names(shard)
    assert str(error.value) == (
        f"the shard {shard} is cut short or damaged: {why}; make it again, or take it out of the folder"
    )


def test_a_shard_needs_no_more_than_its_end(tmp_path: Path) -> None:
    shard = _write(tmp_path / "a.tar", {"0.png": b"-" * 1000})
    shard.write_bytes(shard.read_bytes()[: 5 * BLOCK])
    assert _names(shard) == ["0.png"]


def test_a_damaged_header_is_not_taken_for_the_end(tmp_path: Path) -> None:
    shard = _write(tmp_path / "a.tar", {f"{i}.png": b"-" for i in range(3)})
    data = bytearray(shard.read_bytes())
    data[2 * BLOCK] ^= 1  # the name of the second member, which its checksum covers
    shard.write_bytes(data)
    with pytest.raises(InputError, match="at byte 1024 there is neither a member nor the archive"):
        _names(shard)


@pytest.mark.parametrize("content", [b"", b"no tar file" * 100])
def test_a_file_that_is_no_tar_is_refused(tmp_path: Path, content: bytes) -> None:
    shard = tmp_path / "a.tar"
    shard.write_bytes(content)
    with pytest.raises(InputError, match=r"the shard .*a\.tar is cut short or damaged"):
        _names(shard)


def test_shards_are_found_in_subfolders_and_sorted(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    for name in ("b.tar", "a.TAR", "more/a.tar"):
        _write(tmp_path / name, {"0.png": b"-"})
    assert [p.relative_to(tmp_path).as_posix() for p in find_shards(tmp_path)] == [
        "a.TAR",
        "b.tar",
        "more/a.tar",
    ]
    assert find_shards(tmp_path / "b.tar") == (tmp_path / "b.tar",)
    assert has_shards_only(tmp_path) and has_shards_only(tmp_path / "b.tar")


def test_loose_images_beside_shards_are_refused(tmp_path: Path, image_folder: Path) -> None:
    assert find_shards(image_folder) == () and not has_shards_only(image_folder)
    _write(image_folder / "more/a.tar", {"0.png": b"-"})
    assert not has_shards_only(image_folder)
    with pytest.raises(InputError) as error:
        find_shards(image_folder)
    assert str(error.value) == (
        f"{image_folder} holds both loose images and shards (more/a.tar): keep one kind in it, or "
        "give the folder of one kind"
    )


def test_a_compressed_shard_is_refused(tmp_path: Path) -> None:
    shard = _write(tmp_path / "a.tar", {"0.png": b"-"})
    packed = tmp_path / "b.tar.gz"
    packed.write_bytes(gzip.compress(shard.read_bytes()))
    for source in (tmp_path, packed):
        assert has_shards_only(source)
        with pytest.raises(InputError) as error:
            find_shards(source)
        assert str(error.value) == (
            f"b.tar.gz in {tmp_path} is compressed, and images are read from any place of a shard: "
            "unpack it to a plain .tar (gunzip, say); the images in it are compressed already"
        )


def test_a_compressed_archive_beside_loose_images_is_left_alone(image_folder: Path) -> None:
    (image_folder / "all.tar.gz").write_bytes(b"")
    assert find_shards(image_folder) == () and not has_shards_only(image_folder)


def test_an_entry_reads_its_own_bytes_only(tmp_path: Path) -> None:
    grey = [np.full((4, 6, 3), value, np.uint8) for value in (50, 60)]
    shard = _write(tmp_path / "a.tar", {f"{i}.png": png_bytes(g) for i, g in enumerate(grey)})
    entries = [
        Entry(n, str(shard), offset, size, 6, 4) for n, offset, size, _ in shard_images(shard)
    ]
    for entry, expected in zip(entries, grey, strict=True):
        assert np.array_equal(entry.pixels(), expected)
