"""How many processors there are to use; the standard library alone, so that `doctor` can ask too."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path


def usable_cpus() -> int:
    """How many CPUs this process may use: those it may run on, at most its control group's quota, rounded up."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(cpus, cpu_quota())))


def cpu_quota(root: Path = Path("/")) -> float:
    """The CPUs' worth of time that this process's control group, or one above it, gets; infinity without a limit.

    Containers set it (`docker run --cpus 2`). `root` is where /proc and /sys are.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return math.inf
    return min((quota for line in lines for quota in _quotas(root / "sys/fs/cgroup", line)), default=math.inf)


def _quotas(mount: Path, line: str) -> Iterator[float]:
    """The limits of the group on this line of /proc/self/cgroup and of those above it: cgroup v2, or v1's `cpu`."""
    _, controllers, group = line.split(":", 2)
    if controllers and "cpu" not in controllers.split(","):
        return
    top = mount / "cpu" if controllers else mount
    names = [name for name in group.split("/") if name]
    for depth in range(len(names) + 1):
        folder = top.joinpath(*names[:depth])
        try:
            if controllers:
                quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
            else:
                quota, period = (folder / "cpu.max").read_text().split()
            if quota != "max" and int(quota) > 0:
                yield int(quota) / int(period)
        except (OSError, ValueError):  # no such file at the top, or beyond a namespace
            continue
