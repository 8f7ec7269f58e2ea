import json
import shutil
from dataclasses import replace

import pytest

from hwkd.codec.shipped import shipped
from hwkd.errors import InputError
from hwkd.files import data_folder
from hwkd.measure.record import find_records
from hwkd.report.page.sources import Gathered, gather, plots_of
from hwkd.report.plots.plot import file_name
from hwkd.report.plots.training import LogEntry, TrainingLog
from hwkd.report.results import read_result_files, shipped_results
from hwkd.target import list_targets, load_target

RESULT = {"name": "mine", "results": {"psnr-rgb": [30, 34], "bpp": [0.3, 0.8]}}
LINE = '{"phase": "float", "step": 200, "validation_rd": 2.5}\n'


@pytest.fixture
def result_file(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(RESULT))
    return path


def targets_of(gathered):
    return [target.name for target in gathered.targets]


def test_nothing_named_stands_for_all_that_ships():
    found = gather([], [])
    assert targets_of(found) == list(list_targets())
    assert {r.target for r in found.records} > set(list_targets())
    assert "patch-medium" in found.results.results
    assert "patch-medium" in {log.name for log in found.logs}
    assert found == gather(["shipped"], [])


def test_targets_are_chosen_and_machines_that_were_measured_stay():
    found = gather([], ["jetson-nano"])
    assert targets_of(found) == ["jetson-nano"]
    assert {r.target for r in found.records if not r.is_host} == {"jetson-nano"}
    assert any(r.is_host for r in found.records)


def test_a_bundle_is_predicted_on_the_targets():
    found = gather(["patch-small"], ["raspberry-pi-4", "jetson-nano"])
    assert [(r.model.name, r.target) for r in found.records] == [
        ("patch-small.hwkd", "raspberry-pi-4"),
        ("patch-small.hwkd", "jetson-nano"),
    ]
    assert found.results is None


def test_a_bundle_alone_is_predicted_on_every_target():
    found = gather([str(shipped()["gdn-16"])], [])
    assert sorted(r.target for r in found.records) == sorted(list_targets())
    assert targets_of(found) == list(list_targets())


def test_a_record_brings_its_own_target_only():
    path = data_folder("profiles") / "jetson-nano" / "gdn-16.hwkd.json"
    found = gather([str(path)], [])
    assert len(found.records) == 1
    assert targets_of(found) == ["jetson-nano"]


def test_a_target_brings_its_records():
    assert gather(["arm-server"], []).records == find_records("arm-server")


def test_a_result_is_told_from_a_record(result_file):
    found = gather([str(result_file)], [])
    assert list(found.results.results) == ["mine"]
    assert found.records == ()
    assert found.targets == ()


def test_a_folder_may_hold_both(result_file, tmp_path):
    shutil.copy(data_folder("profiles") / "jetson-nano" / "gdn-16.hwkd.json", tmp_path)
    found = gather([str(tmp_path)], [])
    assert list(found.results.results) == ["mine"]
    assert [r.target for r in found.records] == ["jetson-nano"]


def test_a_record_given_twice_counts_once():
    found = gather(["jetson-nano", "jetson-nano/gdn-16.hwkd"], [])
    assert found.records == find_records("jetson-nano")


def test_a_prediction_that_ships_is_not_made_a_second_row():
    found = gather(["jetson-nano", "gdn-16"], ["jetson-nano"])
    assert found.records == find_records("jetson-nano")


def test_the_sources_are_told_as_they_are_read():
    told = []
    gather(["jetson-nano", "arm-server"], [], told.append)
    assert told == ["jetson-nano", "arm-server"]


def test_two_results_of_one_name_are_refused(result_file, tmp_path):
    other = tmp_path / "b" / "mine.json"
    other.parent.mkdir()
    other.write_text(json.dumps(RESULT | {"name": "other"}))
    with pytest.raises(InputError, match="two different results are called mine"):
        gather([str(result_file), str(other)], [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("patch-smal", "did you mean patch-small"),
        ("none.json", "cannot read none.json"),
        ("none.hwkd", "none.hwkd"),
        ("none.toml", "none.toml"),
        ("jetson-nano/none", "unknown record of jetson-nano"),
    ],
)
def test_what_is_no_source_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        gather([text], [])


def test_a_folder_of_neither_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no records and no results"):
        gather([str(tmp_path)], [])


def test_a_file_that_is_not_json_is_refused(tmp_path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(InputError, match="is not JSON"):
        gather([str(tmp_path)], [])


def test_a_target_that_there_is_not_is_refused():
    with pytest.raises(InputError, match="unknown target"):
        gather(["patch-small"], ["jetson"])


def test_two_boards_of_one_name_are_refused(tmp_path):
    shutil.copy(data_folder("targets") / "jetson-nano.toml", tmp_path / "mine.toml")
    with pytest.raises(InputError, match="two of the targets are called jetson-nano"):
        gather([], ["jetson-nano", str(tmp_path / "mine.toml")])


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
