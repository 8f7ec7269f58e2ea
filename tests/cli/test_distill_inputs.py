"""What `hwkd distill` refuses of images, teachers and starts: one line, exit code 2, nothing written."""

import shutil

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
