"""`hwkd export`: a bundle on disk, and what is refused before anything is computed."""

import io
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import onnx
import pytest

from hwkd.bits import BitPlan
from hwkd.cli.main import main
from hwkd.errors import HwkdError
from hwkd.images import open_images, write_png
from hwkd.measure.quality import measure_figures
from hwkd.runtime.bundle import read_bundle
from hwkd.runtime.session import present_runtimes, runtime_label
from tests.conftest import one_thread

pytestmark = pytest.mark.usefixtures("in_one_thread", "brief_export")


@pytest.fixture(scope="module")
def photos(tmp_path_factory, photo) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(2):
        write_png(folder / f"{seed}.png", photo(176, 192, seed))
    return folder


@pytest.fixture(scope="module")
def words(made_teacher, photos) -> list[str]:
    """Of an export that works; the last of an option counts."""
    return [
        *("export", str(made_teacher), "--bits", "7/8", "--target", "x86-avx2"),
        *("--data", str(photos)),
    ]


def run(words, capsys) -> str:
    """What is printed by a command that must succeed."""
    assert main([str(word) for word in words]) == 0
    return capsys.readouterr().out


@dataclass(frozen=True)
class Exported:
    """A bundle's file, and what was printed."""

    path: Path
    out: str


@pytest.fixture(scope="module")
def exported(tmp_path_factory, words, photos, photo) -> Exported:
    """With ten images to compare on, a card, and a set of images to evaluate on."""
    folder = tmp_path_factory.mktemp("exported")
    for seed in range(10):
        write_png(folder / f"many/{seed}.png", photo(64, 64, seed))
    (folder / "card.toml").write_text('data = "2 photographs"\nlimits = ["Only a test."]\n')
    path = folder / "new/small.hwkd"
    more = ["--data", folder / "many", "--card", folder / "card.toml", "--evaluate", photos]
    out = io.StringIO()
    with one_thread(), redirect_stdout(out):
        assert main([str(word) for word in [*words, *more, "-o", path, "--full"]]) == 0
    return Exported(path, out.getvalue())


def test_a_bundle_is_written_and_described(exported) -> None:
    path, out = exported.path, exported.out
    bundle = read_bundle(path)
    assert [p.name for p in path.parent.iterdir()] == ["small.hwkd"]
    assert (bundle.manifest.name, bundle.manifest.target) == ("small", "x86-avx2")
    assert (bundle.manifest.weight_bits, bundle.manifest.act_bits) == ("7", 8)
    assert bundle.manifest.lmbda == 0.025
    assert out.endswith(f"written: {path}\n")
    assert bundle.id_hex in out


def test_at_most_eight_images_are_compared(exported) -> None:
    for runtime in present_runtimes():
        assert f"{runtime_label(runtime)} against the trained codec, 8 images: " in exported.out


def test_the_card_holds_what_the_user_says_and_what_was_measured(exported, photos) -> None:
    bundle = read_bundle(exported.path)
    card = bundle.manifest.card
    assert card is not None
    assert (card.data, card.limits) == ("2 photographs", ("Only a test.",))
    assert (card.licence, card.hardware, card.hours) == ("not recorded", "not recorded", None)
    assert [(one.on, one.images) for one in card.figures] == [
        ("embedded photographs", 2),
        (photos.name, 2),
    ]
    assert "Only a test." in exported.out and "Measured with this bundle" in exported.out
    # Measured with this very bundle: the figures are found again with the file.
    again = measure_figures(bundle, [open_images(photos)])
    assert again == card.figures[1:]


def test_a_bundle_has_its_models_name_unless_given_and_replaces_a_file_only_by_force(
    words, tmp_path, capsys, monkeypatch, refused
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny-teacher.hwkd").write_text("what stood here")
    assert refused(words) == (
        "tiny-teacher.hwkd exists: give another name, or --force to replace it"
    )
    assert run([*words, "--force"], capsys).endswith("written: tiny-teacher.hwkd\n")
    assert read_bundle(tmp_path / "tiny-teacher.hwkd").manifest.name == "tiny-teacher"


def test_a_bundle_that_ships_is_made_anew_from_its_float_student(
    words, photos, tmp_path, monkeypatch, capsys
) -> None:
    from hwkd.export import export as export_module

    asked = []

    def told(text, bits, *_args):
        asked.append((text, bits))
        raise HwkdError("enough")

    monkeypatch.setattr(export_module, "load_source", told)
    monkeypatch.chdir(tmp_path)
    for bits in ([], ["--bits", "4/8"]):
        assert main(["export", "patch-small", "--target", "raspberry-pi-4", *bits]) == 1
    assert asked == [
        ("patch-small-float", BitPlan(8, 8)),
        ("patch-small-float", BitPlan(4, 8)),
    ]
    assert "it is made anew from its float student, patch-small-float" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["export", "--target", "raspberry-pi-4"], ["quantize"]])
def test_a_bundle_without_a_float_student_is_refused(command, exported, refused) -> None:
    for model in (exported.path, "gdn-16"):
        assert refused([command[0], model, *command[1:]]).startswith(
            f"{model} is a bundle, which holds no weights to quantize anew: give a run folder, "
        )


def test_a_boards_compiler_gets_graphs_of_one_size(words, tmp_path, capsys) -> None:
    path = tmp_path / "small.hwkd"
    out = run([*words, "--target", "jetson-nano", "--size", "128x64", "-o", path], capsys)
    graphs = [tmp_path / f"small-jetson-nano-{name}.onnx" for name in ("encoder", "decoder")]
    assert out.endswith(f"written: {', '.join(map(str, [path, *graphs]))}\n")
    shapes = []
    for graph in graphs:
        model = onnx.load(graph)
        onnx.checker.check_model(model)
        assert [o.version for o in model.opset_import if not o.domain] == [13]
        for value in (*model.graph.input, *model.graph.output):
            shapes.append((value.name, [d.dim_value for d in value.type.tensor_type.shape.dim]))
    assert shapes == [
        ("image", [1, 3, 64, 128]),
        ("y", [1, 12, 4, 8]),
        ("z", [1, 8, 1, 2]),
        ("y", [1, 12, 4, 8]),
        ("image", [1, 3, 64, 128]),
    ]
    manifest = read_bundle(path).manifest
    assert manifest.target == "jetson-nano"
    # The line to type names the files as they are.
    line = "trtexec --onnx=small-jetson-nano-encoder.onnx --saveEngine=small-jetson-nano-encoder.engine --fp16"
    assert line in " ".join(manifest.plan) and line in " ".join(out.split())


def test_images_that_are_too_small_are_not_answered_with_an_option_of_others(
    tiny_teacher_file, photo, tmp_path, refused
) -> None:
    for seed in range(2):
        write_png(tmp_path / f"small/{seed}.png", photo(48, 48, seed))
    argv = ["export", tiny_teacher_file, "--bits", "8", "--target", "raspberry-pi-4"]
    error = refused([*argv, "--data", tmp_path / "small", "-o", tmp_path / "a.hwkd"])
    assert "--crop" not in error and error.endswith("leave it out for the embedded photographs")


def test_a_boards_graphs_are_not_written_over(words, tmp_path, refused) -> None:
    held = tmp_path / "small-jetson-nano-decoder.onnx"
    held.write_text("what stood here")
    message = refused([*words, "--target", "jetson-nano", "-o", tmp_path / "small.hwkd"])
    assert message == f"{held} exists: give another name, or --force to replace it"


def test_a_failure_on_the_way_leaves_nothing(words, tmp_path, monkeypatch, refused) -> None:
    from hwkd.export import export as export_module

    def fails(*_args):
        raise HwkdError("the graphs do not fit")

    monkeypatch.setattr(export_module, "differences", fails)
    message = refused([*words, "--target", "jetson-nano", "-o", tmp_path / "a.hwkd"], code=1)
    assert message == "the graphs do not fit"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["-o", "a.onnx"], "a bundle's name ends in .hwkd, got a.onnx; give -o NAME.hwkd"),
        (
            ["--target", "rasberry-pi-4"],
            "unknown target 'rasberry-pi-4': did you mean raspberry-pi-4",
        ),
        (["--bits", "9"], "9 bits for the weights is out of range; weights take 2 to 8 bits"),
        (["--bits", "seven"], "--bits 'seven' is not a number of bits"),
        (["--data", "nowhere"], "no such folder: nowhere"),
        (
            ["--target", "jetson-nano", "--size", "100x64"],
            "an engine is built for one size, of multiples of 64, got 100x64; give --size 128x64",
        ),
    ],
)
def test_what_is_refused(words, tmp_path, refused, monkeypatch, more, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert refused([*words, *more]).startswith(message)


def test_a_card_that_does_not_fit_is_refused(words, tmp_path, refused) -> None:
    card = tmp_path / "card.toml"
    card.write_text('licence = "CC0"\nlicense = "CC0"\n')
    assert refused([*words, "--card", card]) == (
        f"{card}: unknown key 'license'; accepted are data, licence, hardware, limits, recipe"
    )


def test_two_sets_of_one_name_are_refused(words, tmp_path, photo, refused) -> None:
    for place in ("a", "b"):
        write_png(tmp_path / place / "same/0.png", photo(64, 64, 0))
    more = ["--evaluate", tmp_path / "a/same", "--evaluate", tmp_path / "b/same"]
    assert refused([*words, *more, "-o", tmp_path / "a.hwkd"]) == (
        "--evaluate: 2 sets of images are called 'same', and a card names each once; rename a folder, or leave one out"
    )


def test_a_damaged_image_to_evaluate_on_is_found_first(words, tmp_path, refused) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set/a.png").write_bytes(b"no image")
    message = refused([*words, "--evaluate", tmp_path / "set", "-o", tmp_path / "a.hwkd"])
    assert message.startswith(f"{tmp_path / 'set/a.png'} is not a readable image")


def test_a_folder_of_the_bundles_name_is_refused(words, tmp_path, refused) -> None:
    folder = tmp_path / "a.hwkd"
    folder.mkdir()
    for more in ([], ["--force"]):
        message = refused([*words, "-o", folder, *more])
        assert message == f"{folder} is a folder: give the name of a file"


def test_a_float_model_needs_bits(tiny_teacher_file, photos, tmp_path, refused) -> None:
    words = ["export", tiny_teacher_file, "--target", "x86-avx2", "--data", photos]
    assert refused([*words, "-o", tmp_path / "a.hwkd"]) == (
        f"{tiny_teacher_file} is in float: give --bits (8, or 4/8) to quantize it after training, or a run of "
        "`hwkd distill`"
    )


def test_a_target_must_be_named(tiny_teacher_file, capsys) -> None:
    assert main(["export", str(tiny_teacher_file)]) == 2
    assert "--target" in capsys.readouterr().err
