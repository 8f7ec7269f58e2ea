"""Keeping freed memory in the process while latencies are measured, so that they are those of the work.

glibc's malloc maps every block over 32 MiB anew and gives the top of its heap back to the system. Each layer with large
activations then pays for page faults, as much as for the arithmetic (GDN at 384x256 pixels and 128 channels: 10 times as
long as at half as many), and what a fault costs depends on what else the machine does. PyTorch's performance tuning
guide advises an allocator that keeps its memory (jemalloc, TCMalloc) for the same reason.
"""

import ctypes
import sys

# mallopt(3)
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_NEVER = 2**31 - 1


def keep_memory() -> str:
    """Make malloc of this process keep what is freed, for good; what was done, in words for a figure's `by`.

    Counts for glibc on Linux only; elsewhere malloc is left as it is, and the words say so.
    """
    if not sys.platform.startswith("linux"):
        return "memory as malloc handles it"
    try:
        libc = ctypes.CDLL("libc.so.6")
        done = libc.mallopt(_M_MMAP_MAX, 0) and libc.mallopt(_M_TRIM_THRESHOLD, _NEVER)
    except (OSError, AttributeError):
        done = 0
    return "freed memory kept by malloc" if done else "memory as malloc handles it"
