from dataclasses import replace

from hwkd.measure.record_file import find_records
from hwkd.report.gathered import Gathered
from hwkd.report.page.plots import plots_of
from hwkd.report.plots.plot import file_name
from hwkd.report.result_files import read_result_files, shipped_results
from hwkd.report.training_log import LogEntry, TrainingLog
from hwkd.target import load_target

LOG = TrainingLog("a", (LogEntry("float", 100, 1.0, 2.0, 2.0, 1.0, 0.001),))
NOTHING = Gathered((), None, (), (), ())


def test_nothing_gathered_has_no_plots():
    assert plots_of(NOTHING) == ()


def test_plots_come_in_the_order_of_the_page():
    gathered = Gathered(
        find_records("raspberry-pi-4"),
        read_result_files(shipped_results()),
        (LOG,),
        (load_target("raspberry-pi-4"),),
        (),
    )
    plots = plots_of(gathered)
    assert list(dict.fromkeys(plot.key for plot in plots)) == [
        *("rd", "psnr-macs", "psnr-latency", "psnr-energy"),
        *("layer-macs", "layer-latency", "training"),
    ]
    names = [file_name(plot) for plot in plots]
    assert len(set(names)) == len(names)
    for plot in plots:
        assert plot.caption.endswith(".")
        assert plot.table.rows


def test_each_source_alone_has_its_own_plots():
    assert [p.key for p in plots_of(replace(NOTHING, logs=(LOG,)))] == ["training"]
    results = read_result_files(shipped_results())
    assert [p.key for p in plots_of(replace(NOTHING, results=results))] == ["rd"]


def test_plots_of_one_key_have_the_same_names_of_choices():
    records = (*find_records("raspberry-pi-4"), *find_records("amd-epyc-2-cores"))
    plots = plots_of(replace(NOTHING, records=records, targets=(load_target("raspberry-pi-4"),)))
    for plot in plots:
        first = next(other for other in plots if other.key == plot.key)
        assert list(plot.choices) == list(first.choices)
