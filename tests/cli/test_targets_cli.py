import argparse
import json

import pytest

from hwkd.cli import targets
from hwkd.errors import InputError
from hwkd.target import list_targets


def run(*argv):
    parser = argparse.ArgumentParser()
    targets.configure(parser)
    return targets.run(parser.parse_args(argv))


def test_the_list_has_a_row_for_every_target(capsys):
    assert run("--format", "json") == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["target"] for row in rows] == list(list_targets())


@pytest.mark.parametrize(
    ("name", "int8", "runtime", "power_w"),
    [
        ("jetson-nano", "not on gpu; cpu", "tensorrt 8.2", "10, 5"),
        ("jetson-agx-orin", "yes: gpu, dla, cpu", "tensorrt 10.3", "60, 15"),
        ("x86-avx2", "yes: cpu (weights to 7 bits)", "openvino 2026.4.1", "n/a"),
    ],
)
def test_a_row_says_where_int8_happens(capsys, name, int8, runtime, power_w):
    run("--format", "json")
    rows = {row["target"]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    row = rows[name]
    assert (row["int8 arithmetic"], row["runtime"], row["power_w"]) == (int8, runtime, power_w)


def test_the_terminal_form_is_the_default(capsys):
    run()
    assert "jetson-orin-nano" in capsys.readouterr().out


@pytest.mark.parametrize("fmt", ["md", "csv", "latex"])
def test_other_formats_print(capsys, fmt):
    assert run("--format", fmt) == 0
    assert "raspberry-pi-5" in capsys.readouterr().out


def test_show_prints_facts_with_sources_and_the_plan(capsys):
    assert run("show", "jetson-nano", "--format", "json") == 0
    facts, plan = json.loads(capsys.readouterr().out)
    rows = {row["fact"]: row for row in facts["rows"]}
    assert rows["gpu: fp16 peak_gops"]["value"] == "471.6"
    assert rows["gpu: fp16 peak_gops"]["confidence"] == "D"
    assert rows["gpu: int8 peak_gops"]["value"].startswith("none: TensorRT prints")
    assert "torch2trt#255" in rows["gpu: int8 peak_gops"]["source"]
    assert rows["board: idle_w"]["value"].startswith("n/a: ")
    assert plan["rows"][0] == {
        "network": "encoder",
        "unit": "gpu",
        "default": "yes",
        "arithmetic": "fp16",
        "in float": "none",
        "weight bits": "8",
        "reason": 'no int8 arithmetic: TensorRT prints "Int8 support: 0"; '
        "forced int8 ran at half the fp16 speed",
    }
    assert any("offered on the cpu" in note for note in plan["notes"])


def test_show_prints_a_range_as_such(capsys):
    run("show", "raspberry-pi-4", "--format", "csv")
    assert "board: idle_w,2.7 to 3.1,S," in capsys.readouterr().out


def test_options_before_show_stand(capsys):
    run("--format", "json", "show", "x86-vnni")
    assert len(json.loads(capsys.readouterr().out)) == 2


def test_output_goes_to_a_file(capsys, tmp_path):
    place = tmp_path / "new" / "targets.csv"
    assert run("--format", "csv", "-o", str(place)) == 0
    assert capsys.readouterr().out == ""
    assert place.read_text().startswith("target,description,preferred unit,")


def test_show_of_an_unknown_target_suggests_and_points_to_the_list():
    with pytest.raises(InputError) as caught:
        run("show", "raspbery-pi-5")
    message = str(caught.value)
    assert message.startswith(
        "unknown target 'raspbery-pi-5': did you mean raspberry-pi-5 or raspberry-pi-4?"
    )
    assert message.endswith("(see `hwkd targets`)")


def test_an_unknown_format_is_a_usage_error(capsys):
    with pytest.raises(SystemExit) as caught:
        run("--format", "xml")
    assert caught.value.code == 2


def test_examples_are_real_commands(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = [line.split()[2:] for line in targets.EXAMPLES.splitlines()[1:]]
    assert len(lines) >= 2
    for argv in lines:
        # validate and fit take a minute each: tests/cli/test_targets.py has them.
        if "my-board.toml" not in argv and argv[:1] not in (["validate"], ["fit"]):
            assert run(*argv) == 0
