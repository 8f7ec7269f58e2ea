"""Every target that ships: it loads, it plans, and every number in it says where it comes from."""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwkd.files import data_folder
from hwkd.measure.layers import TERMS
from hwkd.measure.predict.other_runtimes import SHIPPED, pooled_table, read_other
from hwkd.measure.predict.published import TENSORRT, read_timings
from hwkd.measure.predict.runtime_steps import VERSION_SD
from hwkd.models.spec import FAMILIES
from hwkd.quantize.precision import plan_precision
from hwkd.schema import read_toml
from hwkd.target import CONFIDENCES, PRECISIONS, list_targets, load_target

FOLDER = data_folder("targets")
PATHS = sorted(FOLDER.rglob("*.toml"))
EXPECTED = {
    "arm-server",
    "jetson-agx-orin",
    "jetson-nano",
    "jetson-orin-nano",
    "jetson-orin-nx",
    "jetson-xavier-nx",
    "apple-m1",
    "raspberry-pi-zero-2w",
    "rk3588",
    "snapdragon-8-gen-2",
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
            assert table.get("confidence") in CONFIDENCES, f"{where}: {numbers}"


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
    tables = (read_timings(), read_timings(data_folder("profiles") / TENSORRT))
    sources = {table.source for table in (*tables, pooled_table(read_other()))}
    for unit in target.units:
        mine = [c for c in target.constants if c.unit == unit.name]
        for c in mine:
            assert c.source in sources
            assert (c.scheme, tuple(c.ln_ns)) == ("kinds", TERMS)
            assert c.device in (unit.timings.device, unit.timings.int8_device)
            assert c.is_same_device == unit.timings.is_same_device
            # What a user will run, by its own timings or carried over to it with a spread.
            assert c.predicted_runtime == unit.runtime.name
            assert next(step.to for step in c.carried) == unit.runtime.name
            assert all(step.sd > 0 for step in c.carried)
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


SECOND_HAND = (
    *("fixstars", "brojogopalsapui", "deepwiki", "mzph.cn", "hokwangchoi", "kvynlim"),
    *("xiaopingtou", "documents.pub", "csdn", "alldbin", "vayrette", "llmperf", "scribd"),
)
"""Blogs, copies and summaries."""


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_copy_or_a_summary_by_others_is_no_source_of_the_vendor(path):
    for where, table in raw_tables(path):
        if any(name in table.get("source", "") for name in SECOND_HAND):
            assert table["confidence"] != "S", where


def test_the_jetsons_gpus_are_predicted_by_tensorrts_own_timings():
    boards = ("nano", "xavier-nx", "orin-nano", "orin-nx", "agx-orin")
    for target in map(load_target, (f"jetson-{board}" for board in boards)):
        (gpu,) = (c for c in target.constants if c.unit == "gpu")
        assert (gpu.runtime, gpu.is_same_device) == ("tensorrt", True)
        # Another version of it on another day, and no other step.
        (step,) = gpu.carried
        assert (step.to, step.ln_factor, step.sd) == ("tensorrt", 0, VERSION_SD)


def test_fp16_of_ncnn_does_not_stand_for_onnx_runtime():
    """ONNX Runtime computes in fp32: published at 1.6 to 2.2 times what ncnn's fp16 predicts on the Raspberry Pi 5."""
    for name in list_targets():
        for c in load_target(name).constants:
            if c.predicted_runtime == "onnxruntime":
                assert c.precision in ("fp32", "int8"), name
    pi5 = next(c for c in load_target("raspberry-pi-5").constants if c.precision == "fp32")
    assert 1.4 < np.exp(pi5.ln_factor) < 2.3


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_machine_of_a_class_is_in_the_table(path):
    """A name that is spelt otherwise there would silently be left out of the spread."""
    timed = {c.device for c in read_timings().configurations}
    for unit in load_target(path.stem).units:
        if unit.timings:
            assert set(unit.timings.peers) <= timed


def test_power_of_boards_is_that_of_the_shipped_runs():
    raw = json.loads((data_folder("profiles") / SHIPPED).read_text(encoding="utf-8"))["rows"]
    for name, count, runtimes in (
        ("raspberry-pi-4", 52, ("TFLite", "ArmNN")),
        ("rk3588", 27, ("TFLite",)),
    ):
        mine = [
            r
            for r in raw
            if r["device"] == name and "watts" in r and r["runtime"].startswith(runtimes)
        ]
        assert (len(mine), len({r["network"] for r in mine})) == (count, 14)
        load_w = load_target(name).cpu.load_w
        watts = [r["watts"] for r in mine]
        assert (load_w.value, load_w.high) == (round(min(watts), 1), round(max(watts), 1))
        assert f"{count} runs of 14 networks" in load_w.source
    orin = [r["watts"] for r in raw if r["device"] == "jetson-agx-orin" and "watts" in r]
    assert load_target("jetson-agx-orin").cpu.load_w.high == round(max(orin), 1)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_arithmetic_is_none_only_where_the_processor_has_none(path):
    """What a runtime does with it is another question, and no reason."""
    for unit in load_target(path.stem).units:
        for precision in PRECISIONS:
            assert "used" not in unit.arithmetic.rate(precision).none


@pytest.mark.parametrize("name", ["x86-vnni", "x86-avx2", "arm-server"])
def test_a_class_of_machines_carries_their_spread(name):
    for c in load_target(name).constants:
        (of_class,) = (step for step in c.carried if "class" in step.to)
        assert of_class.sd > 0.2
        assert of_class.timings >= 4


def test_the_bandwidth_of_xavier_nx_is_that_of_the_released_data_sheet():
    assert load_target("jetson-xavier-nx").preferred.bandwidth_gbs.value == 59.7
