import concurrent.futures
import os
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from hwkd.cli.coding import encode, jobs
from hwkd.cli.main import main
from hwkd.codec import shipped
from hwkd.codec.codec import Codec
from hwkd.codec.networks import SELFTEST_DIGESTS
from hwkd.codec.stream import unpack
from hwkd.errors import HwkdError
from hwkd.images import MAX_PIXELS, find_images, read_rgb, write_png
from hwkd.runtime.bundle import arrays, pack_arrays, read_bundle, write_bundle
from hwkd.runtime.manifest import SELFTEST

GIVE = "a .hwkd file, which `hwkd export` writes (none ships with hwkd yet)"


@pytest.fixture(autouse=True)
def none_ships(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path / "none")


@pytest.fixture
def image(tmp_path, photo):
    path = tmp_path / "photo.png"
    write_png(path, photo(70, 100, 0))
    return path


@pytest.fixture
def run(tiny_bundle, capsys):
    """run(IN, OUT, ...): `hwkd encode` with the tiny bundle in one thread; (exit code, stdout, stderr)."""

    def call(*words):
        argv = ["encode", *map(str, words), "--model", str(tiny_bundle)]
        code = main([*argv, *([] if "--threads" in words else ["--threads", "1"])])
        return code, *capsys.readouterr()

    return call


def expected(bundle, path, **options):
    return Codec.load(bundle, threads=1).encode(read_rgb(path), **options)


def test_a_file_becomes_the_stream_that_the_api_gives(run, tiny_bundle, image, tmp_path):
    target = tmp_path / "new/photo.hwk"
    code, out, err = run(image, target)
    stream = expected(tiny_bundle, image)
    assert target.read_bytes() == stream
    bpp = 8 * len(stream) / 7000
    assert (code, err) == (0, "")
    assert out == f"{image} 100x70 -> {target} {len(stream):,} bytes, {bpp:.3f} bpp\n"


def test_every_runtime_of_the_bundle_may_be_chosen(run, tiny_bundle, image, tmp_path):
    for runtime in Codec.load(tiny_bundle).bundle.manifest.graphs["encoder"]:
        target = tmp_path / f"{runtime}.hwk"
        assert run(image, target, "--runtime", runtime)[0] == 0
        assert target.read_bytes() == Codec.load(tiny_bundle, runtime, 1).encode(read_rgb(image))


def test_tiles_are_those_asked_for(run, tiny_bundle, image, tmp_path):
    assert run(image, tmp_path / "a.hwk", "--tile", "64")[0] == 0
    data = (tmp_path / "a.hwk").read_bytes()
    assert data == expected(tiny_bundle, image, tile_px=64)
    # 100x70 are 2 x 2 tiles.
    assert len(unpack(data, MAX_PIXELS).segments) == 4


def test_standard_input_and_output_carry_nothing_but_the_data(tiny_bundle, image, tmp_path):
    """In another process, and without torch."""
    program = (
        "import sys\n"
        "from hwkd.cli.main import main\n"
        f"code = main(['encode', '-', '-', '--model', {str(tiny_bundle)!r}, '--threads', '1'])\n"
        "heavy = [n for n in ('torch', 'compressai', 'onnx', 'brevitas') if n in sys.modules]\n"
        "print(code, heavy, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], input=image.read_bytes(), capture_output=True
    )
    stream = expected(tiny_bundle, image)
    assert done.stdout == stream
    bpp = 8 * len(stream) / 7000
    assert done.stderr.decode() == (
        f"standard input 100x70 -> standard output {len(stream):,} bytes, {bpp:.3f} bpp\n0 []\n"
    )


def test_a_folder_becomes_a_folder_with_whole_names_below_it(run, tiny_bundle, photo, tmp_path):
    source, target = tmp_path / "in", tmp_path / "out"
    write_png(source / "a.png", photo(64, 64, 0))
    write_png(source / "more/b.png", photo(65, 130, 1))
    Image.fromarray(photo(80, 64, 2)).save(source / "a.jpg")
    code, out, err = run(source, target, "--threads", "2")
    names = ["a.jpg.hwk", "a.png.hwk", "more/b.png.hwk"]
    streams = {name: (target / name).read_bytes() for name in names}
    assert sorted(p for p in target.rglob("*") if p.is_file()) == [target / n for n in names]
    for path in find_images(source):
        name = f"{path.relative_to(source).as_posix()}.hwk"
        assert streams[name] == expected(tiny_bundle, path)
    bpp = [
        8 * len(streams[n]) / pixels for n, pixels in zip(names, (5120, 4096, 8450), strict=True)
    ]
    total = sum(map(len, streams.values()))
    assert (code, err) == (0, "")
    assert out == f"3 images -> {target} {total:,} bytes, mean {sum(bpp) / 3:.3f} bpp\n"


def test_a_name_that_is_no_text_is_no_obstacle(tiny_bundle, image, tmp_path):
    name = os.fsencode(tmp_path) + b"/\xff.png"
    os.rename(image, name)
    argv = [b"encode", name, b"a.hwk", b"--model", os.fsencode(tiny_bundle)]
    program = [sys.executable, "-m", "hwkd", *argv]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, check=True)
    assert done.stdout.startswith(os.fsencode(tmp_path) + b"/\\udcff.png 100x70 -> a.hwk ")


def test_a_broken_image_of_a_folder_is_told_and_the_others_are_done(run, photo, tmp_path):
    source, target = tmp_path / "in", tmp_path / "out"
    write_png(source / "a.png", photo(64, 64, 0))
    (source / "b.png").write_bytes(b"no image")
    write_png(source / "c.png", photo(64, 64, 1))
    code, out, err = run(source, target, "--threads", "2")
    assert code == 1
    assert sorted(p.name for p in target.iterdir()) == ["a.png.hwk", "c.png.hwk"]
    assert out.startswith(f"2 images -> {target} ")
    assert err == (
        f"left out: {source}/b.png is not a readable image (of no kind that is read here); replace it or leave it out\n"
        "hwkd: error: 1 of 3 images were left out for the reasons above; the others are done\n"
    )


def test_a_full_disk_ends_the_run_over_a_folder(run, photo, tmp_path, monkeypatch):
    for i in range(9):
        write_png(tmp_path / f"in/{i}.png", photo(64, 64, i))
    written = []

    def until_full(path, content):
        if len(written) == 2:
            raise HwkdError("the disk is full")
        written.append(path.name)

    monkeypatch.setattr("hwkd.cli.coding.jobs.write_bytes", until_full)
    assert run(tmp_path / "in", tmp_path / "out") == (1, "", "hwkd: error: the disk is full\n")
    assert written == ["0.png.hwk", "1.png.hwk"]


def test_a_folder_of_broken_images_has_no_mean(run, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/b.png").write_bytes(b"")
    code, out, err = run(tmp_path / "in", tmp_path / "out")
    assert (code, out) == (1, "")
    assert "1 of 1 images were left out" in err


def test_ctrl_c_keeps_what_is_finished_and_begins_nothing_more(
    run, photo, tmp_path, monkeypatch, one_interrupt
):
    source, target = tmp_path / "in", tmp_path / "out"
    for i in range(9):
        write_png(source / f"{i}.png", photo(64, 64, i))
    read = encode.read_image
    lock, begun = threading.Lock(), []

    def interrupting(path, *rest):
        with lock:
            begun.append(path)
            if len(begun) == 2:
                all_waiting.wait()
                one_interrupt()
                nothing_waiting.wait()
        return read(path, *rest)

    all_waiting, nothing_waiting = threading.Event(), threading.Event()

    class Pool(ThreadPoolExecutor):
        """Tells when all images wait for their turn, and when none does any more."""

        def submit(self, work, job):
            future = super().submit(work, job)
            if job.source_name.endswith("8.png"):
                all_waiting.set()
            return future

        def shutdown(self, wait=True, *, cancel_futures=False):
            super().shutdown(wait=False, cancel_futures=cancel_futures)
            nothing_waiting.set()
            super().shutdown(wait=wait)

    monkeypatch.setattr(concurrent.futures, "ThreadPoolExecutor", Pool)
    monkeypatch.setattr(encode, "read_image", interrupting)
    code, out, err = run(source, target)
    done = sorted(p.name for p in target.iterdir())
    assert code == 130
    assert out == ""
    # One thread: what was begun is what is done.
    assert done == ["0.png.hwk", "1.png.hwk"]
    *_, last = err.splitlines()
    assert last == (
        f"hwkd: interrupted: {len(done)} of 9 images are done; their files are whole and stay"
    )


@pytest.fixture
def one_interrupt(monkeypatch):
    """one_interrupt(): Ctrl-C in the main thread; returns when it has come."""
    came = threading.Event()

    def raised(_signum, _frame):
        came.set()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, raised)

    def send():
        os.kill(os.getpid(), signal.SIGINT)
        came.wait()

    yield send
    signal.signal(signal.SIGINT, before)


def test_what_is_lost_of_an_image_is_said_once_on_standard_error(run, photo, tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.dstack([photo(64, 64, 0), np.full((64, 64), 9, np.uint8)])).save(path)
    code, _, err = run(path, tmp_path / "a.hwk")
    assert (code, err) == (0, f"note: {path}: alpha was dropped\n")


def test_what_is_lost_of_many_images_is_said_once_for_each_kind(run, photo, tmp_path):
    source = tmp_path / "in"
    write_png(source / "colour.png", photo(64, 64, 0))
    for name in ("a.png", "b.png", "c.png"):
        write_png(source / name, photo(64, 64, 0)[:, :, 0])
    grey_alpha = np.dstack([photo(64, 64, 0)[:, :, 0], np.full((64, 64), 9, np.uint8)])
    Image.fromarray(grey_alpha).save(source / "d.png")
    code, _, err = run(source, tmp_path / "out")
    assert code == 0
    assert err.splitlines() == [
        f"note: {source}/a.png and 2 more: grey became three channels",
        f"note: {source}/d.png: alpha was dropped; grey became three channels",
    ]


def test_max_pixels_bounds_what_is_encoded(run, image, tmp_path):
    code, out, err = run(image, tmp_path / "a.hwk", "--max-pixels", "6999")
    assert (code, out) == (2, "")
    assert err == (
        f"hwkd: error: {image} is an image of 100x70, 7000 pixels, and 6999 are accepted; make it smaller, or encode it "
        "with --max-pixels 7000\n"
    )
    assert not (tmp_path / "a.hwk").exists()
    assert run(image, tmp_path / "a.hwk", "--max-pixels", "7000")[0] == 0


def test_max_pixels_raises_every_limit(run, image, tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    monkeypatch.setattr("hwkd.images.rgb.BAND_PIXELS", 100)
    monkeypatch.setattr("hwkd.codec.codec.MAX_PIXELS", 100)
    assert run(image, tmp_path / "a.hwk", "--max-pixels", "7000")[0] == 0


def test_force_replaces_a_stream(run, image, tmp_path):
    (tmp_path / "a.hwk").write_bytes(b"old")
    assert run(image, tmp_path / "a.hwk", "--force")[0] == 0
    assert (tmp_path / "a.hwk").read_bytes().startswith(b"HWK\0")


def test_force_replaces_the_streams_of_a_folder(run, image, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/photo.png.hwk").write_bytes(b"old")
    assert run(tmp_path, tmp_path / "out", "--force")[0] == 0
    assert (tmp_path / "out/photo.png.hwk").read_bytes().startswith(b"HWK\0")


def test_too_little_memory_is_one_line(run, image, tmp_path, monkeypatch):
    def full(*_, **__):
        raise MemoryError

    monkeypatch.setattr(Codec, "encode", full)
    code, out, err = run(image, tmp_path / "a.hwk")
    assert (code, out) == (1, "")
    assert err == f"hwkd: error: {image}: there is not enough memory for its size\n"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (
            "none.png a.hwk",
            "no such file or folder: none.png; give a file, a folder, or - for standard input",
        ),
        (
            "empty.png a.hwk",
            "empty.png is not a readable image (it is empty); replace it or leave it out",
        ),
        ("photo.png a.png", "a stream's name ends in .hwk, got a.png; give a.hwk"),
        (
            "- folder",
            "folder is a folder, and one image is written to a file: give its name in it",
        ),
        (
            "photo.png photo.png photo.png",
            "3 files are given, and the last, photo.png, is no folder to write to: end with one, photo.png photo.png ... out/ say",
        ),
        (
            "photo.png - out/",
            "standard input is one image, and several files are given: give it alone, as `- OUT`",
        ),
        (
            "photo.png none out/",
            "no such file or folder: none; give a file, a folder, or - for standard input",
        ),
        (
            "photo.png folder/old.hwk",
            "folder/old.hwk exists: give another name, or --force to replace it",
        ),
        (
            "folder out",
            "no images in folder or below; accepted are files ending in .png .jpg .jpeg .webp .tif .tiff",
        ),
        ("many empty.png", "many is a folder and empty.png is none: give a folder to write to"),
        (
            "many -",
            "many is a folder, and standard output takes one file: give a folder to write to",
        ),
        (
            "many done",
            "1 of 2 files to write exist, done/b.png.hwk for one: give another folder, or --force to replace them",
        ),
        (
            "many barred --force",
            "barred/a.png.hwk is a folder: give the name of a file",
        ),
        (
            "photo.png a.hwk --runtime openvno",
            "unknown runtime 'openvno': did you mean openvino? Known: onnxruntime, openvino",
        ),
        (
            "photo.png a.hwk --tile 100",
            "argument --tile: must be 0 or a multiple of 64, got '100' (see `hwkd encode --help`)",
        ),
        (
            "photo.png a.hwk --threads 0",
            "argument --threads: must be a whole number, 1 to 4096, got '0' (see `hwkd encode --help`)",
        ),
        (
            "photo.png a.hwk --max-pixels x",
            "argument --max-pixels: must be a whole number, 1 to 1000000000000, got 'x' (see `hwkd encode --help`)",
        ),
        (
            "photo.png a.hwk --model",
            "argument --model: expected one argument (see `hwkd encode --help`)",
        ),
        ("photo.png a.hwk --model x.hwkd", f"no such file: x.hwkd; give {GIVE}"),
        ("photo.png a.hwk --model small", f"unknown model 'small': give {GIVE}"),
        (
            "photo.png a.hwk --model folder",
            "folder is a folder: give a .hwkd file, which `hwkd export` writes",
        ),
        (
            "photo.png a.hwk --model empty.png",
            "empty.png: not a bundle: it is empty; give a bundle, a .hwkd file that `hwkd export` wrote",
        ),
    ],
)
def test_wrong_input_is_one_line_and_nothing_is_written(
    refused, image, tiny_bundle, tmp_path, monkeypatch, words, error
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.png").write_bytes(b"")
    for name in ("folder", "done", "many", "barred/a.png.hwk"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "folder/old.hwk").write_bytes(b"old")
    (tmp_path / "done/b.png.hwk").write_bytes(b"old")
    for name in ("a.png", "b.png"):
        shutil.copy(image, tmp_path / "many" / name)
    model = [] if "--model" in words else ["--model", tiny_bundle]
    assert refused(["encode", *words.split(), *model]) == error


def test_without_a_model_it_says_how_to_name_one(refused, image, tmp_path):
    assert refused(["encode", image, tmp_path / "a.hwk"]) == (
        f"no model given: name one with --model, {GIVE}"
    )


def test_without_a_model_the_shipped_default_is_taken(tiny_bundle, image, tmp_path, monkeypatch):
    (tmp_path / "shipped").mkdir()
    shutil.copy(tiny_bundle, tmp_path / f"shipped/{shipped.DEFAULT}.hwkd")
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path / "shipped")
    assert main(["encode", str(image), str(tmp_path / "a.hwk"), "--threads", "1"]) == 0
    assert (tmp_path / "a.hwk").read_bytes() == expected(tiny_bundle, image)


def test_a_runtime_that_fails_the_self_test_is_refused(
    refused, image, tmp_path, tiny_bundle, forged
):
    path = forged(tmp_path / "wrong.hwkd")
    error = refused(
        ["encode", image, tmp_path / "a.hwk", "--model", path, "--runtime", "onnxruntime"]
    )
    assert error.startswith("onnxruntime ")
    assert " fails the self-test of tiny-patch (" in error
    assert error.endswith("no other runtime here passes; install another version of one")


@pytest.fixture
def forged(tiny_bundle):
    """forged(path): the tiny bundle with a self-test that nothing passes, its hashes made right."""

    def write(path):
        bundle = read_bundle(tiny_bundle)
        test = arrays(bundle, SELFTEST)
        test[SELFTEST_DIGESTS] = np.array(["0" * 64] * len(test[SELFTEST_DIGESTS]))
        write_bundle(path, bundle.manifest, {**bundle.parts, SELFTEST: pack_arrays(test)})
        return path

    return write


def test_a_terminal_gets_no_binary_data(refused, image, tiny_bundle, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert refused(["encode", image, "-", "--model", tiny_bundle]) == (
        "standard output is a terminal: send it to a file or a pipe"
    )


def test_several_images_become_streams_in_a_folder(run, tiny_bundle, photo, tmp_path):
    for seed, name in enumerate(("a.png", "b.png", "more/c.png")):
        write_png(tmp_path / name, photo(64, 64, seed))
    code, out, _ = run(
        tmp_path / "a.png", tmp_path / "b.png", tmp_path / "more", f"{tmp_path}/out/"
    )
    assert code == 0 and out.startswith(f"3 images -> {tmp_path}/out/ ")
    streams = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    assert streams == {
        f"{name}.hwk": expected(tiny_bundle, path)
        for name, path in (
            ("a.png", tmp_path / "a.png"),
            ("b.png", tmp_path / "b.png"),
            ("c.png", tmp_path / "more/c.png"),
        )
    }


@pytest.mark.parametrize("out", ["there", "new/"])
def test_one_image_goes_into_a_folder_as_many_would(run, image, tmp_path, out):
    (tmp_path / "there").mkdir()
    assert run(image, f"{tmp_path}/{out}")[0] == 0
    assert (tmp_path / out / "photo.png.hwk").is_file()


def test_two_images_of_one_name_are_refused(refused, image, tmp_path, photo):
    write_png(tmp_path / "other/photo.png", photo(64, 64, 0))
    error = refused(["encode", image, tmp_path / "other/photo.png", f"{tmp_path}/out/"])
    assert "would both be written to" in error


def test_a_pipe_takes_a_stream_whatever_its_name(run, tiny_bundle, image, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE) as reader:
        assert run(image, tmp_path / "pipe")[0] == 0
        assert reader.communicate()[0] == expected(tiny_bundle, image)


def test_a_name_that_is_too_long_ends_no_folder(run, photo, tmp_path):
    long = "n" * 249 + ".png"  # .hwk makes it 257 bytes, and 255 are allowed
    for name in ("a.png", long):
        write_png(tmp_path / "in" / name, photo(64, 64, 0))
    code, out, err = run(tmp_path / "in", tmp_path / "out")
    assert code == 1 and out.startswith("1 image -> ")
    assert "left out: cannot write" in err and "File name too long" in err


def test_quiet_says_nothing_but_the_result_and_errors(run, photo, tmp_path):
    write_png(tmp_path / "in/a.png", photo(64, 64, 0)[..., 0])  # grey, which is noted
    (tmp_path / "in/b.png").write_bytes(b"")
    (tmp_path / "in/c.bmp").write_bytes(b"")
    loud = run(tmp_path / "in", tmp_path / "out")
    quiet = run(tmp_path / "in", tmp_path / "out", "--force", "--quiet")
    assert loud[:2] == quiet[:2]
    notes = [line for line in loud[2].splitlines() if line.startswith("note: ")]
    assert len(notes) == 2 and quiet[2].splitlines() == [
        line for line in loud[2].splitlines() if line not in notes
    ]


def test_one_small_image_is_coded_in_what_is_ready_first(run, image, tmp_path, monkeypatch):
    soon = "is coded in what is ready first"
    one = run(image, tmp_path / "a.hwk", "-v")[2]
    assert "onnxruntime" in one and soon in one
    assert soon not in run(image, tmp_path / "b.hwk", "-v", "--runtime", "openvino")[2]
    twin = image.with_name("twin.png")
    twin.write_bytes(image.read_bytes())
    several = run(image, twin, f"{tmp_path / 'into'}/", "-v")[2]
    assert "threads for each" in several and soon not in several
    monkeypatch.setattr(jobs, "SOON_PIXELS", 1)
    assert soon not in run(image, tmp_path / "c.hwk", "-v")[2]


def test_verbose_says_what_is_chosen_and_where_an_error_came_from(run, image, tmp_path):
    code, _, err = run(image, tmp_path / "a.hwk", "-v")
    assert code == 0 and "threads for each of 1 images" in err
    code, _, err = run(image, tmp_path / "a.hwk", "-v")
    assert code == 2 and "Traceback" in err and err.splitlines()[-1].startswith("hwkd: error: ")
    assert "Traceback" not in run(image, tmp_path / "a.hwk")[2]


def test_standard_output_by_its_path_holds_the_stream_alone(tiny_bundle, image, tmp_path):
    words = [sys.executable, "-m", "hwkd", "encode", image, "/dev/stdout", "--model", tiny_bundle]
    piped = subprocess.run([*map(str, words), "--threads", "1"], capture_output=True, check=True)
    assert piped.stdout == expected(tiny_bundle, image)
    assert b" -> /dev/stdout " in piped.stderr
    with (tmp_path / "s.hwk").open("wb") as file:
        subprocess.run([*map(str, words), "--threads", "1"], stdout=file, check=True)
    assert (tmp_path / "s.hwk").read_bytes() == piped.stdout
