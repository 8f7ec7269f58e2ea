import math
from dataclasses import replace

import pytest

from hwkd.errors import InputError
from hwkd.measure.layers import TERMS, LayerCost
from hwkd.measure.predict.target import board_power, layer_times, predicted_entries, slower_side
from hwkd.quantize.precision import plan_precision
from hwkd.target import Carried, Constants, Fact, PowerMode, list_targets, load_target

SIGMA = 0.2


def layer(name, operator):
    return LayerCost(
        name=name,
        network=name.partition(".")[0],
        operator=operator,
        c_in=8,
        c_out=8,
        kernel=5,
        stride=2,
        groups=1,
        in_values=800,
        out_values=800,
        weights=1600,
        macs=160_000,
    )


LAYERS = (
    layer("g_a.0", "conv"),
    layer("g_a.1", "gdn"),
    layer("h_a.0", "conv"),
    layer("h_s.0", "transposed"),
    layer("h_s.1", "transposed"),
    layer("g_s.0", "transposed"),
    layer("g_s.1", "gdn"),
)


def constants(unit, precision, ms, threads=4, **fields):
    """Every layer takes `ms`, whatever its work."""
    ln_ns = {term: -60.0 for term in TERMS} | {"calls": math.log(1e6 * ms)}
    return Constants(
        **(
            {
                "unit": unit,
                "precision": precision,
                "threads": threads,
                "runtime": "ncnn",
                "device": "a board",
                "is_same_device": True,
                "source": "a table",
                "scheme": "kinds",
                "networks": 18,
                "sigma": SIGMA,
                "unseen": 0.0,
                "ln_ns": ln_ns,
                "error_percent": 12.5,
            }
            | fields
        )
    )


CPU = (constants("cpu", "fp16", 3.0), constants("cpu", "int8", 1.0))
GPU = constants("gpu", "fp16", 2.0)


def target(name="jetson-orin-nano", given=(*CPU, GPU)):
    of = load_target(name)
    # Without its bandwidth nothing is said of data movement on a GPU; on these CPUs it takes no time to speak of.
    unknown = Fact(unknown="left out of these tests")
    units = tuple(replace(unit, bandwidth_gbs=unknown) for unit in of.units)
    return replace(of, constants=given, units=units)


def int8_plan(of):
    return plan_precision(of, 8, 8, family="gdn")


def latencies(entries, unit, threads=None):
    """{side: quantity} of one unit."""
    return {
        e.side: e.quantity
        for e in entries
        if (e.name, e.part, e.setting.unit) == ("latency_ms", "networks", unit)
        and (threads is None or e.setting.threads == threads)
    }


def values(entries, unit, threads=None):
    return {side: q.value for side, q in latencies(entries, unit, threads).items()}


def test_a_float_model_runs_as_a_whole_on_its_unit():
    entries, _ = predicted_entries(LAYERS, target(), None)
    # encode: g_a, h_a and h_s are 5 layers; decode: h_s and g_s are 4.
    assert values(entries, "gpu") == pytest.approx({"encode": 10.0, "decode": 8.0}, rel=1e-9)
    assert values(entries, "cpu") == pytest.approx({"encode": 15.0, "decode": 12.0}, rel=1e-9)


def test_the_networks_of_a_float_model_err_together():
    entries, _ = predicted_entries(LAYERS, target(), None)
    latency = latencies(entries, "gpu")["encode"]
    # One set of constants and one sigma for all layers: nothing averages out.
    assert latency.low == pytest.approx(10 * math.exp(-1.6449 * SIGMA), rel=1e-6)
    assert latency.high == pytest.approx(10 * math.exp(1.6449 * SIGMA), rel=1e-6)


def test_of_a_quantized_model_gdn_stays_in_float_and_the_hyper_network_on_the_cpu():
    of = target()
    entries, _ = predicted_entries(LAYERS, of, int8_plan(of))
    # encode: two convolutions in int8, GDN in float, h_s in float. decode: one, GDN, h_s.
    expected = {"encode": 2 * 1.0 + 3.0 + 2 * 3.0, "decode": 1.0 + 3.0 + 2 * 3.0}
    assert values(entries, "cpu") == pytest.approx(expected, rel=1e-9)


def test_int8_that_nobody_timed_is_between_the_float_time_and_half_of_it():
    of = target()
    entries, notes = predicted_entries(LAYERS, of, int8_plan(of))
    # The middle on a logarithmic scale is the root of a half; GDN in float on the GPU, h_s on the CPU.
    expected = 4.0 / math.sqrt(2) + 2.0 + 6.0
    assert values(entries, "gpu")["encode"] == pytest.approx(expected, rel=1e-9)
    assert 2.0 + 2.0 + 6.0 < expected < 4.0 + 2.0 + 6.0
    guessed = math.hypot(SIGMA, math.log(2) / math.sqrt(12))
    parts = ((4.0 / math.sqrt(2), guessed), (2.0, SIGMA))
    sd = (sum(ms * sd for ms, sd in parts) + 6.0 * SIGMA) / expected
    assert latencies(entries, "gpu")["encode"].high == pytest.approx(
        expected * math.exp(1.6449 * sd), rel=1e-6
    )
    assert (
        "jetson-orin-nano, gpu: nobody published int8 timings; taken between the float time and "
        "half of it." in notes
    )


def test_a_unit_without_int8_runs_a_quantized_model_in_fp16():
    of = target("jetson-nano", (constants("cpu", "fp32", 3.0), CPU[1], GPU))
    entries, notes = predicted_entries(LAYERS, of, int8_plan(of))
    # All of encoder and decoder at 2 ms a layer, h_s on the CPU at 3 ms.
    assert values(entries, "gpu") == pytest.approx({"encode": 12.0, "decode": 10.0}, rel=1e-9)
    assert {e.setting.precision for e in entries if e.setting.unit == "gpu"} == {"fp16"}
    assert {e.setting.precision for e in entries if e.setting.unit == "cpu"} == {"int8"}
    assert not any("nobody published int8" in note for note in notes)


def test_the_family_without_gdn_runs_in_int8_throughout():
    of = target()
    plan = plan_precision(of, 8, 8, family="relu")
    entries, _ = predicted_entries(LAYERS, of, plan)
    assert values(entries, "cpu")["encode"] == pytest.approx(3 * 1.0 + 2 * 3.0, rel=1e-9)


def test_each_number_of_threads_has_its_own_entries():
    single = (constants("cpu", "fp16", 9.0, threads=1), constants("cpu", "int8", 4.0, threads=1))
    of = target(given=(*CPU, GPU, *single))
    entries, _ = predicted_entries(LAYERS, of, int8_plan(of))
    assert values(entries, "cpu", 4)["encode"] == pytest.approx(11.0, rel=1e-9)
    assert values(entries, "cpu", 1)["encode"] == pytest.approx(2 * 4 + 9 + 2 * 9, rel=1e-9)
    # Beside the GPU the CPU has all its threads.
    assert values(entries, "gpu")["decode"] == pytest.approx(2 / math.sqrt(2) + 2 + 6, rel=1e-9)
    assert [e.setting.threads for e in entries if e.setting.unit == "gpu"] == [None] * 10


def test_what_was_not_timed_is_unknown_with_the_reason():
    of = target(given=(GPU,))
    entries, notes = predicted_entries(LAYERS, of, None)
    for e in entries:
        if e.setting.unit == "cpu":
            assert e.quantity.value is None
            assert e.quantity.found == "predicted"
            assert e.quantity.reason == (
                "nobody has published timings for the cpu of jetson-orin-nano, and no profile of one was given"
            )
            assert e.setting.runtime == of.cpu.runtime.name
    assert not any("cpu" in note for note in notes)
    # Without the CPU's time, a quantized model has no time on the GPU either: its entropy path runs there.
    quantized, _ = predicted_entries(LAYERS, of, int8_plan(of))
    assert set(values(quantized, "gpu").values()) == {None}


def test_notes_name_what_was_timed():
    of = target(given=(replace(CPU[0], is_same_device=False, note="the same cores"), GPU))
    _, notes = predicted_entries(LAYERS, of, None)
    assert notes == (
        "jetson-orin-nano, gpu: for ncnn, fitted on 18 networks that ncnn ran on a board, median error 12.5 % there.",
        "jetson-orin-nano, cpu: for ncnn, fitted on 18 networks that ncnn ran on a board, median error 12.5 % there.",
        "jetson-orin-nano, cpu: a board is a stand-in (the same cores).",
    )


def test_notes_name_the_constants_that_the_arithmetic_is_predicted_with():
    int8_step = Carried("onnxruntime", math.log(2), 0.3, 2, "two times in int8")
    float_step = Carried("onnxruntime", math.log(3), 0.3, 2, "two times in float")
    timed_int8 = replace(CPU[1], networks=7, device="a board in int8", carried=(int8_step,))
    of = target(given=(replace(CPU[0], carried=(float_step,)), timed_int8, GPU))
    cpu = "jetson-orin-nano, cpu: "
    in_int8 = (
        f"{cpu}for ncnn in int8, fitted on 7 networks that ncnn ran on a board in int8, median error 12.5 % there.",
        f"{cpu}int8 times carried over, all of it in the interval, {int8_step}.",
    )
    in_float = (
        f"{cpu}for ncnn in float, fitted on 18 networks that ncnn ran on a board, median error 12.5 % there.",
        f"{cpu}float times carried over, all of it in the interval, {float_step}.",
    )
    _, notes = predicted_entries(LAYERS, of, int8_plan(of))
    # h_s and GDN run in float there.
    assert tuple(n for n in notes if n.startswith(cpu)) == (*in_int8, *in_float)
    # A model in float has nothing to do with the constants for int8.
    _, notes = predicted_entries(LAYERS, of, None)
    on_cpu = tuple(n for n in notes if n.startswith(cpu))
    assert on_cpu == (in_float[0].replace(" in float", ""), in_float[1])


@pytest.mark.parametrize(
    ("name", "value_w", "low_w", "high_w"),
    [
        ("raspberry-pi-4", 5.7, 4.7, 6.7),
        ("raspberry-pi-5", 9.35, 8.9, 9.8),
        ("jetson-nano", 7.5, 5.0, 10.0),
        ("jetson-agx-orin", 44.0, 41.0, 47.0),
    ],
)
def test_the_boards_power_is_a_range(name, value_w, low_w, high_w):
    target = load_target(name)
    power = board_power(target, target.preferred)
    assert (power.value_w, power.low_w, power.high_w) == pytest.approx((value_w, low_w, high_w))


def test_power_modes_are_told_to_be_no_measured_figure():
    assert "between the budgets of its smallest and its set mode, 5 and 10 W" in (
        board_power(load_target("jetson-nano"), load_target("jetson-nano").preferred).how
    )


def test_the_only_power_mode_is_the_power():
    of = replace(load_target("jetson-nano"), power_modes=(PowerMode("MAXN", 10, "S", "a page"),))
    power = board_power(of, of.preferred)
    assert (power.value_w, power.low_w, power.high_w) == (10, 10, 10)


def test_energy_is_time_at_the_boards_power_and_both_are_uncertain():
    of = target("jetson-nano", (GPU,))
    entries, _ = predicted_entries(LAYERS, of, None)
    (energy,) = (
        e.quantity
        for e in entries
        if (e.name, e.side, e.setting.unit) == ("energy_mj", "encode", "gpu")
    )
    # 10 ms at 5 to 10 W.
    assert energy.value == pytest.approx(75.0, rel=1e-9)
    sd = math.hypot(SIGMA, 5 / math.sqrt(12) / 7.5)
    assert energy.low == pytest.approx(75 * math.exp(-1.6449 * sd), rel=1e-6)
    assert energy.high == pytest.approx(75 * math.exp(1.6449 * sd), rel=1e-6)
    assert energy.level == 0.9
    assert energy.by.startswith("jetson-nano.toml, ncnn: predicted time x a power between the ")
    assert energy.by.endswith("idle included")


def test_energy_without_a_known_power_is_unknown_and_the_time_is_not():
    entries, _ = predicted_entries(LAYERS, load_target("arm-server"), None)
    for e in entries:
        if e.name == "energy_mj":
            assert e.quantity.value is None
            assert e.quantity.reason == (
                "the power of arm-server under load is unknown: a class of machines, not one; "
                "cloud instances show no power sensor"
            )
        else:
            assert e.quantity.value > 0


@pytest.mark.parametrize("name", ["jetson-agx-orin", "jetson-xavier-nx"])
def test_nobody_timed_a_dla(name):
    entries, _ = predicted_entries(LAYERS, load_target(name), None)
    of_dla = [e for e in entries if e.setting.unit == "dla"]
    assert {(e.name, e.side) for e in of_dla} == {
        (figure, side) for figure in ("latency_ms", "energy_mj") for side in ("encode", "decode")
    }
    reason = f"nobody has published timings for the dla of {name}, and no profile of one was given"
    assert {e.quantity.reason for e in of_dla} == {reason}


@pytest.mark.parametrize("name", list_targets())
@pytest.mark.parametrize("is_quantized", [False, True])
def test_every_unit_of_a_shipped_target_has_entries_the_preferred_one_first(name, is_quantized):
    of = load_target(name)
    entries, _ = predicted_entries(LAYERS, of, int8_plan(of) if is_quantized else None)
    units = [e.setting.unit for e in entries]
    assert units[0] == of.preferred_unit
    assert set(units) == {unit.name for unit in of.units}
    keys = [(e.name, e.side, e.part, e.setting) for e in entries]
    assert len(set(keys)) == len(keys)
    assert {e.part for e in entries} == (
        {"networks", "entropy", "end_to_end"} if is_quantized else {"networks"}
    )
    for e in entries:
        assert e.quantity.found == "predicted"
        if e.quantity.value is not None:
            assert 0 < e.quantity.low < e.quantity.value < e.quantity.high


def times_of(layers, of, plan, entry):
    return [time.ms for time in layer_times(layers, of, plan, entry.setting)]


def test_each_layer_of_a_float_model_takes_what_its_unit_takes():
    of = target()
    entries, _ = predicted_entries(LAYERS, of, None)
    assert times_of(LAYERS, of, None, entries[0]) == pytest.approx([2.0] * 7, rel=1e-9)


def test_each_layer_of_a_quantized_model_takes_what_its_precision_takes():
    of = target()
    plan = int8_plan(of)
    entries, _ = predicted_entries(LAYERS, of, plan)
    guessed = 2.0 / math.sqrt(2)
    expected = {
        # GDN in float; h_s on the CPU, in integers held in float.
        "gpu": [guessed, 2.0, guessed, 3.0, 3.0, guessed, 2.0],
        "cpu": [1.0, 3.0, 1.0, 3.0, 3.0, 1.0, 3.0],
    }
    for entry in entries:
        times = times_of(LAYERS, of, plan, entry)
        assert times == pytest.approx(expected[entry.setting.unit], rel=1e-9)


@pytest.mark.parametrize("name", list_targets())
@pytest.mark.parametrize("is_quantized", [False, True])
def test_layers_sum_to_the_latency_of_the_networks(name, is_quantized):
    of = load_target(name)
    plan = int8_plan(of) if is_quantized else None
    entries, _ = predicted_entries(LAYERS, of, plan)
    networks = {"encode": ("g_a", "h_a", "h_s"), "decode": ("h_s", "g_s")}
    for entry in entries:
        if (entry.name, entry.part) != ("latency_ms", "networks"):
            continue
        layers = [layer for layer in LAYERS if layer.network in networks[entry.side]]
        if entry.quantity.value is None:
            assert layer_times(layers, of, plan, entry.setting) == entry.quantity.reason
        else:
            total = sum(times_of(layers, of, plan, entry))
            assert total == pytest.approx(entry.quantity.value, rel=1e-9)


def test_end_to_end_is_the_networks_and_the_coder_one_after_the_other():
    of = load_target("raspberry-pi-4")
    entries, _ = predicted_entries(LAYERS, of, int8_plan(of))
    for side in ("encode", "decode"):
        parts = {
            e.part: e.quantity.value
            for e in entries
            if (e.name, e.side, e.setting.threads) == ("latency_ms", side, 4)
        }
        assert parts["end_to_end"] == pytest.approx(parts["networks"] + parts["entropy"], rel=1e-9)


def test_of_a_model_that_nothing_codes_with_only_the_networks_are_predicted():
    entries, _ = predicted_entries(LAYERS, load_target("raspberry-pi-4"), None)
    assert {e.part for e in entries} == {"networks"}


def test_a_prediction_names_the_runtime_it_holds_for():
    carried = Carried("onnxruntime", math.log(1.5), 0.3, 2, "two published times")
    given = tuple(replace(c, predicts="onnxruntime", carried=(carried,)) for c in CPU)
    of = target(given=given)
    entries, notes = predicted_entries(LAYERS, of, None)
    on_cpu = [e for e in entries if e.setting.unit == "cpu"]
    assert {e.setting.runtime for e in on_cpu} == {"onnxruntime"}
    assert {e.quantity.by for e in on_cpu if e.name == "latency_ms"} == {
        "jetson-orin-nano.toml, onnxruntime"
    }
    (latency,) = (e.quantity for e in on_cpu if (e.name, e.side) == ("latency_ms", "encode"))
    # Five layers of 3 ms times 1.5; the spread of runtimes beside that of the fit.
    assert latency.value == pytest.approx(22.5, rel=1e-9)
    sd = math.hypot(SIGMA, 0.3)
    assert latency.high == pytest.approx(22.5 * math.exp(1.6449 * sd), rel=1e-6)
    assert any(
        "float times carried over, all of it in the interval, to onnxruntime: times 1.50, spread 35 %"
        in note
        for note in notes
    )


def layer_slower_side(name: str, macs: int) -> LayerCost:
    return LayerCost(
        name=name,
        network=name.partition(".")[0],
        operator="conv",
        c_in=64,
        c_out=64,
        kernel=3,
        stride=1,
        groups=1,
        in_values=10**6,
        out_values=10**6,
        weights=10**4,
        macs=macs,
    )


def layers(encoder: int, decoder: int) -> tuple[LayerCost, ...]:
    return (
        layer_slower_side("g_a.0", encoder),
        layer_slower_side("h_s.0", 10**6),
        layer_slower_side("g_s.0", decoder),
    )


@pytest.mark.parametrize(
    ("encoder", "decoder", "side"), [(10**9, 10**7, "encode"), (10**7, 10**9, "decode")]
)
def test_it_is_the_side_that_takes_longer(encoder: int, decoder: int, side: str) -> None:
    target = load_target("raspberry-pi-4")
    plan = plan_precision(target, 8, 8, family="patch")
    entry = slower_side(layers(encoder, decoder), target, plan)
    assert (entry.name, entry.side, entry.setting.unit) == ("latency_ms", side, "cpu")
    times = [
        e.quantity.value
        for e in predicted_entries(layers(encoder, decoder), target, plan)[0]
        if (e.name, e.part, e.setting) == ("latency_ms", "networks", entry.setting)
    ]
    assert entry.quantity.value == max(times)


@pytest.mark.parametrize("name", list_targets())
def test_bits_of_weights_change_no_latency_on_any_target(name: str) -> None:
    target = load_target(name)
    work = layers(10**9, 10**9)
    eight, two = (plan_precision(target, bits, 8, family="patch") for bits in (8, 2))
    assert slower_side(work, target, eight).quantity == slower_side(work, target, two).quantity


def test_a_target_that_nobody_timed_says_so() -> None:
    target = replace(load_target("raspberry-pi-4"), constants=())
    plan = plan_precision(target, 8, 8, family="patch")
    with pytest.raises(InputError, match="no latency on raspberry-pi-4 can be predicted: nobody"):
        slower_side(layers(10**9, 10**9), target, plan)
