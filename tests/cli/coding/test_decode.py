import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from hwkd.cli.main import main
from hwkd.codec import shipped
from hwkd.codec.codec import Codec
from hwkd.codec.stream import pack, unpack
from hwkd.images import MAX_PIXELS, read_rgb
from hwkd.runtime.bundle import read_bundle, write_bundle


@pytest.fixture(autouse=True)
def none_ships(tmp_path, monkeypatch):
    """No bundle ships, and the current folder is an own one."""
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path / "none")
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def codec(tiny_bundle):
    # Images of two runtimes may differ in a last digit: all take the one that the command takes for one image.
    return Codec.load(tiny_bundle, "onnxruntime", threads=1)


@pytest.fixture
def stream(codec, photo, tmp_path):
    """The file of a stream of 100x70."""
    path = tmp_path / "photo.hwk"
    path.write_bytes(codec.encode(photo(70, 100, 0)))
    return path


@pytest.fixture
def run(tiny_bundle, capsys):
    """run(IN, OUT, ...): `hwkd decode` with the tiny bundle in one thread; (exit code, stdout, stderr)."""

    def call(*words):
        argv = ["decode", *map(str, words), "--model", str(tiny_bundle)]
        argv += [] if "--threads" in words else ["--threads", "1"]
        argv += [] if "--runtime" in words else ["--runtime", "onnxruntime"]
        code = main(argv)
        return code, *capsys.readouterr()

    return call


def without_its_end(data):
    """The same stream with half of y, lengths and CRC made right: damage that only the entropy coder finds."""
    stream = unpack(data, MAX_PIXELS)
    (y,) = stream.segments
    return pack(replace(stream, segments=(y[: len(y) // 2],)))


def test_a_stream_becomes_the_image_that_the_api_gives(run, codec, stream, tmp_path):
    target = tmp_path / "new/photo.png"
    assert run(stream, target) == (0, f"{stream} -> {target} 100x70\n", "")
    assert np.array_equal(read_rgb(target), codec.decode(stream.read_bytes()))


@pytest.mark.parametrize(("name", "form"), [("a.tif", "TIFF"), ("a.webp", "WEBP")])
def test_the_name_of_the_output_chooses_the_format(run, codec, stream, tmp_path, name, form):
    assert run(stream, tmp_path / name)[0] == 0
    with Image.open(tmp_path / name) as image:
        assert image.format == form
    assert np.array_equal(read_rgb(tmp_path / name), codec.decode(stream.read_bytes()))


def test_standard_input_becomes_a_png_on_standard_output(codec, stream, tiny_bundle, tmp_path):
    """In another process, without torch, the bundle found in the current folder."""
    shutil.copy(tiny_bundle, tmp_path / "small.hwkd")
    program = (
        "import sys\n"
        "from hwkd.cli.main import main\n"
        "code = main(['decode', '-', '-', '--threads', '1'])\n"
        "heavy = [n for n in ('torch', 'compressai', 'onnx', 'brevitas') if n in sys.modules]\n"
        "print(code, heavy, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], input=stream.read_bytes(), capture_output=True
    )
    assert done.stderr.decode() == "standard input -> standard output 100x70\n0 []\n"
    (tmp_path / "a.png").write_bytes(done.stdout)
    assert done.stdout.startswith(b"\x89PNG")
    assert np.array_equal(read_rgb(tmp_path / "a.png"), codec.decode(stream.read_bytes()))


def test_what_one_process_encodes_another_decodes_as_the_api_does(
    codec, photo, tiny_bundle, tmp_path
):
    Image.fromarray(photo(65, 130, 3)).save("photo.png")
    end = ["--model", str(tiny_bundle), "--threads", "1"]
    for words in (["encode", "photo.png", "a.hwk"], ["decode", "a.hwk", "a.png"]):
        subprocess.run([sys.executable, "-m", "hwkd", *words, *end], check=True)
    assert np.array_equal(
        read_rgb(tmp_path / "a.png"), codec.decode(codec.encode(photo(65, 130, 3)))
    )


def test_a_folder_becomes_a_folder_of_pngs(run, codec, photo, tmp_path):
    images = {"a.png": photo(64, 64, 0), "more/b.jpg": photo(65, 70, 1), "c": photo(64, 80, 2)}
    for name, image in images.items():
        path = tmp_path / f"in/{name}.hwk"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(codec.encode(image))
    code, out, err = run("in", "out", "--threads", "2")
    assert (code, out, err) == (0, "3 images -> out\n", "")
    found = {"a.png": "a.png", "more/b.jpg": "more/b.jpg.png", "c": "c.png"}
    written = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.*")}
    assert written == set(found.values())
    for name, image in images.items():
        assert np.array_equal(
            read_rgb(tmp_path / "out" / found[name]), codec.decode(codec.encode(image))
        )


def test_damaged_streams_of_a_folder_are_told_and_the_others_are_done(
    run, stream, tmp_path, tiny_bundle
):
    data = stream.read_bytes()
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.hwk").write_bytes(data[:-1])
    (tmp_path / "in/b.hwk").write_bytes(without_its_end(data))
    (tmp_path / "in/c.hwk").write_bytes(
        pack(replace(unpack(data, MAX_PIXELS), model_id=b"other id"))
    )
    (tmp_path / "in/d.hwk").write_bytes(data)
    code, out, err = run("in", "out")
    assert (code, out) == (1, "1 image -> out\n")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["d.png"]
    lines = sorted(err.splitlines())
    assert lines[0] == (
        "hwkd: error: 3 of 4 images were left out for the reasons above; the others are done"
    )
    assert lines[1] == (
        f"left out: in/a.hwk: the stream is cut short: it has {len(data) - 1} of {len(data)} bytes; copy it again, or "
        "encode the image again"
    )
    assert lines[2].startswith("left out: in/b.hwk: the coded data is damaged (")
    assert lines[3] == (
        f"left out: in/c.hwk: written with the model {b'other id'.hex()}, and {tiny_bundle} is "
        f"{read_bundle(tiny_bundle).id_hex}; give the bundle that it was written with"
    )


def test_the_bundle_is_found_beside_the_stream(stream, tiny_bundle, capsys, tmp_path):
    (tmp_path / "there").mkdir()
    shutil.move(stream, tmp_path / "there")
    shutil.copy(tiny_bundle, tmp_path / "there/small.hwkd")
    assert main(["decode", "there/photo.hwk", "photo.png"]) == 0
    assert capsys.readouterr().out == "there/photo.hwk -> photo.png 100x70\n"


def test_streams_of_several_models_find_their_bundles_in_a_folder(
    codec, stream, photo, tiny_bundle, tmp_path, capsys
):
    (tmp_path / "models").mkdir()
    shutil.copy(tiny_bundle, tmp_path / "models/one.hwkd")
    bundle = read_bundle(tiny_bundle)
    other = write_bundle(
        tmp_path / "models/two.hwkd", replace(bundle.manifest, name="other"), bundle.parts
    )
    (tmp_path / "in").mkdir()
    shutil.move(stream, tmp_path / "in/a.hwk")
    (tmp_path / "in/b.hwk").write_bytes(Codec.load(other, threads=1).encode(photo(64, 64, 1)))
    assert main(["decode", "in", "out", "--model", "models"]) == 0
    assert capsys.readouterr() == ("2 images -> out\n", "")


def test_the_model_that_ships_is_named_where_another_was_given(
    refused, stream, tiny_bundle, tmp_path, monkeypatch
):
    (tmp_path / "shipped").mkdir()
    shutil.copy(tiny_bundle, tmp_path / "shipped/patch-small.hwkd")
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path / "shipped")
    bundle = read_bundle(tiny_bundle)
    write_bundle(tmp_path / "two.hwkd", replace(bundle.manifest, name="other"), bundle.parts)
    assert refused(["decode", stream, "a.png", "--model", "two.hwkd"]) == (
        f"{stream}: written with patch-small, which ships with hwkd: leave --model out"
    )


def test_without_a_model_that_is_known_the_id_is_said(refused, stream, codec):
    assert refused(["decode", stream, "a.png"]) == (
        f"{stream}: written with the model {codec.bundle.id_hex}, which does not ship with hwkd and lies neither beside "
        "the stream nor in the current folder; give its bundle with --model"
    )


def test_damage_that_the_entropy_coder_finds_is_one_line(refused, stream, tiny_bundle):
    stream.write_bytes(without_its_end(stream.read_bytes()))
    error = refused(["decode", stream, "a.png", "--model", tiny_bundle])
    assert error.startswith(f"{stream}: the coded data is damaged (")
    assert error.endswith("); encode the image again")


def test_an_image_over_what_the_format_holds_is_refused_before_it_is_decoded(
    refused, stream, tiny_bundle
):
    header = replace(unpack(stream.read_bytes(), MAX_PIXELS), width=16384, height=1)
    stream.write_bytes(pack(header))
    assert refused(["decode", stream, "a.webp", "--model", tiny_bundle]) == (
        f"{stream}: a.webp: the image has 16384x1 pixels, and WEBP holds 16383 a side; write a .png"
    )


def test_too_little_memory_is_one_line(refused, stream, tiny_bundle, monkeypatch):
    def full(*_):
        raise MemoryError

    monkeypatch.setattr(Codec, "decode", full)
    assert refused(["decode", stream, "a.png", "--model", tiny_bundle], code=1) == (
        f"{stream}: there is not enough memory for its size"
    )


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (
            "none.hwk a.png",
            "no such file or folder: none.hwk; give a file, a folder, or - for standard input",
        ),
        (
            "photo.hwk a.gif",
            "a.gif does not end in the name of an image format; accepted are "
            ".png .jpg .jpeg .webp .tif .tiff .bmp .ppm",
        ),
        ("photo.hwk old.png", "old.png exists: give another name, or --force to replace it"),
        (
            "- folder",
            "folder is a folder, and one image is written to a file: give its name in it",
        ),
        (
            "photo.hwk photo.hwk photo.hwk",
            "3 files are given, and the last, photo.hwk, is no folder to write to: end with one, photo.hwk photo.hwk ... out/ say",
        ),
        (
            "photo.hwk - out/",
            "standard input is one image, and several files are given: give it alone, as `- OUT`",
        ),
        (
            "photo.hwk none out/",
            "no such file or folder: none; give a file, a folder, or - for standard input",
        ),
        (
            "empty.hwk a.png",
            "empty.hwk: not a hwkd stream: it is empty; give a file that `hwkd encode` wrote",
        ),
        (
            "old.png a.png",
            "old.png: not a hwkd stream: it starts with b'old'; give a file that `hwkd encode` wrote",
        ),
        ("folder out", "no streams in folder or below; accepted are files ending in .hwk"),
        ("two old.png", "two is a folder and old.png is none: give a folder to write to"),
        (
            "two out",
            "two/a.hwk and two/a.png.hwk would both be written to out/a.png: rename one of them",
        ),
        (
            "photo.hwk a.png --runtime tensorrt",
            "unknown runtime 'tensorrt': known are onnxruntime, openvino",
        ),
        (
            "photo.hwk a.png --model none.hwkd",
            "no such file: none.hwkd; give a .hwkd file, which `hwkd export` writes (none ships with hwkd yet)",
        ),
        (
            "photo.hwk a.png --model photo.hwk",
            "photo.hwk: not a bundle: it starts with b'HWK\\x00'; give a bundle, a .hwkd file that `hwkd export` wrote",
        ),
        (
            "photo.hwk a.png --max-pixels 6999",
            "photo.hwk: the stream holds an image of 100x70, 7000 pixels, and 6999 are accepted; if you trust it, use "
            "--max-pixels 7000",
        ),
    ],
)
def test_wrong_input_is_one_line_and_nothing_is_written(
    refused, stream, tiny_bundle, tmp_path, words, error
):
    (tmp_path / "old.png").write_bytes(b"old")
    (tmp_path / "empty.hwk").write_bytes(b"")
    for name in ("folder", "two"):
        (tmp_path / name).mkdir()
    for name in ("a.hwk", "a.png.hwk"):
        shutil.copy(stream, tmp_path / "two" / name)
    model = [] if "--model" in words else ["--model", tiny_bundle]
    assert refused(["decode", *words.split(), *model]) == error
