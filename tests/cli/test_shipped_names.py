"""A bundle that ships goes by its name wherever a bundle's file is taken."""

from pathlib import Path

import pytest

from hwkd.cli.main import build_parser
from hwkd.codec import shipped

TAKEN_BY = {"evaluate": "models", "profile": "models", "bench": "bundles", "verify": "bundle"}


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path / "shipped")
    (tmp_path / "shipped").mkdir()
    (tmp_path / "shipped" / "little.hwkd").touch()
    return tmp_path / "shipped"


@pytest.mark.parametrize("command", TAKEN_BY)
@pytest.mark.parametrize(
    ("given", "found"),
    [("little", "{shelf}/little.hwkd"), ("little.hwkd", "little.hwkd"), ("runs/a", "runs/a")],
)
def test_a_name_stands_for_the_bundle_that_ships(shelf, command, given, found) -> None:
    taken = getattr(build_parser().parse_args([command, given]), TAKEN_BY[command])
    expected = found.format(shelf=shelf)
    assert taken in (expected, [expected])
