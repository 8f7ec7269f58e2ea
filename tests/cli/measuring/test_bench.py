import subprocess
import sys

import pytest
from PIL import Image

from hwkd.cli.main import main
from hwkd.codec.codec import Codec
from hwkd.images import read_rgb
from hwkd.measure.timing import measure_in_turn
from hwkd.runtime.session import usable_cores
from tests.tables import is_missing, tables_of, value_of

CORES = usable_cores()
QUICK = ("--threads", "1", "--seconds", "0.001")


@pytest.fixture(scope="module")
def image_file(tmp_path_factory, photo):
    path = tmp_path_factory.mktemp("image") / "photo.png"
    Image.fromarray(photo(64, 128, 0)).save(path)
    return path


@pytest.fixture(scope="module")
def found(tiny_bundle, image_file, tmp_path_factory):
    """The three tables of a bench against CompressAI."""
    output = tmp_path_factory.mktemp("bench") / "bench.json"
    argv = ["bench", tiny_bundle, *QUICK, "--image", image_file, "--format", "json", "-o", output]
    assert main([str(word) for word in argv]) == 0
    return tables_of(output.read_text())


@pytest.mark.parametrize("more", [(), ("--psnr", "34")])
def test_ctrl_c_ends_the_rounds_and_prints_what_they_found(more, image_file, monkeypatch, capsys):
    def stopped(runs, **options):
        return measure_in_turn(runs, warmup=0, repeats=6), True

    module = "equal_psnr" if more else "bench"
    monkeypatch.setattr(f"hwkd.measure.{module}.rounds_until_stopped", stopped)
    argv = ["bench", "patch-small", *QUICK, "--image", image_file, *more, "--format", "json"]
    argv += [] if more else ["--against", "none"]
    assert main([str(word) for word in argv]) == 130
    out, err = capsys.readouterr()
    assert tables_of(out)[0]["rows"] and err == "hwkd: interrupted\n"


def test_every_coder_has_a_row(found):
    speedups, latencies, _ = found
    expected = ["CompressAI", "tiny-patch", "tiny-patch", "JPEG", "WebP", "AVIF", "JPEG"]
    for table in (speedups, latencies):
        assert [row["coder"].partition(" ")[0] for row in table["rows"]] == expected
    settings = [row["setting"].partition(" ")[0] for row in speedups["rows"]]
    assert settings == ["torch", "openvino", "onnxruntime", *["Pillow"] * 4]
    assert [row["threads"] for row in speedups["rows"]][:5] == [1] * 5
    assert speedups["title"].startswith("End to end against CompressAI (torch ")
    assert speedups["title"].endswith(": photo.png, 128x64")


def measured(table):
    """The rows with figures: a Pillow may lie without AVIF."""
    return [row for row in table["rows"] if not is_missing(row["threads"])]


def test_speedups_are_quotients_of_the_medians_printed(found):
    speedups, latencies, _ = found
    reference = latencies["rows"][0]
    for ratios, times in zip(measured(speedups), measured(latencies), strict=True):
        for side in ("encode", "decode"):
            expected = value_of(reference[f"{side}_ms"]) / value_of(times[f"{side}_ms"])
            assert value_of(ratios[f"{side}_speedup"]) == pytest.approx(expected, rel=1e-6)


def test_rate_is_that_of_the_bytes(found):
    for row in measured(found[0]):
        expected = 8 * value_of(row["bytes"]) / (64 * 128)
        assert value_of(row["bpp"]) == pytest.approx(expected, rel=1e-6)


def test_the_steps_of_a_side_stand_in_their_order(found):
    steps = {}
    for row in found[2]["rows"]:
        key = (row["coder"], row["setting"].partition(" ")[0], row["side"])
        steps.setdefault(key, []).append(row["step"])
    for runtime in ("openvino", "onnxruntime"):
        assert steps["tiny-patch", runtime, "encode"] == [
            *("pad", "encoder", "latents", "hyper", "entropy y", "entropy z", "container"),
        ]
        assert steps["tiny-patch", runtime, "decode"] == [
            *("container", "entropy z", "latents", "hyper", "entropy y", "decoder", "crop"),
        ]
    assert set(steps["CompressAI", "torch", "decode"]) == {"entropy", "h_s", "g_s", "conversion"}
    said = [note for note in found[2]["notes"] if note.startswith("Entropy coding in decode: ")]
    assert len(said) == 1 and said[0].count(" % of tiny-patch (") == 2


def test_what_was_done_is_said(found):
    notes = "\n".join(found[1]["notes"])
    for words in (
        "CompressAI is ScaleHyperprior(128, 192) of compressai",
        "with random weights",
        "In turn, 6 rounds after 2 to warm up; ",
        "1 thread pinned to core",
        "Host: ",
    ):
        assert words in notes
    assert found[0]["rows"][0]["psnr_db"]["reason"] == "random weights, whose images say nothing"


def test_an_embedded_photograph_is_coded_by_default(tiny_bundle, capsys):
    argv = ("bench", str(tiny_bundle), *QUICK, "--against", "none", "--size", "100x70")
    assert (
        main([*argv, "--runtime", "onnxruntime", "--format", "json", "--classic-quality", "40"])
        == 0
    )
    speedups, _, _ = tables_of(capsys.readouterr().out)
    assert [row["coder"] for row in speedups["rows"]][:2] == ["tiny-patch", "JPEG quality 40"]
    assert speedups["title"].startswith("End to end against tiny-patch (onnxruntime ")
    assert speedups["title"].endswith(": embedded photograph, 100x70")
    assert speedups["rows"][0]["encode_speedup"]["value"] == 1


def test_bundles_of_one_name_are_told_apart_by_their_files(
    tiny_bundle, image_file, tmp_path, capsys
):
    copy = tmp_path / "copy.hwkd"
    copy.write_bytes(tiny_bundle.read_bytes())
    files = [str(tiny_bundle), str(copy), str(copy)]
    argv = ("bench", *files, *QUICK, "--against", "none", "--image", str(image_file))
    assert main([*argv, "--runtime", "onnxruntime", "--format", "json"]) == 0
    rows = tables_of(capsys.readouterr().out)[0]["rows"]
    assert [row["coder"] for row in rows[:3]] == [*files[:2], rows[2]["coder"]]
    assert rows[2]["coder"].startswith("JPEG quality ")


def test_a_runtime_only_installation_measures_without_compressai(tiny_bundle, image_file):
    program = (
        "import sys\n"
        "from importlib import metadata\n"
        "real = metadata.version\n"
        "def version(name):\n"
        "    if name in ('torch', 'compressai', 'scikit-image'):\n"
        "        raise metadata.PackageNotFoundError(name)\n"
        "    return real(name)\n"
        "metadata.version = version\n"
        "for name in ('torch', 'compressai', 'onnx', 'skimage'): sys.modules[name] = None\n"
        "from hwkd.cli.main import main\n"
        "print(main(sys.argv[1:]))\n"
        "print(main(sys.argv[1:3]))"
    )
    argv = [
        "bench",
        tiny_bundle,
        "--image",
        image_file,
        *QUICK,
        "--runtime",
        "onnxruntime",
        "--full",
    ]
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, argv)], capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-2:] == ["0", "2"]
    assert done.stdout.startswith("End to end against tiny-patch (onnxruntime ")
    assert (
        "encode_speedup, decode_speedup, psnr_db, bpp, bytes of CompressAI (torch eager): n/a, it takes torch and "
        'compressai (pip install "hwkd[train]").'
    ) in done.stdout
    assert "1 thread pinned to core " in done.stdout
    assert done.stderr == (
        'hwkd: error: the embedded photograph comes with the extra "train", and scikit-image is not installed: give an '
        "image with --image FILE\n"
    )


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ["--runtime", "openvin"],
            "unknown runtime 'openvin': did you mean openvino? Known: onnxruntime, openvino",
        ),
        (
            ["--image", "x.png", "--size", "64x64"],
            "--size is for the embedded photograph: leave it or --image x.png out",
        ),
        (["--size", "64"], "--size '64' is not WIDTHxHEIGHT in pixels: give 768x512, say"),
        (
            ["--image", "none.png"],
            "cannot read none.png: No such file or directory; give an existing image file",
        ),
        (
            ["--threads", "0"],
            f"argument --threads: must be a whole number, 1 to {CORES}, got '0' (see `hwkd bench --help`)",
        ),
        (
            ["--threads", str(CORES + 1)],
            f"argument --threads: must be a whole number, 1 to {CORES}, got '{CORES + 1}' (see `hwkd bench --help`)",
        ),
        (
            ["--seconds", "0"],
            "argument --seconds: must be a number above 0, got '0' (see `hwkd bench --help`)",
        ),
        (
            ["--classic-quality", "96"],
            "argument --classic-quality: must be a whole number, 1 to 95, got '96' (see `hwkd bench --help`)",
        ),
    ],
)
def test_a_wrong_option_is_one_line(refused, tiny_bundle, argv, message):
    assert refused(["bench", tiny_bundle, *argv]) == message


def test_what_is_no_bundle_is_told(refused, tmp_path, image_file):
    missing = tmp_path / "none.hwkd"
    assert refused(["bench", missing]).startswith(f"no such file: {missing}; give ")
    assert refused(["bench", image_file]).startswith(f"{image_file}: not a bundle: it starts with")


def test_no_bundle_is_told(refused):
    assert refused(["bench"]).startswith("the following arguments are required: BUNDLE")


@pytest.mark.parametrize(
    ("against", "message"),
    [
        ("compresai", "unknown teacher 'compresai'"),
        ("none.pth.tar", "no such file: none.pth.tar"),
        ("bmshj2018-hyperprior:9", "bmshj2018-hyperprior has no quality '9': it is 1 to 8"),
        ("patch-q5", "CompressAI has no class for patch-q5 (patch M=192"),
    ],
)
def test_a_checkpoint_that_cannot_be_taken_is_told(
    refused, tiny_bundle, image_file, monkeypatch, tmp_path, against, message
):
    monkeypatch.chdir(tmp_path)
    error = refused(["bench", tiny_bundle, "--image", image_file, "--against", against])
    assert error.startswith(message)


def test_no_runtime_at_all_is_told(refused, tiny_bundle, monkeypatch):
    monkeypatch.setattr("hwkd.cli.measuring.bench.preferred_runtimes", lambda: ())
    assert refused(["bench", tiny_bundle]) == (
        'no runtime for bundles is installed: pip install "hwkd[runtime]"'
    )


def test_an_output_that_is_a_folder_is_told_and_the_figures_printed(
    tiny_bundle, image_file, tmp_path, capsys
):
    argv = ["bench", tiny_bundle, *QUICK, "--image", image_file, "--against", "none"]
    argv += ["--runtime", "onnxruntime", "-o", tmp_path]
    assert main([str(word) for word in argv]) == 2
    out, err = capsys.readouterr()
    assert out.startswith("End to end against tiny-patch")
    assert err.startswith(f"hwkd: error: cannot write {tmp_path}: ")


def test_a_bundle_of_all_rates_is_timed_at_one_quality_which_names_it(
    rates_bundle, tiny_bundle, image_file, capsys
):
    argv = ("bench", str(rates_bundle), str(tiny_bundle), *QUICK, "--image", str(image_file))
    argv = (*argv, "--against", "none", "--runtime", "onnxruntime", "--format", "json")
    sizes = {}
    for words, quality in (((), 50), (("-q", "90"), 90)):
        assert main([*argv, *words]) == 0
        rows = tables_of(capsys.readouterr().out)[0]["rows"]
        assert [row["coder"] for row in rows[:2]] == [f"tiny-rates quality {quality}", "tiny-patch"]
        sizes[quality] = [row["bytes"]["value"] for row in rows[:2]]
    image = read_rgb(image_file)
    codec = Codec.load(rates_bundle, "onnxruntime", 1)
    assert sizes[90][0] == len(codec.encode(image, quality=90)) > sizes[50][0]
    assert sizes[90][1] == sizes[50][1]


def test_compressai_is_loaded_at_the_rate_of_the_quality(rates_bundle, image_file, capsys):
    argv = ["bench", str(rates_bundle), *QUICK, "--image", str(image_file), "-q", "90"]
    assert main([*argv, "--runtime", "onnxruntime", "--format", "json"]) == 0
    rows = tables_of(capsys.readouterr().out)[0]["rows"]
    assert rows[1]["coder"] == "tiny-rates quality 90"
    assert rows[0]["coder"].startswith("CompressAI")


def test_a_quality_that_no_bundle_has_is_told(refused, tiny_bundle):
    assert refused(["bench", tiny_bundle, "-q", "50"]) == (
        "tiny-patch codes at one rate and takes no quality, got 50; leave it out, or give a model of all rates"
    )
    assert refused(["bench", tiny_bundle, "-q", "0"]) == (
        "argument -q/--quality: must be a whole number, 1 to 100, got '0' (see `hwkd bench --help`)"
    )
