import json
import math
from dataclasses import replace

import numpy as np
import pytest

from hwkd.errors import InputError
from hwkd.files import data_folder
from hwkd.measure.layers import LayerCost
from hwkd.measure.predict.derive import check
from hwkd.measure.predict.fit import Prediction, predict
from hwkd.measure.predict.other_runtimes import (
    APART,
    SHIPPED,
    OtherTiming,
    Residual,
    arithmetic_class,
    base_prediction,
    pooled_table,
    read_other,
    residuals,
)
from hwkd.measure.predict.runtime_steps import (
    FEWEST_SD,
    VERSION_SD,
    Evidence,
    Moments,
    grouped,
    step,
)
from hwkd.target import ANY_OF_CLASS, Carried, load_target

OF = "Arm, fp16 in ncnn"


def row(
    runtime="TFLite", device="board", network="a", ms=1.0, precision="fp32", note="", threads=4
):
    return OtherTiming(
        device, "cpu", (network, 8, 8), precision, runtime, threads, ms, "a page", note
    )


def residual(ln_ratio, of=OF, sd=0.1, sigma=0.1, **fields):
    return Residual(row(**fields), of, ln_ratio, Prediction(1.0, sd, 0.0), sigma)


def many(runtime, mean, device="board", n=8, spread=0.05, sd=0.1):
    """Eight networks about `mean`, half of them above."""
    return [
        residual(mean + spread * (-1) ** i, sd=sd, runtime=runtime, device=device, network=f"n{i}")
        for i in range(n)
    ]


def test_every_shipped_row_has_its_source_and_a_target_of_ours():
    rows = read_other()
    assert len(rows) > 300
    assert all(r.source for r in rows)
    for device in {r.device for r in rows}:
        assert load_target(device).name == device
    # 52 runs, of 14 networks, with the watts of MLPerf's power logs.
    raw = json.loads((data_folder("profiles") / SHIPPED).read_text(encoding="utf-8"))["rows"]
    assert sum("watts" in r and r["device"] == "raspberry-pi-4" for r in raw) == 52


def test_a_runtime_goes_by_its_name_without_a_version():
    assert row("TFLite 2.7.1 (ruy)").family == "TFLite"
    assert row("ONNX Runtime 1.12.1").family == "onnxruntime"
    assert row("TensorRT").family == "tensorrt"


def test_only_a_runtime_that_takes_one_thread_by_default_leaves_their_number_open():
    assert row("TFLite", note="threads not stated").are_threads_unknown
    assert not row("ONNX Runtime", note="threads not stated").are_threads_unknown
    assert not row("TFLite").are_threads_unknown


def test_what_ran_otherwise_is_set_apart():
    assert row(note="some layers seem not to be quantized").is_apart
    assert not row(note="threads not stated").is_apart


def test_a_time_that_cannot_be_is_refused():
    with pytest.raises(InputError, match="above 0 ms"):
        row(ms=0.0)


def test_classes_tell_instruction_sets_and_what_ncnn_computes_in():
    found = {
        (name, is_int8): arithmetic_class(load_target(name).cpu, is_int8)
        for name in ("x86-vnni", "raspberry-pi-4", "raspberry-pi-5", "jetson-xavier-nx")
        for is_int8 in (False, True)
    }
    assert found["x86-vnni", False] == "x86 float"
    assert found["raspberry-pi-4", False] == "Arm, fp32 in ncnn"
    assert found["raspberry-pi-4", True] == "Arm int8 without dot product"
    assert found["raspberry-pi-5", False] == "Arm, fp16 in ncnn"
    assert found["raspberry-pi-5", True] == "Arm int8 with dot product"
    assert found["jetson-xavier-nx", True] == "Arm int8 without dot product"


def test_the_runtime_of_the_constants_needs_no_step_but_for_versions():
    own = step(many("TFLite", 0.5), OF, "ncnn", "ncnn")
    assert (own.to, own.ln_factor, own.sd, own.timings) == ("ncnn", 0.0, VERSION_SD, 0)


def test_many_times_on_the_board_itself_decide():
    found = [*many("TFLite", 0.5), *many("ArmNN", -0.1), *many("MNN", 0.1)]
    own = step(found, OF, "TFLite", "ncnn", "board")
    # Another version on another day may differ, so that even eight times are not taken at their word.
    assert 0.35 < own.ln_factor < 0.5
    assert own.timings == 8
    elsewhere = step(found, OF, "TFLite", "ncnn", "another")
    assert 0.2 < elsewhere.ln_factor < 0.5
    assert elsewhere.ln_factor < own.ln_factor


def test_a_runtime_nobody_timed_is_the_mean_of_those_timed_with_all_their_spread():
    found = [*many("TFLite", 0.6), *many("ArmNN", 0.0)]
    unseen = step(found, OF, "onnxruntime", "ncnn", "board")
    # ncnn itself, at 0, is one of three.
    assert unseen.ln_factor == pytest.approx(0.2)
    assert unseen.timings == 0
    between = float(np.std([0.0, 0.6, 0.0], ddof=1))
    assert unseen.sd == pytest.approx(between, rel=0.2)


def test_a_class_nobody_timed_keeps_the_constants_and_the_distance_seen_elsewhere():
    found = [*many("TFLite", 0.6), *many("ArmNN", -0.2)]
    far = step(found, "x86 int8", "openvino", "ncnn")
    assert far.ln_factor == 0.0
    assert far.sd == pytest.approx(math.sqrt((0.6**2 + 0.2**2) / 2))
    assert step([], "x86 int8", "openvino", "ncnn").sd == pytest.approx(0.4)


def test_the_same_peoples_ncnn_takes_out_what_is_the_boards():
    """A board at other clocks: all of it is 0.7 faster, TFLite among them."""
    found = [*many("TFLite", 0.5 - 0.7), *many("ncnn", -0.7)]
    assert step(found, OF, "TFLite", "ncnn", "board").ln_factor == pytest.approx(0.5, abs=0.1)


def test_networks_that_differ_widen_the_step():
    narrow = step(many("TFLite", 0.5), OF, "TFLite", "ncnn", "board")
    wide = step(many("TFLite", 0.5, spread=0.6), OF, "TFLite", "ncnn", "board")
    assert wide.sd > 0.55 > narrow.sd


def test_a_step_on_the_board_itself_by_hand():
    """One board, one runtime, eight times at 0.5: what normal distributions give."""
    own = step(many("TFLite", 0.5), OF, "TFLite", "ncnn", "board")
    version2, board2 = VERSION_SD**2, FEWEST_SD**2
    within2 = 0.05**2 * 8 / 7
    of_mean2 = within2 / 8
    # Of runtimes, at 0 and at 0.5, which is known to this variance: 0.5^2 / (2 tau^2 + variance) is 1.
    tau2 = (0.5**2 - (version2 + board2 + of_mean2)) / 2
    prior2, noise2 = tau2 + board2, of_mean2 + version2
    # The means of runtimes are 0, which is ncnn's, and 0.5.
    assert own.ln_factor == pytest.approx(0.25 + 0.25 * prior2 / (prior2 + noise2))
    # One more network, of which the constants allow for 0.1, on another day.
    left2, network2 = prior2 * noise2 / (prior2 + noise2), within2 * 10 / 8
    assert own.sd == pytest.approx(math.sqrt(version2 + left2 + network2 - 0.1**2))


def test_what_the_constants_are_off_by_on_a_board_is_not_counted_again_in_the_step():
    """The same times: with constants that are less sure of themselves, the prediction as a whole is not surer, and the step
    is not wider."""
    sure = step(many("TFLite", 0.5, spread=0.3), OF, "TFLite", "ncnn", "board")
    unsure = step(many("TFLite", 0.5, spread=0.3, sd=0.3), OF, "TFLite", "ncnn", "board")
    assert unsure.sd < sure.sd
    assert math.hypot(unsure.sd, 0.3) >= math.hypot(sure.sd, 0.1)


def test_boards_whose_constants_are_off_do_not_make_runtimes_differ():
    """Two boards 0.8 apart: as far as their constants say they may be off, it is theirs."""
    apart = [(0.1, "one"), (0.9, "two")]
    exact = [r for mean, device in apart for r in many("TFLite", mean, device)]
    unsure = [r for mean, device in apart for r in many("TFLite", mean, device, sd=0.8)]
    assert Moments.of(grouped(exact, "ncnn"), "ncnn").delta2 == pytest.approx(0.32, rel=0.01)
    assert Moments.of(grouped(unsure, "ncnn"), "ncnn").delta2 == VERSION_SD**2 + FEWEST_SD**2


def test_a_board_that_hardly_says_anything_hides_no_difference_of_others():
    """The squares that a vague board is expected to have are not taken from those of two exact ones: 2 x 0.4^2, shared by two
    degrees of freedom."""
    exact = [
        r for mean, device in ((0.1, "one"), (0.9, "two")) for r in many("TFLite", mean, device)
    ]
    vague = many("TFLite", 0.5, "three", sd=2.0)
    assert Moments.of(grouped([*exact, *vague], "ncnn"), "ncnn").delta2 == pytest.approx(
        0.16, rel=0.01
    )


def test_the_same_peoples_ncnn_takes_out_what_the_constants_are_off_by():
    found = [*many("TFLite", -0.2, sd=0.4), *many("ncnn", -0.7, sd=0.4)]
    assert {g.common2 for g in grouped(found, "ncnn")} == {0.0}


@pytest.mark.parametrize(
    ("runtime", "device", "how"),
    [
        ("TFLite", "board", "8 published times of it on this board, 16 others beside"),
        ("TFLite", "else", f"16 published times of it on {OF}, 8 others beside"),
        (
            "MNN",
            "board",
            f"nobody timed it on {OF}; the mean of the runtimes that were timed there, 24 others beside",
        ),
    ],
)
def test_a_steps_own_times_are_not_among_the_others_beside(runtime, device, how):
    found = [*many("TFLite", 0.5), *many("TFLite", 0.4, "two"), *many("ArmNN", 0.1)]
    assert step(found, OF, runtime, "ncnn", device).how == how


def test_all_times_of_a_class_may_be_the_steps_own():
    assert step(many("TFLite", 0.5), OF, "TFLite", "ncnn", "else").how.endswith(
        f"8 published times of it on {OF}, no others beside"
    )


def test_a_page_is_one_source_for_all_networks_that_it_timed():
    """A group of one time would pass for a board and a day of its own."""
    rows = [r for r in read_other() if r.device == "raspberry-pi-4" and "Krai" in r.source]
    assert len(rows) == 52
    assert len({r.source for r in rows}) == 2
    for source in {r.source for r in read_other()}:
        networks = {r.network for r in read_other() if r.source == source}
        assert len(networks) > 1 or sum(r.source == source for r in read_other()) == 1


LAYER = LayerCost("g_a.0", "g_a", "conv", 8, 8, 1, 1, 1, 512, 512, 64, 4096)


def of_class(ln_factor, sd):
    """arm-server with constants of ncnn for one thread, and the step to any machine of its class."""
    target = load_target("arm-server")
    step_to_class = Carried(ANY_OF_CLASS, ln_factor, sd, 4, "a table")
    mine = next(c for c in target.constants if c.precision == "fp32" and c.threads == 1)
    return target, replace(mine, predicts="", carried=(step_to_class,))


def test_a_machines_difference_from_its_class_stands_in_one_step_only():
    """Others timed what the mean of the class takes: then the runtime's own factor is 1, however fast the machine was that
    the constants are fitted on."""
    target, constants = of_class(math.log(2), 0.5)
    layers = {("a", 8, 8): (LAYER,)}
    alone = predict((LAYER,), replace(constants, carried=()))
    timed = row("TFLite", "arm-server", "a", 2 * alone.ms, threads=1)
    (found,) = residuals([timed], {"arm-server": target}, layers, {"arm-server": [constants]})
    assert found.ln_ratio == pytest.approx(0.0, abs=1e-12)
    # What one machine differs by is common to all of its networks.
    assert found.common2 == pytest.approx(alone.ln_sd**2 - constants.sigma**2 + 0.25)


def test_a_check_predicts_as_the_target_does_and_says_so():
    """Of a class: constants, the step to the runtime found anew without the network, the step to any machine."""
    target, constants = of_class(math.log(2), 0.5)
    layers = {(name, 8, 8): (LAYER,) for name in "ab"}
    alone = predict((LAYER,), replace(constants, carried=()))
    rows = [
        row("TFLite", "arm-server", name, ms * alone.ms, threads=1, note=note)
        for name, ms, note in (("a", 3.0, ""), ("b", 5.0, ""), ("b", 9.0, APART[0]))
    ]
    found = Evidence(
        (), residuals(rows, {"arm-server": target}, layers, {"arm-server": [constants]})
    )
    runtime_step = Carried("onnxruntime", 9.0, 9.0, 1, "a step that is not used")
    used = replace(constants, predicts="onnxruntime", carried=(runtime_step, *constants.carried))
    checked = check(rows, {"arm-server": target}, layers, {"arm-server": [used]}, found, {}, None)
    assert [(c.network, c.is_apart) for c in checked] == [
        ("a 8x8", False),
        ("b 8x8", False),
        ("b 8x8", True),
    ]
    for c, timed, without in zip(checked, rows, "abb", strict=True):
        named = replace(timed, network=(without, 8, 8))
        fresh = found.without(named, source=False).step("arm-server", target.cpu, used, "TFLite")
        ms = alone.ms * 2 * math.exp(fresh.ln_factor)
        assert c.ln_error == pytest.approx(math.log(ms / timed.ms))
        assert c.ln_sd == pytest.approx(math.sqrt(alone.ln_sd**2 + 0.5**2 + fresh.sd**2))


def test_int8_without_dot_product_is_pooled_over_runtimes():
    rows = [
        row("TFLite 2.7.1 (ruy)", "raspberry-pi-4", "a", 4.0, "int8"),
        row("ArmNN 21.11 (Neon) by TFLite", "raspberry-pi-4", "a", 9.0, "int8"),
        row("ONNX Runtime", "raspberry-pi-4", "a", 99.0, "int8"),
        row("TFLite", "raspberry-pi-4", "a", 99.0, "int8", note="threads not stated"),
        row("TFLite", "raspberry-pi-5", "a", 99.0, "int8"),
    ]
    table = pooled_table(rows)
    assert table.networks == ("a@8x8_int8",)
    assert table.ms == ((pytest.approx(6.0),),)
    assert table.configurations[0].runtime == "ArmNN, TFLite or XNNPACK"


def test_threads_that_nobody_stated_are_one_or_all(monkeypatch):
    constants = [c for c in load_target("raspberry-pi-5").constants if c.precision == "fp32"]
    monkeypatch.setattr(
        "hwkd.measure.predict.other_runtimes.predict",
        lambda layers, c: Prediction(16.0 / c.threads, 0.2, 0.0),
    )
    unknown = base_prediction(row(note="threads not stated"), (), constants)
    # 4 ms on four threads, 16 on one.
    assert unknown.ms == pytest.approx(8.0)
    assert unknown.ln_sd == pytest.approx(math.sqrt(0.04 + math.log(4) ** 2 / 12))
    assert base_prediction(row(), (), constants).ms == pytest.approx(4.0)
    assert base_prediction(row(threads=2), (), constants).ms == pytest.approx(8.0)
    assert base_prediction(replace(row(), unit="gpu"), (), constants) is None
