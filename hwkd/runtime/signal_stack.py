"""Keeping the stack that signal handlers run on, which OpenVINO replaces.

Compiling a model for OpenVINO's CPU (2026.4.1) sets an alternate signal stack (sigaltstack(2)) on the calling thread, and
frees its memory when the model goes without always taking it back. Python's handlers run on that stack: a Ctrl-C after
the model is gone then ends the process with a segmentation fault.
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class _Stack(ctypes.Structure):
    """stack_t of <signal.h> on Linux."""

    _fields_ = (("sp", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextmanager
def kept_signal_stack() -> Iterator[None]:
    """After the block the calling thread has the signal stack that it had before. On Linux; elsewhere nothing is done."""
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
