import argparse
import csv
import io
import json
import subprocess
import sys
from dataclasses import replace

import pytest

from hwkd.cli.showing import compare
from hwkd.errors import InputError
from hwkd.measure.record import (
    Entry,
    Macs,
    ModelFacts,
    Provenance,
    Quality,
    Record,
    Setting,
    Size,
    write_record,
)
from hwkd.metrics import Curve
from hwkd.models.spec import HyperpriorSpec, spec_to_json
from hwkd.quantity import Quantity
from hwkd.report.table import FORMATS
from hwkd.results import Result, TrainedModel, write_result
from tests.tables import tables_of

SPEC = HyperpriorSpec("gdn", (128, 128, 128), 192, 128, 128)
CPU = Setting("cpu", "openvino 2026.4.1", "int8", 2)


def latency(side, ms):
    quantity = Quantity(ms, "measured", "the clock", ms - 1, ms + 1, 0.95, 30)
    return Entry("latency_ms", side, "networks", CPU, quantity)


TEACHER = Record(
    schema=1,
    target="board",
    is_host=True,
    width=768,
    height=512,
    model=ModelFacts("teacher", str(SPEC), spec_to_json(SPEC), "gdn", "8", True),
    size=Size(5_000_000, 20_000_000, 5_000_000, 800_000),
    macs=Macs(16_000_000_000, 1_000_000_000, 1_000_000_000, 16_000_000_000),
    layers=(),
    entries=(latency("encode", 40.0), latency("decode", 60.0)),
    provenance=Provenance("2026-01-01T00:00:00Z", "hwkd profile", "host", {}),
    quality=Quality(34.5, 0.8, "Kodak", "hwkd evaluate"),
)
STUDENT = replace(
    TEACHER,
    model=replace(TEACHER.model, name="student"),
    macs=Macs(4_000_000_000, 250_000_000, 250_000_000, 4_000_000_000),
    entries=(latency("encode", 10.0), latency("decode", 15.0)),
)


@pytest.fixture
def folder(tmp_path):
    """a.json is the student, b.json the teacher."""
    write_record(tmp_path / "records" / "a.json", STUDENT)
    write_record(tmp_path / "records" / "b.json", TEACHER)
    return tmp_path / "records"


def run(*argv):
    parser = argparse.ArgumentParser()
    compare.configure(parser)
    return compare.run(parser.parse_args([str(word) for word in argv]))


def tables(capsys, *argv):
    assert run(*argv, "--format", "json") == 0
    return tables_of(capsys.readouterr().out)


def test_a_folder_gives_three_tables(capsys, folder):
    size, computation, energy = tables(capsys, folder)
    assert [t["title"] for t in (size, computation, energy)] == [
        *("Size", "Computation and throughput", "Energy"),
    ]
    # The one with more MACs comes first, whatever the files are called.
    assert [row["model"] for row in computation["rows"]] == ["teacher", "student"]
    assert computation["rows"][1]["total_gmacs_percent"] == -75


def test_the_record_named_first_is_the_reference(capsys, folder):
    rows = tables(capsys, folder / "b.json", folder)[1]["rows"]
    assert [
        (row["model"], row["encode_ms"]["value"], row["encode_ms_percent"]) for row in rows
    ] == [
        ("teacher", 40, 0),
        ("student", 10, -75),
    ]


def test_paper_and_pareto_add_their_tables(capsys, folder):
    titles = [t["title"] for t in tables(capsys, folder, "--paper", "--pareto")]
    assert titles[3:] == [
        *(
            "Size, beside the paper's",
            "Throughput, beside the paper's",
            "Energy, beside the paper's",
        ),
        "Pareto front",
    ]


def test_pareto_takes_the_axes_given(capsys, folder):
    rows = tables(capsys, folder, "--pareto", "total_ms,total_gmacs")[3]["rows"]
    assert [row["pareto"] for row in rows] == ["dominated by student", "front"]


def test_people_read_figure_interval_and_change_in_one_cell(capsys, folder):
    run(folder / "b.json", folder, "--format", "md")
    assert (
        "| 10.0 ±1.0 (-75.0 %) | 15.0 ±1.0 (-75.0 %) | 40.0 (+300.0 %) |" in capsys.readouterr().out
    )


def test_csv_holds_numbers(capsys, folder):
    run(folder, "--format", "csv")
    size, *_ = capsys.readouterr().out.split("\n\n")
    for row in csv.DictReader(io.StringIO(size)):
        assert float(row["parameters_m"]) == 5
        assert float(row["bpp"]) == 0.8


def test_latex_escapes_units_and_percents(capsys, folder):
    run(folder, "--format", "latex")
    text = capsys.readouterr().out
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 3
    assert r"encode\_ms" in text
    assert r"(+300.0 \%)" in text


@pytest.mark.parametrize("fmt", FORMATS)
def test_output_goes_to_a_file(capsys, folder, tmp_path, fmt):
    place = tmp_path / "new" / "tables"
    assert run(folder, "--paper", "--pareto", "--format", fmt, "-o", place) == 0
    assert capsys.readouterr().out == ""
    assert "teacher" in place.read_text()


def test_filters_reach_the_settings(folder):
    with pytest.raises(InputError) as caught:
        run(
            folder,
            "--runtime",
            "tensorrt",
            "--threads",
            "4",
            "--unit",
            "gpu",
            "--precision",
            "fp16",
        )
    assert str(caught.value) == (
        "no setting fits --runtime tensorrt --threads 4 --unit gpu --precision fp16; the records have: "
        "cpu, openvino 2026.4.1 int8, 2 threads (teacher, student)"
    )


def test_different_sizes_need_per_pixel(capsys, folder, tmp_path):
    other = tmp_path / "large.json"
    write_record(other, replace(TEACHER, width=1920, height=1080))
    with pytest.raises(InputError) as caught:
        run(folder, other)
    assert str(caught.value) == (
        "the records are of images of different sizes: 768x512 (teacher, student), 1920x1080 (teacher); one table holds "
        "one size: give records of one, or compare with --per-pixel"
    )
    rows = tables(capsys, folder, other, "--per-pixel")[1]["rows"]
    assert [row["image"] for row in rows] == ["768x512", "768x512", "1920x1080"]


def test_an_unknown_axis_is_refused_before_records_are_read(tmp_path):
    with pytest.raises(InputError, match="unknown axis 'psnr': did you mean psnr_db"):
        run(tmp_path / "none.json", "--pareto", "psnr")


def test_a_folder_without_records_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no records"):
        run(tmp_path)


def test_comparing_loads_no_torch(folder):
    program = (
        "import argparse, sys\n"
        "from hwkd.cli.showing import compare\n"
        "parser = argparse.ArgumentParser()\n"
        "compare.configure(parser)\n"
        "compare.run(parser.parse_args(sys.argv[1:]))\n"
        "print([name for name in ('torch', 'compressai') if name in sys.modules])"
    )
    argv = [sys.executable, "-c", program, str(folder), "--paper", "--pareto"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


COMMAND = ("compare", "--results")
ARM = {
    **{"model": "m", "arm": "a", "steps": 8, "psnr_db": 30.0, "ms_ssim": None, "bpp": 0.5},
    **{"rd_loss": 1.5, "note": None},
}


@pytest.fixture
def folder_compare_results(tmp_path):
    """One curve, its float form, a single model and an arm."""
    place = tmp_path / "results"
    for stem, bpp in (("small", 1.0), ("small-float", 0.9)):
        models = (TrainedModel(f"{stem}-q3", 0.0067), TrainedModel(f"{stem}-q5", 0.025))
        curve = Curve(stem, (0.3 * bpp, 0.8 * bpp), (30.0, 34.0))
        write_result(place / f"{stem}.json", Result(curve, "how", models))
    write_result(place / "one.json", Result(Curve("one", (0.7,), (31.0,)), "how"))
    (place / "control-arms.json").write_text(json.dumps({"description": "d", "arms": [ARM]}))
    return place


@pytest.fixture
def printed(capsys):
    """printed(*argv): what `hwkd compare --results ARGV` prints."""

    def run(*argv):
        from hwkd.cli.main import main

        assert main([*COMMAND, *map(str, argv)]) == 0
        return capsys.readouterr().out

    return run


def test_all_tables_come_in_their_order(printed, folder_compare_results):
    titles = [
        table["title"] for table in tables_of(printed(folder_compare_results, "--format", "json"))
    ]
    assert titles == [
        "Models on Kodak",
        "BD-rate against published curves, in percent",
        "Single models: change of rate at equal PSNR against published curves, in percent",
        "Quantized against float",
        "Control arms",
    ]


def test_compare_results_csv_holds_numbers(printed, folder_compare_results):
    _, bd, *_ = printed(folder_compare_results, "--format", "csv").split("\n\n")
    small, in_float = csv.DictReader(io.StringIO(bd))
    assert (small["curve"], in_float["curve"]) == ("small", "small-float")
    assert float(small["JPEG_percent"]) > float(in_float["JPEG_percent"])
    assert (float(small["JPEG_low_db"]), float(small["JPEG_high_db"])) == (30, 34)


@pytest.mark.parametrize("fmt", FORMATS)
def test_every_format_goes_to_a_file(printed, folder_compare_results, tmp_path, fmt):
    assert printed(folder_compare_results, "--format", fmt, "-o", tmp_path / "page") == ""
    assert "control-arms" not in (tmp_path / "page").read_text()
    assert "small-q5" in (tmp_path / "page").read_text()


def test_the_plot_is_drawn_beside_the_tables(printed, folder_compare_results, tmp_path):
    assert "Models on Kodak" in printed(folder_compare_results, "--plot", tmp_path / "rd.svg")
    assert ">small<" in (tmp_path / "rd.svg").read_text()


def test_no_folder_means_the_shipped_results(printed, folder_compare_results, monkeypatch):
    monkeypatch.setattr("hwkd.cli.showing.compare.shipped_results", lambda: folder_compare_results)
    assert "small-q5" in printed()


def test_missing_results_are_told(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    make = "make some with `hwkd evaluate MODEL --data KODAK --save-results"
    assert refused([*COMMAND, tmp_path / "empty"]) == (
        f"{tmp_path}/empty holds no results (.json); {make} {tmp_path}/empty/NAME.json`, or give another FOLDER"
    )
    assert refused([*COMMAND, tmp_path / "none"]).startswith(
        f"{tmp_path}/none is no folder; {make}"
    )


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("compare",), "nothing to compare: give a PROFILE (`hwkd compare jetson-nano`), or"),
        (("compare", "jetson-nano", "--results"), "--results prints tables of its own: leave out"),
        ((*COMMAND, "--paper"), "--paper is for profile records: leave it out, or --results"),
        ((*COMMAND, "--per-pixel"), "--per-pixel is for profile records"),
        ((*COMMAND, "--settings", "all"), "--settings is for profile records"),
        ((*COMMAND, "--threads", "2"), "--threads is for profile records"),
        ((*COMMAND, "--link", "lte"), "--link is for profile records"),
        ((*COMMAND, "--plot", "rd.jpg"), "unknown kind of plot '.jpg'"),
        (("compare", "jetson-nano", "--plot", "a.svg"), "--plot draws what --results reads"),
    ],
)
def test_options_that_do_not_go_together_are_refused(refused, argv, message):
    assert refused(argv).startswith(message)


def test_results_on_other_images_have_no_plot_beside_kodaks_curves(refused, tmp_path):
    elsewhere = Result(Curve("a", (0.2, 0.5), (27.0, 31.0)), "d", images="2 images of photos")
    write_result(tmp_path / "a.json", elsewhere)
    error = refused([*COMMAND, tmp_path, "--plot", tmp_path / "rd.svg"])
    assert error == (
        f"--plot draws results on Kodak beside published curves, and {tmp_path} is of 2 images of photos: leave it out"
    )


def test_arms_alone_cannot_be_plotted(refused, folder_compare_results, tmp_path):
    for file in folder_compare_results.glob("*.json"):
        if file.name != "control-arms.json":
            file.unlink()
    error = refused([*COMMAND, folder_compare_results, "--plot", tmp_path / "rd.svg"])
    assert error == f"{folder_compare_results} holds no curve to plot; add one, or leave --plot out"


def test_results_load_no_torch(folder_compare_results):
    program = (
        "import sys\n"
        "from hwkd.cli.main import main\n"
        "main(['compare', '--results', sys.argv[1], '--format', 'md'])\n"
        "print([name for name in ('torch', 'compressai') if name in sys.modules])"
    )
    argv = [sys.executable, "-c", program, str(folder_compare_results)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
