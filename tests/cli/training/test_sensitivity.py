"""`hwkd sensitivity` on a tiny model: what it writes, what it does not measure twice, and what it refuses."""

import json
import re
import shlex

import numpy as np
import pytest
import torch

from hwkd.bits import BitPlan, parse_bits, parse_layer_bits
from hwkd.cli.main import build_parser, main
from hwkd.cli.training.sensitivity import latency_note, parse_tried
from hwkd.codec.shipped import shipped
from hwkd.distill.options import DistillOptions
from hwkd.distill.recipe import with_recipe
from hwkd.errors import InputError
from hwkd.images import write_png
from hwkd.measure import sensitivity
from hwkd.measure.record import Entry, Setting
from hwkd.models.build import build
from hwkd.models.checkpoint import save_weights
from hwkd.models.inherit import fit_to_data
from hwkd.models.spec import HyperpriorSpec
from hwkd.quantity import Quantity
from tests.conftest import make_photo, one_thread
from tests.tables import tables_of


def words_of(folder):
    """The words of a run on folder/model.safetensors in two numbers of bits."""
    return [
        *("sensitivity", str(folder / "model.safetensors"), "--bits", "5,3", "--crop", "64"),
        *("--data", str(folder / "data"), "--evaluate", str(folder / "other")),
        *("-o", str(folder / "out"), "--format", "json"),
    ]


def write_model(path):
    """A tiny gdn codec, its filters fitted to made photographs: few layers."""
    torch.manual_seed(7)
    codec = build(HyperpriorSpec("gdn", (8, 8, 8), 12, 8, 8))
    photos = np.stack([make_photo(64, 64, seed) for seed in range(4)])
    fit_to_data(codec, torch.from_numpy(photos).permute(0, 3, 1, 2).float() / 255)
    codec.eval().update(force=True)
    save_weights(path, codec, half=False, metadata={"lmbda": "0.025"})


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """(the folder of a finished run, what it printed)."""
    folder = tmp_path_factory.mktemp("sensitivity")
    write_model(folder / "model.safetensors")
    for seed in range(3):
        write_png(folder / "data" / f"{seed}.png", make_photo(64, 96, seed))
    write_png(folder / "other" / "9.png", make_photo(64, 64, 9))
    printed = []
    with pytest.MonkeyPatch.context() as patch, one_thread():
        patch.setattr("hwkd.measure.eager.sensitivity.CROPS", 1)
        patch.setattr("builtins.print", printed.append)
        assert main(words_of(folder)) == 0
    (text,) = printed
    return folder, tables_of(text)


def held(folder):
    return json.loads((folder / "out" / "sensitivity.json").read_text())


def test_three_tables_are_printed(done):
    _, (layers, allocations, bits) = done
    assert layers["columns"] == ["layer", "weights", "bits", "5 bits", "3 bits"]
    assert [row["allocation"] for row in allocations["rows"]] == [
        "as it is, 8 bits",
        "uniform 5 bits",
        "allocated, size of 5",
    ]
    first, uniform, proposed = allocations["rows"]
    assert first["rd_loss_percent"] == 0
    assert proposed["weight_kib"] <= uniform["weight_kib"]
    assert set(bits["columns"]) == {"layer", "allocated, size of 5"}
    assert {row["allocated, size of 5"] for row in bits["rows"]} <= {8, 5, 3}
    assert "1 image of other, which" in allocations["notes"][0]
    assert "1 crops of 64x64 of" in layers["notes"][1]


def test_the_folder_holds_figures_plot_and_recipe(done):
    folder, (layers, *_) = done
    out = folder / "out"
    assert {path.name for path in out.iterdir()} == {
        *("sensitivity.json", "sensitivity.md", "sensitivity.svg", "sensitivity.png"),
        "allocated-5.toml",
    }
    content = held(folder)
    assert len(content["points"]) == 2 * len(layers["rows"])
    assert content["versions"].keys() == {"hwkd", "torch", "brevitas", "scipy"}
    point = content["points"][0]
    loss = point["bpp"] + 0.025 * 255**2 * point["mse"]
    assert point["rd_loss"] == pytest.approx(loss)
    assert layers["rows"][0]["5 bits"] == pytest.approx(
        100 * (loss / content["as_it_is"]["rd_loss"] - 1)
    )
    text = (out / "sensitivity.md").read_text()
    assert "![What each layer's bits cost](sensitivity.svg)" in text
    assert "**Every measurement**" in text


def test_the_recipe_gives_the_bits_that_were_chosen(done):
    folder, _ = done
    argv = ["distill", "--recipe", str(folder / "out" / "allocated-5.toml"), "--target", "x86-vnni"]
    merged = with_recipe(DistillOptions.given_in(build_parser().parse_args(argv)))
    asked = parse_bits(merged.bits)
    plan = BitPlan(
        asked.weight_bits, asked.act_bits, tuple(map(parse_layer_bits, merged.layer_bits))
    )
    chosen = held(folder)["allocations"][-1]["bits"]
    assert {name: plan.bits_for(name)[0] for name in chosen} == chosen
    assert (merged.family, merged.width, merged.latent) == ("gdn", "8,8,8", 12)
    assert (merged.lmbda, merged.steps, merged.start) == (0.025, 0, "teacher")
    assert merged.teacher == str(folder / "model.safetensors")


def test_what_is_measured_is_not_measured_again(done, monkeypatch, capsys):
    folder, _ = done
    monkeypatch.setattr("hwkd.measure.eager.sensitivity.CROPS", 1)
    before = held(folder)
    # Only the model as it is is coded anew.
    coded = []
    real = sensitivity._decoded
    monkeypatch.setattr(sensitivity, "_decoded", lambda *given: coded.append(1) or real(*given))
    with one_thread():
        assert main(words_of(folder)) == 0
    capsys.readouterr()
    assert len(coded) == 1
    after = held(folder)
    assert after["points"] == before["points"]
    assert after["allocations"] == before["allocations"]


def test_a_folder_of_other_measurements_is_refused(done, monkeypatch, capsys):
    folder, _ = done
    monkeypatch.setattr("hwkd.measure.eager.sensitivity.CROPS", 1)
    before = held(folder)
    assert main([*words_of(folder), "--lmbda", "0.01"]) == 2
    assert capsys.readouterr().err == (
        f"hwkd: error: {folder}/out/sensitivity.json was measured on another model, other bits of it, or other images: "
        "give another -o, or --force to start over\n"
    )
    assert held(folder) == before


def test_a_size_that_cannot_be_reached_names_the_smallest(done, monkeypatch, capsys):
    folder, _ = done
    monkeypatch.setattr("hwkd.measure.eager.sensitivity.CROPS", 1)
    assert main([*words_of(folder), "-o", str(folder / "new"), "--max-kib", "1"]) == 2
    error = capsys.readouterr().err
    smallest = float(re.search(r"offered the weights take ([\d.]+) KiB; give that", error).group(1))
    assert main([*words_of(folder), "-o", str(folder / "new"), "--max-kib", "1000"]) == 2
    error = capsys.readouterr().err
    largest = float(re.search(r"the weights take ([\d.]+) KiB as they are", error).group(1))
    assert largest == pytest.approx(held(folder)["weight_bytes"] / 1024, abs=0.06)
    assert 1 < smallest < largest
    assert not (folder / "new").exists()


def test_a_file_in_the_place_of_the_folder_is_refused(done, monkeypatch, capsys):
    folder, _ = done
    monkeypatch.setattr("hwkd.measure.eager.sensitivity.CROPS", 1)
    assert main([*words_of(folder), "-o", str(folder / "model.safetensors")]) == 2
    assert "is a file, the figures need a folder: give another with -o" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "8", "1", "5,x", "5;4", "-3"])
def test_bits_out_of_range_are_refused(text):
    with pytest.raises(InputError) as error:
        parse_tried(text)
    assert str(error.value) == (
        f"--bits {text!r} is not a list of bits to try: give numbers from 2 to 7 with commas between, as 6,4,3"
    )


def test_bits_come_the_most_first_and_once():
    assert parse_tried("3, 6,3") == (6, 3)


def test_a_bundle_is_refused(refused):
    for model in ("mine.hwkd", next(iter(shipped()))):
        assert refused(["sensitivity", model]).startswith(
            f"{model} is a bundle, which holds no weights to quantize anew: give a run folder, RUN:float, a checkpoint, or "
            "a float model that ships (hyperprior-64, patch-large-float, patch-medium-float, patch-q5, "
            "patch-small-float)"
        )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("patch-q5 --max-ms 5", "--max-ms is a latency on a target: name it with --target"),
        ("patch-q5 --target jetson-nanu", "unknown target 'jetson-nanu': did you mean jetson-nano"),
        ("pach-q5", "unknown model 'pach-q5': did you mean patch-q5"),
        ("patch-q5 --bits 9", "--bits '9' is not a list of bits to try"),
        ("patch-q5 --evaluate nowhere", "no such folder: nowhere"),
    ],
)
def test_wrong_words_are_refused(refused, words, message):
    assert message in refused(["sensitivity", *shlex.split(words)])


def test_images_to_check_on_are_others_than_those_to_measure_on(image_folder, refused):
    words = ["sensitivity", "patch-q5", "--data", image_folder, "--evaluate", image_folder / "more"]
    assert refused(words).startswith("1 of the 1 images of --evaluate lie in --data ")


def test_a_latency_that_cannot_be_met_is_refused_as_bits_buy_no_time(done, capsys):
    folder, _ = done
    words = [*words_of(folder), "-o", str(folder / "new"), "--target", "raspberry-pi-4"]
    assert main([*words, "--max-ms", "0.001"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(
        "hwkd: error: --max-ms 0.001 cannot be met: model is predicted to take "
    )
    assert "on raspberry-pi-4, and fewer bits buy size there, not time: int8 kernels" in error


TIME = Quantity(40.0, "predicted", "board.toml", 30.0, 50.0, 0.9)
LATENCY = Entry("latency_ms", "decode", "networks", Setting("cpu", "ncnn", "int8", 4), TIME)


def test_a_latency_is_told_with_its_interval_and_that_bits_do_not_change_it():
    note = latency_note(LATENCY, "m", "board", None)
    assert note == (
        "Predicted latency of every row on board, cpu, ncnn int8, 4 threads: 40.0 ms (30.0 to 50.0 at 90 %) to decode, "
        "the slower side, an image of 768x512. That is one figure because fewer bits buy size there, not time: int8 "
        "kernels compute the same in as long, however few bits are stored."
    )
    assert "Within --max-ms 45, its interval not." in latency_note(LATENCY, "m", "board", 45)
    assert "Within --max-ms 50, its interval too." in latency_note(LATENCY, "m", "board", 50)
    with pytest.raises(InputError, match="--max-ms 39 cannot be met: m is predicted to take 40"):
        latency_note(LATENCY, "m", "board", 39)
