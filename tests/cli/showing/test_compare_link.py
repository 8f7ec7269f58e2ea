import re
from dataclasses import replace

import pytest

from hwkd.cli.main import main
from hwkd.cli.showing.compare import link_tables, parse_links
from hwkd.errors import HwkdError, InputError
from hwkd.files import data_folder
from hwkd.images import ImageSource, open_images
from hwkd.measure.classic import EqualQuality
from hwkd.measure.energy.measure import LINKS, Classic
from hwkd.measure.energy.sensors import OpenedMeter
from hwkd.measure.record import (
    Entry,
    Macs,
    ModelFacts,
    Provenance,
    Quality,
    Record,
    Setting,
    Size,
    write_record,
)
from hwkd.models.spec import HyperpriorSpec, spec_to_json
from hwkd.quantity import Quantity, not_known
from hwkd.report.table import Table
from tests.fakes.steady_meter import SteadyMeter
from tests.tables import is_missing, tables_of

SPEC = HyperpriorSpec("gdn", (128, 128, 128), 192, 128, 128)
CPU = Setting("cpu", "torch 2.13.0 eager", "fp32", 1)
HERE = "this-machine"


@pytest.fixture(autouse=True)
def same_images(monkeypatch):
    """The records below are of the images of every test, but where a test says otherwise."""
    monkeypatch.setattr(ImageSource, "sha256", lambda self: None)


def energy(mj, by="rapl: the processor", part="end_to_end", side="encode"):
    return Entry("energy_mj", side, part, CPU, Quantity(mj, "measured", by, runs=3))


def latency(side, ms):
    quantity = Quantity(ms, "measured", "the clock", runs=30)
    return Entry("latency_ms", side, "end_to_end", CPU, quantity)


RECORD = Record(
    schema=1,
    target=HERE,
    is_host=True,
    width=1000,
    height=1000,
    model=ModelFacts("student", str(SPEC), spec_to_json(SPEC), "gdn", "8", True),
    size=Size(5_000_000, 20_000_000, 5_000_000, 800_000),
    macs=Macs(16_000_000_000, 1_000_000_000, 1_000_000_000, 16_000_000_000),
    layers=(),
    entries=(
        latency("encode", 40.0),
        latency("decode", 60.0),
        energy(999.0, side="decode"),
        energy(888.0, part="networks"),
        energy(300.0),
    ),
    provenance=Provenance("2026-01-01T00:00:00Z", "hwkd profile", "host", {}),
    quality=Quality(34.0, 0.8, "6 images of images", "hwkd profile --evaluate"),
)
PREDICTED = replace(RECORD, target="jetson-nano", is_host=False, entries=())


@pytest.fixture(autouse=True)
def opened(monkeypatch, brief_windows):
    """The kinds of meter that were opened, on a machine called HERE."""
    kinds = []

    def open_meter(kind):
        kinds.append(kind)
        return OpenedMeter(SteadyMeter(kind))

    monkeypatch.setattr("hwkd.cli.showing.compare.host_name", lambda facts: HERE)
    monkeypatch.setattr("hwkd.cli.showing.compare.open_meter", open_meter)
    return kinds


@pytest.fixture
def classic(monkeypatch):
    """JPEG takes 1.3 bits a pixel and 50 mJ a megapixel, WebP 0.8 and 400; what was asked of them."""
    asked = []

    def measure_classic(codec, images, psnr_db, meter):
        asked.append((codec, str(images), psnr_db, meter.name))
        bpp, mj = {"jpeg": (1.3, 50.0), "webp": (0.8, 400.0)}[codec]
        ms = Quantity(1.0, "measured", "the clock", runs=6)
        equal = EqualQuality(
            codec, psnr_db, Quantity(bpp, "estimated", "interpolated"), ms, ms, 1e5, (50, 51)
        )
        by = f"{meter.name}: {meter.covers}"
        return Classic(equal, Quantity(mj, "measured", by, runs=3))

    monkeypatch.setattr("hwkd.cli.showing.compare.measure_classic", measure_classic)
    return asked


def test_all_names_every_link():
    assert parse_links("all") == tuple(LINKS.values())
    assert parse_links("lte") == (LINKS["lte"],)
    (own,) = parse_links("2e-7")
    assert (own.low, own.high) == (2e-7, 2e-7)


def test_totals_and_break_even_by_hand(image_folder, classic):
    (table,) = link_tables([RECORD], parse_links("1e-6"), image_folder)
    assert table.title == "Energy to encode and send one image at 34.00 dB"
    rows = {row[0]: row[1:] for row in table.rows}
    # A megapixel: 0.8 and 1.3 bits a pixel are 800 and 1300 kbit; over 1 uJ a bit 800 and 1300 mJ.
    assert rows["student"] == ("300", "800", "~1,100")
    assert rows["JPEG"] == ("50.0", "~1,300", "~1,350")
    assert rows["WebP"] == ("400", "~800", "~1,200")
    # (300 - 50) mJ over the 500 kbit saved.
    assert any("student beats JPEG from ~5.0e-7 J/bit on" in note for note in table.notes)
    assert any("student beats WebP over any link" in note for note in table.notes)
    assert "1e-6 J/bit yes" in table.notes[0]


def test_energy_and_bits_are_carried_over_to_the_records_size(image_folder, classic):
    small = replace(RECORD, width=500, height=500)
    (table,) = link_tables([small], parse_links("1e-6"), image_folder)
    rows = {row[0]: row[1:3] for row in table.rows}
    # A quarter of a megapixel; the record's own energy is of its own size already.
    assert rows["student"] == ("300", "200")
    assert rows["JPEG"] == ("12.5", "~325")


def test_jpeg_is_measured_at_the_records_quality_with_the_records_sensor(
    image_folder, classic, opened
):
    other = replace(
        RECORD, model=replace(RECORD.model, name="other"), entries=(energy(1.0, "codecarbon: 4 W"),)
    )
    list(link_tables([RECORD, other], parse_links("lte"), image_folder))
    assert classic == [
        (codec, "6 images of images", 34.0, sensor)
        for sensor in ("rapl", "codecarbon")
        for codec in ("jpeg", "webp")
    ]
    assert opened == ["rapl", "codecarbon"]


def test_a_sensor_is_opened_once_for_all_records(image_folder, classic, opened):
    assert len(list(link_tables([RECORD, RECORD], parse_links("lte"), image_folder))) == 2
    assert opened == ["rapl"]


def test_what_is_not_compared_is_told_below_the_last_table(image_folder, classic):
    predicted_too = replace(PREDICTED, target="raspberry-pi-4")
    (table,) = link_tables([PREDICTED, RECORD, predicted_too], parse_links("lte"), image_folder)
    assert table.notes[-1] == (
        "Not compared: student on jetson-nano, student on raspberry-pi-4: predicted, and JPEG and WebP cannot be timed "
        "there."
    )


@pytest.mark.parametrize(
    ("record", "lack"),
    [
        (PREDICTED, "student on jetson-nano: predicted, and JPEG and WebP cannot be timed there"),
        (
            replace(RECORD, target="a-server"),
            f"student on a-server: another machine, this one is {HERE}",
        ),
        (replace(RECORD, quality=None), f"student on {HERE}: its quality was not measured"),
        (
            replace(RECORD, quality=replace(RECORD.quality, on="Kodak, 24 images")),
            f"student on {HERE}: its quality is known on Kodak, 24 images only",
        ),
        (
            replace(RECORD, quality=replace(RECORD.quality, images_sha256="of others")),
            f"student on {HERE}: its quality is of other images called 6 images of images: what the files hold differs",
        ),
        (
            replace(RECORD, entries=RECORD.entries[:-1]),
            f"student on {HERE}: its energy is not known (it was profiled without energy, or without trained weights)",
        ),
        (
            replace(
                RECORD,
                entries=(Entry("energy_mj", "encode", "end_to_end", CPU, not_known("too short")),),
            ),
            f"student on {HERE}: its energy is not known (too short)",
        ),
        (
            replace(RECORD, entries=(energy(1.0, "a wattmeter"),)),
            f"student on {HERE}: its energy was found by 'a wattmeter', which is no sensor that hwkd can open",
        ),
    ],
)
def test_what_a_record_lacks_is_said(image_folder, record, lack, opened):
    with pytest.raises(InputError) as caught:
        list(link_tables([record], parse_links("lte"), image_folder))
    assert str(caught.value) == (
        "--link needs a profile of a trained model on this machine, on 6 images of images; make one with `hwkd profile "
        f"MODEL --target host --evaluate {image_folder} --save DIR`. {lack}"
    )
    assert opened == []


def test_the_embedded_photographs_are_the_default(classic):
    on = str(open_images(None))
    record = replace(RECORD, quality=replace(RECORD.quality, on=on))
    list(link_tables([record], parse_links("lte"), None))
    assert classic[0][1] == "2 embedded photographs (chelsea.png, rocket.jpg)"
    with pytest.raises(InputError, match=r"--target host --evaluate --save DIR`\. student on"):
        list(link_tables([RECORD], parse_links("lte"), None))


@pytest.fixture
def records(tmp_path):
    """A folder with the record of this machine and a prediction."""
    write_record(tmp_path / "records" / HERE / "student.json", RECORD)
    write_record(tmp_path / "records" / "jetson-nano" / "student.json", PREDICTED)
    return tmp_path / "records"


def test_the_command_measures_jpeg_and_webp_and_adds_the_table(capsys, records, image_folder):
    host = records / HERE / "student.json"
    argv = ["compare", str(host), "--link", "all", "--data", str(image_folder)]
    assert main([*argv, "--format", "json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    table = tables_of(out)[-1]
    assert table["title"] == "Energy to encode and send one image at 34.00 dB"
    assert table["columns"] == [
        *("codec", "encode_mj", "kbit"),
        *(f"{name}_total_mj" for name in LINKS),
    ]
    assert [row["codec"] for row in table["rows"]] == ["student", "JPEG", "WebP"]
    for row in table["rows"]:
        assert not any(map(is_missing, row.values()))
    for codec in ("JPEG", "WebP"):
        assert any(codec in note and "student" in note for note in table["notes"])


def test_only_predictions_cannot_be_compared_over_a_link(refused, records, image_folder):
    folder = records / "jetson-nano"
    error = refused(["compare", folder, "--link", "lte", "--data", image_folder])
    assert error.endswith(
        "student on jetson-nano: predicted, and JPEG and WebP cannot be timed there"
    )


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--data", "photos"], "--data gives the images for --link: add it, or leave --data out"),
        (
            ["--link", "wfi"],
            "unknown link 'wfi': did you mean wifi? Known: lora, lte, wifi; or give what a bit costs in joule (J/bit), "
            "as 2e-7",
        ),
        (
            ["--link=-1e-7"],
            "a bit costs a finite number of joule above 0, got '-1e-7'; give J/bit as 2e-7, or one of lora, lte, wifi",
        ),
        (
            ["--link", "inf"],
            "a bit costs a finite number of joule above 0, got 'inf'; give J/bit as 2e-7, or one of lora, lte, wifi",
        ),
    ],
)
def test_a_wrong_link_is_one_line(refused, records, argv, message):
    assert refused(["compare", records, *argv]) == message


def test_images_that_are_not_there_are_told(refused, records, tmp_path):
    argv = ["compare", records, "--link", "lte", "--data", tmp_path / "none"]
    assert refused(argv).startswith(f"no such folder: {tmp_path / 'none'}")


@pytest.mark.parametrize(
    ("ends", "code", "said"),
    [(KeyboardInterrupt(), 130, "interrupted"), (HwkdError("no power"), 1, "error: no power")],
)
def test_what_was_measured_is_printed_whatever_ends_the_rest(ends, code, said, monkeypatch, capsys):
    def one_and_no_more(*_):
        yield Table("Energy of one record", ("a",), (("1",),))
        raise ends

    monkeypatch.setattr("hwkd.cli.showing.compare.link_tables", one_and_no_more)
    argv = [
        "compare",
        "jetson-nano/patch-small.hwkd",
        "--link",
        "lte",
        "--data",
        ".",
        "--format",
        "md",
    ]
    assert main(argv) == code
    out, err = capsys.readouterr()
    assert "Energy of one record" in out and "| 1 |" in out
    assert err == f"hwkd: {said}\n"


def test_of_a_board_that_is_not_here_the_answer_is_predicted(capsys):
    """From the records that ship and the shipped bench."""
    assert main(["compare", "raspberry-pi-4", "--link", "lte", "--format", "json"]) == 0
    tables = tables_of(capsys.readouterr().out)
    time, energy = tables[-2:]
    assert time["title"].startswith("Done first at 34 dB, by the speed of the link: raspberry-pi-4")
    codecs = [row["codec"] for row in time["rows"]]
    assert codecs[0] == "JPEG" and codecs[-3:] == ["patch-large", "patch-medium", "patch-small"]
    assert {row["encode_ms"]["found"] for row in time["rows"]} == {"predicted"}
    assert energy["columns"] == ["codec", "encode_mj", "lte_total_mj"]


def test_without_a_record_the_answer_is_that_of_the_bench(capsys):
    assert main(["compare", "--link", "all"]) == 0
    out = capsys.readouterr().out
    assert re.match(r"At 34 dB on .+ \(avx2.*\): to encode and send, ", out)
    assert "Done first at 34 dB" in out and "Energy to encode" not in out


def test_of_a_board_of_ones_own_too(capsys, tmp_path):
    board = data_folder("targets") / "raspberry-pi-4.toml"
    text = board.read_text(encoding="utf-8")
    mine = tmp_path / "mine.toml"
    mine.write_text(text.replace('name = "raspberry-pi-4"', 'name = "mine"', 1), encoding="utf-8")
    assert main(["compare", str(mine), "--link", "lte", "--format", "md"]) == 0
    assert "Done first at 34 dB, by the speed of the link: mine, cpu" in capsys.readouterr().out
