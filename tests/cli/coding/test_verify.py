import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from hwkd.cli.main import main
from hwkd.codec.networks import SELFTEST_DIGESTS
from hwkd.errors import InputError
from hwkd.runtime.bundle import arrays, pack_arrays, read_bundle, write_bundle
from hwkd.runtime.manifest import SELFTEST
from hwkd.runtime.session import present_runtimes, runtime_label, usable_cores
from tests.tables import is_missing, tables_of

EXACT = "1 exact integers"


@pytest.fixture
def verified(capsys, tiny_bundle):
    """verified(*words, code=0, bundle=...): the matrix and the readers of `hwkd verify`, from its JSON."""

    def run(*words, code=0, bundle=tiny_bundle):
        assert main(["verify", str(bundle), *words, "--format", "json"]) == code
        out, err = capsys.readouterr()
        assert err == ""
        return tables_of(out)

    return run


def labels(*threads):
    """Every coder of this machine, numbered."""
    counts = [f"{n} thread{'s' * (n > 1)}" for n in sorted({1, *threads})]
    found = [
        "exact integers",
        *(f"{runtime_label(r)}, {n}" for r in present_runtimes() for n in counts),
    ]
    return [f"{i} {label}" for i, label in enumerate(found, 1)]


def test_all_runtimes_with_one_and_all_threads_agree(verified):
    matrix, readers = verified("--images", "4")
    expected = labels(usable_cores())
    numbers = [label.partition(" ")[0] for label in expected]
    assert matrix["columns"] == ["writer", *numbers]
    assert [row["writer"] for row in matrix["rows"]] == expected
    assert {row[number] for row in matrix["rows"] for number in numbers} == {0}
    assert [row["reader"] for row in readers["rows"]] == expected
    for row in readers["rows"]:
        assert (row["self-test"], row["differing"]) == ("passed", 0)
        steps = row["largest_step"]
        assert is_missing(steps) if row["reader"] == EXACT else steps in (0, 1)


def test_the_notes_say_what_was_compared_and_where(verified, tiny_bundle):
    matrix, readers = verified("--images", "2", "--threads", "1")
    bundle = read_bundle(tiny_bundle)
    assert f"tiny-patch ({bundle.id_hex})" in matrix["title"]
    # A crop of 64x64 and noise of 64x64: a position of z each, with 8 symbols of z and 16 x 12 of y.
    assert (
        "2 images: crops of chelsea.png and rocket.jpg, every second one made in code."
        in matrix["notes"]
    )
    assert any(note.startswith("Of each pair 400 symbols of y and z") for note in matrix["notes"])
    assert any(
        note.startswith("exact integers: ") and "first runtime" in note for note in matrix["notes"]
    )
    assert any("sha256 of the indexes" in note for note in readers["notes"])
    assert any(
        note.startswith("Ran on ") and f"numpy {np.__version__}" in note
        for note in readers["notes"]
    )


def test_a_named_runtime_alone_leaves_the_others_unchecked(verified):
    matrix, _ = verified("--runtime", "onnxruntime", "--images", "1", "--threads", "1")
    assert [row["writer"] for row in matrix["rows"]] == [
        EXACT,
        f"2 {runtime_label('onnxruntime')}, 1 thread",
    ]
    assert (
        "Not checked: openvino (not installed, not in this bundle, or not asked for)."
        in matrix["notes"]
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [((), "1, 50, 100"), (("--qualities", "90", "10"), "90, 10")],
)
def test_a_bundle_of_all_rates_is_compared_at_several_qualities(
    verified, tiny_bundles, words, told
):
    argv = ("--images", "6", "--threads", "1", *words)
    matrix, readers = verified(*argv, bundle=tiny_bundles["rates"])
    assert any(note.endswith(f", at qualities {told} in turn.") for note in matrix["notes"])
    assert all(set(row.values()) <= {0, row["writer"]} for row in matrix["rows"])
    assert {row["differing"] for row in readers["rows"]} == {0}


@pytest.mark.parametrize(
    ("family", "quality", "message"),
    [
        ("patch", "50", "tiny-patch codes at one rate and takes no quality, got 50"),
        ("rates", "101", "argument --qualities: "),
    ],
)
def test_a_quality_that_the_bundle_has_not_is_one_line(
    refused, tiny_bundles, family, quality, message
):
    said = refused(["verify", tiny_bundles[family], "--qualities", quality])
    assert said.startswith(message)


def test_images_of_a_folder_are_coded_whole(verified, image_folder):
    # Two of the six, 96x128 and 128x96, each 2x2 positions of z; made ones of 64x64 and 1x1 pixels between.
    words = ("--data", str(image_folder), "--images", "4", "--threads", "1")
    matrix, _ = verified(*words, "--runtime", "onnxruntime")
    assert "4 images: 2 of 6 images of images, the others made in code." in matrix["notes"]
    symbols = (4 + 4 + 1 + 1) * (8 + 16 * 12)
    assert any(note.startswith(f"Of each pair {symbols} symbols") for note in matrix["notes"])


def test_without_scikit_image_all_images_are_made_in_code(verified, monkeypatch):
    def missing(split):
        raise InputError("scikit-image is not installed")

    monkeypatch.setattr("hwkd.cli.coding.verify.embedded_images", missing)
    words = ("--images", "2", "--threads", "1", "--runtime", "onnxruntime")
    matrix, _ = verified(*words)
    assert matrix["notes"][1] == (
        "2 images: all made in code, as there are no photographs (scikit-image is not installed)."
    )


@pytest.fixture
def contradicting(tiny_bundle, tmp_path):
    """A bundle with a self-test that nothing passes."""
    bundle = read_bundle(tiny_bundle)
    held = arrays(bundle, SELFTEST)
    held[SELFTEST_DIGESTS] = np.array(["0" * 64] * len(held[SELFTEST_DIGESTS]))
    path = tmp_path / "wrong.hwkd"
    parts = {**bundle.parts, SELFTEST: pack_arrays(held)}
    write_bundle(path, replace(bundle.manifest, parts={}), parts)
    return path


def test_a_failed_self_test_is_exit_code_1_with_the_tables(verified, contradicting):
    words = ("--images", "1", "--threads", "1", "--runtime", "onnxruntime")
    matrix, readers = verified(*words, code=1, bundle=contradicting)
    runtime = f"{runtime_label('onnxruntime')}, 1 thread"
    for row in matrix["rows"]:
        assert "fails the self-test" in row["2"]["reason"]
    assert [row["self-test"] for row in readers["rows"]] == ["refused", "refused"]
    (note,) = (note for note in matrix["notes"] if note.startswith(f"{runtime}: refused: "))
    assert f"{runtime_label('onnxruntime')} fails the self-test of tiny-patch" in note


def test_a_symbol_that_differs_is_exit_code_1_and_said(verified, monkeypatch):
    from hwkd.codec.verify import WatchedCodec

    read = WatchedCodec.read

    def one_off(coder, stream):
        passed = read(coder, stream)
        if coder.is_exact:
            passed.y[0, 0, 0] += 1
        return passed

    monkeypatch.setattr(WatchedCodec, "read", one_off)
    words = ("--images", "3", "--threads", "1", "--runtime", "onnxruntime")
    matrix, _ = verified(*words, code=1)
    assert [row["1"] for row in matrix["rows"]] == [3, 3]
    assert any(note.endswith("It does not hold here.") for note in matrix["notes"])


def test_images_that_differ_by_more_than_a_step_are_said_and_no_failure(verified, monkeypatch):
    from hwkd.codec.verify import WatchedCodec

    decode = WatchedCodec.image

    def darker(coder, stream):
        image = decode(coder, stream)
        return image if coder.runtime == "onnxruntime" else image // 2

    monkeypatch.setattr(WatchedCodec, "image", darker)
    # Light, so that half of it is far away.
    monkeypatch.setattr(
        "hwkd.cli.coding.verify.crops", lambda images: iter([np.full((64, 64, 3), 200, np.uint8)])
    )
    _, readers = verified("--images", "1", "--threads", "1")
    (row,) = (row for row in readers["rows"] if "openvino" in row["reader"])
    assert row["largest_step"] > 50
    label = row["reader"].partition(" ")[2]
    note = f"{label}: its images differ by {row['largest_step']} steps: a rounding inside the network that comes out otherwise is passed on."
    assert note in readers["notes"]


def test_the_table_is_the_default_and_goes_to_a_file_too(capsys, tiny_bundle, tmp_path):
    words = ["verify", str(tiny_bundle), "--images", "1", "--threads", "1"]
    assert main(words) == 0
    assert "Symbols of tiny-patch" in capsys.readouterr().out
    output = tmp_path / "verified.md"
    assert main([*words, "--format", "md", "-o", str(output)]) == 0
    assert capsys.readouterr().out == ""
    assert output.read_text().startswith("**Symbols of tiny-patch")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--runtime", "onnxruntim"],
            "unknown runtime 'onnxruntim': did you mean onnxruntime? Known: onnxruntime, openvino",
        ),
        (
            ["--images", "0"],
            "argument --images: must be a whole number, 1 or more, got '0' (see `hwkd verify --help`)",
        ),
        (
            ["--threads", "none"],
            f"argument --threads: must be a whole number, 1 to {usable_cores()}, got 'none' "
            "(see `hwkd verify --help`)",
        ),
    ],
)
def test_wrong_words_are_one_line(refused, tiny_bundle, words, message):
    assert refused(["verify", tiny_bundle, *words]) == message


def test_what_is_no_bundle_or_no_folder_is_one_line(refused, tiny_bundle, tmp_path):
    missing = tmp_path / "none.hwkd"
    assert refused(["verify", missing]).startswith(
        f"no such file: {missing}; give a .hwkd file, which `hwkd export` writes"
    )
    folder = tmp_path / "none"
    assert refused(["verify", tiny_bundle, "--data", folder]).startswith(
        f"no such folder: {folder};"
    )


def test_an_interrupted_run_prints_nothing(capsys, tiny_bundle, monkeypatch):
    def stop(coder, image, quality):
        raise KeyboardInterrupt

    monkeypatch.setattr("hwkd.codec.verify.WatchedCodec.write", stop)
    assert main(["verify", str(tiny_bundle), "--images", "1", "--threads", "1"]) == 130
    assert capsys.readouterr() == ("", "hwkd: interrupted\n")


def test_it_needs_neither_torch_nor_onnx(tiny_bundle):
    program = (
        "import sys\n"
        "from hwkd.cli.main import main\n"
        f"code = main(['verify', {str(tiny_bundle)!r}, '--images', '1', '--threads', '1'])\n"
        "print(code, [name for name in ('torch', 'compressai', 'onnx', 'skimage') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "0 []"
