"""How many cores there are to use."""

import os


def usable_cores() -> int:
    """How many cores this process may run on."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return cores or 1
