import shutil
import zipfile
from dataclasses import replace

import pytest

from hwkd.codec import shipped as shipped_module
from hwkd.codec.shipped import DEFAULT, BundleIndex, default_bundle, id_at, named_bundle, shipped
from hwkd.errors import InputError
from hwkd.runtime.bundle import read_bundle, write_bundle

OTHER = bytes(range(8))
GIVE = "a .hwkd file, which `hwkd export` writes"
NONE_SHIPS = f"{GIVE} (none ships with hwkd yet)"


@pytest.fixture(autouse=True)
def shelf(tmp_path, monkeypatch):
    """The folder of bundles that ship, made up and missing; the current folder is another."""
    monkeypatch.setattr(shipped_module, "SHIPPED", tmp_path / "shipped")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "shipped"


@pytest.fixture
def put(tiny_bundle):
    """put(folder, name): a bundle there."""

    def copy(folder, name="small"):
        folder.mkdir(exist_ok=True)
        return shutil.copy(tiny_bundle, folder / f"{name}.hwkd")

    return copy


@pytest.fixture
def model_id(tiny_bundle):
    return read_bundle(tiny_bundle).id


def refused(call, *arguments):
    with pytest.raises(InputError) as error:
        call(*arguments)
    return str(error.value)


def test_the_id_is_that_of_the_bundle_read_whole(tiny_bundle):
    assert id_at(tiny_bundle) == read_bundle(tiny_bundle).id


def test_the_id_is_found_without_reading_the_parts(tiny_bundle, tmp_path, model_id):
    damaged = bytearray(tiny_bundle.read_bytes())
    at = damaged.index(b"\xfd7zXZ") + 200  # in the parts, by the first bytes of their stream
    damaged[at] ^= 255
    path = tmp_path / "damaged.hwkd"
    path.write_bytes(damaged)
    assert id_at(path) == model_id
    with pytest.raises(InputError):
        read_bundle(path)


def test_what_is_no_bundle_has_no_id(tmp_path, tiny_bundle):
    (tmp_path / "text.hwkd").write_text("no zip")
    (tmp_path / "cut.hwkd").write_bytes(tiny_bundle.read_bytes()[:-100])
    with zipfile.ZipFile(tmp_path / "other.hwkd", "w") as other:
        other.writestr("a.txt", "a")
    with zipfile.ZipFile(tmp_path / "packed.hwkd", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("manifest.json", "0" * 10_000_000)
    (tmp_path / "folder.hwkd").mkdir()
    names = ("text", "cut", "other", "packed", "folder", "missing")
    assert [id_at(tmp_path / f"{name}.hwkd") for name in names] == [None] * 6


def test_no_folder_of_shipped_bundles_is_no_bundle():
    assert shipped() == {}


def test_shipped_bundles_go_by_their_file_names(shelf, put):
    paths = {"b": put(shelf, "b"), "a": put(shelf, "a")}
    assert shipped() == paths
    assert list(shipped()) == ["a", "b"]


def test_the_default_is_missing_until_it_ships(shelf, put):
    assert refused(default_bundle) == f"no model given: name one with --model, {NONE_SHIPS}"
    put(shelf, "large")
    assert refused(default_bundle) == (
        f"no model given: name one with --model, {GIVE}, or one that ships (large)"
    )
    path = put(shelf, DEFAULT)
    assert default_bundle() == path


def test_a_model_is_a_shipped_name_before_it_is_a_file(shelf, put, tmp_path):
    path = put(shelf, "small")
    (tmp_path / "here/small").write_bytes(b"")
    assert named_bundle("small") == path
    assert str(named_bundle("./small")) == "small"


def test_a_model_that_is_none_is_told_what_is_accepted(shelf, put, tmp_path):
    assert refused(named_bundle, "smal") == f"unknown model 'smal': give {NONE_SHIPS}"
    assert refused(named_bundle, "x.hwkd") == f"no such file: x.hwkd; give {NONE_SHIPS}"
    put(shelf, "small")
    assert refused(named_bundle, "smal") == (
        "unknown model 'smal': did you mean small? Known: small"
    )
    assert refused(named_bundle, "a/b") == (
        f"no such file: a/b; give {GIVE}, or one that ships (small)"
    )
    assert refused(named_bundle, str(tmp_path)) == f"{tmp_path} is a folder: give {GIVE}"


def test_the_bundle_of_a_stream_is_sought_among_the_shipped_beside_it_and_here(
    shelf, put, tmp_path, model_id
):
    beside = tmp_path / "beside"
    places = [put(tmp_path / "here"), put(beside), put(shelf)]
    (beside / "none.hwkd").write_bytes(b"no bundle")
    assert BundleIndex().bundle_of(model_id, beside, None) == places[2]
    places[2].unlink()
    assert BundleIndex().bundle_of(model_id, beside, None) == places[1]
    places[1].unlink()
    assert str(BundleIndex().bundle_of(model_id, beside, None)) == "small.hwkd"


def test_of_equal_bundles_the_first_by_name_is_taken(put, tmp_path, model_id):
    put(tmp_path / "beside", "b")
    first = put(tmp_path / "beside", "a")
    assert BundleIndex().find(model_id, (tmp_path / "beside",)) == first


def test_a_folder_is_looked_through_once(put, tmp_path, model_id):
    shelves = BundleIndex()
    path = put(tmp_path / "beside")
    assert shelves.find(model_id, (tmp_path / "beside",)) == path
    path.unlink()
    assert shelves.find(model_id, (tmp_path / "beside",)) == path
    assert shelves.find(OTHER, (tmp_path / "beside",)) is None


def test_a_folder_may_be_named_as_the_model(put, tmp_path, model_id):
    path = put(tmp_path / "models")
    assert BundleIndex().bundle_of(model_id, tmp_path, str(tmp_path / "models")) == path


def test_a_stream_of_an_unknown_model_says_its_id(tmp_path):
    assert refused(BundleIndex().bundle_of, OTHER, tmp_path, None) == (
        "written with the model 0001020304050607, which does not ship with hwkd and lies neither beside the stream nor "
        "in the current folder; give its bundle with --model"
    )


def test_a_stream_of_another_model_says_both_ids(tiny_bundle, tmp_path, model_id):
    assert refused(BundleIndex().bundle_of, OTHER, tmp_path, str(tiny_bundle)) == (
        f"written with the model 0001020304050607, and {tiny_bundle} is {model_id.hex()}; give the bundle that it was "
        "written with"
    )
    assert refused(BundleIndex().bundle_of, OTHER, tmp_path, str(tmp_path)) == (
        f"written with the model 0001020304050607, and {tmp_path} holds no bundle of it; give the bundle that it was "
        "written with"
    )


@pytest.fixture
def other_bundle(tiny_bundle, tmp_path):
    """A bundle of another id than `tiny_bundle`."""
    bundle = read_bundle(tiny_bundle)
    path = tmp_path / "other.hwkd"
    write_bundle(path, replace(bundle.manifest, name="other"), bundle.parts)
    return path


def test_a_stream_of_another_model_that_ships_is_told_so(
    shelf, put, tmp_path, model_id, other_bundle
):
    put(shelf, "small")
    assert refused(BundleIndex().bundle_of, model_id, tmp_path / "none", str(other_bundle)) == (
        "written with small, which ships with hwkd: leave --model out"
    )


def test_a_stream_of_another_model_that_lies_beside_it_is_told_so(
    put, tmp_path, model_id, other_bundle
):
    path = put(tmp_path / "beside")
    other_id = read_bundle(other_bundle).id_hex
    assert refused(BundleIndex().bundle_of, model_id, tmp_path / "beside", str(other_bundle)) == (
        f"written with {path}, and {other_bundle} is {other_id}: give --model {path}"
    )


def test_a_file_that_is_no_bundle_is_left_to_the_reader(tmp_path):
    path = tmp_path / "text.hwkd"
    path.write_text("no bundle")
    assert BundleIndex().bundle_of(OTHER, tmp_path, str(path)) == path
