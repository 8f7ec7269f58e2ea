"""OpenVINO on the CPU. This module imports it, so only `hwkd.runtime.session` imports this module."""

import ctypes
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy.typing as npt


def _without_telemetry() -> Any:
    """openvino, imported so that it reports nothing.

    Its import alone sends an event to its maker and leaves an identifier in the user's folder, and no setting of ours
    prevents that. If its package for this cannot be imported, it uses a stand-in that does nothing.
    """
    name = "openvino_telemetry"
    is_loaded = name in sys.modules
    if not is_loaded:
        sys.modules[name] = None  # type: ignore[assignment]  # so Python finds no such module
    try:
        import openvino

        return openvino
    finally:
        if not is_loaded:
            del sys.modules[name]


openvino = _without_telemetry()


def compiled(model: Any, threads: int) -> Any:
    """`model`, as openvino.Core.read_model returns it, compiled for the CPU.

    By default OpenVINO runs float graphs in bfloat16 if the processor has it, which changes the result (it wrecked decoded
    images), hence the precision hint.
    """
    return openvino.Core().compile_model(
        model,
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
        },
    )


class OpenVinoSession:
    """One graph, one request at a time, in float32."""

    def __init__(self, graph: Path | bytes, threads: int) -> None:
        with kept_signal_stack():
            model = openvino.Core().read_model(graph if isinstance(graph, bytes) else str(graph))
            # Before compiling, which may give an output the name of a tensor inside.
            self._outputs = [output.get_any_name() for output in model.outputs]
            self._types = {
                one.get_any_name(): one.get_element_type().to_dtype() for one in model.inputs
            }
            self._compiled = compiled(model, threads)

    def run(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Same as `hwkd.runtime.session.Session`."""
        for name, value in inputs.items():
            # OpenVINO would convert it, fractions and all.
            wanted = self._types.get(name, value.dtype)
            if value.dtype != wanted:
                raise RuntimeError(f"{name} is {value.dtype}, and the graph takes {wanted}")
        # Shared, not copied: nothing writes to them until it returns.
        results = self._compiled(dict(inputs), share_inputs=True)
        return {name: results[i] for i, name in enumerate(self._outputs)}

    def __del__(self) -> None:
        with kept_signal_stack():
            self.__dict__.pop("_compiled", None)


# Keeping the stack that signal handlers run on, which OpenVINO replaces.
#
# Compiling a model for OpenVINO's CPU (2026.4.1) sets an alternate signal stack (sigaltstack(2)) on the calling thread, and
# frees its memory when the model goes without always taking it back. Python's handlers run on that stack: a Ctrl-C after
# the model is gone then ends the process with a segmentation fault.


class _Stack(ctypes.Structure):
    """stack_t of <signal.h> on Linux."""

    _fields_ = (("sp", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextmanager
def kept_signal_stack() -> Iterator[None]:
    """Keep the calling thread's signal stack: after the block it is the same as before. Only on Linux."""
    if not sys.platform.startswith("linux"):
        yield
        return
    libc = ctypes.CDLL(None)
    before = _Stack()
    libc.sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        libc.sigaltstack(ctypes.byref(before), None)
