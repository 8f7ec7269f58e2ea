import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from hwkd.errors import HwkdError, InputError
from hwkd.runtime import session
from hwkd.runtime.session import (
    RUNTIMES,
    open_session,
    preferred_runtimes,
    present_runtimes,
    runtime_label,
    saturation_warning,
    sums_exactly,
)


@pytest.fixture
def graph(tmp_path):
    """total = a + b and product = a * b, of two float32 arrays [2, 3]."""
    shape = [2, 3]
    values = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name in ("a", "b", "total", "product")
    }
    nodes = [
        helper.make_node("Add", ["a", "b"], ["total"]),
        helper.make_node("Mul", ["a", "b"], ["product"]),
    ]
    made = helper.make_graph(
        nodes, "sums", [values["a"], values["b"]], [values["total"], values["product"]]
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "sums.onnx"
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_graph_runs_by_names(graph, runtime):
    a = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    b = np.full((2, 3), 10, np.float32)
    outputs = open_session(graph, runtime, 1).run({"b": b, "a": a})
    assert set(outputs) == {"total", "product"}
    assert outputs["total"].tolist() == [[11, 12, 13], [14, 15, 16]]
    assert outputs["product"].tolist() == [[10, 20, 30], [40, 50, 60]]


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("kind", [np.float64, np.int32])
def test_no_input_of_another_type_is_converted(graph, runtime, kind):
    with pytest.raises(Exception, match=r"\bfloat32|tensor\(float\)"):
        open_session(graph, runtime, 1).run(
            {"a": np.ones((2, 3), kind), "b": np.ones((2, 3), kind)}
        )


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_later_run_leaves_earlier_outputs_alone(graph, runtime):
    opened = open_session(graph, runtime, 1)
    ones = np.ones((2, 3), np.float32)
    first = opened.run({"a": ones, "b": ones})["total"]
    opened.run({"a": ones, "b": 5 * ones})
    assert first.tolist() == [[2, 2, 2], [2, 2, 2]]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_damaged_graph_is_refused_by_name(tmp_path, runtime):
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"not a graph")
    with pytest.raises(HwkdError, match=rf"^{runtime} .* refuses broken.onnx: ") as caught:
        open_session(path, runtime, 1)
    assert "\n" not in str(caught.value)


def test_installed_runtimes_are_present_with_their_versions():
    assert present_runtimes() == RUNTIMES
    assert runtime_label("openvino") == f"openvino {version('openvino')}"


def test_a_runtime_that_is_not_installed_teaches_the_line(graph, monkeypatch):
    def without_openvino(name):
        return None if name == "openvino" else find_spec(name)

    monkeypatch.setattr(session, "find_spec", without_openvino)
    assert present_runtimes() == ("onnxruntime",)
    with pytest.raises(
        InputError, match=r'openvino is not installed: pip install "hwkd\[runtime\]"'
    ):
        open_session(graph, "openvino", 1)


def test_a_runtime_that_does_not_load_is_told(graph, monkeypatch):
    monkeypatch.setitem(sys.modules, "hwkd.runtime.onnx_runtime", None)
    with pytest.raises(HwkdError, match="is installed but cannot be loaded"):
        open_session(graph, "onnxruntime", 1)


def test_an_unknown_runtime_names_the_known(graph):
    with pytest.raises(InputError, match="unknown runtime 'onnxruntim': did you mean onnxruntime"):
        open_session(graph, "onnxruntim", 1)


def test_no_graph_and_no_threads_are_refused(graph, tmp_path):
    with pytest.raises(InputError, match="there is no graph"):
        open_session(tmp_path / "none.onnx", "onnxruntime", 1)
    with pytest.raises(InputError, match="threads must be 1 or more, got 0"):
        open_session(graph, "onnxruntime", 0)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_running_a_graph_needs_no_torch(graph, runtime):
    code = (
        "import sys; from pathlib import Path; from hwkd.runtime.session import open_session;"
        f"open_session(Path({str(graph)!r}), {runtime!r}, 1); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("runtime", "machine", "exact"),
    [
        ("onnxruntime", "x86_64", True),
        ("onnxruntime", "aarch64", True),
        ("openvino", "x86_64", True),
        ("openvino", "AMD64", True),
        ("openvino", "aarch64", False),
        ("openvino", "arm64", False),
    ],
)
def test_openvino_is_trusted_with_whole_numbers_on_x86_only(runtime, machine, exact):
    assert sums_exactly(runtime, machine) is exact


@pytest.mark.parametrize(("machine", "first"), [("x86_64", "openvino"), ("aarch64", "onnxruntime")])
def test_the_preferred_runtime_depends_on_the_processor(monkeypatch, machine, first):
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert preferred_runtimes()[0] == first


@pytest.fixture
def flags(tmp_path):
    """flags(text): a /proc/cpuinfo of an x86 with these flags."""

    def write(text):
        path = tmp_path / "cpuinfo"
        path.write_text(f"processor\t: 0\nmodel name\t: any\nflags\t\t: fpu {text} avx2\n")
        return path

    return write


def test_eight_bits_on_avx2_are_warned_of(flags):
    warning = saturation_warning(8, "x86_64", flags("sse4_2"))
    assert warning is not None
    assert "weights of 8 bits saturate" in warning
    assert "--target x86-avx2" in warning


@pytest.mark.parametrize("with_vnni", ["avx512_vnni", "avx_vnni"])
def test_vnni_does_not_saturate(flags, with_vnni):
    assert saturation_warning(8, "x86_64", flags(with_vnni)) is None


def test_seven_bits_never_saturate(flags):
    # Two products of the largest values fit in 16 bits, as the kernels add them.
    assert 2 * 255 * (2**6 - 1) <= 2**15 - 1 < 2 * 255 * (2**7 - 1)
    assert saturation_warning(7, "x86_64", flags("sse4_2")) is None


def test_arm_does_not_saturate(flags):
    assert saturation_warning(8, "aarch64", flags("sse4_2")) is None


def test_nothing_is_said_where_the_flags_are_not_known(tmp_path):
    assert saturation_warning(8, "x86_64", tmp_path / "none") is None
    (tmp_path / "empty").write_text("")
    assert saturation_warning(8, "x86_64", tmp_path / "empty") is None
