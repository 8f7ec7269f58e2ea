import subprocess
import sys
from importlib.metadata import version

import pytest

from hwkd.cli.main import main
from hwkd.codec.codec import Codec
from hwkd.errors import InputError
from hwkd.images import write_png
from hwkd.measure.energy.sensors import OpenedMeter
from hwkd.measure.machine import host_facts, host_name
from hwkd.measure.record import read_record
from hwkd.runtime.bundle import read_bundle, write_bundle
from hwkd.target import list_targets
from tests.fakes.steady_meter import SteadyMeter
from tests.tables import is_missing, tables_of

BARE = "hyperprior:N=4,M=6,family=relu"
QUICK = ("--size", "70x64", "--seconds", "0.01", "--no-memory", "--threads", "1")
HOST = host_name(host_facts())


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    """Commands run in a folder of their own."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def saved(tmp_path_factory, tiny_bundle, made_teacher, brief_windows):
    """A folder of records: the tiny bundle on this machine with energy and on a Jetson Nano, the tiny teacher too."""
    folder = tmp_path_factory.mktemp("saved")
    argv = ["profile", str(tiny_bundle), str(made_teacher), *QUICK]
    argv += ["--target", "host", "jetson-nano", "--save", str(folder)]
    argv += ["-o", str(folder / "table.txt")]
    with pytest.MonkeyPatch.context() as patch:
        opened = OpenedMeter(SteadyMeter())
        patch.setattr("hwkd.cli.measuring.profile.open_meter", lambda kind: opened)
        assert main(argv) == 0
    return folder


def tables(capsys, *argv):
    """By the first word of their title."""
    code = main(["profile", *map(str, argv), "--format", "json", "--quiet"])
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    return {table["title"].split()[0]: table for table in tables_of(out)}


def test_a_bundle_is_measured_and_predicted_beside_other_models(saved):
    names = {str(p.relative_to(saved)) for p in saved.rglob("*.json")}
    models = ("tiny-patch.hwkd", "tiny-teacher")
    assert names == {f"{t}/{m}.json" for t in (HOST, "jetson-nano") for m in models}
    text = (saved / "table.txt").read_text()
    assert f"tiny-patch.hwkd on {HOST}: milliseconds by stage" in text
    assert f"Energy on {HOST}: fake: a made-up machine" in text


def test_the_record_of_this_machine_is_in_int8_in_each_runtime(saved):
    record = read_record(saved / HOST / "tiny-patch.hwkd.json")
    settings = {(e.setting.runtime, e.setting.precision, e.setting.threads) for e in record.entries}
    runtimes = ("openvino", "onnxruntime")
    assert settings == {(f"{name} {version(name)}", "int8", 1) for name in runtimes}
    energy = {(e.side, e.part) for e in record.entries if e.name == "energy_mj"}
    assert energy == {("encode", "end_to_end"), ("decode", "end_to_end")}


def test_the_record_of_a_target_follows_its_plan(saved):
    record = read_record(saved / "jetson-nano/tiny-patch.hwkd.json")
    assert {e.quantity.found for e in record.entries} == {"predicted"}
    plan = [note for note in record.notes if note.startswith("plan: ")]
    assert any("weights stored in 7 bits" in note for note in plan)
    assert {e.setting.precision for e in record.entries if e.setting.unit == "gpu"} == {"fp16"}
    assert {e.setting.precision for e in record.entries if e.setting.unit == "cpu"} == {"int8"}


def test_it_compares_end_to_end_with_what_torch_took(saved, capsys):
    teacher, bundle = (
        str(saved / HOST / f"{name}.json") for name in ("tiny-teacher", "tiny-patch.hwkd")
    )
    assert main(["compare", teacher, bundle, "--format", "json"]) == 0
    size, computation, energy = tables_of(capsys.readouterr().out)
    assert [row["weight_bits"] for row in size["rows"]] == [32, 7]
    settings = [row["setting"] for row in computation["rows"]]
    assert settings == [
        f"cpu, torch {version('torch')} eager fp32, 1 thread",
        f"cpu, openvino {version('openvino')} int8, 1 thread",
    ]
    record = read_record(saved / HOST / "tiny-patch.hwkd.json")
    (measured,) = (
        e.quantity.value
        for e in record.entries
        if (e.name, e.side, e.part) == ("latency_ms", "encode", "end_to_end")
        and e.setting.runtime.startswith("openvino")
    )
    row = computation["rows"][1]
    assert (row["part"], row["encode_ms"]["value"]) == ("end_to_end", pytest.approx(measured))
    assert energy["rows"][1]["part"] == "end_to_end"
    assert energy["rows"][1]["encode_mj"]["value"] > 0
    assert main(["compare", str(saved), "--precision", "int8", "--runtime", "onnxruntime"]) == 0


def test_every_target_is_predicted_by_default_and_this_machine_measured(capsys, tiny_bundle):
    found = tables(capsys, tiny_bundle, *QUICK, "--energy", "none", "--layers")
    targets = [row["target"] for row in found["Latency"]["rows"]]
    assert set(targets) == {HOST, *list_targets()}
    layers = found["tiny-patch.hwkd:"]["rows"]
    assert layers[0]["layer"] == "g_a.linear"


def test_quality_is_measured_where_it_is_asked_for(capsys, tiny_bundle, image_folder):
    argv = (tiny_bundle, *QUICK, "--target", "jetson-nano")
    (row,) = tables(capsys, *argv)["Size"]["rows"]
    assert is_missing(row["psnr_db"])
    (row,) = tables(capsys, *argv, "--evaluate", image_folder)["Size"]["rows"]
    assert row["psnr_db"] > 15 and row["bpp"] > 0


def test_without_a_sensor_the_record_says_why(capsys, tiny_bundle, monkeypatch):
    def open_meter(kind):
        raise InputError("no energy meter works here: rapl: no such place")

    monkeypatch.setattr("hwkd.cli.measuring.profile.open_meter", open_meter)
    found = tables(capsys, tiny_bundle, *QUICK, "--target", "host")
    assert "energy: no energy meter works here: rapl: no such place" in found["Latency"]["notes"]
    assert all(is_missing(row["encode_mj"]) for row in found["Latency"]["rows"])


def test_a_sensor_that_was_asked_for_has_to_be_there(refused, tiny_bundle, monkeypatch):
    def open_meter(kind):
        raise InputError("no such place")

    monkeypatch.setattr("hwkd.cli.measuring.profile.open_meter", open_meter)
    assert refused(["profile", tiny_bundle, "--energy", "rapl"]) == "no such place"


def test_a_bundle_has_bits_of_its_own(refused, tiny_bundle):
    assert refused(["profile", tiny_bundle, BARE, "--bits", "8"]) == (
        f"--bits is for bare architectures, {str(tiny_bundle)!r} has bits of its own: see `hwkd quantize`"
    )


def test_a_bundle_makes_no_target(refused, tiny_bundle):
    assert refused(["profile", tiny_bundle, "--target", "host", "--save-target", "mine"]) == (
        "--save-target needs the times of layers, and a bundle is measured whole: add a model in torch, as "
        "hyperprior:N=64,M=192"
    )


def test_a_bundle_that_is_not_there_is_one_line(refused):
    assert refused(["profile", "none.hwkd", "--target", "jetson-nano"]).startswith(
        "cannot read none.hwkd: "
    )


def test_an_older_bundle_is_to_be_exported_again(refused, tiny_bundle, tmp_path):
    bundle = read_bundle(tiny_bundle)
    parts = {name: part for name, part in bundle.parts.items() if name != "costs.json"}
    write_bundle(tmp_path / "old.hwkd", bundle.manifest, parts)
    assert "export it again" in refused(["profile", "old.hwkd", "--target", "jetson-nano"])


def test_without_a_runtime_nothing_is_measured(refused, tiny_bundle, monkeypatch):
    monkeypatch.setattr("hwkd.cli.measuring.profile.present_runtimes", lambda: ())
    error = refused(["profile", tiny_bundle, "--target", "host", "--energy", "none"])
    assert error.startswith(f"no runtime for {tiny_bundle} is installed: ")


@pytest.mark.parametrize(("words", "what"), [([BARE], BARE), ([], "the default model")])
def test_what_takes_torch_says_so_where_there_is_none(refused, monkeypatch, words, what):
    monkeypatch.setattr("hwkd.cli.measuring.profile.installed_version", lambda name: None)
    assert refused(["profile", *words, "--target", "jetson-nano"]) == (
        f'{what} takes torch, which is not installed: pip install "hwkd[train]", or give a bundle (.hwkd)'
    )


def test_a_bundle_is_profiled_with_the_runtimes_alone(tiny_bundle, image_folder):
    absent = ("torch", "compressai", "brevitas", "fvcore", "scipy", "onnx", "skimage")
    absent += ("codecarbon", "pyJoules", "pynvml", "pytorch_msssim")
    argv = ["profile", str(tiny_bundle), *QUICK, "--target", "host", "raspberry-pi-4"]
    argv += ["--energy", "none", "--evaluate", str(image_folder), "--format", "json", "--quiet"]
    program = (
        "import importlib.util, sys\n"
        f"absent = {absent!r}\n"
        "sys.modules.update(dict.fromkeys(absent))  # importing one fails\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name in absent else find(name, *rest)\n"
        "from hwkd.cli.main import main\n"
        f"sys.exit(main({argv!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    size, costs, *_ = tables_of(done.stdout)
    assert size["rows"][0]["bpp"] > 0
    assert [row["target"] for row in costs["rows"]] == [HOST] * 4 + ["raspberry-pi-4"] * 2
    assert any("made in code" in note for note in costs["notes"])


def test_a_bundle_of_all_rates_is_measured_at_one_quality_which_is_said(
    rates_bundle, photo, tmp_path, capsys
):
    write_png(tmp_path / "images/a.png", photo(64, 64, 0))
    words = (rates_bundle, *QUICK, "--target", "host", "--energy", "none", "-q", "80")
    tables(capsys, *words, "--evaluate", "images", "--save", "saved")
    record = read_record(tmp_path / f"saved/{HOST}/tiny-rates.hwkd.json")
    assert any(note.startswith("Coded at quality 80: ") for note in record.notes)
    size = len(Codec.load(rates_bundle).encode(photo(64, 64, 0), quality=80))
    assert record.quality.bpp == pytest.approx(8 * size / 64**2)
    assert record.quality.source.endswith("quality 80)")


def test_a_quality_without_a_model_of_all_rates_is_told(refused, tiny_bundle):
    assert refused(["profile", tiny_bundle, *QUICK, "--target", "host", "-q", "80"]) == (
        "tiny-patch.hwkd codes at one rate and takes no quality; leave --quality out, or give a model of all rates"
    )
