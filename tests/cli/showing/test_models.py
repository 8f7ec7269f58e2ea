import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hwkd.cli.main import build_parser, main
from hwkd.cli.showing import models
from hwkd.codec import shipped
from tests.tables import tables_of

NO_TORCH = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "compressai", "onnx", "onnxruntime", "openvino"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuse())
from hwkd.cli.main import main
sys.exit(main(["models", "--format", "json"]))
"""


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """The folder of bundles that ship, made up and missing."""
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path / "shipped")
    return tmp_path / "shipped"


def tables(capsys):
    assert main(["models", "--format", "json"]) == 0
    return tables_of(capsys.readouterr().out)


def test_bundles_and_teachers_are_listed(shelf, tiny_bundle, capsys):
    shelf.mkdir()
    for name in ("b", "a"):
        shutil.copy(tiny_bundle, shelf / f"{name}.hwkd")
    bundles, teachers = tables(capsys)
    assert [row["model"] for row in bundles["rows"]] == ["a", "b"]
    assert bundles["rows"][0]["size_mib"] == pytest.approx(tiny_bundle.stat().st_size / 2**20)
    (teacher,) = (row for row in teachers["rows"] if row["model"] == "patch-q5")
    assert (teacher["weights"], teacher["hours"]) == ("float16", pytest.approx(0.95, abs=0.005))


def test_no_bundle_is_no_error(shelf, capsys):
    bundles, teachers = tables(capsys)
    assert bundles["rows"] == []
    assert teachers["rows"]


def test_a_damaged_bundle_is_named(shelf, refused):
    shelf.mkdir()
    (shelf / "a.hwkd").write_bytes(b"no zip")
    assert refused(["models"]).startswith(f"{shelf / 'a.hwkd'}: not a bundle: ")


def test_the_zoos_names_are_those_that_can_teach():
    from hwkd.models.teacher import TEACHERS

    assert models.ZOO == TEACHERS


def test_the_list_needs_neither_torch_nor_a_runtime():
    done = subprocess.run([sys.executable, "-c", NO_TORCH], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "patch-q5" in [row["model"] for row in tables_of(done.stdout)[1]["rows"]]


# A bundle that ships goes by its name wherever a bundle's file is taken.

TAKEN_BY = {"evaluate": "models", "profile": "models", "bench": "bundles", "verify": "bundle"}


@pytest.fixture
def shelf_shipped_names(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path / "shipped")
    (tmp_path / "shipped").mkdir()
    (tmp_path / "shipped" / "little.hwkd").touch()
    return tmp_path / "shipped"


@pytest.mark.parametrize("command", TAKEN_BY)
@pytest.mark.parametrize(
    ("given", "found"),
    [("little", "{shelf}/little.hwkd"), ("little.hwkd", "little.hwkd"), ("runs/a", "runs/a")],
)
def test_a_name_stands_for_the_bundle_that_ships(
    shelf_shipped_names, command, given, found
) -> None:
    taken = getattr(build_parser().parse_args([command, given]), TAKEN_BY[command])
    expected = found.format(shelf=shelf_shipped_names)
    assert taken in (expected, [expected])
