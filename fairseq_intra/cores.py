"""The CPU cores that this process may use, on Linux and elsewhere."""

import os


def core_count() -> int:
    """At least 1."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
