import json
import shlex
import sys
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest

import hwkd.measure.energy.sensors as meters
from hwkd.cli.main import main
from hwkd.cli.measuring.profile import parse_size, parse_threads, record_path
from hwkd.errors import InputError
from hwkd.files import data_folder
from hwkd.measure.energy.sensors import OpenedMeter
from hwkd.measure.machine import host_facts, host_name
from hwkd.measure.record import read_record
from hwkd.runtime.session import usable_cores
from hwkd.target import list_targets, load_target
from tests.fakes.steady_meter import SteadyMeter
from tests.tables import is_missing, tables_of

BARE = "hyperprior:N=4,M=6,family=relu"
OTHER = "hyperprior:N=6,M=6,family=relu"
QUICK = ("--size", "128x64", "--seconds", "0.01", "--no-memory", "--threads", "1")
HOST = host_name(host_facts())
CORES = usable_cores()


@pytest.fixture
def sysfs(monkeypatch, tmp_path):
    """A machine without sensors."""
    empty = tmp_path / "sys"
    empty.mkdir()
    monkeypatch.setattr(
        "hwkd.cli.measuring.profile.open_meter", partial(meters.open_meter, sysfs=empty)
    )
    return empty


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    """Commands run in a folder of their own."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def saved(tmp_path_factory, made_teacher, brief_windows):
    """A folder of records: the tiny teacher on this machine with energy, and on a Raspberry Pi 4; the command."""
    folder = tmp_path_factory.mktemp("saved")
    argv = ["profile", str(made_teacher), *QUICK, "--target", "host", "raspberry-pi-4"]
    argv += ["--country", "FRA", "--save", str(folder), "-o", str(folder / "table.txt")]
    with pytest.MonkeyPatch.context() as patch:
        opened = OpenedMeter(SteadyMeter(), ("rapl: none here",))
        patch.setattr("hwkd.cli.measuring.profile.open_meter", lambda kind: opened)
        assert main(argv) == 0
    return folder, argv


def tables(capsys, *argv):
    """By the first word of their title."""
    code = main(["profile", *map(str, argv), "--format", "json", "--quiet"])
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    content = tables_of(out)
    return {table["title"].split()[0]: table for table in content}


def test_the_papers_architectures_have_the_papers_counts(capsys):
    paper = json.loads((data_folder("profiles") / "published/arxiv-2509.10366.json").read_text())
    texts = [f"hyperprior:N={row['N']},M={paper['M']}" for row in paper["rows"]]
    size = f"{paper['width']}x{paper['height']}"
    found = tables(capsys, *texts, "--size", size, "--target", "jetson-nano")
    assert len(found["Size"]["rows"]) == 6
    for row, expected in zip(found["Size"]["rows"], paper["rows"], strict=True):
        # To the two decimals that were published.
        assert f"{row['total_gmacs']:.2f}" == f"{expected['gmacs']:.2f}"
        assert f"{row['parameters_m']:.2f}" == f"{expected['parameters_m']:.2f}"


def test_a_bare_architecture_is_predicted_on_every_target_by_default(capsys):
    found = tables(capsys, BARE)
    assert set(found) == {"Size", "Latency"}
    assert [row["target"] for row in found["Latency"]["rows"]] == list(list_targets())
    assert found["Latency"]["title"] == "Latency and energy for one image of 768x512"
    assert {row["encode_ms"]["found"] for row in found["Latency"]["rows"]} == {"predicted"}


def test_a_bare_architecture_at_bits_follows_each_targets_plan(capsys):
    found = tables(capsys, BARE, "--bits", "4/8", "--target", "jetson-nano", "raspberry-pi-4")
    (row,) = found["Size"]["rows"]
    assert (row["model"], row["weight_bits"]) == (f"{BARE} 4/8", 4)
    settings = {row["target"]: row["setting"] for row in found["Latency"]["rows"]}
    assert settings == {
        "jetson-nano": "gpu, tensorrt fp16",
        "raspberry-pi-4": "cpu, onnxruntime int8, 4 threads",
    }


def test_every_setting_and_layer_on_demand(capsys):
    few = tables(capsys, BARE, "--target", "jetson-nano")
    more = tables(capsys, BARE, "--target", "jetson-nano", "--settings", "--layers")
    assert len(few["Latency"]["rows"]) == 1
    units = {row["setting"].split(",")[0] for row in more["Latency"]["rows"]}
    assert units == {"gpu", "cpu"}
    layers = more[f"{BARE}:"]
    assert layers["rows"][0]["channels"] == [3, 4]
    assert all(is_missing(row["latency_ms"]) for row in layers["rows"])


def test_a_model_given_twice_is_profiled_once(capsys):
    found = tables(capsys, BARE, BARE, "--target", "jetson-nano", "jetson-nano")
    assert len(found["Size"]["rows"]) == len(found["Latency"]["rows"]) == 1


def test_records_are_saved_by_target_and_model(saved):
    folder, _ = saved
    names = {str(p.relative_to(folder)) for p in folder.rglob("*.json")}
    assert names == {f"{HOST}/tiny-teacher.json", "raspberry-pi-4/tiny-teacher.json"}


def test_the_record_of_this_machine_holds_what_was_measured(saved):
    folder, argv = saved
    record = read_record(folder / HOST / "tiny-teacher.json")
    assert (record.is_host, record.target, record.width, record.height) == (True, HOST, 128, 64)
    assert record.provenance.command == shlex.join(["hwkd", *argv])
    settings = {entry.setting.runtime for entry in record.entries}
    assert settings >= {f"torch {version('torch')} eager", f"openvino {version('openvino')}"}
    assert {entry.setting.threads for entry in record.entries} == {1}
    measured = {(e.name, e.side, e.part) for e in record.entries if e.quantity.value is not None}
    for side, parts in (
        ("encode", ("preprocess", "transform", "hyper", "entropy", "networks", "end_to_end")),
        ("decode", ("entropy", "hyper", "transform", "postprocess", "networks", "end_to_end")),
    ):
        assert {("latency_ms", side, part) for part in parts} <= measured
        for name in ("energy_mj", "power_w", "emissions_g_per_1000"):
            assert (name, side, "end_to_end") in measured
    assert "energy: rapl: none here" in record.notes


def test_the_record_of_a_target_is_a_prediction(saved):
    folder, _ = saved
    record = read_record(folder / "raspberry-pi-4/tiny-teacher.json")
    assert not record.is_host
    assert {entry.quantity.found for entry in record.entries} == {"predicted"}


def test_the_table_shows_what_the_records_hold(saved):
    folder, _ = saved
    text = (folder / "table.txt").read_text()
    for words in (
        *("Size and computation", "Latency and energy for one image of 128x64"),
        f"tiny-teacher on {HOST}: milliseconds by stage",
    ):
        assert words in text
    assert f"Energy on {HOST}: fake: a made-up machine" in text


def test_saved_records_compare(saved, capsys):
    folder, _ = saved
    assert main(["compare", str(folder), "--format", "json"]) == 0
    computation = tables_of(capsys.readouterr().out)[1]
    assert {row["target"] for row in computation["rows"]} == {HOST, "raspberry-pi-4"}


def test_a_bare_architecture_on_this_machine_has_no_coding(capsys):
    argv = (BARE, *QUICK, "--target", "host", "--energy", "none", "--layers")
    found = tables(capsys, *argv)
    eager = found["Latency"]["rows"][0]
    assert (eager["target"], eager["part"]) == (HOST, "networks")
    assert is_missing(eager["encode_mj"])
    stages = {(row["side"], row["part"]): list(row.values())[2] for row in found[BARE]["rows"]}
    assert {place for place, cell in stages.items() if is_missing(cell)} == {
        (side, part) for side in ("encode", "decode") for part in ("entropy", "end_to_end")
    }
    said = [note for note in found[BARE]["notes"] if note.startswith("n/a: ")]
    assert len(said) == 1 and "untrained weights" in said[0]
    assert not any(is_missing(row["latency_ms"]) for row in found[f"{BARE}:"]["rows"])


def test_a_board_of_ones_own_is_profiled_and_then_predicted_for(capsys, tmp_path):
    argv = (BARE, OTHER, *QUICK, "--target", "host", "--energy", "none")
    tables(capsys, *argv, "--save-target", "my-board")
    board = load_target("my-board.toml")
    assert (board.name, board.cpu.cores.value) == ("my-board", CORES)
    assert {(c.scheme, c.threads, c.device) for c in board.constants} == {("shapes", 1, HOST)}
    comment = (tmp_path / "my-board.toml").read_text().splitlines()[:2]
    assert comment[0].startswith("# Written by hwkd profile hyperprior:N=4")
    assert comment[1].startswith("# Fill in idle_w and load_w")

    new = ("hyperprior:N=8,M=6,family=relu", "--size", "128x64", "--target", "my-board.toml")
    (row,) = tables(capsys, *new)["Latency"]["rows"]
    assert (row["target"], row["part"]) == ("my-board", "networks")
    assert is_missing(row["encode_mj"])
    assert row["encode_ms"]["found"] == "predicted"

    # With the power that a meter showed, energy is predicted as well.
    path = tmp_path / "my-board.toml"
    known = path.read_text().replace(
        '[load_w]\nunknown = "not measured: a meter at the plug would tell"',
        '[load_w]\nvalue = 5.0\nconfidence = "S"\nsource = "a meter"',
    )
    path.write_text(known)
    (row,) = tables(capsys, *new)["Latency"]["rows"]
    assert row["encode_mj"]["found"] == "predicted"


@pytest.fixture
def board(tmp_path):
    """board(old, new): a board's file, one text of it replaced; without constants."""
    text = (data_folder("targets") / "raspberry-pi-4.toml").read_text()
    text = text.partition("# Below: derived")[0].replace(
        'name = "raspberry-pi-4"', 'name = "mine"', 1
    )

    def make(old="", new=""):
        assert old in text
        (tmp_path / "mine.toml").write_text(text.replace(old, new, 1) if old else text)
        return "mine.toml"

    return make


def test_a_board_without_constants_is_unknown_with_the_reason(capsys, board):
    found = tables(capsys, BARE, "--target", board())["Latency"]
    (row,) = found["rows"]
    for key in ("encode_ms", "decode_ms", "encode_mj", "decode_mj"):
        assert is_missing(row[key])
    assert (
        "n/a: latency_ms on mine, energy_mj on mine: nobody has published timings for the cpu of mine, and no profile "
        "of one was given."
    ) in found["notes"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            'preferred_unit = "cpu"',
            'preferred_unit = "gpu"',
            "mine.toml: unknown preferred_unit 'gpu': did you mean cpu? Known: cpu",
        ),
        (
            "instruction_set =",
            "instructions =",
            "mine.toml: units[0]: unknown key 'instructions'; accepted are name, kind, model, instruction_set, cores, "
            "clock_ghz, bandwidth_gbs, arithmetic, runtime, quantization, timings",
        ),
        ('kind = "cpu"', 'kind = "tpu"', "mine.toml: units[0]: unknown kind of unit 'tpu'"),
        ("name =", "name ;", "mine.toml: not a TOML file in UTF-8"),
    ],
)
def test_a_wrong_line_in_a_boards_file_is_told(refused, board, old, new, message):
    assert refused(["profile", BARE, "--target", board(old, new)]).startswith(message)


def test_a_board_that_is_not_there_is_told(refused):
    error = refused(["profile", BARE, "--target", "none.toml"])
    assert error == "cannot read none.toml: No such file or directory"


def test_two_boards_of_one_name_are_refused(refused, board, tmp_path):
    (tmp_path / "copy.toml").write_text(Path(board()).read_text())
    error = refused(["profile", BARE, "--target", "mine.toml", "copy.toml"])
    assert error == (
        "two of the targets are called mine, the second is copy.toml: give it another name in its file"
    )


def test_rapl_that_is_asked_for_and_missing_is_told_with_the_cure(refused, sysfs):
    error = refused(["profile", BARE, "--target", "host", "--energy", "rapl"])
    assert error == (
        f"no {sysfs}/class/powercap/intel-rapl/intel-rapl:0: a virtual machine, or a processor or kernel without RAPL; "
        "use --energy codecarbon for an estimate, or a meter at the plug"
    )


def test_a_jetsons_sensor_that_is_asked_for_and_missing_is_told_with_the_cure(refused, sysfs):
    error = refused(["profile", BARE, "--target", "host", "--energy", "ina3221"])
    assert error == (
        f"no INA3221 under {sysfs}/bus/i2c/drivers/ina3221 or ina3221x: not a Jetson, or its kernel lacks the driver; "
        "use --energy auto"
    )


def test_a_gpu_that_is_asked_for_and_missing_is_told_with_the_cure(refused, monkeypatch):
    pynvml = ModuleType("pynvml")
    pynvml.NVMLError = type("NVMLError", (Exception,), {})

    def nvmlInit():
        raise pynvml.NVMLError("Driver Not Loaded")

    pynvml.nvmlInit = nvmlInit
    monkeypatch.setitem(sys.modules, "pynvml", pynvml)
    argv = ["profile", BARE, "--target", "host", "--energy", "nvml"]
    assert refused(argv) == (
        "no NVIDIA GPU that NVML can see (Driver Not Loaded); use --energy auto"
    )
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert "`pip install nvidia-ml-py`, or use --energy auto" in refused(argv)


def test_a_sensor_that_is_asked_for_is_looked_for_even_where_nothing_is_measured(refused, sysfs):
    error = refused(["profile", BARE, "--target", "jetson-nano", "--energy", "rapl"])
    assert error.startswith(f"no {sysfs}/class/powercap")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--size", "768"], "--size '768' is not WIDTHxHEIGHT in pixels: give 768x512, say"),
        (["--size", "ax5"], "--size 'ax5' is not WIDTHxHEIGHT in pixels: give 768x512, say"),
        (["--size", "0x5"], "--size takes 1 to 16384 pixels a side, got 0x5"),
        (["--size", "5x16385"], "--size takes 1 to 16384 pixels a side, got 5x16385"),
        (
            ["--threads", "0"],
            f"--threads takes 1 to {CORES} (the cores usable here), got 0",
        ),
        (
            ["--threads", f"1,{CORES + 1}"],
            f"--threads takes 1 to {CORES} (the cores usable here), got 1,{CORES + 1}",
        ),
        (
            ["--threads", "many"],
            "--threads 'many' is not a number of threads: give 2, or 1,2",
        ),
        (["--threads", "1,"], "--threads '1,' is not a number of threads: give 2, or 1,2"),
        (
            ["--bits", "9"],
            "9 bits for the weights is out of range; weights take 2 to 8 bits (--bits WEIGHTS/ACTIVATIONS, as 4/8)",
        ),
        (
            ["--bits", "few"],
            "--bits 'few' is not a number of bits; give one number for both as 8, or WEIGHTS/ACTIVATIONS as 4/8",
        ),
        (
            ["--save-target", "my-board"],
            "--save-target needs measurements of this machine: add --target host",
        ),
        (
            ["--target", "host", "--save-target", "boards/mine"],
            "--save-target 'boards/mine' is no name for a target; give letters, digits and dashes, as my-board",
        ),
        (
            ["--target", "host", "--save-target", ""],
            "--save-target '' is no name for a target; give letters, digits and dashes, as my-board",
        ),
        (
            ["--country", "FRA"],
            "--country turns energy measured on this machine into emissions: add --target host, and leave out "
            "--energy none",
        ),
        (
            ["--target", "host", "--country", "FRA", "--energy", "none"],
            "--country turns energy measured on this machine into emissions: add --target host, and leave out "
            "--energy none",
        ),
        (
            ["--target", "host", "--country", "france"],
            "unknown country 'france': did you mean FRA? --country takes three letters of ISO 3166: USA, FRA, DEU",
        ),
    ],
)
def test_a_wrong_option_is_one_line_and_nothing_is_written(refused, sysfs, argv, message):
    assert refused(["profile", BARE, "--save", "records", *argv]) == message


def test_images_that_are_not_there_are_told_before_a_model_is_loaded(refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "hwkd.measure.eager.models", None)  # importing it would fail
    error = refused(["profile", BARE, "--evaluate", "none", "--save", "records"])
    assert error.startswith("no such folder: none")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ["--energy", "watts"],
            "argument --energy: invalid choice: 'watts' (choose from",
        ),
        (["--seconds", "0"], "argument --seconds: must be a number above 0, got '0'"),
        (["--format", "xml"], "argument --format: invalid choice: 'xml'"),
    ],
)
def test_what_the_parser_refuses_is_one_line(refused, argv, message):
    assert refused(["profile", BARE, *argv]).startswith(message)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            [BARE, "--target", "jetson-nanu"],
            "unknown target 'jetson-nanu': did you mean jetson-nano",
        ),
        (["hyperprior:N=8,K=3"], "unknown key in 'hyperprior:N=8,K=3' 'K'"),
        (["hyperprior:M=8"], "'hyperprior:M=8' lacks N, the number of channels"),
        (["pach-q5"], "unknown model 'pach-q5': did you mean patch-q5"),
        (
            ["patch-q5", BARE, "--bits", "8"],
            "--bits is for bare architectures, 'patch-q5' has bits of its own: see `hwkd quantize`",
        ),
    ],
)
def test_an_unknown_name_is_one_line_and_nothing_is_written(refused, sysfs, argv, message):
    assert refused(["profile", *argv, "--save", "records"]).startswith(message)


def test_a_trained_model_keeps_its_bits(refused, made_teacher):
    assert refused(["profile", made_teacher, "--bits", "8"]) == (
        f"--bits is for bare architectures, {str(made_teacher)!r} has bits of its own: see `hwkd quantize`"
    )


def test_records_are_not_saved_into_a_file(refused, tmp_path):
    (tmp_path / "taken").write_text("")
    assert refused(["profile", BARE, "--save", "taken"]) == (
        "--save taken is a file, records need a folder: give another"
    )


def test_a_boards_file_is_not_written_over(refused, tmp_path):
    (tmp_path / "mine.toml").write_text("what its owner filled in")
    assert refused(["profile", BARE, "--target", "host", "--save-target", "mine"]) == (
        "--save-target would write over mine.toml: give another name, or move the file away"
    )


def test_two_models_of_one_name_are_refused(refused, made_teacher, tmp_path):
    other = tmp_path / "more" / made_teacher.name
    other.parent.mkdir()
    other.write_bytes(made_teacher.read_bytes())
    error = refused(["profile", made_teacher, other, "--target", "jetson-nano"])
    assert error == (
        f"{made_teacher} and {other} are both called tiny-teacher, so that their rows and files could not be told "
        "apart: profile one at a time, or rename a folder"
    )


def test_quality_is_measured_on_a_folder_and_a_point_is_this_folder(
    capsys, image_folder, made_teacher, monkeypatch
):
    argv = (made_teacher, "--target", "jetson-nano", "--size", "64x64", "--evaluate")
    (row,) = tables(capsys, *argv, image_folder)["Size"]["rows"]
    assert row["bpp"] > 0
    monkeypatch.chdir(image_folder / "more")
    found = tables(capsys, *argv, ".")["Size"]
    assert any("1 image of" in note for note in found["notes"])


def test_without_a_folder_quality_is_measured_on_the_embedded_photographs(
    capsys, photo, made_teacher, monkeypatch
):
    # Small images in their place: those take seconds.
    small = [("chelsea.png", photo(64, 64, 0))]
    monkeypatch.setattr("hwkd.images.ImageSource.__iter__", lambda _: iter(small))
    argv = (made_teacher, "--target", "jetson-nano", "--size", "64x64", "--evaluate")
    found = tables(capsys, *argv)["Size"]
    assert any("2 embedded photographs (chelsea.png, rocket.jpg)" in n for n in found["notes"])


def test_a_quantized_run_is_measured_by_its_float_twin_and_predicted_by_its_plan(
    capsys, distill_argv, monkeypatch
):
    assert main([*distill_argv, "--family", "relu", "--width", "8"]) == 0
    capsys.readouterr()
    asked = []
    monkeypatch.setattr(
        "hwkd.measure.eager.profile.measure_memory", lambda text, *_, **__: asked.append(text) or []
    )
    argv = ["run", "--size", "64x64", "--seconds", "0.01", "--threads", "1", "--energy", "none"]
    found = tables(capsys, *argv, "--target", "host", "jetson-nano", "--save", "records")
    assert asked == ["run:float"]
    (row,) = found["Size"]["rows"]
    assert (row["model"], row["weight_bits"]) == ("run", 8)
    assert row["weight_mib"] < row["fp32_mib"]
    assert any("the run's report (real bytes)" in note for note in found["Size"]["notes"])
    host = read_record(Path("records") / HOST / "run.json")
    assert any("float twin in float32" in note for note in host.notes)
    predicted = read_record(Path("records/jetson-nano/run.json"))
    plan = [note for note in predicted.notes if note.startswith("plan: ")]
    assert any("has no int8 arithmetic" in note for note in plan)
    assert not any(note in found["Latency"]["notes"] for note in plan)


def test_the_newest_run_is_the_default_model(monkeypatch, refused):
    monkeypatch.setattr("hwkd.measure.eager.models.newest_run", lambda: "runs/the-newest")
    assert "runs/the-newest" in refused(["profile", "--target", "jetson-nano"])


def test_without_a_run_the_shipped_models_are_the_default(capsys):
    found = tables(capsys, "--target", "jetson-nano", "--size", "64x64")
    assert [row["model"] for row in found["Size"]["rows"]] == ["patch-q5"]


def test_a_size_may_be_written_with_a_capital():
    assert parse_size("64X32") == (64, 32)


def test_threads_are_all_usable_cores_unless_given():
    assert parse_threads(None) == (CORES,)
    assert parse_threads(" 1 ,1") == (1,)
    with pytest.raises(InputError):
        parse_threads("1.5")


def test_a_models_file_has_no_character_that_a_name_may_not_have(saved):
    folder, _ = saved
    record = read_record(folder / "raspberry-pi-4/tiny-teacher.json")
    for name, file in (
        ("hyperprior:N=64,M=192", "hyperprior-n-64-m-192"),
        ("student (float)", "student-float"),
        ("a/b\\c", "a-b-c"),
        ("v1.2_x", "v1.2_x"),
    ):
        named = replace(record, model=replace(record.model, name=name))
        assert record_path(Path("d"), named) == Path(f"d/raspberry-pi-4/{file}.json")
