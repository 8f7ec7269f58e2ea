import argparse
import json
import math
import sys
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from hwkd.cli.measuring import evaluate
from hwkd.cli.measuring.evaluate import trained_by_card
from hwkd.errors import HwkdError, InputError
from hwkd.images import write_png
from hwkd.measure.bundles import read_costs
from hwkd.models.build import build
from hwkd.models.spec import HyperpriorSpec
from hwkd.results import TrainedModel, read_curve, read_result
from hwkd.runtime.bundle import read_bundle
from hwkd.runtime.manifest import NOT_RECORDED, Card
from tests.tables import tables_of

SPEC = HyperpriorSpec("gdn", (8, 8, 8), 12, 8, 8)


@dataclass(frozen=True)
class FakeModel:
    name: str
    codec: Any
    spec: Any
    lmbda: float | None
    bits: Any = None


@pytest.fixture(autouse=True)
def models(monkeypatch, tmp_path):
    """`load_model` of tiny codecs: "a" and "b" differ, "unknown" has no lmbda; each a place in the current folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "unknown"):
        (tmp_path / name).touch()

    def load_model(text):
        torch.manual_seed(0)
        codec = build(SPEC)
        if text == "b":
            # A brighter, dearer codec: better on bright images, so that two points make a rising curve.
            codec.g_s[-1].bias.data.fill_(0.5)
            codec.g_a[-1].weight.data.mul_(300)
        return FakeModel(text, codec, SPEC, None if text == "unknown" else 0.01)

    monkeypatch.setattr("hwkd.distill.run_folder.load_model", load_model)


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    for i, name in enumerate(("one.png", "sub/two.png")):
        pixels = np.random.default_rng(i).integers(100, 156, (48, 64 + i, 3), dtype=np.uint8)
        write_png(folder / name, pixels)
    return folder


def run(*argv):
    parser = argparse.ArgumentParser()
    evaluate.configure(parser)
    return evaluate.run(parser.parse_args([str(a) for a in argv]))


def tables(capsys):
    return tables_of(capsys.readouterr().out)


def test_a_row_for_every_model(images, capsys):
    assert run("a", "unknown", "--data", images, "--format", "json") == 0
    (table,) = tables(capsys)
    assert table["title"] == "Quality on 2 images of images"
    assert table["columns"] == ["model", "psnr_db", "ms_ssim", "bpp", "bpp_estimated", "rd_loss"]
    a, unknown = table["rows"]
    assert (a["model"], unknown["model"]) == ("a", "unknown")
    assert a["bpp"] > a["bpp_estimated"] > 0
    assert a["ms_ssim"] == {"value": None, "reason": "2 of 2 images have a side under 161 pixels"}
    assert "ms_ssim of a is n/a: 2 of 2 images have a side under 161 pixels." in table["notes"]
    assert a["rd_loss"] > a["bpp"]
    assert unknown["rd_loss"] == {"value": None, "reason": "its lmbda is not known"}
    assert "rd_loss of unknown is n/a: its lmbda is not known." in table["notes"]


def test_per_image_rows_stand_above_their_average(images, capsys):
    run("a", "--data", images, "--per-image", "--format", "json")
    (table,) = tables(capsys)
    assert [row["image"] for row in table["rows"]] == ["one.png", "sub/two.png", "average"]
    one, two, average = (row["bpp"] for row in table["rows"])
    assert average == pytest.approx((one + two) / 2)


def test_the_default_images_are_the_embedded_ones(capsys):
    run("a", "--format", "json")
    (table,) = tables(capsys)
    assert table["title"] == "Quality on 2 embedded photographs (chelsea.png, rocket.jpg)"
    assert 0 < table["rows"][0]["ms_ssim"] < 1


def test_two_models_make_a_curve_with_bd_figures_and_a_file(images, tmp_path, capsys):
    results = tmp_path / "mine.json"
    run(
        "b", "a", "--data", images, "--curve", "mine", "--save-results", results, "--format", "json"
    )
    capsys.readouterr()
    mine = read_curve(results)
    assert mine.name == "mine"
    assert mine.bpp[0] < mine.bpp[1]
    assert mine.psnr_db[0] < mine.psnr_db[1]
    # An anchor of the same PSNRs at twice the rate: half the rate is -50 %.
    anchor = tmp_path / "anchor.json"
    content = {"psnr-rgb": mine.psnr_db, "bpp": [2 * r for r in mine.bpp]}
    anchor.write_text(json.dumps({"name": "double", "results": content}))
    argv = ("a", "b", "--data", images, "--curve", "mine", "--against", anchor)
    assert run(*argv, "--format", "json") == 0
    _, bd = tables(capsys)
    assert (bd["rows"][0]["curve"], bd["rows"][0]["against"]) == ("mine", "double")
    assert bd["rows"][0]["bd_rate_percent"] == pytest.approx(-50, abs=0.01)
    assert "PCHIP" in bd["notes"][-1]


def test_saved_results_say_what_each_point_is(images, tmp_path, capsys):
    results = tmp_path / "mine.json"
    argv = ("b", "unknown", "--data", images, "--curve", "mine", "--save-results", results)
    run(*argv, "--format", "json")
    (table,) = tables(capsys)
    saved = read_result(results)
    assert saved.description == "hwkd evaluate on 2 images of images; bpp of real bytes"
    assert saved.curve.bpp[0] < saved.curve.bpp[1]
    by_name = {
        model.name: (model, bpp) for model, bpp in zip(saved.models, saved.curve.bpp, strict=True)
    }
    for row in table["rows"]:
        model, bpp = by_name[row["model"]]
        assert bpp == pytest.approx(row["bpp"])
        # MACs by hand: kernel area x channels in x channels out, by the share of pixels that a layer works on.
        N, M, Z = 8, 12, 8
        g_a = 25 * (3 * N / 4 + N * N / 16 + N * N / 64 + N * M / 256)
        gdn = N * N * (1 / 4 + 1 / 16 + 1 / 64)
        h_a = 9 * M * N / 256 + 25 * (N * N / 1024 + N * Z / 4096)
        assert model.kmac_per_pixel == pytest.approx(2 * (g_a + gdn + h_a) / 1e3)
        assert (model.precision, model.steps, model.hours, model.hardware) == ("fp32", *[None] * 3)
    assert by_name["b"][0].lmbda == 0.01
    assert by_name["b"][0].rd_loss == pytest.approx(table["rows"][0]["rd_loss"])
    assert (by_name["unknown"][0].lmbda, by_name["unknown"][0].rd_loss) == (None, None)


def test_a_bundles_point_says_what_its_card_and_costs_say(tiny_bundle, photo, tmp_path, capsys):
    write_png(tmp_path / "images" / "one.png", photo(64, 64, 0))
    results = tmp_path / "tiny.json"
    run(tiny_bundle, "--data", tmp_path / "images", "--save-results", results)
    bundle = read_bundle(tiny_bundle)
    (model,) = read_result(results).models
    macs, _ = read_costs(bundle).for_image(64, 64)
    assert model.kmac_per_pixel == pytest.approx(macs.total_macs / 64**2 / 1e3)
    assert (model.name, model.lmbda) == ("tiny-patch", 0.025)
    assert model.precision == "int8 7/8"


CARD = Card("photos", "none", None, None, 0, 4000, 150, 1.5, "one core", None, ())


@pytest.mark.parametrize(
    ("card", "steps", "hours", "hardware"),
    [
        (CARD, 4150, 1.5, "one core"),
        (replace(CARD, quantized_steps=0), 4000, 1.5, "one core"),
        (replace(CARD, quantized_steps=None, hours=None), None, None, "one core"),
        (replace(CARD, float_steps=None, hardware=NOT_RECORDED), None, 1.5, None),
        (None, None, None, None),
    ],
)
def test_what_the_card_does_not_say_is_not_known(card, steps, hours, hardware):
    assert trained_by_card("m", 0.025, 5.0, "fp32", card) == TrainedModel(
        "m", 0.025, None, 5.0, steps, hours, hardware, "fp32"
    )


@pytest.mark.parametrize(
    ("curve", "reason"),
    [
        ((), "name the curve that the models form with --curve NAME"),
        (("--curve", "mine"), "curve 'mine' has one point; a BD figure needs two or more"),
    ],
)
def test_bd_figures_that_cannot_be_made_say_why(images, tmp_path, capsys, curve, reason):
    anchor = tmp_path / "anchor.json"
    anchor.write_text('{"name": "x", "results": {"psnr": [10, 60], "bpp": [0.01, 9]}}')
    run("a", "--data", images, *curve, "--against", anchor, "--format", "json")
    _, bd = tables(capsys)
    assert bd["rows"][0]["bd_rate_percent"]["reason"].startswith(reason)
    assert bd["notes"][0].startswith(f"BD figures against x are n/a: {reason}")


def test_wrong_input_is_found_before_a_model_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "hwkd.distill.run_folder", None)  # importing it would fail
    with pytest.raises(InputError, match="no such folder"):
        run("a", "--data", tmp_path / "none")
    with pytest.raises(InputError, match="cannot read the curve"):
        run("a", "--against", tmp_path / "none.json")
    with pytest.raises(InputError, match=r"unknown model 'pach-q5': did you mean patch-q5"):
        run("a", "pach-q5")


def test_a_broken_image_is_left_out_and_the_figures_are_those_of_the_others(images, capsys, caplog):
    (images / "z.png").write_bytes(b"junk")
    with pytest.raises(HwkdError, match="1 of 3 images were left out for the reasons above"):
        run("a", "--data", images, "--format", "json")
    (table,) = tables(capsys)
    assert table["title"] == "Quality on 2 images of images" and len(table["rows"]) == 1
    assert [m.partition(" is not ")[0] for m in caplog.messages] == [f"left out: {images}/z.png"]


@pytest.mark.parametrize("failure", [HwkdError("out of memory"), KeyboardInterrupt()])
def test_what_is_known_is_printed_although_what_comes_later_fails(
    images, capsys, monkeypatch, failure
):
    evaluated = []

    def fails_at_the_second(codec, images, *, progress=None):
        if evaluated:
            raise failure
        evaluated.append(codec)
        return quality.evaluate(codec, images, progress=progress)

    from hwkd.measure import quality

    monkeypatch.setattr(
        "hwkd.cli.measuring.evaluate._evaluate_in_torch",
        lambda codec, _quality, images, progress=None: fails_at_the_second(
            codec, images, progress=progress
        ),
    )
    with pytest.raises(type(failure)):
        run("a", "b", "--data", images, "--format", "json")
    (table,) = tables(capsys)
    assert [row["model"] for row in table["rows"]] == ["a"]


def test_figures_are_printed_before_a_file_is_refused(images, capsys, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write"):
        run("a", "--data", images, "--format", "json", "--save-results", tmp_path / "file/r.json")
    assert tables(capsys)[0]["rows"]


def test_an_image_without_error_is_named_and_not_saved(images, capsys, tmp_path, monkeypatch):
    from hwkd.measure import quality

    monkeypatch.setattr(quality, "psnr_db", lambda a, b: math.inf)
    with pytest.raises(InputError, match=r"one\.png came back from a without error, so that"):
        run("a", "--data", images, "--format", "json", "--save-results", tmp_path / "r.json")
    (table,) = tables(capsys)
    assert "psnr_db of a is inf, as one.png, sub/two.png came back without" in " ".join(
        table["notes"]
    )
    assert not (tmp_path / "r.json").exists()


def test_output_goes_to_a_file(images, tmp_path, capsys):
    run("a", "--data", images, "--format", "csv", "-o", tmp_path / "t.csv")
    assert capsys.readouterr().out == ""
    assert (tmp_path / "t.csv").read_text().startswith("model,psnr_db,")
