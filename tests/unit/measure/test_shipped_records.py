from dataclasses import replace

import pytest

from hwkd.data import data_folder
from hwkd.errors import InputError
from hwkd.measure.record_file import find_records, read_record
from hwkd.measure.shipped_records import (
    all_shipped_records,
    predicted_for,
    predicted_records,
    records_named,
)
from hwkd.target import list_targets, load_target


def figures(record):
    return [(e.name, e.side, e.setting, e.quantity.value) for e in record.entries]


def test_a_board_of_ones_own_is_predicted_as_the_shipped_one_it_is_a_copy_of(board_file):
    shipped = {r.model.name: r for r in find_records("raspberry-pi-5")}
    made = records_named(str(board_file))
    assert {r.model.name for r in made} == set(shipped)
    for record in made:
        assert record.target == "my-board"
        assert not record.is_host
        assert figures(record) == [
            (*key, pytest.approx(value)) for *key, value in figures(shipped[record.model.name])
        ]


def test_records_are_ordered_with_the_most_macs_first(board_file):
    macs = [r.macs.total_macs for r in records_named(str(board_file))]
    assert macs == sorted(macs, reverse=True)
    assert len(set(macs)) > 1


def test_a_target_with_records_gives_those_that_ship():
    assert records_named("jetson-nano") == find_records("jetson-nano")


def test_a_target_that_was_added_as_a_file_needs_no_records(installed_board):
    assert "my-board" in list_targets()
    assert {r.target for r in records_named("my-board")} == {"my-board"}
    assert "my-board" in {r.target for r in all_shipped_records()}


def test_all_shipped_records_are_those_of_the_files():
    folder = data_folder("profiles")
    paths = [p for p in folder.glob("*/*.json") if p.parent.name not in ("published", "results")]
    assert len(all_shipped_records()) == len(paths)


def test_a_quantized_model_that_does_not_ship_is_refused():
    path = data_folder("profiles") / "jetson-nano" / "patch-small.hwkd.json"
    record = read_record(path)
    unknown = replace(record, model=replace(record.model, name="mine.hwkd"))
    with pytest.raises(InputError, match=r"mine\.hwkd is quantized .*hwkd profile"):
        predicted_for([unknown], load_target("jetson-nano"))


def test_the_models_predicted_for_a_target_are_those_that_ship():
    names = {r.model.name for r in predicted_records(load_target("arm-server"))}
    assert names == {r.model.name for r in find_records("arm-server")}


@pytest.mark.parametrize("text", ["none.toml", "no-such-target", "no-such-folder/model.json"])
def test_what_is_nothing_is_refused(text):
    with pytest.raises(InputError):
        records_named(text)
