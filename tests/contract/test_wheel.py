"""An installed wheel holds what hwkd reads at run time."""

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import hwkd
from hwkd.codec.shipped import shipped as shipped_bundles
from hwkd.runtime.bundle import read_bundle
from hwkd.runtime.manifest import NOT_RECORDED
from hwkd.target import list_targets
from tests.tables import tables_of

ROOT = Path(hwkd.__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
WHEEL = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
OWN = {place: place for place in ("hwkd/weights", "hwkd/bundles", "hwkd/report/page/templates")}
"""Folders of data within the package."""
MOST_BUNDLE_BYTES = 2.4 * 10**6
"""The largest of all rates takes 2.3: 0.1 more than each of the five of one rate that it replaced."""
TARGETS = {
    "apple-m1",
    "arm-server",
    "jetson-agx-orin",
    "jetson-nano",
    "jetson-orin-nano",
    "jetson-orin-nx",
    "jetson-xavier-nx",
    "raspberry-pi-4",
    "raspberry-pi-5",
    "raspberry-pi-zero-2w",
    "rk3588",
    "snapdragon-8-gen-2",
    "x86-avx2",
    "x86-vnni",
}


def shipped(folder):
    """The files of a folder of the checkout that people should get, by their path in it."""
    return {p.relative_to(ROOT / folder) for p in (ROOT / folder).rglob("*") if p.is_file()}


def test_targets_and_profiles_are_forced_into_the_place_where_they_are_looked_for():
    assert WHEEL["packages"] == ["hwkd"]
    assert WHEEL["force-include"] == {
        "targets": "hwkd/_data/targets",
        "profiles": "hwkd/_data/profiles",
    }
    for folder in WHEEL["force-include"]:
        assert shipped(folder), folder


def test_all_targets_are_there():
    assert set(list_targets()) == TARGETS
    assert {p.stem for p in shipped("targets") if p.suffix == ".toml"} == TARGETS


def test_the_default_teacher_is_there_as_its_card_says():
    from hwkd.models.shipped import read_card, shipped_names, shipped_path
    from hwkd.models.teacher import DEFAULT

    assert DEFAULT in shipped_names()
    for name in shipped_names():
        assert shipped_path(name).is_file()
        assert read_card(name).file in {p.name for p in shipped("hwkd/weights")}


def test_shipped_bundles_go_by_their_names_and_say_where_they_come_from():
    for name, path in shipped_bundles().items():
        bundle = read_bundle(path)
        card = bundle.manifest.card
        assert bundle.manifest.name == name
        assert path.stat().st_size <= MOST_BUNDLE_BYTES, name
        assert card is not None and card.on_kodak is not None, name
        assert card.on_kodak.images == 24, name
        assert card.limits and card.float_steps and card.hours, name
        assert NOT_RECORDED not in (card.data, card.licence, card.hardware), name


def test_weights_and_bundles_are_not_ignored_by_git():
    """hatchling leaves out of the wheel what .gitignore names."""
    done = subprocess.run(
        [
            *("git", "check-ignore", "hwkd/weights/patch-q5.safetensors"),
            *("hwkd/bundles/patch-medium.hwkd", "targets/jetson-nano.toml"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if done.returncode == 128:
        pytest.skip("not a git checkout")
    assert done.stdout == ""


@pytest.mark.slow  # fetches hatchling
def test_a_built_wheel_holds_targets_profiles_weights_and_bundles(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", str(ROOT), "--no-deps", "-q", "-w", str(tmp_path)],
        check=True,
    )
    (wheel,) = tmp_path.glob("hwkd-*.whl")
    with zipfile.ZipFile(wheel) as held:
        names = set(held.namelist())
        held.extractall(tmp_path / "site")
    assert {f"hwkd/_data/targets/{name}.toml" for name in TARGETS} <= names
    for folder, place in (*WHEEL["force-include"].items(), *OWN.items()):
        assert {f"{place}/{path.as_posix()}" for path in shipped(folder)} <= names
    assert {p.relative_to(ROOT).as_posix() for p in (ROOT / "hwkd").rglob("*.py")} <= names
    assert {"hwkd/py.typed", "hwkd/report/output.schema.json"} <= names
    assert not [name for name in names if name.startswith("tests/")]
    # The unpacked wheel finds its own data, outside the checkout.
    program = (
        "import hwkd, hwkd.target as t, hwkd.models.shipped as s\n"
        "print(hwkd.__file__, *t.list_targets(), *s.shipped_names(), sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=True,
    )
    file, *found = done.stdout.splitlines()
    assert Path(file) == tmp_path / "site/hwkd/__init__.py"
    teachers = {p.stem for p in shipped("hwkd/weights") if p.suffix == ".json"}
    assert set(found) == TARGETS | teachers
    listed = subprocess.run(
        [sys.executable, "-m", "hwkd", "models", "--format", "json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=True,
    )
    tables = tables_of(listed.stdout)
    assert [{row["model"] for row in table["rows"]} for table in tables] == [
        set(shipped_bundles()),
        teachers,
    ]
