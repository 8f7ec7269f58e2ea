import json
import math
from dataclasses import replace

import numpy as np
import pytest

from hwkd.errors import InputError
from hwkd.files import data_folder
from hwkd.measure.other_runtimes import (
    FEWEST_SD,
    SHIPPED,
    OtherTiming,
    Residual,
    arithmetic_class,
    base_prediction,
    pooled_table,
    read_other,
    step,
)
from hwkd.measure.predict.fit import Prediction
from hwkd.target import load_target

OF = "Arm, fp16 in ncnn"


def row(
    runtime="TFLite", device="board", network="a", ms=1.0, precision="fp32", note="", threads=4
):
    return OtherTiming(
        device, "cpu", (network, 8, 8), precision, runtime, threads, ms, "a page", note
    )


def residual(ln_ratio, of=OF, sd=0.1, **fields):
    return Residual(row(**fields), of, ln_ratio, Prediction(1.0, sd, 0.0))


def many(runtime, mean, device="board", n=8, spread=0.05):
    """Eight networks about `mean`, half of them above."""
    return [
        residual(mean + spread * (-1) ** i, runtime=runtime, device=device, network=f"n{i}")
        for i in range(n)
    ]


def test_every_shipped_row_has_its_source_and_a_target_of_ours():
    rows = read_other()
    assert len(rows) > 300
    assert all(r.source for r in rows)
    for device in {r.device for r in rows}:
        assert load_target(device).name == device
    # 52 networks with the watts of MLPerf's power logs.
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
    assert (own.to, own.ln_factor, own.sd, own.timings) == ("ncnn", 0.0, FEWEST_SD, 0)


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
        "hwkd.measure.other_runtimes.predict",
        lambda layers, c: Prediction(16.0 / c.threads, 0.2, 0.0),
    )
    unknown = base_prediction(row(note="threads not stated"), (), constants)
    # 4 ms on four threads, 16 on one.
    assert unknown.ms == pytest.approx(8.0)
    assert unknown.ln_sd == pytest.approx(math.sqrt(0.04 + math.log(4) ** 2 / 12))
    assert base_prediction(row(), (), constants).ms == pytest.approx(4.0)
    assert base_prediction(row(threads=2), (), constants).ms == pytest.approx(8.0)
    assert base_prediction(replace(row(), unit="gpu"), (), constants) is None
