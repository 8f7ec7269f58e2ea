import gzip
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hwkd.distill.catalogue import (
    ImageBytes,
    check_fits,
    find_shards,
    has_shards_only,
    shard_images,
)
from hwkd.errors import InputError
from hwkd.images import find_images, png_bytes

BYTES = 3 * (3 * 96 * 128 + 128**2 + 128 * 160 + 112 * 144)
"""Of the six images of `image_folder`, decoded."""


def _trees(tmp_path: Path, kib: int) -> tuple[Path, Path]:
    (tmp_path / "meminfo").write_text(f"MemTotal:       99999999 kB\nMemAvailable:   {kib} kB\n")
    return tmp_path, tmp_path


def test_images_up_to_four_fifths_of_the_free_memory_are_accepted(
    image_folder: Path, tmp_path: Path
) -> None:
    enough = -(-BYTES * 10 // 8 // 1024)
    check_fits(image_folder, find_images(image_folder), 64, *_trees(tmp_path, enough))
    with pytest.raises(InputError, match="read them while training, with --stream, or give fewer"):
        check_fits(image_folder, find_images(image_folder), 64, *_trees(tmp_path, enough - 1))


def test_the_sizes_are_named(
    image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hwkd.distill.catalogue.header_size", lambda _data: (20_000, 10_000))
    with pytest.raises(InputError) as error:
        check_fits(image_folder, find_images(image_folder), 64, *_trees(tmp_path, 2_000_000))
    # Six of 0.6 GB, and 2.048 GB.
    assert str(error.value) == (
        f"the images of {image_folder} take 3.6 GB decoded, and 2.0 GB of memory are free, of which images may take "
        "80%: read them while training, with --stream, or give fewer"
    )


def test_images_that_are_not_kept_take_no_memory(image_folder: Path, tmp_path: Path) -> None:
    (image_folder / "broken.png").write_bytes(b"no image")
    check_fits(image_folder, find_images(image_folder), 256, *_trees(tmp_path, 0))


def test_without_meminfo_nothing_is_refused(image_folder: Path, tmp_path: Path) -> None:
    check_fits(image_folder, find_images(image_folder), 64, tmp_path / "none", tmp_path / "none")


def test_the_limit_of_a_container_holds(image_folder: Path, tmp_path: Path) -> None:
    sys, proc = _trees(tmp_path, 99_999_999)
    (tmp_path / "self").mkdir()
    (tmp_path / "self/cgroup").write_text("0::/\n")
    group = tmp_path / "fs/cgroup"
    group.mkdir(parents=True)
    needed = BYTES * 10 // 8 + 1
    # 1000 bytes are taken, and 600 of them are of files that were read once.
    (group / "memory.current").write_text("1000\n")
    (group / "memory.stat").write_text("anon 400\ninactive_file 600\n")
    for limit, is_enough in ((needed + 400, True), (needed + 398, False)):
        (group / "memory.max").write_text(f"{limit}\n")
        if is_enough:
            check_fits(image_folder, find_images(image_folder), 64, sys, proc)
            continue
        with pytest.raises(InputError, match="read them while training, with --stream"):
            check_fits(image_folder, find_images(image_folder), 64, sys, proc)


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


def test_images_whose_names_have_more_dots_are_told(tmp_path: Path) -> None:
    members = ("2024.05.1.png", "0.png", "0.jpg", "1.seg.png", "1.json", "._2.png", ".3.png")
    told: list[str] = []
    shard = _write(tmp_path / "a.tar", dict.fromkeys(members, b"-"))
    assert [name for name, *_ in shard_images(shard, told.append)] == ["0.png"]
    assert told == ["2024.05.1.png", "0.jpg", "1.seg.png", ".3.png"]


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
        ImageBytes(name, str(shard), offset, size, 48, 0).pixels()
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
        ImageBytes(n, str(shard), offset, size, 6, 4) for n, offset, size, _ in shard_images(shard)
    ]
    for entry, expected in zip(entries, grey, strict=True):
        assert np.array_equal(entry.pixels(), expected)


SHARDS, BYTES_STREAM_MEMORY, SIDE = 8, 2_000_000_000, 2000
STEPS, BATCH, WORKERS, STEP_S = 600, 8, 2, 0.1  # an image a step: more than once through all

PROGRAM = """
import json, os, pathlib, sys, time
from hwkd.distill.data import open_stream

folder, steps, batch, workers, step_s = pathlib.Path(sys.argv[1]), *map(float, sys.argv[2:])


def family():
    parents = {}
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            pass
    found = [os.getpid()]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def pss_mib():
    total = 0
    for pid in family():
        text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
        total += int(text.partition("\\nPss:")[2].split()[0])
    return total / 1024


images = open_stream(folder, 256, 0, int(workers), lambda name: None)
crops = images.crops(256, 1, is_long=True)
waits, peak, processes = [], 0, 0
for step in range(int(steps)):
    began = time.perf_counter()
    crops.batch(int(batch))
    waits.append(time.perf_counter() - began)  # told, not judged: it is the machine's affair
    if step % 5 == 0:
        peak, processes = max(peak, pss_mib()), len(family())
    time.sleep(step_s)
print(json.dumps({"pss_mib": peak, "processes": processes, "images": len(images.train), "waits": waits}))
"""


def _fill(folder: Path) -> int:
    """Shards of BYTES together, of noise in JPEG: few different images, in as many places as it takes."""
    rng = np.random.default_rng(0)
    files = []
    for _ in range(4):
        coarse = rng.integers(0, 256, (SIDE // 4, SIDE // 4, 3), np.uint8)
        noise = np.asarray(Image.fromarray(coarse).resize((SIDE, SIDE)), np.int16)
        noise = noise + rng.integers(-20, 21, noise.shape, np.int16)
        data = io.BytesIO()
        Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(data, "JPEG", quality=95)
        files.append(data.getvalue())
    written = 0
    for shard in range(SHARDS):
        with tarfile.open(folder / f"{shard:03}.tar", "w") as archive:
            while written < BYTES_STREAM_MEMORY * (shard + 1) // SHARDS:
                data = files[written % len(files)]
                member = tarfile.TarInfo(f"{written:012}.jpg")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
                written += len(data)
    return written


@pytest.mark.slow
def test_two_gigabytes_of_shards_stream_in_less_than_one_of_memory(tmp_path: Path) -> None:
    assert _fill(tmp_path) >= BYTES_STREAM_MEMORY
    numbers = [str(n) for n in (STEPS, BATCH, WORKERS, STEP_S)]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), *numbers],
        capture_output=True,
        text=True,
        check=True,
    )
    said = json.loads(done.stdout)
    waits_ms = 1000 * np.array(said["waits"][1:])  # before the first step nothing is decoded ahead
    print(
        f"{said['images']} images of {SIDE**2 / 1e6:.0f} Mpx, {said['processes']} processes, {said['pss_mib']:.0f} MiB; "
        f"wait: first {said['waits'][0]:.2f} s, then median {np.median(waits_ms):.1f} ms, mean {waits_ms.mean():.1f} ms, "
        f"most {waits_ms.max():.1f} ms beside steps of {1000 * STEP_S:.0f} ms"
    )
    # This process, its workers, and the standard library's tracker of what they share.
    assert said["processes"] == 1 + WORKERS + 1
    assert said["pss_mib"] * 2**20 < 1e9
