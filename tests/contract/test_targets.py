"""Every target that ships: it loads, it plans, and every number in it says where it comes from."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwkd.files import data_folder
from hwkd.measure.layers import TERMS
from hwkd.measure.predict.published import read_timings
from hwkd.models.spec import FAMILIES
from hwkd.quantize.precision import plan_precision
from hwkd.schema import read_toml
from hwkd.target import list_targets, load_target

FOLDER = data_folder("targets")
PATHS = sorted(FOLDER.rglob("*.toml"))
EXPECTED = {
    "arm-server",
    "jetson-agx-orin",
    "jetson-nano",
    "jetson-orin-nano",
    "jetson-xavier-nx",
    "raspberry-pi-4",
    "raspberry-pi-5",
    "x86-avx2",
    "x86-vnni",
}


def tables(value: Any, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every table in parsed TOML, with its place."""
    if isinstance(value, dict):
        yield where, value
        for key, item in value.items():
            yield from tables(item, f"{where}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from tables(item, f"{where}[{index}]")


def raw_tables(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """The tables of facts; what is derived from timings has one source for a whole set of numbers."""
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    content.pop("constants", None)
    return list(tables(content, path.name))


def test_the_promised_targets_are_listed():
    assert set(list_targets()) >= EXPECTED


def test_no_target_hides_in_a_folder_below():
    assert [path.stem for path in PATHS] == list(list_targets())


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_it_loads_under_the_name_of_its_file(path):
    assert load_target(path.stem).name == path.stem


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_number_has_a_source_and_a_confidence(path):
    for where, table in raw_tables(path):
        numbers = [
            k for k, v in table.items() if isinstance(v, int | float) and v not in (True, False)
        ]
        if numbers:
            assert table.get("source"), f"{where}: {numbers} without a source"
            assert table.get("confidence") in ("S", "D", "M"), f"{where}: {numbers}"


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_memory_is_never_passed_off_as_a_source(path):
    for where, table in raw_tables(path):
        source = table.get("source", "")
        if re.search(r"\bmemory of\b|\bmemory:|from memory", source):
            assert table["confidence"] == "M", where


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_the_alternative_it_names_has_int8_on_its_preferred_unit(path):
    name = load_target(path.stem).int8_alternative
    if name:
        assert load_target(name).preferred.quantization is not None


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_can_be_planned_for_it(path, family):
    plan = plan_precision(load_target(path.stem), 8, 8, family=family)
    assert {entry.network for entry in plan.entries} == {"encoder", "hyper", "decoder"}
    assert all("\n" not in sentence and sentence.endswith(".") for sentence in plan.sentences())


def test_derived_rates_follow_from_cores_and_clock():
    # Two operations (multiply and add) per core and cycle; twice that for pairs of fp16.
    gpu = load_target("jetson-nano").preferred
    assert gpu.arithmetic.fp32.peak_gops == pytest.approx(128 * 2 * 0.921, rel=1e-3)
    assert gpu.arithmetic.fp16.peak_gops == pytest.approx(128 * 2 * 2 * 0.921, rel=1e-3)
    orin = load_target("jetson-orin-nano").preferred
    assert orin.arithmetic.int8.peak_gops == 40_000 / 2  # dense is half of 2:4 sparse


def test_the_same_board_memory_serves_all_its_units():
    for name in list_targets():
        bandwidths = {unit.bandwidth_gbs.value for unit in load_target(name).units}
        assert len(bandwidths) == 1, name


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_unit_that_names_timings_has_constants_with_their_source(path):
    target = load_target(path.stem)
    assert {c.unit for c in target.constants} == {u.name for u in target.units if u.timings}
    source = read_timings().source
    for unit in target.units:
        mine = [c for c in target.constants if c.unit == unit.name]
        for c in mine:
            assert c.source == source
            assert (c.scheme, tuple(c.ln_ns)) == ("kinds", TERMS)
            assert (c.device, c.is_same_device) == (
                unit.timings.device,
                unit.timings.is_same_device,
            )
        # Whoever has int8 on a CPU has it with every number of threads that has float.
        for_float = [c.threads for c in mine if c.precision != "int8"]
        for_int8 = [c.threads for c in mine if c.precision == "int8"]
        assert len(set(for_float)) == len(for_float)
        has_int8 = unit.kind == "cpu" and unit.arithmetic.int8.is_there
        assert for_int8 == (for_float if has_int8 else [])


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_the_covariance_of_constants_is_one(path):
    for c in load_target(path.stem).constants:
        covariance = np.array(c.covariance)
        np.testing.assert_array_equal(covariance, covariance.T)
        # Rounded to 4 decimals, so that an eigenvalue may be off by half of one for each of the rows.
        assert np.linalg.eigvalsh(covariance).min() >= -0.5e-4 * len(covariance), str(c)
        assert (np.diag(covariance) > 0).all()


def test_a_shipped_file_can_be_read_by_its_path():
    assert load_target(str(PATHS[0])) == read_toml(type(load_target(PATHS[0].stem)), PATHS[0])
