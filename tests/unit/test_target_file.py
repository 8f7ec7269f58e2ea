import tomllib
from dataclasses import replace

import pytest

from hwkd.constants import Constants
from hwkd.data import data_folder
from hwkd.errors import InputError
from hwkd.target import list_targets, load_target
from hwkd.target_file import MARK, write_constants, write_target

CONSTANTS = Constants(
    unit="cpu",
    precision="fp32",
    threads=4,
    runtime="ncnn",
    device="a board",
    is_same_device=True,
    source='a "quoted" table',
    scheme="kinds",
    networks=18,
    sigma=0.2,
    unseen=0.0,
    ln_ns={"calls": 9.0, "values": -1e-05},
    covariance=((0.1, -2e-05), (-2e-05, 0.2)),
    coverage=0.0,
)
OTHER = replace(CONSTANTS, precision="int8", covariance=(), error_percent=12.5)


@pytest.fixture
def shipped(tmp_path):
    """A copy of a target that ships, its facts without what was derived, and the place to write to."""
    path = tmp_path / "raspberry-pi-4.toml"
    path.write_bytes((data_folder("targets") / path.name).read_bytes())
    return path, path.read_bytes().partition(MARK.encode())[0], tmp_path / "new" / path.name


def test_the_facts_stay_as_they_are_byte_for_byte(shipped):
    path, facts, into = shipped
    before = path.read_bytes()
    write_constants(path, into, (CONSTANTS, OTHER))
    assert into.read_bytes().startswith(facts + MARK.encode())
    assert path.read_bytes() == before


def test_what_was_written_is_read_back_in_place_of_what_was_there(shipped):
    path, _, into = shipped
    write_constants(path, into, (CONSTANTS, OTHER))
    target = load_target(str(into))
    assert target.constants == (CONSTANTS, OTHER)
    assert replace(target, constants=()) == replace(load_target(str(path)), constants=())


def test_written_twice_the_bytes_are_equal(shipped):
    path, _, into = shipped
    write_constants(path, into, (CONSTANTS, OTHER))
    once = into.read_bytes()
    write_constants(into, into, (CONSTANTS, OTHER))
    assert into.read_bytes() == once


def test_without_constants_only_the_facts_are_left(shipped):
    path, facts, into = shipped
    write_constants(path, into, ())
    assert into.read_bytes() == facts.rstrip(b"\n") + b"\n"


def test_a_file_without_the_mark_gets_it(shipped):
    path, facts, into = shipped
    path.write_bytes(facts)
    write_constants(path, into, (CONSTANTS,))
    assert into.read_bytes().startswith(facts + MARK.encode())
    assert load_target(str(into)).constants == (CONSTANTS,)


def test_a_row_of_the_covariance_stands_on_one_line(shipped):
    path, _, into = shipped
    write_constants(path, into, (CONSTANTS,))
    assert "\n    [0.1, -2e-05],\n    [-2e-05, 0.2],\n" in into.read_text()


def test_an_unknown_accuracy_is_left_out_and_zero_is_not(shipped):
    path, _, into = shipped
    write_constants(path, into, (CONSTANTS,))
    (written,) = tomllib.loads(into.read_text())["constants"]
    assert "error_percent" not in written and "note" not in written
    assert written["coverage"] == 0 and written["unseen"] == 0


def test_a_missing_file_is_named(tmp_path):
    path = tmp_path / "no.toml"
    with pytest.raises(InputError) as caught:
        write_constants(path, tmp_path / "into.toml", ())
    assert str(caught.value) == f"cannot read {path}: No such file or directory"
    assert not (tmp_path / "into.toml").exists()


@pytest.mark.parametrize("name", list_targets())
def test_a_whole_target_is_written_and_read_back(tmp_path, name):
    target = load_target(name)
    path = tmp_path / "mine.toml"
    write_target(path, target, "made here\nby hand")
    assert load_target(str(path)) == target
    assert path.read_text().startswith("# made here\n# by hand\nname = ")
