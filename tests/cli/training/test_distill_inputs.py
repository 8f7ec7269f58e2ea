"""What `hwkd distill` refuses of images, teachers and starts: one line, exit code 2, nothing written."""

import json
import multiprocessing
import shutil
import tarfile
from pathlib import Path

import pytest

from hwkd.cli.main import main
from hwkd.cli.training.distill import after_restart
from hwkd.distill.distributed import Processes
from hwkd.distill.options import DistillOptions
from hwkd.distill.run_folder import Event, append_event
from hwkd.errors import InputError
from hwkd.images import write_png

NAN = float("nan")


class TestData:
    def test_a_missing_folder(self, refused, distill_argv, tmp_path):
        error = refused([*distill_argv, "--data", tmp_path / "none"])
        assert error == (
            f"no such folder: {tmp_path}/none; "
            "give an existing folder with images (.png .jpg .jpeg .webp .tif .tiff)"
        )

    def test_a_missing_evaluation_folder(self, refused, distill_argv, tmp_path):
        error = refused([*distill_argv, "--evaluate", tmp_path / "none"])
        assert error.startswith(f"no such folder: {tmp_path}/none; give an existing folder")

    def test_a_file(self, refused, distill_argv, image_folder):
        error = refused([*distill_argv, "--data", image_folder / "a.png"])
        assert error == (
            f"{image_folder}/a.png is a file, not a folder; "
            f"give the folder that holds the images: {image_folder}"
        )

    def test_an_empty_folder(self, refused, distill_argv, tmp_path):
        (tmp_path / "empty").mkdir()
        error = refused([*distill_argv, "--data", tmp_path / "empty"])
        assert error == (
            f"no images in {tmp_path}/empty or below; "
            "accepted are files ending in .png .jpg .jpeg .webp .tif .tiff"
        )

    def test_images_smaller_than_the_crop(self, refused, distill_argv, image_folder):
        error = refused([*distill_argv, "--crop", "192"])
        assert error == (
            f"{image_folder} holds no image of at least 192x192 pixels (largest short side: 128); "
            "two are needed, one to train on and one to hold out: use larger images or a smaller --crop"
        )

    def test_one_usable_image(self, refused, distill_argv, image_folder, photo):
        write_png(image_folder / "large.png", photo(192, 256, 0))
        error = refused([*distill_argv, "--crop", "192"])
        assert error.startswith(
            f"{image_folder} holds only one image of at least 192x192 pixels (largest short side: 192); "
        )

    def test_a_crop_larger_than_the_embedded_photographs(self, refused, tmp_path):
        words = ("--crop", "640", "--steps", "1", "--teacher", "patch-q5", "-o", tmp_path / "run")
        error = refused(["distill", "--target", "jetson-nano", *words])
        assert error.startswith(
            "the embedded photographs hold no image of at least 640x640 pixels (largest short side: 512)"
        )

    def test_a_damaged_evaluation_image_is_found_before_training(
        self, refused, distill_argv, image_folder, tmp_path
    ):
        shutil.copytree(image_folder, tmp_path / "others")
        (tmp_path / "others/b.png").write_bytes(b"nothing")
        error = refused([*distill_argv, "--evaluate", tmp_path / "others"])
        assert error.startswith(f"{tmp_path}/others/b.png is not a readable image (")


class TestTeacher:
    def test_a_missing_file(self, refused, distill_argv, tmp_path):
        error = refused([*distill_argv, "--teacher", tmp_path / "none.pth"])
        assert error.startswith(f"no such file: {tmp_path}/none.pth; give a CompressAI checkpoint")

    def test_a_truncated_file(self, refused, distill_argv, tiny_teacher_file):
        tiny_teacher_file.write_bytes(tiny_teacher_file.read_bytes()[:-100])
        error = refused(distill_argv)
        assert error == f"{tiny_teacher_file} is cut short or damaged; copy or download it again"

    def test_an_empty_file(self, refused, distill_argv, tiny_teacher_file):
        tiny_teacher_file.write_bytes(b"")
        error = refused(distill_argv)
        assert error == f"{tiny_teacher_file} is empty; copy or download it again"

    def test_another_class(self, refused, distill_argv, tmp_path):
        import torch
        from compressai.models import FactorizedPrior

        path = tmp_path / "factorized.pth"
        torch.save(FactorizedPrior(8, 12).state_dict(), path)
        error = refused([*distill_argv, "--teacher", path])
        assert error == (
            f"{path} holds bmshj2018-factorized, which has no hyperprior; "
            "recognised are bmshj2018-hyperprior (GDN or ReLU), mbt2018-mean, patch"
        )

    def test_a_value_that_is_nan(self, refused, distill_argv, tmp_path):
        path = save_hyperprior(tmp_path, lambda state: state["g_a.0.weight"][0, 0, 0].fill_(NAN))
        error = refused([*distill_argv, "--teacher", path])
        assert error == (
            f"{path}: 5 of the 600 values of g_a.0.weight are NaN or infinite (a training that "
            "diverged?); give an earlier checkpoint"
        )

    def test_no_lambda_anywhere(self, refused, distill_argv, tmp_path):
        path = save_hyperprior(tmp_path, lambda state: None)
        error = refused([*distill_argv, "--teacher", path])
        assert error == "the teacher small does not say its lambda: give --lmbda or --quality"

    def test_a_lambda_that_is_none(self, refused, distill_argv, tiny_teacher_file):
        from safetensors.torch import load_file, save_file

        state = load_file(tiny_teacher_file)
        save_file(state, tiny_teacher_file, {"lmbda": "nan"})
        error = refused(distill_argv)
        assert error == f"{tiny_teacher_file}: lmbda must be a number above 0, got 'nan'"


def save_hyperprior(folder, change):
    """A bare state dict, as CompressAI's users have it: no lambda in it."""
    import torch
    from compressai.models import ScaleHyperprior

    state = ScaleHyperprior(8, 12).state_dict()
    change(state)
    torch.save(state, folder / "small.pth")
    return folder / "small.pth"


def test_start_of_a_folder_that_is_no_run(refused, distill_argv, image_folder):
    error = refused([*distill_argv, "--start", image_folder])
    assert error == (
        f"{image_folder} is not a run folder: it holds no config.json (hwkd distill -o)"
    )


# `hwkd distill` on images that are read while it trains.


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
    monkeypatch.setattr("hwkd.distill.catalogue.free_memory_bytes", lambda *_: 200_000)
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


# What a restart by torchrun makes of the command.

GIVEN = DistillOptions()
FIRST, SECOND = (Processes(launcher="torchrun mine", restarts=n) for n in (0, 1))


def _run_of(folder: Path, launcher: str, *, with_state: bool) -> Path:
    (folder / "checkpoint").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    append_event(folder, Event("started", 2, launcher))
    if with_state:
        (folder / "checkpoint/state.pt").write_bytes(b"")
    return folder


def test_the_first_attempt_is_what_was_asked_for(tmp_path: Path) -> None:
    folder = _run_of(tmp_path, "torchrun mine", with_state=True)
    assert after_restart(GIVEN, folder, FIRST) is GIVEN


@pytest.mark.parametrize("with_state", [True, False])
def test_a_restart_goes_on_from_the_checkpoint_or_starts_its_run_over(
    tmp_path: Path, with_state: bool
) -> None:
    folder = _run_of(tmp_path, "torchrun mine", with_state=with_state)
    args = after_restart(GIVEN, folder, SECOND)
    assert (args.resume, args.force) == (with_state, not with_state)


def test_a_restart_before_anything_was_written_is_what_was_asked_for(tmp_path: Path) -> None:
    args = after_restart(GIVEN, tmp_path / "nothing", SECOND)
    assert (args.resume, args.force) == (False, False)


def test_a_run_of_another_start_is_neither_resumed_nor_removed(tmp_path: Path) -> None:
    folder = _run_of(tmp_path, "torchrun another", with_state=True)
    with pytest.raises(InputError, match="a run that this torchrun did not start"):
        after_restart(GIVEN, folder, SECOND)
