"""`hwkd evaluate` of models of all rates, each a curve by itself, and beside the formats of Pillow."""

import json
from types import SimpleNamespace

import pytest
import torch

from hwkd.cli.main import main
from hwkd.codec.codec import Codec
from hwkd.images import open_images, write_png
from hwkd.measure.quality import evaluate, evaluate_bundle
from hwkd.metrics import bd_rate_percent
from hwkd.models.build import build
from hwkd.models.spec import PatchSpec
from hwkd.qualities import lmbda_at
from hwkd.results import read_curve, read_result
from tests.tables import is_missing, tables_of

SPEC = PatchSpec(M=12, H=8, Z=8, C=16, widths=(16,), post=(8,), anchors=3)


@pytest.fixture
def folder(tmp_path, photo):
    for i, (height, width) in enumerate(((64, 96), (80, 64))):
        write_png(tmp_path / f"images/{i}.png", photo(height, width, i))
    return tmp_path / "images"


@pytest.fixture
def run(capsys):
    """run(...): `hwkd evaluate`; its tables."""

    def call(*words):
        assert main(["evaluate", *map(str, words), "--format", "json"]) == 0
        return tables_of(capsys.readouterr().out)

    return call


@pytest.fixture
def in_torch(photo, tmp_path, monkeypatch, in_one_thread):
    """rates, other: models of all rates in torch, each a place in the current folder; their codec."""
    torch.manual_seed(0)
    codec = build(SPEC)
    photos = torch.stack([torch.from_numpy(photo(256, 256, seed)) for seed in range(4)])
    codec.start_from_pca(photos.permute(0, 3, 1, 2).float() / 255, 0.025)
    codec.eval().requires_grad_(False)
    monkeypatch.chdir(tmp_path)
    for name in ("rates", "other"):
        (tmp_path / name).touch()
    monkeypatch.setattr(
        "hwkd.distill.run_folder.load_model",
        lambda text: SimpleNamespace(name=text, codec=codec, spec=SPEC, lmbda=0.01, bits=None),
    )
    return codec


def column(table, name):
    return [row[name] for row in table["rows"]]


def test_a_bundle_of_all_rates_has_a_row_for_each_quality(run, rates_bundle, folder):
    (table,) = run(rates_bundle, "--data", folder, "-q", "90,10")
    assert table["columns"] == [
        *("model", "quality", "psnr_db", "ms_ssim", "bpp", "bpp_estimated", "rd_loss")
    ]
    assert column(table, "quality") == [10, 90]
    codec = Codec.load(rates_bundle)
    for row, quality in zip(table["rows"], (10, 90), strict=True):
        alone = evaluate_bundle(codec, open_images(folder), quality=quality)
        assert row["bpp"] == pytest.approx(alone.bpp)
        assert row["psnr_db"] == pytest.approx(alone.psnr_db)
        # 0.0018 times 100 to the power of (quality - 1) / 99.
        lmbda = 0.0018 * 100 ** ((quality - 1) / 99)
        assert row["rd_loss"] == pytest.approx(alone.rd_loss(lmbda))
    assert table["notes"][-1].endswith(
        "rd_loss: bpp + lmbda 255^2 MSE, with the lmbda of the quality."
    )


def test_unless_asked_the_qualities_are_those_of_compressai(run, rates_bundle, folder):
    (table,) = run(rates_bundle, "--data", folder)
    assert column(table, "quality") == [1, 15, 29, 44, 58, 72, 86, 100]


def test_in_torch_the_lambda_is_that_of_the_quality(run, in_torch, folder):
    (table,) = run("rates", "--data", folder, "-q", "20,80", "--per-image")
    assert column(table, "quality") == [20] * 3 + [80] * 3
    assert column(table, "image") == ["0.png", "1.png", "average"] * 2
    for row, quality in ((table["rows"][2], 20), (table["rows"][5], 80)):
        in_torch.set_lmbda(lmbda_at(quality))
        alone = evaluate(in_torch, open_images(folder))
        assert row["bpp"] == pytest.approx(alone.bpp)
        assert row["bpp_estimated"] == pytest.approx(alone.bpp_estimated)
        assert row["rd_loss"] == pytest.approx(alone.rd_loss(lmbda_at(quality)))
    low, high = (row["bpp"] for row in (table["rows"][2], table["rows"][5]))
    assert low < high


def test_a_model_of_one_rate_stands_among_them_without_a_quality(
    run, rates_bundle, tiny_bundle, folder
):
    (table,) = run(rates_bundle, tiny_bundle, "--data", folder, "-q", "50")
    assert column(table, "quality") == [50, {"value": None, "reason": "it codes at one rate"}]


def test_the_points_are_a_curve_by_themselves(run, in_torch, folder, tmp_path):
    saved = tmp_path / "rates.json"
    run("rates", "--data", folder, "-q", "20,50,80", "--save-results", saved)
    curve = read_curve(saved)
    assert curve.name == "rates"
    # An anchor of the same PSNRs at twice the rate: half the rate is -50 %.
    anchor = tmp_path / "anchor.json"
    content = {"psnr-rgb": curve.psnr_db, "bpp": [2 * rate for rate in curve.bpp]}
    anchor.write_text(json.dumps({"name": "double", "results": content}))
    _, bd = run("rates", "other", "--data", folder, "-q", "20,50,80", "--against", anchor)
    assert column(bd, "curve") == ["rates", "other"]
    for row in bd["rows"]:
        assert row["bd_rate_percent"] == pytest.approx(-50, abs=0.01)


def test_saved_results_say_the_quality_and_its_lambda(run, in_torch, folder, tmp_path):
    saved = tmp_path / "mine.json"
    (table,) = run(
        "rates", "--data", folder, "-q", "30,70", "--curve", "mine", "--save-results", saved
    )
    result = read_result(saved)
    assert result.curve.name == "mine"
    assert [model.name for model in result.models] == ["rates", "rates"]
    assert [model.quality for model in result.models] == [30, 70]
    assert [model.lmbda for model in result.models] == [lmbda_at(30), lmbda_at(70)]
    for model, row in zip(result.models, table["rows"], strict=True):
        assert model.rd_loss == pytest.approx(float(row["rd_loss"]), abs=1e-4)


def test_models_of_one_rate_are_a_curve_of_their_own_beside(
    run, in_torch, tiny_bundle, folder, tmp_path
):
    anchor = tmp_path / "anchor.json"
    anchor.write_text('{"name": "x", "results": {"psnr": [5, 60], "bpp": [0.01, 20]}}')
    words = ("rates", tiny_bundle, "--data", folder, "-q", "20,80", "--against", anchor)
    assert column(run(*words)[1], "curve") == ["rates"]
    bd = run(*words, "--curve", "single")[1]
    assert column(bd, "curve") == ["rates", "single"]
    assert is_missing(column(bd, "bd_rate_percent")[1])
    assert bd["notes"][0].startswith(
        "BD figures of single against x are n/a: curve 'single' has one point"
    )


def test_the_formats_are_measured_on_the_same_images_and_their_curves_saved(
    run, in_torch, folder, tmp_path
):
    saved = tmp_path / "rates.json"
    words = ("rates", "--data", folder, "-q", "20,50,80,100")
    _, points, bd = run(
        *words, "--classic", "--save-results", saved, "--save-classic", tmp_path / "classic"
    )
    assert points["title"] == "JPEG, WebP, AVIF and JPEG XL on 2 images of images"
    assert points["columns"] == ["codec", "quality", "psnr_db", "ms_ssim", "bpp"]
    codecs = column(points, "codec")
    assert codecs == sorted(codecs, key=["JPEG", "WebP", "AVIF", "JPEG XL"].index)
    # An extra that is not installed in these tests.
    reason = 'pillow-jxl-plugin is not installed: pip install "hwkd[jxl]"'
    assert points["rows"][-1]["codec"] == "JPEG XL"
    assert points["rows"][-1]["bpp"] == {"value": None, "reason": reason}
    assert f"JPEG XL is n/a: {reason}." in points["notes"]
    assert all(codecs.count(codec) >= 8 for codec in ("JPEG", "WebP", "AVIF"))
    for setting in ("optimized Huffman tables", "lossy, method 6", "4:2:0, speed 4"):
        assert setting in points["notes"][0]
    assert bd["title"] == "Against JPEG, WebP, AVIF and JPEG XL on the same images"
    assert column(bd, "against") == ["JPEG", "WebP", "AVIF"]
    jpeg = [row for row in points["rows"] if row["codec"] == "JPEG"]
    anchor = SimpleNamespace(
        name="JPEG",
        bpp=tuple(float(row["bpp"]) for row in jpeg),
        psnr_db=tuple(float(row["psnr_db"]) for row in jpeg),
    )
    assert sorted(path.name for path in (tmp_path / "classic").iterdir()) == [
        *("avif.json", "jpeg.json", "webp.json"),
    ]
    kept = read_result(tmp_path / "classic" / "webp.json")
    assert kept.curve.name == "WebP" and kept.images == "2 images of images"
    assert "WebP by libwebp" in kept.description and "method 6" in kept.description
    webp = [row for row in points["rows"] if row["codec"] == "WebP"]
    assert kept.curve.bpp == pytest.approx([float(row["bpp"]) for row in webp], abs=1e-4)
    assert read_result(saved).images == "2 images of images"
    # From the digits that the table shows.
    by_hand = bd_rate_percent(anchor, read_curve(saved))
    assert float(bd["rows"][0]["bd_rate_percent"]) == pytest.approx(by_hand, abs=0.5)


def test_a_codec_that_is_asked_for_by_name_must_be_there(refused, rates_bundle, folder):
    assert refused(["evaluate", rates_bundle, "--data", folder, "--classic", "jxl"]) == (
        'JPEG XL cannot be coded: pillow-jxl-plugin is not installed: pip install "hwkd[jxl]"'
    )


def test_curves_of_classic_codecs_are_saved_where_they_are_measured(
    refused, rates_bundle, folder, tmp_path
):
    words = ["evaluate", rates_bundle, "--data", folder, "--save-classic", tmp_path]
    assert refused(words) == (
        "--save-classic writes what --classic measures: add it, or leave it out"
    )


def test_one_classic_codec_may_be_chosen(run, rates_bundle, folder):
    _, points, bd = run(rates_bundle, "--data", folder, "-q", "50", "--classic", "webp")
    assert points["title"] == "WebP on 2 images of images"
    assert set(column(points, "codec")) == {"WebP"}
    assert bd["title"] == "Against WebP on the same images"
    assert "jpeg" not in points["notes"][0].casefold()


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (
            "-q 0",
            "argument -q/--qualities: must be a whole number, 1 to 100, got '0' (see `hwkd evaluate --help`)",
        ),
        (
            "-q 10,101",
            "argument -q/--qualities: must be a whole number, 1 to 100, got '101' (see `hwkd evaluate --help`)",
        ),
        (
            "-q 10,10",
            "argument -q/--qualities: must be different qualities, got '10,10' (see `hwkd evaluate --help`)",
        ),
    ],
)
def test_qualities_that_there_are_not_are_one_line(refused, rates_bundle, words, error):
    assert refused(["evaluate", rates_bundle, *words.split()]) == error


def test_a_model_of_one_rate_has_no_qualities(refused, tiny_bundle, folder):
    assert refused(["evaluate", tiny_bundle, "--data", folder, "-q", "50"]) == (
        "tiny-patch.hwkd codes at one rate and takes no quality; leave --qualities out, or give a model of all rates"
    )


def test_what_is_no_single_curve_is_told_before_anything_is_measured(
    refused, in_torch, folder, tmp_path
):
    assert refused(["evaluate", "rates", "other", "--data", folder, "--curve", "mine"]) == (
        "--curve names one curve, and rates and other are one each: leave it out"
    )
    words = ["evaluate", "rates", "other", "--data", folder, "--save-results", "both.json"]
    assert refused(words) == (
        "--save-results holds one curve, and the models form 2: evaluate them one at a time"
    )


def test_a_pillow_without_avif_is_told_before_anything_is_measured(
    refused, rates_bundle, folder, monkeypatch
):
    monkeypatch.setattr("hwkd.measure.pillow_formats.features.check", lambda name: name != "avif")
    assert refused(["evaluate", rates_bundle, "--data", folder, "--classic"]) == (
        "this Pillow was built without AVIF; install Pillow 11.3 or newer from its wheel"
    )


def test_curves_that_share_psnrs_but_no_rate_have_a_bd_rate(run, in_torch, folder, tmp_path):
    saved = tmp_path / "rates.json"
    words = ("rates", "--data", folder, "-q", "20,80")
    run(*words, "--save-results", saved)
    curve = read_curve(saved)
    anchor = tmp_path / "anchor.json"
    content = {"psnr-rgb": curve.psnr_db, "bpp": [10 * rate for rate in curve.bpp]}
    anchor.write_text(json.dumps({"name": "dear", "results": content}))
    _, bd = run(*words, "--against", anchor)
    (row,) = bd["rows"]
    assert row["bd_rate_percent"] == pytest.approx(-90, abs=0.01)
    assert "share no range" in row["bd_psnr_db"]["reason"]
    assert bd["notes"][0].startswith("bd_psnr_db against dear is n/a: ")
