import subprocess
import sys

import pytest

PROGRAM = """
import os, signal
from pathlib import Path
from hwkd.measure.graph_latency import graph_latencies
from hwkd.measure.subject import load_subject

# Ignored, and so inherited, where the tests run in the background of a shell.
signal.signal(signal.SIGINT, signal.default_int_handler)
codec = load_subject("hyperprior:N=8,M=12", 128, 64).codec
graph_latencies(codec, 128, 64, runtimes=(RUNTIME,), threads=1, seconds=0.05)
try:
    os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("faulthandler", [(), ("-X", "faulthandler")], ids=["without", "with"])
def test_ctrl_c_after_a_session_is_an_interrupt_and_no_crash(runtime, faulthandler):
    program = PROGRAM.replace("RUNTIME", repr(runtime))
    done = subprocess.run(
        [sys.executable, *faulthandler, "-c", program], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "interrupted\n")
