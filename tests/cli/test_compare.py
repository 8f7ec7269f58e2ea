import argparse
import csv
import io
import json
import subprocess
import sys
from dataclasses import replace

import pytest

from hwkd.cli import compare
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
)
from hwkd.measure.record_file import write_record
from hwkd.models.spec import HyperpriorSpec, spec_to_json
from hwkd.quantity import Quantity
from hwkd.report.table import FORMATS

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
    return json.loads(capsys.readouterr().out)


def test_a_folder_gives_three_tables(capsys, folder):
    size, computation, energy = tables(capsys, folder)
    assert [t["title"] for t in (size, computation, energy)] == [
        *("Size", "Computation and throughput", "Energy"),
    ]
    # The one with more MACs comes first, whatever the files are called.
    assert [row["model"] for row in computation["rows"]] == ["teacher", "student"]
    assert computation["rows"][1]["total_gmacs_percent"] == "-75"


def test_the_record_named_first_is_the_reference(capsys, folder):
    rows = tables(capsys, folder / "b.json", folder)[1]["rows"]
    assert [(row["model"], row["encode_ms"], row["encode_ms_percent"]) for row in rows] == [
        ("teacher", "40", "0"),
        ("student", "10", "-75"),
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
        "from hwkd.cli import compare\n"
        "parser = argparse.ArgumentParser()\n"
        "compare.configure(parser)\n"
        "compare.run(parser.parse_args(sys.argv[1:]))\n"
        "print([name for name in ('torch', 'compressai') if name in sys.modules])"
    )
    argv = [sys.executable, "-c", program, str(folder), "--paper", "--pareto"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
