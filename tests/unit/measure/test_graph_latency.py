import os
from importlib.metadata import version

import numpy as np
import pytest
import torch

from hwkd.errors import HwkdError, InputError
from hwkd.measure.eager import profile
from hwkd.measure.eager.profile import TOLERANCE, graph_latencies, largest_difference
from hwkd.measure.record import Setting
from hwkd.models.build import build
from hwkd.models.spec import HyperpriorSpec
from hwkd.runtime.session import RUNTIMES


@pytest.mark.parametrize("family", ["gdn", "relu", "patch", "mean"])
def test_both_sides_are_measured_in_each_runtime(tiny_specs, family):
    codec = build(tiny_specs.get(family, HyperpriorSpec("mean", (8, 8, 8), 12, 8, 8)))
    threads = torch.get_num_threads()
    entries = graph_latencies(codec, 100, 60, runtimes=RUNTIMES, threads=1, seconds=0.001)
    assert [(e.name, e.side, e.part, e.setting) for e in entries] == [
        ("latency_ms", side, "networks", Setting("cpu", f"{name} {version(name)}", "fp32", 1))
        for name in RUNTIMES
        for side in ("encode", "decode")
    ]
    for entry in entries:
        figure = entry.quantity
        assert (figure.found, figure.runs, figure.level) == ("measured", 6, 0.95)
        assert "of torch's, relative to its largest value" in figure.by
        assert entry.p95 >= figure.value > 0
    assert codec.training
    assert torch.get_num_threads() == threads


def test_no_runtime_gives_no_figures(tiny_specs):
    codec = build(tiny_specs["relu"])
    assert graph_latencies(codec, 64, 64, runtimes=(), threads=1, seconds=1) == []


def test_an_unknown_runtime_is_refused_before_any_work(tiny_specs, monkeypatch):
    monkeypatch.setattr(profile, "export_networks", None)
    with pytest.raises(InputError, match="unknown runtime 'tensorrt'"):
        graph_latencies(
            build(tiny_specs["relu"]), 64, 64, runtimes=["tensorrt"], threads=1, seconds=1
        )


def test_the_difference_is_relative_to_the_largest_value():
    expected = {"y": np.array([-200.0, 1.0]), "z": np.array([0.0, 0.0])}
    outputs = {"y": np.array([-200.0, 1.1]), "z": np.array([0.0, -0.0001])}
    assert largest_difference("r", outputs, expected) == pytest.approx(0.1 / 200)


@pytest.mark.parametrize("value", [1 + 2 * TOLERANCE, float("nan")])
def test_another_result_than_torchs_is_an_error(value):
    with pytest.raises(HwkdError, match=r"openvino 1 computes another x_hat than torch") as caught:
        largest_difference("openvino 1", {"x_hat": np.array([value])}, {"x_hat": np.ones(1)})
    assert caught.value.exit_code == 1


def test_a_runtime_that_computes_something_else_is_not_timed(tiny_specs, monkeypatch):
    class Doubling:
        def __init__(self, path, runtime, threads):
            self.session = real(path, runtime, threads)

        def run(self, inputs):
            return {name: 2 * array for name, array in self.session.run(inputs).items()}

    real = profile.open_session
    monkeypatch.setattr(profile, "open_session", Doubling)
    with pytest.raises(HwkdError, match=r"onnxruntime .* computes another y than torch"):
        graph_latencies(
            build(tiny_specs["relu"]), 64, 64, runtimes=["onnxruntime"], threads=1, seconds=1
        )


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system cannot pin")
def test_graphs_are_opened_before_the_cores_are_fixed(tiny_specs, monkeypatch):
    # Else OpenVINO takes the one core for all there are, for as long as the process lives.
    seen = []

    def opened(path, runtime, threads):
        seen.append(os.sched_getaffinity(0))
        return real(path, runtime, threads)

    real = profile.open_session
    monkeypatch.setattr(profile, "open_session", opened)
    cores = os.sched_getaffinity(0)
    graph_latencies(
        build(tiny_specs["relu"]), 64, 64, runtimes=["openvino"], threads=1, seconds=0.001
    )
    assert seen == [cores] * 3
