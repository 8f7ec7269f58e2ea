import math
import tomllib
from dataclasses import FrozenInstanceError, replace

import pytest

from hwkd.errors import InputError
from hwkd.files import data_folder
from hwkd.target import (
    ALIASES,
    MARK,
    Carried,
    Constants,
    Fact,
    PeakRate,
    TimingSource,
    list_targets,
    load_target,
    write_constants,
    write_target,
)

BOARD = """
name = "board"
description = "a board"
preferred_unit = "cpu"

[idle_w]
value = 2.5
upto = 3
confidence = "S"
source = "a page"

[load_w]
unknown = "nobody measured it"

[[units]]
name = "cpu"
kind = "cpu"
model = "4x A72"
instruction_set = "NEON"

[units.cores]
value = 4
confidence = "S"
source = "a page"

[units.clock_ghz]
value = 1.5
confidence = "S"
source = "a page"

[units.bandwidth_gbs]
value = 12.8
confidence = "D"
source = "4 bytes x 3.2e9"

[units.arithmetic.fp32]
peak_gops = 48
confidence = "D"
source = "4 x 1.5 x 8"

[units.arithmetic.fp16]
none = "too old"
confidence = "M"
source = "memory"

[units.arithmetic.bf16]
none = "too old"
confidence = "M"
source = "memory"

[units.arithmetic.int8]
unknown = "no peak seen"
confidence = "S"
source = "a page"

[units.runtime]
name = "onnxruntime"
version = "1.0"
opset = 13
confidence = "S"
source = "a page"

[units.quantization]
weight_bits = 8
activations = "int8"
reason = "sums are wide"
confidence = "M"
source = "memory"
"""


@pytest.fixture
def board(tmp_path):
    """Write BOARD with one text replaced; returns its path."""

    def write(old="", new=""):
        assert old in BOARD
        path = tmp_path / "board.toml"
        path.write_text(BOARD.replace(old, new, 1) if old else BOARD)
        return str(path)

    return write


def test_a_users_own_file_becomes_a_target(board):
    target = load_target(board())
    assert (target.name, target.preferred.model, target.cpu.name) == ("board", "4x A72", "cpu")
    assert (target.idle_w.value, target.idle_w.high) == (2.5, 3.0)
    assert target.preferred.arithmetic.rate("fp32").peak_gops == 48.0
    assert target.power_modes == ()


def test_what_nobody_measured_is_none_with_the_reason(board):
    load_w = load_target(board()).load_w
    assert load_w.value is None and load_w.high is None
    assert load_w.unknown == "nobody measured it"


def test_arithmetic_without_a_known_rate_differs_from_none(board):
    arithmetic = load_target(board()).cpu.arithmetic
    assert arithmetic.int8.is_there and arithmetic.int8.peak_gops is None
    assert not arithmetic.fp16.is_there


def test_a_target_cannot_be_changed(board):
    with pytest.raises(FrozenInstanceError):
        load_target(board()).name = "other"


def test_an_unknown_name_gets_its_near_matches():
    with pytest.raises(InputError, match=r"unknown target 'jetson-nan': did you mean jetson-nano"):
        load_target("jetson-nan")


@pytest.mark.parametrize("name", ["../x", "a/b", "", "-x", "my board"])
def test_a_name_that_could_lead_elsewhere_is_refused(name):
    of = load_target("raspberry-pi-4")
    with pytest.raises(InputError, match="name must be letters, digits, dots and dashes, got"):
        replace(of, name=name)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"cannot read .*none\.toml: No such file"):
        load_target(str(tmp_path / "none.toml"))


def test_broken_toml_is_named_with_its_line(tmp_path):
    path = tmp_path / "broken.toml"
    path.write_text("name = \n")
    with pytest.raises(InputError, match=r"broken\.toml: not a TOML file in UTF-8: .*line 1"):
        load_target(str(path))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "board"\n', "", r"board\.toml: name is missing"),
        ('name = "board"', "name = 3", r"board\.toml: name: got 3; a text is accepted"),
        ('name = "board"', 'nam = "board"', r"board\.toml: unknown key 'nam'; accepted are name,"),
        ("value = 2.5", "value = true", r"idle_w: value: got True; a number is accepted"),
        ("value = 2.5", "value = nan", r"idle_w: value: got nan; a finite number is accepted"),
        ("value = 2.5", "value = 4", r"idle_w: needs 0 < value < upto, got 4.0 and 3.0"),
        ('confidence = "S"\n', "", r"idle_w: confidence must be S .*got ''"),
        ('source = "a page"', 'source = " "', r"idle_w: a fact needs a source"),
        ("[[units]]", "[units]", r"units: got \{.*; an array is accepted"),
        ("[load_w]", "[[load_w]]", r"load_w: got \[.*; a table is accepted"),
        ('kind = "cpu"', 'kind = "gpu"', r"needs a unit of kind cpu"),
        ('kind = "cpu"', 'kind = "npu"', r"units\[0\]: unknown kind of unit 'npu'"),
        ('unit = "cpu"', 'unit = "gpu"', r"unknown preferred_unit 'gpu'"),
        ('"onnxruntime"', '"ort"', r"units\[0\]: runtime: unknown runtime 'ort'"),
        ("opset = 13", "opset = 13.5", r"opset: got 13.5; a whole number is accepted"),
        ("opset = 13", "opset = 1", r"opset must be 7 to 30, got 1"),
        ("weight_bits = 8", "weight_bits = 9", r"weight_bits must be 2 to 8, got 9"),
        ("[units.arithmetic.fp16]", "[units.arithmetic.fp8]", r"unknown key 'fp8'"),
        ("peak_gops = 48", "peak_gops = 0", r"fp32: peak_gops must be > 0, got 0.0"),
        ("peak_gops = 48", "", r"fp32: needs exactly one of peak_gops, unknown and none"),
        ('unknown = "no peak seen"', 'none = "too old"', r"quantization belongs to a unit with"),
    ],
)
def test_a_malformed_file_is_refused_with_field_and_value(board, old, new, message):
    with pytest.raises(InputError, match=message) as caught:
        load_target(board(old, new))
    assert "\n" not in str(caught.value)


def test_two_units_of_one_name_are_refused(board):
    target = load_target(board())
    with pytest.raises(InputError, match="units need different names, got cpu, cpu"):
        replace(target, units=target.units * 2)


def test_a_fact_is_known_or_explained_but_not_both():
    with pytest.raises(InputError, match="either a value"):
        Fact()
    with pytest.raises(InputError, match="either a value"):
        Fact(value=1.0, unknown="why", confidence="S", source="a page")


def test_a_rate_takes_one_form():
    with pytest.raises(InputError, match="exactly one"):
        PeakRate(confidence="S", source="a page", peak_gops=1.0, none="but there is")


@pytest.mark.parametrize(
    ("alias", "name"),
    [("rpi4", "raspberry-pi-4"), ("pi5", "raspberry-pi-5"), ("Orin-NX", "jetson-orin-nx")],
)
def test_short_names_that_mean_one_target_are_taken(alias, name):
    assert load_target(alias).name == name


def test_every_alias_leads_to_a_target_and_hides_none():
    assert set(ALIASES.values()) <= set(list_targets())
    assert not set(ALIASES) & set(list_targets())


def test_a_short_name_that_may_mean_several_is_answered_with_these():
    with pytest.raises(InputError) as caught:
        load_target("orin")
    assert "did you mean jetson-agx-orin or jetson-orin-nano or jetson-orin-nx?" in str(
        caught.value
    )


def make(**fields):
    return Constants(
        **(
            {
                "unit": "cpu",
                "precision": "fp32",
                "threads": 4,
                "runtime": "ncnn",
                "device": "a board",
                "is_same_device": True,
                "source": "a table",
                "scheme": "kinds",
                "networks": 18,
                "sigma": 0.2,
                "unseen": 0.5,
                "ln_ns": {"calls": 9.0, "values": -1.0},
                "covariance": ((0.1, 0.0), (0.0, 0.2)),
            }
            | fields
        )
    )


def test_it_says_which_unit_precision_and_threads():
    assert str(make()) == "cpu fp32, 4 threads"
    assert str(make(threads=1)) == "cpu fp32, 1 thread"


def test_the_covariance_may_be_left_out():
    assert make(covariance=()).covariance == ()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"scheme": "layers"}, "scheme must be one of kinds, shapes, got 'layers'"),
        ({"ln_ns": {}, "covariance": ()}, "constants need a value for at least one term in ln_ns"),
        ({"source": " "}, "constants need the device that was timed and a source"),
        ({"device": ""}, "constants need the device that was timed and a source"),
        ({"is_same_device": False}, "a stand-in needs a note on what is alike; got an empty one"),
        ({"sigma": -0.1}, "sigma and unseen must be 0 or more, threads and networks 1 or more"),
        ({"unseen": -0.1}, "sigma and unseen must be 0 or more, threads and networks 1 or more"),
        ({"threads": 0}, "sigma and unseen must be 0 or more, threads and networks 1 or more"),
        ({"networks": 0}, "sigma and unseen must be 0 or more, threads and networks 1 or more"),
        ({"covariance": ((0.1,),)}, "covariance must have 2 rows of 2 numbers"),
        ({"covariance": ((0.1, 0.0), (0.0,))}, "covariance must have 2 rows of 2 numbers"),
        ({"ln_ns": {"calls": math.nan, "values": 1.0}}, "ln_ns must hold finite numbers"),
    ],
)
def test_what_cannot_be_is_refused(fields, message):
    with pytest.raises(InputError) as caught:
        make(**fields)
    assert str(caught.value).startswith(message)


def step(to="onnxruntime", ln_factor=0.0, sd=0.3, timings=4, how="four times"):
    return Carried(to, ln_factor, sd, timings, how)


def test_steps_multiply_and_their_spreads_add_in_quadrature():
    found = make(
        predicts="onnxruntime",
        carried=(step(ln_factor=math.log(2)), step("any machine", math.log(1.5), 0.4)),
    )
    assert math.exp(found.ln_factor) == pytest.approx(3.0)
    assert found.carried_variance == pytest.approx(0.25)
    assert found.predicted_runtime == "onnxruntime"
    assert make().predicted_runtime == "ncnn"


def test_a_step_says_where_it_leads_by_how_much_and_by_what():
    text = str(step(ln_factor=math.log(1.5), sd=math.log(1.2)))
    assert text == "to onnxruntime: times 1.50, spread 20 % (four times)"


@pytest.mark.parametrize("fields", [{"sd": -0.1}, {"timings": -1}, {"ln_factor": math.inf}])
def test_a_step_that_cannot_be_is_refused(fields):
    with pytest.raises(InputError, match="of a step must be"):
        step(**fields)


def test_a_step_needs_to_say_how_it_was_found():
    with pytest.raises(InputError, match="needs `to` and `how`"):
        step(how=" ")


CONSTANTS = Constants(
    unit="cpu",
    precision="fp32",
    threads=4,
    runtime="ncnn",
    device="a board",
    is_same_device=True,
    source='a "quoted" table',
    scheme="kinds",
    networks=18,
    sigma=0.2,
    unseen=0.0,
    ln_ns={"calls": 9.0, "values": -1e-05},
    covariance=((0.1, -2e-05), (-2e-05, 0.2)),
    coverage=0.0,
)
OTHER = replace(CONSTANTS, precision="int8", covariance=(), error_percent=12.5)


@pytest.fixture
def shipped(tmp_path):
    """A copy of a target that ships, its facts without what was derived, and the place to write to."""
    path = tmp_path / "raspberry-pi-4.toml"
    path.write_bytes((data_folder("targets") / path.name).read_bytes())
    return path, path.read_bytes().partition(MARK.encode())[0], tmp_path / "new" / path.name


def test_the_facts_stay_as_they_are_byte_for_byte(shipped):
    path, facts, into = shipped
    before = path.read_bytes()
    write_constants(path, into, (CONSTANTS, OTHER))
    assert into.read_bytes().startswith(facts + MARK.encode())
    assert path.read_bytes() == before


def test_what_was_written_is_read_back_in_place_of_what_was_there(shipped):
    path, _, into = shipped
    write_constants(path, into, (CONSTANTS, OTHER))
    target = load_target(str(into))
    assert target.constants == (CONSTANTS, OTHER)
    assert replace(target, constants=()) == replace(load_target(str(path)), constants=())


def test_written_twice_the_bytes_are_equal(shipped):
    path, _, into = shipped
    write_constants(path, into, (CONSTANTS, OTHER))
    once = into.read_bytes()
    write_constants(into, into, (CONSTANTS, OTHER))
    assert into.read_bytes() == once


def test_without_constants_only_the_facts_are_left(shipped):
    path, facts, into = shipped
    write_constants(path, into, ())
    assert into.read_bytes() == facts.rstrip(b"\n") + b"\n"


def test_a_file_without_the_mark_gets_it(shipped):
    path, facts, into = shipped
    path.write_bytes(facts)
    write_constants(path, into, (CONSTANTS,))
    assert into.read_bytes().startswith(facts + MARK.encode())
    assert load_target(str(into)).constants == (CONSTANTS,)


def test_a_row_of_the_covariance_stands_on_one_line(shipped):
    path, _, into = shipped
    write_constants(path, into, (CONSTANTS,))
    assert "\n    [0.1, -2e-05],\n    [-2e-05, 0.2],\n" in into.read_text()


def test_an_unknown_accuracy_is_left_out_and_zero_is_not(shipped):
    path, _, into = shipped
    write_constants(path, into, (CONSTANTS,))
    (written,) = tomllib.loads(into.read_text())["constants"]
    assert "error_percent" not in written and "note" not in written
    assert written["coverage"] == 0 and written["unseen"] == 0


def test_target_file_a_missing_file_is_named(tmp_path):
    path = tmp_path / "no.toml"
    with pytest.raises(InputError) as caught:
        write_constants(path, tmp_path / "into.toml", ())
    assert str(caught.value) == f"cannot read {path}: No such file or directory"
    assert not (tmp_path / "into.toml").exists()


@pytest.mark.parametrize("name", list_targets())
def test_a_whole_target_is_written_and_read_back(tmp_path, name):
    target = load_target(name)
    path = tmp_path / "mine.toml"
    write_target(path, target, "made here\nby hand")
    assert load_target(str(path)) == target
    assert path.read_text().startswith("# made here\n# by hand\nname = ")


def test_machines_of_one_chip_are_peers():
    with pytest.raises(InputError, match="one_chip must name some of the peers, got 'c', which is"):
        TimingSource("a", True, "a page", peers=("b",), one_chip=("b", "c"))
