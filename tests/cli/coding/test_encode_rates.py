"""What may be asked of `hwkd encode`: a quality, a size, a rate, a PSNR; and output names by default."""

import io
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from hwkd.cli.main import main
from hwkd.codec.codec import Codec
from hwkd.codec.stream import unpack
from hwkd.images import MAX_PIXELS, read_rgb, write_png
from hwkd.metrics import psnr_db

SEE = "(see `hwkd encode --help`)"
PIXELS = 100 * 70


@pytest.fixture
def image(tmp_path, photo):
    path = tmp_path / "photo.png"
    write_png(path, photo(70, 100, 0))
    return path


@pytest.fixture
def run(rates_bundle, capsys):
    """run(IN, ...): `hwkd encode` with a tiny bundle of all rates in one thread; (exit code, stdout, stderr)."""

    def call(*words):
        code = main(["encode", *map(str, words), "--model", str(rates_bundle), "--threads", "1"])
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def sizes(rates_bundle, image):
    """sizes(quality): bytes of the image's stream."""
    codec = Codec.load(rates_bundle, threads=1)
    return lambda quality: len(codec.encode(read_rgb(image), quality=quality))


@pytest.mark.parametrize("quality", [1, 50, 100])
def test_a_quality_is_the_streams(run, rates_bundle, image, tmp_path, quality):
    target = tmp_path / "a.hwk"
    code, out, err = run(image, target, "-q", quality)
    data = target.read_bytes()
    assert data == Codec.load(rates_bundle, threads=1).encode(read_rgb(image), quality=quality)
    assert unpack(data, MAX_PIXELS).quality == quality
    assert (code, err) == (0, "")
    assert out == (
        f"{image} 100x70 -> {target} quality {quality}, {len(data):,} bytes, {8 * len(data) / PIXELS:.3f} bpp\n"
    )


def test_without_a_quality_the_default_is_taken_and_said(run, image, tmp_path):
    _, out, _ = run(image, tmp_path / "a.hwk")
    assert unpack((tmp_path / "a.hwk").read_bytes(), MAX_PIXELS).quality == 50
    assert " quality 50, " in out


@pytest.mark.parametrize("quality", [1, 37, 99])
def test_a_size_gives_a_quality_that_fits_where_the_next_does_not(
    run, image, tmp_path, sizes, quality
):
    target = tmp_path / "a.hwk"
    limit = sizes(quality)
    assert run(image, target, "--max-bytes", limit)[0] == 0
    stream = unpack(target.read_bytes(), MAX_PIXELS)
    assert target.stat().st_size <= limit
    assert stream.quality == 100 or sizes(stream.quality + 1) > limit


def test_a_rate_is_a_size_for_each_pixel(run, image, tmp_path, sizes):
    limit = sizes(60)
    # Just what so many bytes are, rounded up to the eighth digit.
    argv = ("--bpp", f"{8 * limit / PIXELS + 1e-8:.8f}")
    code, _, _ = run(image, tmp_path / "a.hwk", *argv)
    assert code == 0
    assert (tmp_path / "a.hwk").stat().st_size <= limit
    assert run(image, tmp_path / "b.hwk", "--max-bytes", limit)[0] == 0
    assert (tmp_path / "a.hwk").read_bytes() == (tmp_path / "b.hwk").read_bytes()


def test_a_psnr_gives_the_lowest_quality_that_has_it_and_is_told(image, tmp_path, capsys):
    # A trained one: PSNRs of an untrained codec do not rise with the quality.
    codec, pixels = Codec.load("patch-small", "onnxruntime", threads=1), read_rgb(image)
    reached = {
        q: psnr_db(pixels, codec.decode(codec.encode(pixels, quality=q))) for q in range(1, 101)
    }
    least = reached[40] - 1e-6
    target = tmp_path / "a.hwk"
    words = ["--min-psnr", str(least), "--model", "patch-small", "--runtime", "onnxruntime"]
    code = main(["encode", str(image), str(target), *words, "--threads", "1"])
    out, err = capsys.readouterr()
    data = target.read_bytes()
    quality = unpack(data, MAX_PIXELS).quality
    assert (code, err) == (0, "")
    assert reached[quality] >= least
    assert quality == 1 or reached[quality - 1] < least
    assert out == (
        f"{image} 100x70 -> {target} quality {quality}, {len(data):,} bytes, {8 * len(data) / PIXELS:.3f} bpp, "
        f"{reached[quality]:.2f} dB\n"
    )


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("20000", 20000),
        ("20k", 20000),
        ("20kB", 20000),
        ("20KB", 20000),
        ("20KiB", 20480),
        ("20ki", 20480),
        ("20000B", 20000),
        ("1.5M", 1500000),
        ("2MiB", 2097152),
        ("1G", 10**9),
        ("20.1k", 20100),
    ],
)
def test_sizes_are_read_in_powers_of_1000_and_of_1024(text, size):
    from hwkd.cli.coding.encode import size_in_bytes

    assert size_in_bytes(text) == size


def test_a_folder_is_told_with_its_range_of_qualities(run, rates_bundle, photo, tmp_path):
    source, target = tmp_path / "in", tmp_path / "out"
    for seed in range(3):
        write_png(source / f"{seed}.png", photo(64 + 32 * seed, 64, seed))
    code, out, _ = run(source, target, "-q", "20")
    total = sum(p.stat().st_size for p in target.iterdir())
    assert code == 0
    assert out.startswith(f"3 images -> {target} quality 20, {total:,} bytes, mean ")
    limit = max(p.stat().st_size for p in target.iterdir())
    code, out, _ = run(source, target, "--max-bytes", limit, "--force")
    found = [unpack(p.read_bytes(), MAX_PIXELS).quality for p in target.iterdir()]
    assert code == 0
    assert f" qualities {min(found)} to {max(found)}, " in out
    assert all(p.stat().st_size <= limit for p in target.iterdir())


def test_an_image_of_a_folder_that_cannot_be_so_small_is_told_and_the_others_are_done(
    run, rates_bundle, photo, tmp_path
):
    source, target = tmp_path / "in", tmp_path / "out"
    write_png(source / "large.png", photo(256, 256, 0))
    write_png(source / "small.png", np.full((16, 16, 3), 128, np.uint8))
    codec = Codec.load(rates_bundle, threads=1)
    least = {
        name: len(codec.encode(read_rgb(source / name), quality=1))
        for name in ("large.png", "small.png")
    }
    assert least["small.png"] < least["large.png"]
    code, _, err = run(source, target, "--max-bytes", least["large.png"] - 1)
    assert code == 1
    assert [p.name for p in target.iterdir()] == ["small.png.hwk"]
    assert f"left out: {source}/large.png: {least['large.png'] - 1:,} bytes cannot be had" in err
    assert err.endswith("1 of 2 images were left out for the reasons above; the others are done\n")


def test_the_output_stands_beside_the_image_by_default(run, photo, tmp_path, monkeypatch):
    Image.fromarray(photo(64, 64, 0)).save(tmp_path / "photo.jpg")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    code, out, _ = run("../photo.jpg")
    assert code == 0
    assert " -> ../photo.jpg.hwk " in out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["elsewhere", "photo.jpg", "photo.jpg.hwk"]


def test_a_stream_decodes_to_a_png_beside_it_by_default(run, rates_bundle, photo, tmp_path, capsys):
    Image.fromarray(photo(64, 64, 0)).save(tmp_path / "photo.jpg")
    run(tmp_path / "photo.jpg", "-q", "70")
    stream = tmp_path / "photo.jpg.hwk"
    assert main(["decode", str(stream), "--model", str(rates_bundle)]) == 0
    assert capsys.readouterr().out == f"{stream} -> {tmp_path}/photo.jpg.png 64x64\n"
    decoded = Codec.load(rates_bundle, threads=1).decode(stream.read_bytes())
    assert np.array_equal(read_rgb(tmp_path / "photo.jpg.png"), decoded)


def test_decoding_beside_the_original_does_not_replace_it(
    run, rates_bundle, image, refused, capsys
):
    run(image)
    error = refused(["decode", f"{image}.hwk", "--model", rates_bundle])
    assert error == f"{image} exists: give another name, or --force to replace it"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("-q 0", f"argument -q/--quality: must be a whole number, 1 to 100, got '0' {SEE}"),
        ("-q 101", f"argument -q/--quality: must be a whole number, 1 to 100, got '101' {SEE}"),
        ("-q 7.5", f"argument -q/--quality: must be a whole number, 1 to 100, got '7.5' {SEE}"),
        (
            "--max-bytes 20x",
            f"argument --max-bytes: must be a number of bytes, 20000, 20k or 20KiB say, got '20x' {SEE}",
        ),
        (
            "--max-bytes 0",
            f"argument --max-bytes: must be a number of bytes, 20000, 20k or 20KiB say, got '0' {SEE}",
        ),
        (
            "--max-bytes i",
            f"argument --max-bytes: must be a number of bytes, 20000, 20k or 20KiB say, got 'i' {SEE}",
        ),
        ("--bpp 0", f"argument --bpp: must be a number above 0, got '0' {SEE}"),
        ("--bpp inf", f"argument --bpp: must be a number above 0, got 'inf' {SEE}"),
        ("--min-psnr x", f"argument --min-psnr: must be a number above 0, got 'x' {SEE}"),
        (
            "-q 5 --max-bytes 20k",
            f"argument --max-bytes: not allowed with argument -q/--quality {SEE}",
        ),
        ("--bpp 1 --min-psnr 30", f"argument --min-psnr: not allowed with argument --bpp {SEE}"),
    ],
)
def test_a_wrong_number_is_one_line_and_nothing_is_written(
    refused, image, rates_bundle, words, error
):
    assert refused(["encode", image, *words.split(), "--model", rates_bundle]) == error


def test_a_size_out_of_reach_names_the_smallest(refused, image, rates_bundle, sizes):
    size = sizes(1)
    error = refused(["encode", image, "--max-bytes", size - 1, "--model", rates_bundle])
    head, _, tail = error.partition(f" has {size:,} bytes, ")
    assert head == (
        f"{image}: {size - 1:,} bytes cannot be had of this image: the smallest stream, of quality 1,"
    )
    assert tail.endswith(" bpp; ask for so many or more, or make the image smaller")


def test_a_psnr_out_of_reach_names_the_highest(refused, image, rates_bundle):
    codec, pixels = Codec.load(rates_bundle, threads=1), read_rgb(image)
    most = psnr_db(pixels, codec.decode(codec.encode(pixels, quality=100)))
    error = refused(["encode", image, "--min-psnr", "90", "--model", rates_bundle])
    # Rounded down, so that it can be asked for.
    assert error == (
        f"{image}: 90 dB cannot be had of this image: the highest quality, 100, has {most - 0.005:.2f} dB; ask for so many "
        "or fewer"
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("-q 50", " and takes no quality, got 50"),
        ("--max-bytes 20k", ", and no size can be asked of it"),
        ("--bpp 1", ", and no rate can be asked of it"),
        ("--min-psnr 30", ", and no PSNR can be asked of it"),
    ],
)
def test_of_a_bundle_of_one_rate_nothing_can_be_asked(refused, image, tiny_bundle, words, told):
    assert refused(["encode", image, *words.split(), "--model", tiny_bundle]) == (
        f"tiny-patch codes at one rate{told}; leave it out, or give a model of all rates"
    )


@pytest.mark.parametrize("command", ["encode", "decode"])
def test_a_folder_and_standard_input_need_an_out(
    refused, rates_bundle, image, tmp_path, monkeypatch, command
):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert refused([command, "-", "--model", rates_bundle]) == (
        "standard input has no name to make one of: give OUT, a file or - for standard output"
    )
    assert refused([command, tmp_path, "--model", rates_bundle]) == (
        f"{tmp_path} is a folder: give OUT, a folder to write to"
    )


def test_an_output_that_is_there_is_not_replaced(refused, image, rates_bundle):
    shutil.copy(image, f"{image}.hwk")
    assert refused(["encode", image, "--model", rates_bundle]) == (
        f"{image}.hwk exists: give another name, or --force to replace it"
    )


def test_info_tells_the_quality_of_a_stream(run, image, tmp_path, capsys):
    run(image, tmp_path / "a.hwk", "-q", "33")
    assert main(["info", str(tmp_path / "a.hwk"), "--format", "csv"]) == 0
    assert "quality,33" in capsys.readouterr().out.splitlines()
