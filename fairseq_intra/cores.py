"""How many CPU cores there are, on Linux and elsewhere."""

import os


def core_count() -> int:
    """The number of CPU cores this process may use, at least 1."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
