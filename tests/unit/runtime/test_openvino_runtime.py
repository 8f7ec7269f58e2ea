import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

PROGRAM = """
import os, signal, sys
from pathlib import Path
import numpy as np
from hwkd.runtime.session import open_session

# Ignored, and so inherited, where the tests run in the background of a shell.
signal.signal(signal.SIGINT, signal.default_int_handler)
first, second = (open_session(Path(sys.argv[1]), sys.argv[2], threads=1) for _ in range(2))
first.run({"x": np.ones((1, 3, 8, 8), np.float32)})
# In this order OpenVINO, left alone, gives the stack back that the first one had, and has freed.
del first
del second
try:
    os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    """A convolution of [1, 3, 8, 8]."""
    declared = (("x", [1, 3, 8, 8]), ("y", [1, 4, 8, 8]))
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in declared)
    weight = numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float32), "weight")
    node = helper.make_node("Conv", ["x", "weight"], ["y"], pads=[1, 1, 1, 1])
    made = helper.make_graph([node], "convolution", [x], [y], [weight])
    path = tmp_path_factory.mktemp("graph") / "convolution.onnx"
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(made, opset_imports=opset, ir_version=8), path)
    return path


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("faulthandler", [(), ("-X", "faulthandler")], ids=["without", "with"])
def test_ctrl_c_after_a_session_is_an_interrupt_and_no_crash(graph, runtime, faulthandler):
    words = [sys.executable, *faulthandler, "-c", PROGRAM, str(graph), runtime]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr
