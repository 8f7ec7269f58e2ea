"""The names that hwkd offers a program: loaded when they are used, and the same as the commands."""

import argparse
import ast
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

import hwkd
from hwkd.cli.main import main
from hwkd.distill.options import DistillOptions

ROOT = Path(hwkd.__file__).parent
HEAVY = ("PIL", "llvmlite", "numpy", "onnxruntime", "openvino", "rich", "torch")


def loaded_after(program):
    """Of HEAVY, what a process holds after `program`, and the modules of hwkd."""
    told = f"{program}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    names = done.stdout.splitlines()[-1].split()
    return [n for n in HEAVY if n in names], [n for n in names if n.startswith("hwkd")]


def test_importing_hwkd_loads_nothing_else():
    assert loaded_after("import hwkd") == ([], ["hwkd"])


def test_looking_at_the_names_loads_nothing_else():
    assert loaded_after("import hwkd; dir(hwkd)") == ([], ["hwkd"])
    assert dir(hwkd) == sorted(hwkd.__all__)


def test_what_encodes_predicts_and_lists_takes_no_torch():
    program = (
        "import hwkd\n"
        "hwkd.Codec.load('patch-small'), hwkd.models(), hwkd.macs('patch-small')\n"
        "hwkd.predict('patch-small', 'raspberry-pi-4')"
    )
    assert "torch" not in loaded_after(program)[0]


@pytest.mark.parametrize("name", hwkd.__all__)
def test_every_name_is_there_and_says_what_it_is(name):
    value = getattr(hwkd, name)
    assert value is getattr(hwkd, name)
    assert isinstance(value, str) or value.__doc__


def test_type_checkers_are_told_of_the_modules_that_the_names_come_from():
    tree = ast.parse((ROOT / "__init__.py").read_text())
    (told,) = (
        n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"
    )
    places = {a.name: n.module for n in told.body if isinstance(n, ast.ImportFrom) for a in n.names}
    assert {**hwkd._PLACES, **dict.fromkeys(hwkd._CALLED, "hwkd.face")} == places
    assert sorted([*places, "__version__"]) == sorted(hwkd.__all__)
    assert (ROOT / "py.typed").is_file()


def test_a_misspelt_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'hwkd' has no attribute 'modles'"):
        _ = hwkd.modles


@pytest.mark.parametrize("name", hwkd._CALLED)
def test_a_function_that_is_a_package_too_is_both(name):
    program = (
        f"import hwkd.{name}, hwkd.face\n"
        f"hwkd.face.{name} = lambda *given: given\n"
        f"assert hwkd.{name}(1, 2) == (1, 2)\n"
        f"from hwkd import {name}\n"
        f"assert {name} is hwkd.{name} and {name}.__path__"
    )
    loaded_after(program)


def test_models_are_those_of_the_command(capsys):
    assert main(["models", "--format", "csv"]) == 0
    shown = capsys.readouterr().out.splitlines()
    held = hwkd.models()
    assert {"patch-large", "patch-medium", "patch-small"} <= {model.name for model in held}
    for model in held:
        (line,) = (line for line in shown if line.startswith(f"{model.name},{model.family},"))
        assert f"{model.weight_bits} / {model.act_bits},{model.macs_per_pixel / 1e3:.2f}," in line
        assert line.endswith(f",{model.kodak_psnr_db:.2f},{model.kodak_bpp:.3f}")


def test_a_prediction_is_the_record_of_the_command():
    found = hwkd.predict("patch-small", "raspberry-pi-4")
    record = hwkd.profile("patch-small", "raspberry-pi-4")
    assert record.provenance.command.startswith("hwkd profile ")
    assert (found.model, found.target, found.width, found.height) == (
        *("patch-small.hwkd", "raspberry-pi-4"),
        *(768, 512),
    )
    for side in ("encode", "decode"):
        for name in ("latency_ms", "energy_mj"):
            quantity = getattr(found, f"{side}_{name}")
            assert 0 < quantity.low < quantity.value < quantity.high
            assert quantity.level == 0.9
            entry = next(
                e for e in record.entries if (e.part, e.side, e.name) == ("end_to_end", side, name)
            )
            assert (entry.quantity, entry.setting) == (quantity, found.setting)


def test_a_prediction_scales_with_the_padded_area():
    whole, half = (hwkd.macs("patch-small", size) for size in ((768, 512), (768, 250)))
    assert whole.total_macs == 2 * half.total_macs
    assert whole.encode_macs == whole.g_a + whole.h_a + whole.h_s
    assert hwkd.predict("patch-small", "raspberry-pi-4", (768, 250)).height == 250


def test_profile_says_what_the_command_is_told(monkeypatch):
    seen = []

    def profile_each(options, command, keep):
        seen.append((options, command))
        keep(None)

    monkeypatch.setattr("hwkd.cli.measuring.profile.profile_each", profile_each)
    hwkd.profile(Path("runs/a"))
    hwkd.profile(
        Path("patch-q5"),
        "my.toml",
        size=(64, 32),
        threads=(2, 1),
        seconds=0.5,
        energy="none",
        country="FRA",
        quality=7,
        bits="4/8",
        evaluate=Path("photos"),
        memory=False,
    )
    (plain, command), (full, _) = seen
    assert command == "hwkd profile runs/a --target host"
    assert (full.models, full.target, full.size) == (("./patch-q5",), ("my.toml",), "64x32")
    assert (full.threads, full.seconds, full.energy, full.country) == ("2,1", 0.5, "none", "FRA")
    assert (full.quality, full.bits, full.evaluate) == (7, "4/8", Path("photos"))
    assert full.no_memory and not plain.no_memory


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda: hwkd.Codec.load("patch-smal"),
            "unknown model 'patch-smal': did you mean patch-small",
        ),
        (lambda: hwkd.Codec.load("no/such.hwkd"), "no such file: no/such.hwkd; give"),
        (lambda: hwkd.macs("patch-smal"), "unknown model 'patch-smal': did you mean"),
        (lambda: hwkd.macs("patch-small", (0, 9)), "an image of 0x9 has no MACs to count"),
        (lambda: hwkd.predict("patch-small", "pi"), "unknown target 'pi'"),
        (lambda: hwkd.predict("patch-small", "host"), "got host; hwkd.profile measures"),
        (lambda: hwkd.profile("patch-small", "all"), "hwkd.profile takes one target, got all"),
        (
            lambda: hwkd.profile("patch-small", seconds=0),
            "hwkd.profile: argument --seconds: must be",
        ),
        (lambda: hwkd.profile("patch-small", "host", size=(0, 1)), "--size takes 1 to"),
        (lambda: hwkd.distill(DistillOptions()), "no target is given"),
        (
            lambda: hwkd.distill(DistillOptions("x86-vnni", crop=100)),
            "hwkd.distill: argument --crop: must",
        ),
        (lambda: hwkd.distill(DistillOptions("x86-vnni", kd="hipe")), "unknown --kd term 'hipe'"),
        (lambda: hwkd.load_teacher("patch-q4"), "unknown teacher 'patch-q4'"),
    ],
)
def test_wrong_input_is_an_input_error_of_one_line(call, said):
    with pytest.raises(hwkd.InputError) as caught:
        call()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


# hwkd.distill


def command_parser():
    from hwkd.cli.training.distill import configure

    parser = argparse.ArgumentParser()
    configure(parser)
    return parser


def test_a_command_line_is_read_back_as_what_was_given():
    by_type = {str: "8", bool: True, int: 128, float: 0.25, tuple: ("g_a.*=8/8", "h_s.0=6/8")}
    by_name = {
        **dict.fromkeys(("data", "output", "evaluate"), Path("-a folder")),
        **dict.fromkeys(("rd_weight", "minutes"), 0.5),
        **dict.fromkeys(("latent", "hyper", "hyper_latent", "quality"), 5),
        **dict.fromkeys(("data_workers", "steps", "qat_steps", "threads"), 3),
        **{"bits": "4/8", "family": "relu", "kd": "none", "kd_loss": "kld"},
        **{"schedule": "cosine", "optimizer": "adam", "precision": "fp32"},
    }
    exclusive = {"lmbda", "all_rates", "minutes"}
    changed = {}
    for field in fields(DistillOptions):
        if field.name not in exclusive:
            kind = str if field.default is None else type(field.default)
            changed[field.name] = by_name.get(field.name, by_type[kind])
    for given in (changed, {"lmbda": 0.5, "minutes": 2.5}, {"all_rates": True}, {}):
        assert DistillOptions.read(DistillOptions(**given).given(), "here") == given
        args = command_parser().parse_args(DistillOptions.words(given))
        assert DistillOptions.given_in(args) == given


def test_a_student_is_distilled_as_by_the_command(
    brief_latencies, image_folder, tiny_teacher_file, tmp_path, capsys
):
    options = DistillOptions(
        target="jetson-nano",
        teacher=str(tiny_teacher_file),
        data=image_folder,
        evaluate=image_folder,
        width="16",
        hyper=8,
        hyper_latent=8,
        steps=2,
        qat_steps=1,
        crop=64,
        batch=2,
        threads=1,
        output=tmp_path / "run",
    )
    done = hwkd.distill(options)
    assert done.folder == tmp_path / "run"
    assert done.report.steps == 3
    assert (done.folder / "student.safetensors").is_file()
    assert "--width 16 --hyper 8 --hyper-latent 8 --teacher " in done.report.command
    assert capsys.readouterr().out == ""
