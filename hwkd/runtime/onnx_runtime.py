"""ONNX Runtime on the CPU. Imports it, so only `hwkd.runtime.session` imports this module."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt


def _without_telemetry() -> Any:
    """onnxruntime, imported so that it reports nothing.

    Official builds report to their maker and keep an identifier of the machine in the user's folder, without the user's
    consent. 1.32 does so on Linux too, from the import on: its function to turn this off comes too late for the folder.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # stays, for processes that this one starts
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    return onnxruntime


onnxruntime = _without_telemetry()

_ERRORS_ONLY = 3


class OnnxRuntimeSession:
    """One graph with its own threads, operators one after the other, all graph optimizations on."""

    def __init__(self, graph: Path | bytes, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = _ERRORS_ONLY
        # Left alone its threads spin on after a run, on cores that whatever runs next needs: an OpenVINO graph timed
        # after it took 52 ms instead of 30. Within a run they still spin, so its own time is the same.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        self._session = onnxruntime.InferenceSession(
            graph if isinstance(graph, bytes) else str(graph),
            options,
            providers=["CPUExecutionProvider"],
        )
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """As `hwkd.runtime.session.Session`."""
        return dict(zip(self._outputs, self._session.run(self._outputs, dict(inputs)), strict=True))
