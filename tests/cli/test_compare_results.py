import csv
import io
import json
import subprocess
import sys

import pytest

from hwkd.metrics import Curve
from hwkd.report.table import FORMATS
from hwkd.results import Result, TrainedModel, write_result

COMMAND = ("compare", "--results")
ARM = {
    **{"model": "m", "arm": "a", "steps": 8, "psnr_db": 30.0, "ms_ssim": None, "bpp": 0.5},
    **{"rd_loss": 1.5, "note": None},
}


@pytest.fixture
def folder(tmp_path):
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


def test_all_tables_come_in_their_order(printed, folder):
    titles = [table["title"] for table in json.loads(printed(folder, "--format", "json"))]
    assert titles == [
        "Models on Kodak",
        "BD-rate against published curves, in percent",
        "Single models: change of rate at equal PSNR against published curves, in percent",
        "Quantized against float",
        "Control arms",
    ]


def test_csv_holds_numbers(printed, folder):
    _, bd, *_ = printed(folder, "--format", "csv").split("\n\n")
    small, in_float = csv.DictReader(io.StringIO(bd))
    assert (small["curve"], in_float["curve"]) == ("small", "small-float")
    assert float(small["JPEG_percent"]) > float(in_float["JPEG_percent"])
    assert (float(small["JPEG_low_db"]), float(small["JPEG_high_db"])) == (30, 34)


@pytest.mark.parametrize("fmt", FORMATS)
def test_every_format_goes_to_a_file(printed, folder, tmp_path, fmt):
    assert printed(folder, "--format", fmt, "-o", tmp_path / "page") == ""
    assert "control-arms" not in (tmp_path / "page").read_text()
    assert "small-q5" in (tmp_path / "page").read_text()


def test_the_plot_is_drawn_beside_the_tables(printed, folder, tmp_path):
    assert "Models on Kodak" in printed(folder, "--plot", tmp_path / "rd.svg")
    assert ">small<" in (tmp_path / "rd.svg").read_text()


def test_no_folder_means_the_shipped_results(printed, folder, monkeypatch):
    monkeypatch.setattr("hwkd.cli.compare_results.shipped_results", lambda: folder)
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


def test_arms_alone_cannot_be_plotted(refused, folder, tmp_path):
    for file in folder.glob("*.json"):
        if file.name != "control-arms.json":
            file.unlink()
    error = refused([*COMMAND, folder, "--plot", tmp_path / "rd.svg"])
    assert error == f"{folder} holds no curve to plot; add one, or leave --plot out"


def test_results_load_no_torch(folder):
    program = (
        "import sys\n"
        "from hwkd.cli.main import main\n"
        "main(['compare', '--results', sys.argv[1], '--format', 'md'])\n"
        "print([name for name in ('torch', 'compressai') if name in sys.modules])"
    )
    argv = [sys.executable, "-c", program, str(folder)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
