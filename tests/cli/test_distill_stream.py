"""`hwkd distill` on images that are read while it trains."""

import json
import multiprocessing
import tarfile

import pytest

from hwkd.cli.main import main


@pytest.fixture
def shard(image_folder, tmp_path):
    """The images of `image_folder` in a tar file."""
    path = tmp_path / "shards/train.tar"
    path.parent.mkdir()
    with tarfile.open(path, "w") as archive:
        archive.add(image_folder, "photos")
    return path


def test_shards_are_trained_on(distill_argv, shard, tmp_path, capsys):
    assert main([*distill_argv, "--data", str(shard.parent), "--data-workers", "1"]) == 0
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert config["data"].startswith(f"{shard.parent}, 1 shard: 5 images, 0.1 Mpx, 1 held out")
    # What decoded for the training does not stay for the evaluation.
    assert not multiprocessing.active_children()


def test_a_truncated_shard(refused, distill_argv, shard):
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    error = refused([*distill_argv, "--data", shard.parent])
    assert error.startswith(f"the shard {shard} is cut short or damaged: photos/")
    assert error.endswith("; make it again, or take it out of the folder")


def test_a_compressed_shard(refused, distill_argv, shard):
    packed = shard.rename(shard.with_name("train.tar.gz"))
    assert refused([*distill_argv, "--data", packed]).startswith("train.tar.gz in ")


def test_images_that_do_not_fit_in_memory(refused, distill_argv, image_folder, monkeypatch):
    monkeypatch.setattr("hwkd.distill.in_memory._available", lambda _meminfo: 200_000)
    assert refused(distill_argv) == (
        f"the images of {image_folder} take 0.0 GB decoded, and 0.0 GB of memory are free, of which images may take "
        "80%: read them while training, with --stream, or give fewer"
    )


def test_stream_without_images(refused):
    words = ("--target", "jetson-nano", "--stream")
    assert refused(["distill", *words]) == (
        "--stream reads the images of --data while training: give --data DIR, too"
    )


def test_workers_for_images_in_memory(refused, distill_argv):
    assert refused([*distill_argv, "--data-workers", "3"]) == (
        "--data-workers 3 decode what is streamed, and these images are held in memory: add --stream, or leave it out"
    )
