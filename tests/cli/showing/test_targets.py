import argparse
import json
import tomllib

import numpy as np
import pytest

from hwkd.cli.main import main
from hwkd.cli.showing import targets
from hwkd.errors import InputError
from hwkd.files import data_folder
from hwkd.measure.layers import LayerCost
from hwkd.target import MARK, list_targets, load_target
from tests.tables import is_missing, table_of, tables_of


def run(*argv):
    parser = argparse.ArgumentParser()
    targets.configure(parser)
    return targets.run(parser.parse_args(argv))


def test_the_list_has_a_row_for_every_target(capsys):
    assert run("--format", "json") == 0
    rows = table_of(capsys.readouterr().out)["rows"]
    assert [row["target"] for row in rows] == list(list_targets())


@pytest.mark.parametrize(
    ("name", "int8", "runtime", "power_w"),
    [
        ("jetson-nano", "not on gpu; cpu", "tensorrt 8.2", [10, 5]),
        ("jetson-agx-orin", "yes: gpu, dla, cpu", "tensorrt 10.3", [60, 15]),
        (
            "x86-avx2",
            "yes: cpu (weights to 7 bits)",
            "openvino 2026.4.1",
            {"value": None, "reason": "the board has no modes"},
        ),
    ],
)
def test_a_row_says_where_int8_happens(capsys, name, int8, runtime, power_w):
    run("--format", "json")
    rows = {row["target"]: row for row in table_of(capsys.readouterr().out)["rows"]}
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
    facts, plan = tables_of(capsys.readouterr().out)
    rows = {row["fact"]: row for row in facts["rows"]}
    assert rows["gpu: fp16 peak_gops"]["value"] == 471.6
    assert rows["gpu: fp16 peak_gops"]["confidence"] == "D"
    assert rows["gpu: int8 peak_gops"]["value"]["reason"].startswith("none: TensorRT prints")
    assert "torch2trt#255" in rows["gpu: int8 peak_gops"]["source"]
    assert is_missing(rows["board: idle_w"]["value"])
    assert plan["rows"][0] == {
        "network": "encoder",
        "unit": "gpu",
        "default": "yes",
        "arithmetic": "fp16",
        "in float": "none",
        "weight bits": 8,
        "reason": 'no int8 arithmetic: TensorRT prints "Int8 support: 0"; '
        "forced int8 ran at half the fp16 speed",
    }
    assert any("offered on the cpu" in note for note in plan["notes"])


def test_show_prints_a_range_as_such(capsys):
    run("show", "raspberry-pi-4", "--format", "csv")
    assert "cpu: load_w of the board,4.7 to 6.7,S," in capsys.readouterr().out


def test_options_before_show_stand(capsys):
    run("--format", "json", "show", "x86-vnni")
    assert len(tables_of(capsys.readouterr().out)) == 2


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
        "unknown target 'raspbery-pi-5': did you mean raspberry-pi-5 or raspberry-pi-4"
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


INT8 = ("n0", "n1", "n2", "n3")


def layer(operator="conv", kernel=1, stride=1, groups=1, size=1.0):
    """Between 64 channels; `size` times 14x14 outputs."""
    outputs = max(2, round(196 * size))
    weights = 64 * 64 // groups * kernel**2
    return LayerCost(
        name="a",
        network="",
        operator=operator,
        c_in=64,
        c_out=64,
        kernel=kernel,
        stride=stride,
        groups=groups,
        in_values=64 * outputs * stride**2,
        out_values=64 * outputs,
        weights=weights,
        macs=weights * outputs,
    )


def made_network(rng):
    """Some of every kind of layer."""
    kinds = (
        {"kernel": 1},
        {"kernel": 3},
        {"kernel": 5, "stride": 2},
        {"kernel": 3, "groups": 64},
        {"operator": "dense"},
        {"operator": "nonlinear"},
    )
    return tuple(
        layer(**kind, size=rng.lognormal(0, 1)) for kind in kinds for _ in range(rng.integers(1, 6))
    )


@pytest.fixture
def networks(monkeypatch):
    """Twelve small networks in place of the benchmark's, which take long to build."""
    rng = np.random.default_rng(3)
    made = {f"n{i}": made_network(rng) for i in range(12)}
    monkeypatch.setattr(
        "hwkd.measure.eager.benchmark_networks.benchmark_layers", lambda progress=None: made
    )
    return made


def timed_devices():
    """(device, gpu) of every unit that the shipped targets name."""
    units = [unit for name in list_targets() for unit in load_target(name).units]
    return sorted({(u.timings.device, 0 if u.kind == "gpu" else -1) for u in units if u.timings})


@pytest.fixture
def timings(tmp_path, networks):
    """timings(without=..): a file with a time for each network on each device, but for one device."""

    def make(without=None):
        rng = np.random.default_rng(4)
        rows = []
        for device, gpu in timed_devices():
            for threads in (1, 4) if gpu < 0 else (4,):
                speed = rng.lognormal(0, 0.5) / threads
                macs = [sum(x.macs for x in networks[n]) for n in (*networks, *INT8)]
                ms = [m / 1e6 * speed * rng.lognormal(0, 0.1) for m in macs]
                rows.append({"device": device, "threads": threads, "gpu": gpu, "ms": ms})
        content = {
            "source": "made up",
            "networks": [*networks, *(f"{name}_int8" for name in INT8)],
            "rows": [row for row in rows if row["device"] != without],
        }
        path = tmp_path / "timings.json"
        path.write_text(json.dumps(content))
        return path

    return make


def run_targets_fit(capsys, *argv):
    assert main(["targets", *map(str, argv), "--format", "json"]) == 0
    return tables_of(capsys.readouterr().out)


def test_fit_writes_files_that_load_and_leaves_the_facts_as_they_are(capsys, timings, tmp_path):
    into = tmp_path / "new"
    before = {p: p.read_bytes() for p in data_folder("targets").iterdir()}
    constants, accuracy = run_targets_fit(capsys, "fit", "--timings", timings(), "--into", into)
    assert sorted(p.stem for p in into.iterdir()) == list(list_targets())
    for path in into.iterdir():
        shipped = data_folder("targets") / path.name
        facts = shipped.read_bytes().partition(MARK.encode())[0]
        assert path.read_bytes().startswith(facts + MARK.encode())
        target = load_target(str(path))
        assert {c.source for c in target.constants} == {"made up"}
        timed = {unit.name for unit in target.units if unit.timings}
        assert {c.unit for c in target.constants} == timed
    assert {p: p.read_bytes() for p in data_folder("targets").iterdir()} == before
    assert {row["target"] for row in constants["rows"]} == set(list_targets())
    assert [row["unit"] for row in accuracy["rows"]] == [
        "CPU float",
        "CPU int8",
        "GPU float",
        "all",
    ]


def test_fit_gives_the_same_bytes_again(capsys, timings, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    path = timings()
    for into in (first, second):
        run_targets_fit(capsys, "fit", "--timings", path, "--into", into)
    for written in first.iterdir():
        assert (second / written.name).read_bytes() == written.read_bytes()


def test_fit_writes_nothing_where_one_device_is_missing(capsys, timings, refused, tmp_path):
    device = load_target("x86-vnni").cpu.timings.device
    path = timings(without=device)
    message = refused(["targets", "fit", "--timings", path, "--into", tmp_path / "new"])
    assert message == (f"the published timings hold no CPU of {device!r}, which unit cpu names")


def test_validate_prints_three_tables(capsys, timings, networks):
    overall, by_network, worst = run_targets_fit(capsys, "validate", "--timings", timings())
    cpus = sum(gpu < 0 for _, gpu in timed_devices())
    gpus = len(timed_devices()) - cpus
    counts = {row["unit"]: row["count"] for row in overall["rows"]}
    assert counts == {
        "CPU float": 2 * cpus * 12,
        "CPU int8": 2 * cpus * 4,
        "GPU float": gpus * 12,
        "all": 2 * cpus * 16 + gpus * 12,
    }
    assert len(by_network["rows"]) == 12 + 4 + 12
    assert len(worst["rows"]) == 12 + min(12, gpus)


def test_validate_shows_every_configuration_if_asked(capsys, timings):
    *_, by_configuration = run_targets_fit(
        capsys, "validate", "--all-devices", "--timings", timings()
    )
    assert by_configuration["title"] == "By configuration"
    assert len(by_configuration["rows"]) == sum(1 if gpu >= 0 else 2 for _, gpu in timed_devices())


def test_validate_goes_to_a_file(capsys, timings, tmp_path):
    place = tmp_path / "accuracy.md"
    assert main(["targets", "validate", "--timings", str(timings()), "-o", str(place)]) == 0
    assert capsys.readouterr().out == ""
    assert "Goal: median 15 %" in place.read_text()


def into(action, folder):
    """What fit needs beside timings of one's own."""
    return ["--into", folder / "new"] if action == "fit" else []


def test_timings_of_ones_own_are_not_fitted_over_the_targets_that_ship(refused, tmp_path):
    path = tmp_path / "mine.json"
    assert refused(["targets", "fit", "--timings", path]) == (
        f"--timings {path} without --into would write over the targets that ship, which are fitted on all shipped timings; "
        "give --into DIR for the files fitted on yours"
    )


@pytest.mark.parametrize("action", ["validate", "fit"])
def test_timings_that_are_not_there(refused, tmp_path, action):
    path = tmp_path / "no.json"
    message = refused(["targets", action, "--timings", path, *into(action, tmp_path)])
    assert message.startswith(f"cannot read the timings {path}: No such file or directory; give ")


@pytest.mark.parametrize("action", ["validate", "fit"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "{}",
            "is no table of timings (KeyError('networks')): it needs source, networks and rows of device, "
            "threads, gpu, ms",
        ),
        (
            '{"source": "a", "networks": ["n0"], "rows": [{"device": "b", "threads": 1, "gpu": -1, "ms": []}]}',
            "b, CPU, 1 thread has 0 times for 1 networks",
        ),
        (
            '{"source": "a", "networks": ["n0"], "rows": [{"device": "b", "threads": 1, "gpu": -1, "ms": [0]}]}',
            "b, CPU, 1 thread has a time of 0.0 ms; above 0 is accepted",
        ),
    ],
)
def test_timings_that_are_none(refused, tmp_path, action, content, message):
    path = tmp_path / "bad.json"
    path.write_text(content)
    said = refused(["targets", action, "--timings", path, *into(action, tmp_path)])
    assert said in (f"{path}: {message}", f"{path} {message}")


def test_timings_of_unknown_networks(refused, networks, tmp_path):
    path = tmp_path / "other.json"
    row = {"device": "b", "threads": 1, "gpu": -1, "ms": [1.0]}
    path.write_text(json.dumps({"source": "a", "networks": ["elsewhere"], "rows": [row]}))
    message = refused(["targets", "validate", "--timings", path])
    assert message == "no CPU has timings of 10 known networks; got 1 rows"


@pytest.mark.slow
def test_the_shipped_constants_are_a_fit_of_the_shipped_timings_and_meet_the_goal(capsys, tmp_path):
    into = tmp_path / "new"
    _, accuracy = run_targets_fit(capsys, "fit", "--into", into)
    for name in list_targets():
        fresh, shipped = (
            tomllib.loads((folder / f"{name}.toml").read_text())["constants"]
            for folder in (into, data_folder("targets"))
        )
        assert len(fresh) == len(shipped)
        for one, other in zip(fresh, shipped, strict=True):
            # Four decimals are stored; another machine's arithmetic may round the last of them the other way.
            assert one["ln_ns"] == pytest.approx(other["ln_ns"], abs=0.00015)
            np.testing.assert_allclose(one["covariance"], other["covariance"], atol=0.00015)
            for key in ("sigma", "unseen"):
                assert one[key] == pytest.approx(other[key], abs=0.00015)
            for key in ("error_percent", "coverage"):
                assert one[key] == pytest.approx(other[key], abs=0.015)
            for key in ("unit", "precision", "threads", "device", "networks", "source"):
                assert one[key] == other[key]
    rows = {row["unit"]: row for row in accuracy["rows"]}
    assert rows["CPU float"]["median_error_percent"] <= 15
    assert rows["CPU float"]["p90_error_percent"] <= 35
    assert 85 <= rows["CPU float"]["coverage_percent"] <= 95
