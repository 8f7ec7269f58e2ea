from dataclasses import replace

import numpy as np
import pytest

from hwkd.codec.networks import SelfTestFailed
from hwkd.errors import HwkdError, InputError
from hwkd.measure import coder as coder_module
from hwkd.measure.coder import (
    STAGES,
    Absent,
    Coder,
    StepClock,
    bundle_coder,
    int8_setting,
    open_coders,
    picture,
    stage_latencies,
)
from hwkd.quantity import not_known
from hwkd.runtime.bundle import read_bundle
from hwkd.runtime.session import runtime_label

PARTS = {
    "encode": ("preprocess", "transform", "hyper", "entropy", "networks", "end_to_end"),
    "decode": ("entropy", "hyper", "transform", "postprocess", "networks", "end_to_end"),
}


@pytest.fixture
def coder():
    """A coder whose runs take milliseconds of our own: the n-th run n times as long as the first."""
    clock = StepClock()
    steps = {
        "encode": {
            **{"pad": 1.0, "encoder": 20.0, "latents": 0.5, "hyper": 5.0},
            **{"entropy y": 2.0, "entropy z": 0.25, "container": 0.125},
        },
        "decode": {
            **{"container": 0.25, "entropy z": 0.5, "latents": 1.0, "hyper": 5.0},
            **{"entropy y": 4.0, "decoder": 30.0, "crop": 2.0},
        },
    }

    def run(side):
        n = len(clock.runs[side]) + 1
        clock.runs[side].append({name: n * ms for name, ms in steps[side].items()})

    unknown = not_known("made")
    return Coder("m", "r 1", 1, lambda: run("encode"), lambda: run("decode"), 1, unknown, clock)


def test_stages_are_sums_of_the_steps_within_a_run(coder, monkeypatch):
    monkeypatch.setattr(coder_module, "WARMUP_ROUNDS", 2)
    entries = stage_latencies({"r 1": coder}, threads=1, seconds=1e-9)
    # Six rounds, the shortest that has an interval, after two to warm up: 3 to 8 times the steps, 5.5 in the middle.
    expected = {
        ("encode", "preprocess"): 1,
        ("encode", "transform"): 20,
        ("encode", "hyper"): 5,
        ("encode", "entropy"): 0.5 + 2 + 0.25 + 0.125,
        ("encode", "networks"): 20 + 5,
        ("encode", "end_to_end"): 1 + 20 + 0.5 + 5 + 2 + 0.25 + 0.125,
        ("decode", "entropy"): 0.25 + 0.5 + 1 + 4,
        ("decode", "hyper"): 5,
        ("decode", "transform"): 30,
        ("decode", "postprocess"): 2,
        ("decode", "networks"): 5 + 30,
        ("decode", "end_to_end"): 0.25 + 0.5 + 1 + 5 + 4 + 30 + 2,
    }
    assert [(e.side, e.part) for e in entries] == list(expected)
    for entry, ms in zip(entries, expected.values(), strict=True):
        figure = entry.quantity
        assert (entry.name, entry.setting) == ("latency_ms", int8_setting("r 1", 1))
        assert figure.value == pytest.approx(5.5 * ms)
        assert (figure.low, figure.high) == pytest.approx((3 * ms, 8 * ms))
        assert (figure.found, figure.level, figure.runs) == ("measured", 0.95, 6)
        assert figure.by.startswith("wall clock inside whole runs, 1 thread")
        assert entry.p95 == pytest.approx(8 * ms)


@pytest.mark.parametrize("size", [(64, 64), (70, 130)])
def test_every_step_of_a_real_run_is_in_one_stage(tiny_bundle, photo, size):
    coder = bundle_coder("m", read_bundle(tiny_bundle), "onnxruntime", photo(*size, 0), 1)
    coder.encode()
    coder.decode()
    for side, stages in STAGES.items():
        assert tuple(stages) == PARTS[side]
        (steps,) = coder.clock.runs[side]
        single = [
            step
            for part, of_part in stages.items()
            if part not in ("networks", "end_to_end")
            for step in of_part
        ]
        assert sorted(single) == sorted(steps) == sorted(stages["end_to_end"])


def test_a_runtime_that_does_not_run_it_is_unknown_with_the_reason(coder):
    coders = {"a 1": Absent("m", "a 1", "it fails the self-test"), "r 1": coder}
    entries = stage_latencies(coders, threads=1, seconds=1e-9)
    absent = [e for e in entries if e.setting.runtime == "a 1"]
    assert [(e.side, e.part) for e in absent] == [
        (s, p) for s, parts in PARTS.items() for p in parts
    ]
    assert {e.quantity.value for e in absent} == {None}
    assert {e.quantity.reason for e in absent} == {"it fails the self-test"}
    assert len(entries) == 2 * len(absent)


@pytest.fixture
def failing(monkeypatch, coder):
    """failing(runtimes): opening the bundle in these fails."""

    def make(runtimes):
        def open_coder(name, bundle, runtime, image, threads, quality):
            if runtime in runtimes:
                raise SelfTestFailed(f"{runtime} gives other indexes")
            return replace(coder, setting=runtime)

        monkeypatch.setattr(coder_module, "bundle_coder", open_coder)

    return make


RUNTIMES = ("openvino", "onnxruntime")


def test_runtimes_are_opened_in_order_and_one_that_fails_is_kept_with_its_reason(
    failing, tiny_bundle, photo
):
    failing(("openvino",))
    found = open_coders(read_bundle(tiny_bundle), RUNTIMES, photo(64, 64, 0), 1)
    labels = [runtime_label(name) for name in RUNTIMES]
    assert list(found) == labels
    assert found[labels[0]] == Absent("tiny-patch", labels[0], "openvino gives other indexes")
    assert found[labels[1]].setting == "onnxruntime"


def test_where_no_runtime_runs_it_the_first_ones_reason_is_told(failing, tiny_bundle, photo):
    failing(RUNTIMES)
    with pytest.raises(HwkdError, match=r"^openvino gives other indexes$"):
        open_coders(read_bundle(tiny_bundle), RUNTIMES, photo(64, 64, 0), 1)


def test_too_many_threads_are_refused(coder):
    with pytest.raises(InputError, match="threads must be 1 to"):
        stage_latencies({"r 1": coder}, threads=4096, seconds=1e-9)


def test_the_picture_has_its_size_and_is_no_noise():
    image = picture(96, 64)
    assert (image.shape, image.dtype) == ((64, 96, 3), np.uint8)
    steps = np.abs(np.diff(image.astype(int), axis=1)).mean()
    assert image.std() > 4 * steps
