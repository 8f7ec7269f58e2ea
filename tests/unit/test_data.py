import pytest

from hwkd import data
from hwkd.data import data_folder
from hwkd.errors import HwkdError


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "hwkd"
    folder.mkdir()
    monkeypatch.setattr(data, "_PACKAGE", folder)
    return folder


def test_a_checkout_keeps_its_data_beside_the_package(package):
    (package.parent / "targets").mkdir()
    assert data_folder("targets") == package.parent / "targets"


def test_a_wheel_keeps_its_data_inside_and_that_comes_first(package):
    (package.parent / "targets").mkdir()
    (package / "_data" / "targets").mkdir(parents=True)
    assert data_folder("targets") == package / "_data" / "targets"


def test_missing_data_means_a_damaged_installation(package):
    with pytest.raises(HwkdError, match="'targets' that ships with hwkd is missing") as caught:
        data_folder("targets")
    assert caught.value.exit_code == 1
