import json
from dataclasses import replace

import pytest

from hwkd.errors import InputError
from hwkd.runtime.manifest import (
    Executed,
    ReceptiveField,
    SetFigures,
    manifest_from_json,
    manifest_to_json,
)
from hwkd.schema import read_table

AGAIN = "; export the bundle again"


@pytest.fixture
def full(manifest, parts):
    """A manifest with all its parts."""
    return replace(manifest, parts={name: "0123456789abcdef" * 4 for name in parts})


@pytest.fixture
def content(full):
    """The same as plain dicts and lists, to be changed."""
    return json.loads(manifest_to_json(full))


def refusal(content):
    text = content if isinstance(content, str | bytes) else json.dumps(content)
    with pytest.raises(InputError) as caught:
        manifest_from_json(text.encode() if isinstance(text, str) else text)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 400
    return message


def test_what_is_written_is_read_back(full):
    assert manifest_from_json(manifest_to_json(full)) == full


def test_unknown_values_are_null_and_read_back(full):
    bare = replace(
        full, lmbda=None, silent_index=None, plan=(), executed=(), provenance={}, card=None
    )
    text = manifest_to_json(bare)
    assert json.loads(text)["lmbda"] is None
    assert json.loads(text)["card"] is None
    assert manifest_from_json(text) == bare


def test_equal_manifests_make_equal_bytes_whatever_the_order_they_were_given_in(full):
    turned = replace(full, parts=dict(reversed(full.parts.items())))
    assert manifest_to_json(turned) == manifest_to_json(full)
    lines = manifest_to_json(full).decode().splitlines()
    assert lines[:2] == ["{", ' "M": 12,']


def test_a_whole_number_will_do_for_lmbda(content):
    assert manifest_from_json(json.dumps(content | {"lmbda": 1}).encode()).lmbda == 1.0


@pytest.mark.parametrize("format", [2, 1, 0, -1])
def test_an_older_format_is_named_before_its_fields_are_read(format):
    with pytest.raises(InputError) as caught:
        manifest_from_json(json.dumps({"format": format, "colour": "red"}).encode())
    assert str(caught.value) == (
        f"a bundle of format {format}, which an earlier hwkd wrote; this hwkd reads format 3: get the bundle again, or "
        "export it again"
    )


@pytest.mark.parametrize("format", [4, 10**20])
def test_a_newer_format_is_named_before_its_fields_are_read(format):
    with pytest.raises(InputError) as caught:
        manifest_from_json(json.dumps({"format": format, "colour": "red"}).encode())
    assert (
        str(caught.value) == f"a bundle of format {format}; this hwkd reads format 3: update hwkd"
    )


@pytest.mark.parametrize(
    "key",
    [
        "M",
        "Z",
        "graphs",
        "reach",
        "lmbda",
        "qualities",
        "silent_index",
        "provenance",
        "card",
        "executed",
        "largest_y",
    ],
)
def test_a_missing_field_is_named(content, key):
    del content[key]
    assert refusal(content) == f"manifest.json: {key} is missing; this table needs it{AGAIN}"


def test_a_manifest_without_hashes_is_refused(content):
    del content["parts"]
    assert refusal(content) == (
        f"manifest.json: parts: 'tables.npz' is missing; the bundle cannot be used without{AGAIN}"
    )


@pytest.mark.parametrize(
    "part", ["tables.npz", "selftest.npz", "hyper.npz", "encoder.onnx", "decoder.onnx"]
)
def test_a_part_that_is_used_and_not_listed_is_named(content, part):
    del content["parts"][part]
    assert f"parts: '{part}' is missing" in refusal(content)


def test_gains_are_listed_exactly_where_there_are_qualities(all_rates, full):
    listed = replace(all_rates, parts={**full.parts, "gains.npz": "0" * 64})
    assert manifest_from_json(manifest_to_json(listed)) == listed
    without = replace(listed, parts=full.parts)
    assert "parts: 'gains.npz' is missing" in refusal(manifest_to_json(without))
    surplus = replace(full, parts=listed.parts)
    assert refusal(manifest_to_json(surplus)) == (
        f"manifest.json: parts: 'gains.npz' is there, and a bundle of one rate has no gains{AGAIN}"
    )


NO_NAME = (
    "is no name for a part; small letters, digits, dots, dashes and underscores are accepted, and "
    "not manifest.json or manifest.sha256"
)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colour": "red"}, "unknown key 'colour'; accepted are name, family, "),
        ({"format": True}, "format: got True; a whole number is accepted"),
        ({"format": "1"}, "format: got '1'; a whole number is accepted"),
        ({"M": "12"}, "M: got '12'; a whole number is accepted"),
        ({"M": True}, "M: got True; a whole number is accepted"),
        ({"M": 12.0}, "M: got 12.0; a whole number is accepted"),
        ({"M": float("nan")}, "M: got nan; a whole number is accepted"),
        ({"M": 0}, "M must be 1 to 4096, got 0"),
        ({"Z": 4097}, "Z must be 1 to 4096, got 4097"),
        ({"act_bits": 17}, "act_bits must be 1 to 16, got 17"),
        ({"largest_y": 0}, "largest_y must be 1 to 1048575, got 0"),
        ({"largest_z": 128}, "largest_z must be 1 to 127, got 128"),
        ({"silent_index": 64}, "silent_index must be 0 to 63, got 64"),
        ({"silent_index": -1}, "silent_index must be 0 to 63, got -1"),
        ({"silent_index": False}, "silent_index: got False; a whole number is accepted"),
        ({"lmbda": float("nan")}, "lmbda: got nan; a finite number is accepted"),
        ({"lmbda": float("inf")}, "lmbda: got inf; a finite number is accepted"),
        ({"lmbda": 0}, "lmbda must be a finite number above 0, got 0.0"),
        ({"lmbda": 10**400}, "int too large to convert to float"),
        ({"qualities": [1]}, "qualities must be the lowest and the highest, 1 to 100, got [1]"),
        (
            {"qualities": [0, 9]},
            "qualities must be the lowest and the highest, 1 to 100, got [0, 9]",
        ),
        ({"qualities": [9, 101]}, "qualities must be the lowest and the highest, 1 to 100"),
        (
            {"qualities": [9, 8]},
            "qualities must be the lowest and the highest, 1 to 100, got [9, 8]",
        ),
        ({"qualities": [1.0, 9]}, "qualities[0]: got 1.0; a whole number is accepted"),
        ({"qualities": 9}, "qualities: got 9; an array is accepted"),
        ({"qualities": [1, 100]}, "lmbda must be null where there are qualities, got 0.025"),
        ({"name": ""}, "name is empty; a text is accepted"),
        ({"name": None}, "name: got None; a text is accepted"),
        ({"name": "a\nb"}, "'a\\nb' is not one line of printable text"),
        ({"target": "\x1b[2J"}, "'\\x1b[2J' is not one line of printable text"),
        ({"provenance": {"a": "\ud800"}}, "'\\ud800' is not one line of printable text"),
        ({"provenance": {"a": 1}}, "provenance.a: got 1; a text is accepted"),
        ({"provenance": {"\x1b": 1}}, "provenance.?: got 1; a text is accepted"),
        ({"plan": "All."}, "plan: got 'All.'; an array is accepted"),
        ({"plan": [1]}, "plan[0]: got 1; a text is accepted"),
        ({"graphs": []}, "graphs: got []; a table is accepted"),
        ({"graphs": {}}, "graphs.encoder is missing; each network needs a graph"),
        ({"parts": {"a": "0" * 63}}, f"parts.a: got '{'0' * 63}'; 64 hex digits are accepted"),
        ({"parts": {"a": "G" * 64}}, f"parts.a: got '{'G' * 64}'; 64 hex digits are accepted"),
        ({"parts": {"../a": "0" * 64}}, f"parts: '../a' {NO_NAME}"),
        ({"parts": {".a": "0" * 64}}, f"parts: '.a' {NO_NAME}"),
        ({"parts": {"a/b": "0" * 64}}, f"parts: 'a/b' {NO_NAME}"),
        ({"parts": {"a\n": "0" * 64}}, f"parts: 'a\\n' {NO_NAME}"),
        ({"parts": {"manifest.json": "0" * 64}}, f"parts: 'manifest.json' {NO_NAME}"),
        ({"parts": {"manifest.sha256": "0" * 64}}, f"parts: 'manifest.sha256' {NO_NAME}"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_a_field_that_cannot_be_is_named_with_what_was_received(content, changes, message):
    said = refusal(content | changes)
    assert said.startswith(f"manifest.json: {message}")
    assert said.endswith(AGAIN)


@pytest.mark.parametrize("network", ["encoder", "hyper", "decoder"])
def test_each_network_needs_a_graph(content, network):
    content["graphs"][network] = {}
    assert f"graphs.{network} is missing; each network needs a graph" in refusal(content)


def test_graphs_are_of_known_networks_and_runtimes(content):
    content["graphs"]["critic"] = {"openvino": "hyper.onnx"}
    assert "graphs must be one of encoder, hyper, decoder; got 'critic'" in refusal(content)
    del content["graphs"]["critic"]
    content["graphs"]["hyper"]["tensorrt"] = "hyper.onnx"
    assert "graphs.hyper must be one of onnxruntime, openvino; got 'tensorrt'" in refusal(content)


def test_a_graph_whose_part_is_not_listed_is_refused(content):
    content["graphs"]["hyper"]["openvino"] = "other.onnx"
    assert "parts: 'other.onnx' is missing" in refusal(content)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder_px": [64]}, "encoder_px must be two numbers, got 1"),
        ({"encoder_px": [64, 100]}, "encoder_px must be multiples of 64, got [64, 100]"),
        ({"encoder_px": [4160, 0]}, "encoder_px must be 0 to 4096, got 4160"),
        ({"encoder_px": [0, -64]}, "encoder_px must be 0 to 4096, got -64"),
        ({"hyper_z": 4097}, "hyper_z must be 0 to 4096, got 4097"),
        ({"decoder_y": -1}, "decoder_y must be 0 to 4096, got -1"),
    ],
)
def test_a_reach_outside_its_range_is_refused(content, changes, message):
    content["reach"] |= changes
    assert refusal(content) == f"manifest.json: reach: {message}{AGAIN}"


def test_the_ends_of_the_reach_are_accepted():
    assert ReceptiveField((0, 4096), 0, 4096).encoder_px == (0, 4096)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "g_a"}, "network must be one of encoder, hyper, decoder; got 'g_a'"),
        ({"runtime": ""}, "runtime is empty; a text is accepted"),
        ({"counts": {"int8": -1}}, "counts.int8 must be 0 to 2147483647, got -1"),
        ({"counts": {"int8": 1.5}}, "counts.int8: got 1.5; a whole number is accepted"),
    ],
)
def test_what_was_executed_is_checked(content, changes, message):
    content["executed"][0] |= changes
    assert refusal(content) == f"manifest.json: executed[0]: {message}{AGAIN}"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colour": "red"}, "unknown key 'colour'; accepted are data, licence, teacher, "),
        ({"hours": -0.5}, "hours must be 0 to 1000000000000, got -0.5"),
        ({"hours": float("nan")}, "hours: got nan; a finite number is accepted"),
        ({"float_steps": 1.5}, "float_steps: got 1.5; a whole number is accepted"),
        ({"seed": True}, "seed: got True; a whole number is accepted"),
        ({"licence": ""}, "licence is empty; a text is accepted"),
        ({"licence": None}, "licence: got None; a text is accepted"),
        ({"limits": "none"}, "limits: got 'none'; an array is accepted"),
        ({"figures": [{"on": "kodak"}]}, "figures[0]: images is missing; this table needs it"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_the_card_is_read_strictly(content, changes, message):
    content["card"] |= changes
    said = refusal(content)
    assert said.startswith(f"manifest.json: card: {message}")
    assert said.endswith(AGAIN)


def test_the_texts_of_the_card_are_of_one_line_too(content):
    content["card"]["figures"][0]["on"] = "ko\ndak"
    assert "'ko\\ndak' is not one line of printable text" in refusal(content)
    content["card"]["figures"] = []
    content["card"]["limits"] = ["\x1b[2J"]
    assert "'\\x1b[2J' is not one line of printable text" in refusal(content)


def test_a_node_name_is_one_printable_line_too(full):
    with pytest.raises(InputError, match="is not one line of printable text"):
        replace(full, executed=(Executed("hyper", "openvino 1", {}, ("a\rb",)),))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "not JSON: "),
        (b"{", "not JSON: "),
        (b"\xff\xfe\xfd", "not JSON: "),
        (b"[" * 100_000, "not JSON: "),
        (b'{"format": ' + b"1" * 5000 + b"}", "not JSON: "),
        (b"[]", "it has no format"),
        (b"3", "it has no format"),
        (b'{"name": "a"}', "it has no format"),
    ],
    ids=lambda value: value[:12] if isinstance(value, bytes) else "",
)
def test_what_is_no_manifest_is_refused(text, message):
    assert refusal(text).startswith(f"manifest.json: {message}")


def test_a_long_value_is_not_shown_in_full(content):
    assert "..." in refusal(content | {"M": "long" * 10_000})


@pytest.mark.parametrize("words", ["7", "8 (h_s.* 6)", "4 (g_a.0 8, h_s.* 6)"])
def test_the_bits_of_most_weights_are_the_first_number(manifest, words):
    assert replace(manifest, weight_bits=words).most_weight_bits == int(words[0])


@pytest.mark.parametrize(
    "words", ["seven", "-7", "77", "7.5", "7 h_s.* 6", "7 ()", " 7", "\u0667", "9", "1", ""]
)
def test_words_that_say_no_number_of_bits_are_refused(manifest, words):
    with pytest.raises(InputError, match="weight_bits"):
        replace(manifest, weight_bits=words)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": ""}, "data is empty; a text is accepted"),
        ({"hardware": ""}, "hardware is empty; a text is accepted"),
        ({"teacher": ""}, "teacher is empty; a text is accepted"),
        ({"recipe": ""}, "recipe is empty; a text is accepted"),
        ({"seed": -1}, "seed must be 0 to 1000000000000, got -1"),
        (
            {"quantized_steps": 10**13},
            "quantized_steps must be 0 to 1000000000000, got 10000000000000",
        ),
        ({"hours": float("nan")}, "hours must be 0 to 1000000000000, got nan"),
        ({"limits": ("One.", "")}, "limits holds an empty text; sentences are accepted"),
    ],
)
def test_a_field_that_cannot_be_is_refused(card, changes, message):
    with pytest.raises(InputError) as caught:
        replace(card, **changes)
    assert str(caught.value) == message


def test_what_is_not_known_may_be_none(card):
    bare = replace(
        card,
        **dict.fromkeys(("teacher", "start", "seed", "float_steps", "quantized_steps", "hours")),
        recipe=None,
        limits=(),
        figures=(),
    )
    assert bare.on_kodak is None


def test_a_set_is_measured_once(card):
    with pytest.raises(
        InputError, match="figures must be of different sets or qualities, got kodak, kodak"
    ):
        replace(card, figures=(card.figures[0],) * 2)


@pytest.mark.parametrize("name", ["kodak", "Kodak"])
def test_kodak_is_found_among_the_sets(card, name):
    kodak = replace(card.figures[0], on=name)
    assert replace(card, figures=(card.figures[1], kodak)).on_kodak == kodak
    assert replace(card, figures=(card.figures[1],)).on_kodak is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"on": ""}, "on is empty; a text is accepted"),
        ({"runtime": ""}, "runtime is empty; a text is accepted"),
        ({"images": 0}, "images must be 1 to 1000000000000, got 0"),
        ({"psnr_db": -1.0}, "psnr_db must be 0 to 200, got -1.0"),
        ({"psnr_db": float("inf")}, "psnr_db must be 0 to 200, got inf"),
        ({"ms_ssim": 1.01}, "ms_ssim must be 0 to 1, got 1.01"),
        ({"bpp": -0.1}, "bpp must be 0 to 1000000000000, got -0.1"),
        ({"quality": 0}, "a quality must be a whole number from 1 to 100, got 0"),
        ({"rd_loss": float("nan")}, "rd_loss must be 0 to 1000000000000, got nan"),
    ],
)
def test_figures_out_of_range_are_refused(changes, message):
    with pytest.raises(InputError) as caught:
        replace(SetFigures("kodak", 24, "onnxruntime 1", 34.0, 0.9, 0.7, 1.3), **changes)
    assert str(caught.value) == message


def test_a_set_may_be_measured_at_several_qualities(card):
    one = card.figures[0]
    several = tuple(replace(one, quality=quality) for quality in (10, 90))
    assert replace(card, figures=several).figures == several
    with pytest.raises(InputError) as caught:
        replace(card, figures=(several[0], *several))
    assert str(caught.value) == (
        "figures must be of different sets or qualities, got kodak quality 10, kodak quality 10, kodak quality 90"
    )


def test_of_several_qualities_the_nearest_to_the_default_stands_for_the_set(card):
    one = card.figures[0]
    several = tuple(replace(one, quality=quality) for quality in (10, 40, 70))
    held = replace(card, figures=several)
    assert held.on_kodak == several[1]
    assert held.on_first == several[1]
    assert replace(card, figures=()).on_first is None


def test_a_card_without_qualities_reads_as_before():
    table = {
        "on": "kodak",
        "images": 24,
        "runtime": "onnxruntime 1",
        "psnr_db": 34.0,
        "ms_ssim": None,
        "bpp": 0.7,
        "rd_loss": 1.3,
    }
    assert read_table(SetFigures, table, "card").quality is None
