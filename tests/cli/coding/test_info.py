import io
import shutil
import sys
from dataclasses import replace

import pytest

from hwkd.cli.main import main
from hwkd.codec import shipped
from hwkd.codec.codec import Codec
from hwkd.codec.stream import Stream, pack
from hwkd.runtime.bundle import read_bundle, write_bundle
from hwkd.runtime.manifest import Card, SetFigures
from tests.tables import tables_of


@pytest.fixture(autouse=True)
def none_ships(tmp_path, monkeypatch):
    """No bundle ships, and the current folder is an own one."""
    monkeypatch.setattr("hwkd.cli.coding.info.SHIPPED", tmp_path / "shipped")
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path / "shipped")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def tables(capsys):
    """tables(FILE): what `hwkd info FILE --format json` prints."""

    def call(name):
        assert main(["info", str(name), "--format", "json"]) == 0
        return tables_of(capsys.readouterr().out)

    return call


def facts(table):
    return {row["fact"]: row["value"] for row in table["rows"]}


def test_a_bundle_is_told_with_every_part(tables, tiny_bundle):
    bundle = read_bundle(tiny_bundle)
    what, executed, parts = tables(tiny_bundle)
    assert what["title"] == "tiny-patch"
    assert facts(what)["model id"] == bundle.id_hex
    assert facts(what)["data"] == "made in code"
    assert {row["network"] for row in executed["rows"]} == {"encoder", "hyper", "decoder"}
    assert {row["part"]: row["bytes"] for row in parts["rows"]} == {
        name: len(content) for name, content in bundle.parts.items()
    }
    assert {row["part"]: row["sha256"] for row in parts["rows"]} == dict(bundle.manifest.parts)
    uses = {row["part"]: row["for"] for row in parts["rows"]}
    assert uses["selftest.npz"] == "self-test"
    assert uses["hyper.onnx"] == "hyper for onnxruntime and openvino"


def test_of_all_rates_the_bundle_tells_its_qualities_and_the_stream_its_own(
    tables, tiny_bundles, photo, tmp_path
):
    what, _, parts = tables(tiny_bundles["rates"])
    assert facts(what)["qualities"] == "1 to 100, lmbda 0.0018 to 0.18"
    assert "lmbda" not in facts(what)
    uses = {row["part"]: row["for"] for row in parts["rows"]}
    assert uses["gains.npz"] == "gains of all qualities"
    codec = Codec.load(tiny_bundles["rates"], threads=1)
    (tmp_path / "a.hwk").write_bytes(codec.encode(photo(70, 100, 0), quality=75))
    assert facts(tables("a.hwk")[0])["quality"] == 75


def test_a_bundle_with_a_card_shows_it(tables, tiny_bundle, tmp_path):
    bundle = read_bundle(tiny_bundle)
    card = Card(
        data="9 photographs",
        licence="CC0",
        teacher="patch-q5",
        start=None,
        seed=0,
        float_steps=4,
        quantized_steps=2,
        hours=0.5,
        hardware="2 cores",
        recipe=None,
        limits=("Only a test.",),
        figures=(SetFigures("kodak", 24, "openvino 2026", 34.0, 0.9, 0.7, 1.3),),
    )
    write_bundle(tmp_path / "a.hwkd", replace(bundle.manifest, card=card), bundle.parts)
    _, shown, measured, *_ = tables("a.hwkd")
    assert (shown["title"], facts(shown)["licence of the data"]) == ("Card", "CC0")
    assert facts(shown)["known limits"] == "Only a test."
    assert (measured["rows"][0]["set"], measured["rows"][0]["psnr_db"]) == ("kodak", 34.0)


def test_a_shipped_bundle_goes_by_its_name(tables, tiny_bundle, tmp_path):
    (tmp_path / "shipped").mkdir()
    shutil.copy(tiny_bundle, tmp_path / "shipped/small.hwkd")
    assert tables("small")[0]["title"] == "tiny-patch"


def test_a_stream_is_told_with_its_model_where_that_is_known(tables, tiny_bundle, photo, tmp_path):
    codec = Codec.load(tiny_bundle, threads=1)
    data = codec.encode(photo(70, 100, 0), tile_px=64)
    (tmp_path / "a.hwk").write_bytes(data)
    (table,) = tables("a.hwk")
    found = facts(table)
    assert found["size"] == "100x70"
    assert found["bytes"] == len(data)
    assert found["tiles"] == "2x2 of 64 px"
    assert found["model id"] == codec.bundle.id_hex
    assert found["model"] == {"value": None, "reason": "no bundle of this id was found"}
    shutil.copy(tiny_bundle, tmp_path / "beside.hwkd")
    assert facts(tables("a.hwk")[0])["model"] == "beside.hwkd"
    (tmp_path / "shipped").mkdir()
    shutil.copy(tiny_bundle, tmp_path / "shipped/small.hwkd")
    assert facts(tables("a.hwk")[0])["model"] == "small"


def test_a_stream_of_any_size_is_told(tables, tmp_path):
    largest = 2**32 - 1
    (tmp_path / "a.hwk").write_bytes(pack(Stream(largest, largest, bytes(8), 0, b"", (b"",))))
    assert facts(tables("a.hwk")[0])["size"] == "4294967295x4294967295"


def test_the_table_is_written_to_a_file(tmp_path, tiny_bundle, capsys):
    assert main(["info", str(tiny_bundle), "--format", "md", "-o", "info.md"]) == 0
    assert capsys.readouterr().out == ""
    assert (tmp_path / "info.md").read_text().startswith("**tiny-patch**\n")


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (
            b"",
            "a is neither a bundle nor a stream: it is empty; give a file that `hwkd export` or `hwkd encode` wrote",
        ),
        (
            b"other",
            "a is neither a bundle nor a stream: it starts with b'othe'; give a file that `hwkd export` or "
            "`hwkd encode` wrote",
        ),
        (
            b"HWK\0\1",
            "a: the stream is cut short: it has 5 of at least 37 bytes; copy it again, or encode the image again",
        ),
        (
            b"HWKE....",
            "a: an evaluation stream of `hwkd evaluate`, which decodes only where it was written; write a stream with "
            "`hwkd encode`",
        ),
        (
            b"PK\3\4....",
            "a: damaged or cut short: File is not a zip file; copy it again, or export it again",
        ),
        (
            None,
            "cannot read a: No such file or directory; give a bundle (.hwkd) or a stream (.hwk)",
        ),
    ],
)
def test_what_is_neither_is_one_line(refused, tmp_path, content, error):
    if content is not None:
        (tmp_path / "a").write_bytes(content)
    assert refused(["info", "a"]) == error


def test_a_folder_is_neither(refused, tmp_path):
    (tmp_path / "a").mkdir()
    assert refused(["info", "a"]) == (
        "cannot read a: Is a directory; give a bundle (.hwkd) or a stream (.hwk)"
    )


def test_standard_input_may_be_a_stream_or_a_bundle(capsys, monkeypatch, tiny_bundle, photo):
    stream = Codec.load(tiny_bundle, threads=1).encode(photo(64, 64, 0))
    for content, told in ((stream, "64x64"), (tiny_bundle.read_bytes(), "tiny")):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        assert main(["info", "-"]) == 0
        assert told in capsys.readouterr().out
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"neither")))
    assert main(["info", "-"]) == 2
    assert "standard input is neither a bundle nor a stream" in capsys.readouterr().err
