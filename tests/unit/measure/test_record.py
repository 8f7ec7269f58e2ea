import json
import math
from dataclasses import replace

import pytest

from hwkd.errors import InputError
from hwkd.measure import record as record_module
from hwkd.measure.layers import LayerCost
from hwkd.measure.record import (
    Entry,
    Macs,
    ModelFacts,
    Provenance,
    Quality,
    Record,
    Setting,
    Size,
    find_records,
    note_on,
    read_record,
    write_record,
)
from hwkd.quantity import Quantity, not_known

CPU = Setting("cpu", "openvino 2026.4.1", "int8", 2)
MEASURED = Quantity(40.0, "measured", "the clock", 38.0, 42.0, 0.95, runs=30)
PREDICTED = Quantity(40.0, "predicted", "targets/a.toml", 30.0, 50.0, 0.9)


def record(**fields):
    return Record(
        **(
            {
                "schema": 1,
                "target": "board",
                "is_host": True,
                "width": 768,
                "height": 512,
                "model": ModelFacts("a", "gdn N=8", "{}", "gdn", "8", True),
                "size": Size(100, 400, 100, 8),
                "macs": Macs(5, 2, 3, 7),
                "layers": (),
                "entries": (Entry("latency_ms", "encode", "networks", CPU, MEASURED),),
                "provenance": Provenance("2026-01-01T00:00:00Z", "hwkd profile", "host", {}),
            }
            | fields
        )
    )


def test_the_prior_counts_for_both_sides_and_once_in_total():
    macs = Macs(g_a=5, h_a=2, h_s=3, g_s=7)
    assert (macs.encode_macs, macs.decode_macs, macs.total_macs) == (10, 10, 17)


def test_pixels_are_width_times_height():
    assert record().pixels == 768 * 512


def test_a_setting_says_unit_runtime_precision_and_threads():
    assert str(CPU) == "cpu, openvino 2026.4.1 int8, 2 threads"
    assert str(replace(CPU, threads=1)) == "cpu, openvino 2026.4.1 int8, 1 thread"
    assert str(replace(CPU, threads=None)) == "cpu, openvino 2026.4.1 int8"


def test_a_record_of_another_schema_is_refused():
    with pytest.raises(InputError, match=r"^a record of schema 2; this hwkd reads schema 1: make"):
        record(schema=2)


@pytest.mark.parametrize("size", [{"width": 0}, {"height": 0}])
def test_an_image_without_pixels_is_refused(size):
    with pytest.raises(InputError, match=r"^an image has 1x1 pixels or more, got "):
        record(**size)


@pytest.mark.parametrize(
    ("is_host", "quantity", "message"),
    [
        (
            True,
            PREDICTED,
            "latency_ms of both is predicted, but the record is of the machine itself",
        ),
        (
            False,
            MEASURED,
            "latency_ms of both is measured, but the record is of a machine that was not there",
        ),
    ],
)
def test_measured_and_predicted_never_mix(is_host, quantity, message):
    entry = Entry("latency_ms", "both", "end_to_end", CPU, quantity)
    with pytest.raises(InputError) as caught:
        record(is_host=is_host, entries=(entry,))
    assert str(caught.value) == message


@pytest.mark.parametrize("is_host", [True, False])
@pytest.mark.parametrize("found", ["measured", "predicted"])
def test_what_is_unknown_may_stand_in_either_kind_of_record(is_host, found):
    entry = Entry("energy_mj", "both", "end_to_end", CPU, not_known("no sensor", found))
    assert record(is_host=is_host, entries=(entry,)).entries == (entry,)


def test_notes_on_a_unit_leave_out_the_other_units_and_the_plan():
    entries = tuple(
        Entry("latency_ms", "encode", "networks", replace(CPU, unit=unit), PREDICTED)
        for unit in ("cpu", "gpu")
    )
    notes = ("plan: a", "of all", f"{note_on('board', 'cpu')}b", f"{note_on('board', 'gpu')}c")
    of = record(is_host=False, entries=entries, notes=notes)
    assert of.notes_on({"gpu"}) == ("of all", "board, gpu: c")
    assert of.notes_on({"cpu", "gpu"}) == ("of all", "board, cpu: b", "board, gpu: c")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "latency_s"}, "name must be one of latency_ms, energy_mj, "),
        ({"side": "decoding"}, "side must be one of encode, decode, both; got 'decoding'"),
        ({"part": "all"}, "part must be one of preprocess, transform, "),
        ({"part": "layer"}, "part 'layer' and a layer's name go together, got ''"),
        ({"layer": "g_a.0"}, "part 'layer' and a layer's name go together, got 'g_a.0'"),
        ({"p95": -1.0}, "p95 must be a finite number of 0 or more, got -1.0"),
        ({"p95": math.nan}, "p95 must be a finite number of 0 or more, got nan"),
        ({"p95": math.inf}, "p95 must be a finite number of 0 or more, got inf"),
    ],
)
def test_an_entry_that_cannot_be_is_refused(fields, message):
    entry = Entry("latency_ms", "encode", "networks", CPU, MEASURED)
    with pytest.raises(InputError) as caught:
        Entry(**(vars(entry) | fields))
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Setting("", "ort", "int8"),
            "a setting names unit, runtime and precision; one of ",
        ),
        (
            lambda: Setting("cpu", "", "int8"),
            "a setting names unit, runtime and precision; one of ",
        ),
        (lambda: Setting("cpu", "ort", ""), "a setting names unit, runtime and precision; one of "),
        (lambda: Setting("cpu", "ort", "int8", 0), "threads must be 1 or more, got 0"),
        (lambda: Size(1, 1, -1, 1), "weight_bytes must be 0 or more, got -1"),
        (lambda: Macs(1, -2, 1, 1), "MACs of h_a must be 0 or more, got -2"),
        (lambda: Quality(30.0, 0.0, "a", "b"), "psnr_db and bpp must be finite and above 0, got "),
        (lambda: Quality(-1.0, 0.5, "a", "b"), "psnr_db and bpp must be finite and above 0, got "),
        (lambda: Quality(math.inf, 0.5, "a", "b"), "psnr_db and bpp must be finite and above 0"),
        (lambda: Quality(math.nan, 0.5, "a", "b"), "psnr_db and bpp must be finite and above 0"),
        (lambda: Quality(30.0, 0.5, "a", "b", 1.5), "ms_ssim must be 0 to 1, got 1.5"),
        (lambda: Quality(30.0, 0.5, "a", "b", math.nan), "ms_ssim must be 0 to 1, got nan"),
    ],
)
def test_facts_that_cannot_be_are_refused(make, message):
    with pytest.raises(InputError) as caught:
        make()
    assert str(caught.value).startswith(message)


GPU = Setting("gpu", "ncnn", "fp16")
LAYER = LayerCost("g_a.0", "g_a", "conv", 3, 8, 5, 2, 1, 12288, 8192, 600, 614400)
RECORD = Record(
    schema=1,
    target="board",
    is_host=True,
    width=768,
    height=512,
    model=ModelFacts("a", "gdn N=8", '{"family": "gdn"}', "gdn", "8 (h_s.* 6)", True, 0.025, "f00"),
    size=Size(100, 400, 100, 8),
    macs=Macs(5, 2, 3, 7, {"sqrt": 6}),
    layers=(LAYER, replace(LAYER, name="g_a.2")),
    entries=(
        Entry("latency_ms", "encode", "networks", CPU, MEASURED, p95=41.5),
        Entry("latency_ms", "encode", "layer", CPU, MEASURED, layer="g_a.0"),
        Entry("energy_mj", "both", "end_to_end", GPU, not_known("no sensor")),
        Entry("power_w", "both", "end_to_end", GPU, Quantity(0.0, "computed", "a zero is a value")),
    ),
    provenance=Provenance("2026-01-01T00:00:00Z", "hwkd profile ü", "host", {"hwkd": "0.1"}, 3),
    quality=Quality(34.5, 0.8, "Kodak", "hwkd evaluate", 0.99),
    notes=("it was busy",),
)


@pytest.fixture
def content(tmp_path):
    """RECORD as plain lists and dicts, and content.read(changed): what reading it gives."""
    write_record(tmp_path / "first.json", RECORD)
    return json.loads((tmp_path / "first.json").read_text())


@pytest.fixture
def read(tmp_path):
    """read(content): the record in a file with this content."""

    def make(content):
        path = tmp_path / "r.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return read_record(path)

    return make


def refused(read, content):
    with pytest.raises(InputError) as caught:
        read(content)
    return str(caught.value)


def test_what_is_written_is_read_back(tmp_path):
    path = tmp_path / "new" / "r.json"
    write_record(path, RECORD)
    assert read_record(path) == RECORD


def test_a_bare_record_is_read_back_too(tmp_path):
    bare = replace(RECORD, layers=(), entries=(), quality=None, notes=())
    write_record(tmp_path / "r.json", bare)
    assert read_record(tmp_path / "r.json") == bare


def test_an_entry_or_a_layer_stands_on_a_line_without_its_defaults(tmp_path):
    path = tmp_path / "r.json"
    write_record(path, RECORD)
    lines = [line.strip().rstrip(",") for line in path.read_text().splitlines()]
    entry = json.loads(next(line for line in lines if '"energy_mj"' in line))
    assert entry == {
        "name": "energy_mj",
        "side": "both",
        "part": "end_to_end",
        "setting": {"unit": "gpu", "runtime": "ncnn", "precision": "fp16"},
        "quantity": {"value": None, "found": "measured", "reason": "no sensor"},
    }
    assert sum(line.startswith('{"name": "g_a.') for line in lines) == 2


def test_another_schema_is_refused_before_its_fields_are_read(read, content, tmp_path):
    content = {"schema": 2, "another": "form"}
    assert refused(read, content) == (
        f"{tmp_path / 'r.json'} is a record of schema 2; this hwkd reads schema 1: make it again "
        "with `hwkd profile`"
    )


@pytest.mark.parametrize("content", ["{}", "[]", "3", '{"rows": []}'])
def test_other_json_is_no_record(read, content, tmp_path):
    assert refused(read, content) == (
        f"{tmp_path / 'r.json'} is no profile record (it has no schema); give a file that "
        "`hwkd profile` wrote"
    )


def test_a_file_that_is_not_json(read, tmp_path):
    message = refused(read, "{")
    assert message.startswith(f"{tmp_path / 'r.json'} is not JSON (")
    assert message.endswith("; give a file that `hwkd profile` wrote")


def test_a_file_that_is_not_there(tmp_path):
    path = tmp_path / "no.json"
    with pytest.raises(InputError) as caught:
        read_record(path)
    assert str(caught.value) == (
        f"cannot read the record {path}: No such file or directory; give a file that `hwkd profile` wrote"
    )


def with_first(content, key, value, inside=""):
    first = content["entries"][0]
    (first[inside] if inside else first)[key] = value
    return content


@pytest.mark.parametrize(
    ("key", "value", "inside", "message"),
    [
        (
            "value",
            float("nan"),
            "quantity",
            "quantity: value: got nan; a finite number is accepted",
        ),
        (
            "low",
            -1.0,
            "quantity",
            "latency_ms and its interval must be 0 or more, got -1.0",
        ),
        ("value", "40", "quantity", "quantity: value: got '40'; a number is accepted"),
        ("found", "felt", "quantity", "quantity: found must be one of counted, computed, "),
        ("runs", 0, "quantity", "quantity: a measured value needs its number of runs, got 0"),
        ("mood", 1, "quantity", "quantity: unknown key 'mood'; accepted are value, found, "),
        ("threads", 0, "setting", "setting: threads must be 1 or more, got 0"),
        ("p95", float("inf"), "", "p95: got inf; a finite number is accepted"),
        ("name", "latency_s", "", "name must be one of latency_ms, energy_mj, "),
        ("found_by", "me", "", "unknown key 'found_by'; accepted are name, side, part, "),
    ],
)
def test_a_field_that_cannot_be_is_named_with_its_place(
    read, content, tmp_path, key, value, inside, message
):
    said = refused(read, with_first(content, key, value, inside))
    assert said.startswith(f"{tmp_path / 'r.json'}: entries[0]: {message}")


def test_a_figure_without_its_value_is_refused(read, content, tmp_path):
    del content["entries"][0]["quantity"]["value"]
    assert refused(read, content) == (
        f"{tmp_path / 'r.json'}: entries[0]: quantity: value is missing; this table needs it"
    )


def test_an_unknown_key_of_the_record_is_refused(read, content):
    assert "unknown key 'colour'; accepted are schema, target, " in refused(
        read, content | {"colour": "red"}
    )


def test_a_predicted_figure_in_the_record_of_a_machine_itself_is_refused(read, content):
    message = refused(read, with_first(content, "found", "predicted", "quantity"))
    assert message.endswith(
        "latency_ms of encode is predicted, but the record is of the machine itself"
    )


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A folder of shipped profiles: board/a.json, board/b.json, other/a.json, and other people's figures."""
    folder = tmp_path / "profiles"
    for target, model in (("board", "a"), ("board", "b"), ("other", "a")):
        record = replace(RECORD, target=target, model=replace(RECORD.model, name=model))
        write_record(folder / target / f"{model}.json", record)
    (folder / "published").mkdir()
    (folder / "published" / "table.json").write_text("{}")
    monkeypatch.setattr(record_module, "data_folder", lambda name: tmp_path / name)
    # No folder called board lies where the command runs.
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return folder


def names(text):
    return [(record.target, record.model.name) for record in find_records(text)]


def test_a_target_names_all_its_records_and_with_a_model_one(shipped):
    assert names("board") == [("board", "a"), ("board", "b")]
    assert names("board/") == [("board", "a"), ("board", "b")]
    assert names("board/b") == [("board", "b")]


def test_a_file_is_read_and_a_folder_searched_without_what_others_published(shipped):
    assert names(str(shipped / "other" / "a.json")) == [("other", "a")]
    assert names(str(shipped)) == [("board", "a"), ("board", "b"), ("other", "a")]


def test_an_unknown_target_gets_its_near_matches(shipped):
    with pytest.raises(InputError) as caught:
        find_records("bord/a")
    assert str(caught.value).startswith("unknown profile 'bord': did you mean board?")
    assert str(caught.value).endswith("; or give a record's .json file, or a folder of them")


def test_an_unknown_model_gets_those_of_its_target(shipped):
    with pytest.raises(InputError) as caught:
        find_records("board/c")
    assert str(caught.value) == "unknown record of board 'c': known are a, b"


def test_what_others_published_is_no_target(shipped):
    with pytest.raises(InputError, match=r"^unknown profile 'published'"):
        find_records("published")


def test_a_json_file_that_is_not_there_is_named(shipped):
    with pytest.raises(InputError, match=r"^cannot read the record board/c\.json: No such file"):
        find_records("board/c.json")


def test_a_folder_without_records_is_refused(shipped):
    empty = shipped.parent / "empty"
    empty.mkdir()
    with pytest.raises(InputError) as caught:
        find_records(str(empty))
    assert str(caught.value) == (
        f"{empty} holds no records (.json); make some with `hwkd profile --save {empty}`"
    )


def test_a_folder_with_a_file_that_is_no_record_is_refused(shipped):
    (shipped / "board" / "z.json").write_text("{}")
    with pytest.raises(InputError, match=r"z\.json is no profile record"):
        find_records("board")
