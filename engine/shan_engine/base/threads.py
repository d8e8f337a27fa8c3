"""How many processors there are to use; the standard library alone, so that `doctor` can ask too."""

from __future__ import annotations

import os


def usable_cpus() -> int:
    """How many CPUs this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
