import os

import numpy as np
import pytest

from hwkd.errors import InputError
from hwkd.images import (
    BrokenImage,
    also_among,
    content_sha256,
    embedded_images,
    find_images,
    open_images,
    write_png,
)


def gradient(height, width):
    return np.arange(height * width * 3, dtype=np.uint32).reshape(height, width, 3).astype(np.uint8)


def test_find_images_goes_down_sorts_and_takes_every_suffix_in_any_case(tmp_path):
    wanted = ["a.PNG", "b/c.jpg", "b/d/e.JPEG", "f.webp", "g.tif", "h.Tiff"]
    for name in [*wanted, "notes.txt", "b/x.npy"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    assert find_images(tmp_path) == tuple(tmp_path / name for name in sorted(wanted))


def test_find_images_goes_by_the_end_of_a_name(tmp_path):
    """Neither a name that is a suffix alone, nor one with a blank behind it, is dropped without a word."""
    for name in (".png", "a.png ", "._b.png", "png", "c.png.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in find_images(tmp_path)] == [".png", "a.png "]


def test_find_images_names_a_missing_folder(tmp_path):
    with pytest.raises(InputError) as error:
        find_images(tmp_path / "none")
    assert str(error.value) == (
        f"no such folder: {tmp_path / 'none'}; give an existing folder with images "
        "(.png .jpg .jpeg .webp .tif .tiff)"
    )


def test_find_images_wants_a_folder_not_a_file(tmp_path):
    file = tmp_path / "a.png"
    file.write_bytes(b"")
    with pytest.raises(InputError) as error:
        find_images(file)
    assert str(error.value) == (
        f"{file} is a file, not a folder; give the folder that holds the images: {tmp_path}"
    )


def test_find_images_refuses_an_empty_folder(tmp_path):
    with pytest.raises(InputError) as error:
        find_images(tmp_path)
    assert str(error.value) == (
        f"no images in {tmp_path} or below; accepted are files ending in "
        ".png .jpg .jpeg .webp .tif .tiff"
    )


def test_embedded_images_to_train_and_to_evaluate_on_are_never_the_same():
    train, evaluation = embedded_images("train"), embedded_images("eval")
    assert {name: image.shape for name, image in evaluation.items()} == {
        "chelsea.png": (300, 451, 3),
        "rocket.jpg": (427, 640, 3),
    }
    assert list(train) == [
        "astronaut.png",
        "coffee.png",
        "motorcycle_left.png",
        "motorcycle_right.png",
    ]
    assert train["astronaut.png"].shape == (512, 512, 3)


def test_embedded_images_knows_two_sets():
    with pytest.raises(InputError, match="unknown set of embedded images 'test'"):
        embedded_images("test")


def test_what_a_folder_passes_over_is_said_and_why(tmp_path, caplog):
    folder, other = tmp_path / "in", tmp_path / "other"
    (other / "deep").mkdir(parents=True)
    folder.mkdir()
    for name in ("a.png", "._a.png", "x.bmp", "y.JFIF", "notes.txt"):
        (folder / name).write_bytes(b"")
    (folder / "linked").symlink_to(other)
    (folder / "nowhere.png").symlink_to("none.png")
    os.mkfifo(folder / "pipe.png")
    assert find_images(folder) == (folder / "a.png",)
    endings = ".png .jpg .jpeg .webp .tif .tiff"
    assert sorted(record.message for record in caplog.records) == [
        f"{folder}: passed over linked: is a link to a folder, which is not followed",
        f"{folder}: passed over nowhere.png: is a link that leads nowhere",
        f"{folder}: passed over pipe.png: is no regular file",
        f"{folder}: passed over x.bmp, y.JFIF: each does not end in one of {endings}",
    ]


def test_a_folder_that_may_not_be_read_is_said(tmp_path, caplog, monkeypatch):
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "closed").mkdir()
    scan = os.scandir

    def closed(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", closed)
    assert find_images(tmp_path) == (tmp_path / "a.png",)
    assert caplog.messages == [
        f"{tmp_path}: passed over closed: cannot be read (Permission denied)"
    ]


def test_images_that_cannot_be_read_are_left_out_and_noted(tmp_path, caplog):
    write_png(tmp_path / "a.png", gradient(8, 8))
    (tmp_path / "z.png").write_bytes(b"junk")
    found = open_images(tmp_path).readable()
    assert found.paths == (tmp_path / "a.png",)
    assert caplog.messages == [
        f"left out: {tmp_path}/z.png is not a readable image (of no kind that is read here); replace it or leave it out"
    ]
    (tmp_path / "a.png").unlink()
    with pytest.raises(BrokenImage, match=r"z\.png is not a readable image"):
        open_images(tmp_path).readable()


def test_a_copy_under_another_name_is_the_same_image(tmp_path):
    for name, content in (
        ("a", b"one"),
        ("copy", b"one"),
        ("same-size", b"two"),
        ("other", b"abcd"),
    ):
        (tmp_path / name).write_bytes(content)
    a, copy, same_size, other = (tmp_path / n for n in ("a", "copy", "same-size", "other"))
    assert also_among([a, other], [copy, same_size, tmp_path / "missing"]) == (a,)
    assert content_sha256([a, other]) == content_sha256([other, copy])
    assert content_sha256([a]) != content_sha256([same_size])
