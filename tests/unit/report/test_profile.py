from dataclasses import replace

import pytest

from hwkd.measure.layers import LayerCost
from hwkd.measure.record import Entry, Macs, Setting, note_on
from hwkd.quantity import not_known
from hwkd.report.profile import cost_table, layer_table, size_table, stage_table

EAGER = Setting("cpu", "torch 2.13.0 eager", "fp32", 1)
EAGER_2 = Setting("cpu", "torch 2.13.0 eager", "fp32", 2)
ONNX = Setting("cpu", "onnxruntime 1.32.0", "fp32", 1)
GPU = Setting("gpu", "ncnn", "fp16")
CPU = Setting("cpu", "ncnn", "fp32", 4)
SIDES = ("encode", "decode")


def unknown(name, side, reason, part="networks", setting=EAGER):
    return Entry(name, side, part, setting, not_known(reason))


def rows(table):
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def costs(*records, is_every_setting=False):
    table = cost_table(records, is_every_setting=is_every_setting)
    return rows(table), table.notes


def notes_on_unknown(notes):
    return [note for note in notes if note.startswith("n/a: ")]


@pytest.fixture
def both(figure):
    """both(setting, part="networks", name="latency_ms", encode=10, decode=20, **fields): an entry for each side."""

    def make(
        setting, part="networks", name="latency_ms", encode: float = 10, decode: float = 20, **f
    ):
        return (
            figure(name, "encode", encode, part, setting, **f),
            figure(name, "decode", decode, part, setting, **f),
        )

    return make


@pytest.fixture
def host(make_record, both):
    """Two numbers of threads in eager torch, and ONNX Runtime; energy of the main setting."""
    entries = (
        *both(EAGER, encode=1, decode=2),
        *both(EAGER, "end_to_end", encode=3, decode=4),
        *both(ONNX, encode=5, decode=6),
        *both(EAGER_2, encode=0.5, decode=0.6),
        *both(EAGER_2, "end_to_end", encode=0.7, decode=0.8),
        *both(EAGER, "end_to_end", "energy_mj", encode=30, decode=40),
    )
    return make_record(target="this-machine", entries=entries)


def test_sizes_are_in_millions_and_mib_and_macs_in_billions(make_record):
    (row,) = rows(size_table([make_record("teacher")]))
    # Of the fixture: 2 million parameters, 7, 2 and 1 MiB; 20, 1, 3 and 16 GMAC at a megapixel.
    assert row["parameters_m"] == "2.00"
    assert (row["fp32_mib"], row["weight_mib"], row["buffers_mib"]) == ("7.00", "2.00", "1.00")
    assert (row["encode_gmacs"], row["decode_gmacs"]) == ("24.00", "19.00")
    assert (row["total_gmacs"], row["kmac_per_pixel"]) == ("40.00", "40.00")
    assert (row["psnr_db"], row["bpp"], row["weight_bits"]) == ("34.50", "0.800", "8")


def test_a_model_stands_once_whatever_its_targets(make_record):
    records = [
        make_record("a"),
        make_record("a", target="another", is_host=False, entries=()),
        make_record("b"),
    ]
    assert [row["model"] for row in rows(size_table(records))] == ["a", "b"]


def test_what_is_not_counted_and_not_known_is_told(make_record):
    trained = make_record("trained", quality=None)
    bare = make_record("bare", quality=None, macs=Macs(1, 1, 1, 1))
    bare = replace(bare, model=replace(bare.model, is_trained=False))
    table = size_table([trained, bare])
    assert [row["psnr_db"] for row in rows(table)] == ["n/a", "n/a"]
    assert table.notes[:3] == (
        "Not counted in trained: sqrt x6.",
        "psnr_db and bpp of trained are n/a: it was not evaluated.",
        "psnr_db and bpp of bare are n/a: it has no trained weights.",
    )


def test_quality_says_of_which_images_it_is(make_record):
    assert (
        "psnr_db and bpp of teacher: Kodak, by hwkd evaluate." in size_table([make_record()]).notes
    )


def test_marks_tell_measured_estimated_and_predicted(make_record, both):
    measured = make_record(entries=both(EAGER))
    energy = both(EAGER, name="energy_mj", found="estimated")
    estimated = make_record(entries=(*both(EAGER), *energy))
    predicted = make_record(is_host=False, entries=both(CPU, found="predicted"))
    found, notes = costs(measured, estimated, predicted)
    assert [row["encode_ms"] for row in found] == ["10.0", "10.0", "^10.0"]
    assert [row["encode_mj"] for row in found] == ["n/a", "~10.0", "n/a"]
    assert "^ predicted from the target's file, ~ estimated" in notes[0]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.01234, "0.0123"),
        (1.234, "1.23"),
        (12.34, "12.3"),
        (123.4, "123"),
        (12345, "12,345"),
    ],
)
def test_figures_have_three_digits(make_record, both, value, text):
    found, _ = costs(make_record(entries=both(EAGER, encode=value)))
    assert found[0]["encode_ms"] == text


def test_an_interval_stands_behind_its_figure(make_record, both):
    entries = both(EAGER, encode=10, decode=10, low=9.0, high=12.0)
    found, _ = costs(make_record(entries=entries))
    assert found[0]["decode_ms"] == "10.0 [9.00, 12.0]"


def test_a_row_is_of_the_whole_way_where_both_sides_have_it(host):
    found, _ = costs(host)
    assert found[0] == {
        "model": "teacher",
        "target": "this-machine",
        "setting": "cpu, torch 2.13.0 eager fp32, 1 thread",
        "part": "end_to_end",
        "encode_ms": "3.00",
        "decode_ms": "4.00",
        "encode_mj": "30.0",
        "decode_mj": "40.0",
    }
    # Its networks alone stand below, to be held against those of the other runtime.
    of = [(row["setting"], row["part"], row["encode_ms"], row["encode_mj"]) for row in found]
    assert of == [
        (str(EAGER), "end_to_end", "3.00", "30.0"),
        (str(EAGER), "networks", "1.00", "n/a"),
        (str(ONNX), "networks", "5.00", "n/a"),
    ]


def test_a_row_never_mixes_the_whole_way_with_networks(make_record, both, figure):
    whole = (
        figure("latency_ms", "encode", 30, "end_to_end", EAGER),
        unknown("latency_ms", "decode", "the coder failed", "end_to_end"),
    )
    energies = both(EAGER, "end_to_end", "energy_mj", 300, 400)
    found, notes = costs(make_record(entries=(*both(EAGER), *whole, *energies)))
    assert [(row["part"], row["encode_ms"], row["decode_ms"]) for row in found] == [
        ("networks", "10.0", "20.0")
    ]
    # That energy is of the whole way, so that it has no place in this row.
    assert (found[0]["encode_mj"], found[0]["decode_mj"]) == ("n/a", "n/a")
    assert notes_on_unknown(notes) == [
        "n/a: energy_mj of part networks in torch 2.13.0 eager on board: not measured."
    ]


def test_every_unknown_has_its_reason_below(make_record, both):
    reason = "nobody has published timings for the cpu of board"
    entries = tuple(
        unknown(name, side, reason) for name in ("latency_ms", "energy_mj") for side in SIDES
    )
    found, notes = costs(make_record(is_host=False, entries=entries))
    assert [found[0][f"{side}_{unit}"] for side in SIDES for unit in ("ms", "mj")] == ["n/a"] * 4
    assert notes_on_unknown(notes) == [f"n/a: latency_ms on board, energy_mj on board: {reason}."]


def test_what_was_not_measured_in_a_setting_is_told(host):
    _, notes = costs(host)
    assert notes_on_unknown(notes) == [
        "n/a: energy_mj of part networks in torch 2.13.0 eager on this-machine, "
        "energy_mj of part networks in onnxruntime 1.32.0 on this-machine: not measured."
    ]


def test_the_main_number_of_threads_stands_alone_unless_every_setting_is_asked_for(host):
    settings = dict.fromkeys(row["setting"] for row in costs(host)[0])
    assert list(settings) == [str(EAGER), str(ONNX)]
    every = dict.fromkeys(row["setting"] for row in costs(host, is_every_setting=True)[0])
    assert list(every) == [str(EAGER), str(ONNX), str(EAGER_2)]


def test_of_a_target_the_first_setting_stands_alone_unless_every_one_is_asked_for(
    make_record, both
):
    entries = (*both(GPU, found="predicted"), *both(CPU, found="predicted"))
    record = make_record(is_host=False, entries=entries)
    assert [row["setting"] for row in costs(record)[0]] == ["gpu, ncnn fp16"]
    every = costs(record, is_every_setting=True)[0]
    assert [row["setting"] for row in every] == ["gpu, ncnn fp16", "cpu, ncnn fp32, 4 threads"]


def test_notes_are_those_of_the_units_shown_without_the_plan(make_record, both):
    on_gpu, on_cpu = (f"{note_on('board', unit)}fitted." for unit in ("gpu", "cpu"))
    record = make_record(
        is_host=False,
        entries=(*both(GPU, found="predicted"), *both(CPU, found="predicted")),
        notes=("A busy machine.", on_gpu, on_cpu, "plan: encoder on gpu: fp16."),
    )
    _, notes = costs(record, record)
    assert notes[-2:] == ("A busy machine.", on_gpu)
    _, notes = costs(record, is_every_setting=True)
    assert notes[-3:] == ("A busy machine.", on_gpu, on_cpu)


def test_energy_says_what_found_it(host):
    assert "Energy on this-machine: the clock." in costs(host)[1]


def test_stages_have_a_row_each_and_settings_a_column_each(make_record, figure):
    entry = replace(figure("latency_ms", "encode", 2.0, "transform", EAGER), p95=2.5)
    entries = (
        entry,
        figure("latency_ms", "encode", 5.0, "networks", EAGER),
        figure("latency_ms", "encode", 4.0, "networks", ONNX),
        Entry("latency_ms", "both", "layer", EAGER, entry.quantity, layer="h_s.0"),
    )
    table = stage_table(make_record(entries=entries))
    assert table.title == "teacher on board: milliseconds by stage"
    assert table.columns == ("side", "part", str(EAGER), str(ONNX))
    assert table.rows == (
        ("encode", "transform", "2.00 p95 2.50", ""),
        ("encode", "networks", "5.00", "4.00"),
    )


def test_the_runs_told_are_those_of_the_stages(make_record, figure):
    stage = figure("latency_ms", "encode", 2.0, "transform", EAGER)
    other = replace(stage, part="hyper", quantity=replace(stage.quantity, runs=6))
    layer = replace(stage, part="layer", layer="g_a.0", quantity=replace(stage.quantity, runs=10))
    energy = figure("energy_mj", "encode", 3.0, "networks", EAGER)
    energy = replace(energy, quantity=replace(energy.quantity, runs=3))
    notes = stage_table(make_record(entries=(stage, other, layer, energy))).notes
    assert notes[0] == "Median [95 % interval of the median] p95, of 6, 30 runs."


def test_stages_that_are_not_known_have_their_reason_below(make_record, figure):
    entries = (
        figure("latency_ms", "encode", 2.0, "networks", EAGER),
        unknown("latency_ms", "encode", "untrained", "entropy"),
        unknown("latency_ms", "decode", "untrained", "end_to_end"),
    )
    table = stage_table(make_record(entries=entries))
    assert [row[2] for row in table.rows] == ["2.00", "n/a", "n/a"]
    assert notes_on_unknown(table.notes) == ["n/a: encode entropy, decode end_to_end: untrained."]


def test_memory_and_emissions_stand_below_the_stages(make_record, figure):
    entries = (
        figure("latency_ms", "encode", 2.0, "networks", EAGER),
        figure("peak_mib", "encode", 456.0, "networks", EAGER),
        unknown("growth_mib_per_mpx", "encode", "the peak does not grow"),
        figure("emissions_g_per_1000", "encode", 1.5, "networks", EAGER, found="estimated"),
    )
    notes = stage_table(make_record(entries=entries)).notes
    assert notes[1:] == (
        "Host: host.",
        "encode: peak_mib 456 (the clock).",
        "encode: growth_mib_per_mpx n/a (the peak does not grow).",
        "encode: emissions_g_per_1000 ~1.50 (codecarbon).",
    )


@pytest.fixture
def layers():
    return tuple(
        LayerCost(name, "g_a", "conv", 3, 8, 5, 2, 1, 3_000, 8_000, 600, 1_250_000)
        for name in ("g_a.0", "g_a.2")
    )


def test_layers_have_a_row_each(make_record, layers):
    table = layer_table(make_record(entries=(), layers=layers, is_host=False))
    assert table.title == "teacher: layers"
    assert table.rows[0] == (*("g_a.0", "conv", "3 to 8", "5 / 2", "1.25", "600", "8,000", "n/a"),)
    assert table.notes == ("latency_ms: n/a, not measured here.",)


def test_layer_times_are_those_of_the_main_setting(make_record, layers, figure):
    quantity = figure("latency_ms", "encode", 5.0).quantity

    def timed(name, setting, ms):
        return Entry(
            "latency_ms",
            "encode",
            "layer",
            setting,
            replace(quantity, value=ms),
            layer=name,
        )

    entries = (
        timed("g_a.0", EAGER, 5.0),
        timed("g_a.rest", EAGER, 1.0),
        timed("g_a.0", EAGER_2, 3.0),
        timed("g_a.2", EAGER_2, 3.0),
    )
    table = layer_table(make_record(entries=entries, layers=layers))
    assert [row["latency_ms"] for row in rows(table)] == ["5.00", "n/a"]
    assert table.notes == (f"latency_ms: {EAGER}.",)
