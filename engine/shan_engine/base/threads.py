"""How many processors and how much memory there are to use; the standard library alone, so that `doctor` can ask."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path


def usable_cpus() -> int:
    """How many CPUs this process may use: those it may run on, at most its control group's quota, rounded up."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(cpus, cpu_quota())))


def cpu_quota(root: Path = Path("/")) -> float:
    """The CPUs' worth of time that this process's control group, or one above it, gets; infinity without a limit.

    Containers set it (`docker run --cpus 2`). `root` is where /proc and /sys are.
    """
    return min(_limits(root, "cpu", _cpus), default=math.inf)


def memory_quota(root: Path = Path("/")) -> float:
    """The bytes that this process's control group, or one above it, may hold (`docker run --memory 2g`), as above."""
    return min(_limits(root, "memory", _bytes), default=math.inf)


def _limits(root: Path, controller: str, read: Callable[[Path, bool], float]) -> Iterator[float]:
    """What `read` finds in the folders of this process's groups and those above; it hears whether it is cgroup v1."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup"
        names = [name for name in group.split("/") if name]
        for depth in range(len(names) + 1):
            try:
                yield read((mount / controller if controllers else mount).joinpath(*names[:depth]), bool(controllers))
            except (OSError, ValueError):  # no such file at the top, or beyond a namespace
                continue


def _cpus(folder: Path, first_version: bool) -> float:
    if first_version:
        quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
    else:
        quota, period = (folder / "cpu.max").read_text().split()
    return int(quota) / int(period) if quota != "max" and int(quota) > 0 else math.inf


def _bytes(folder: Path, first_version: bool) -> float:
    held = (folder / ("memory.limit_in_bytes" if first_version else "memory.max")).read_text().strip()
    return math.inf if held == "max" else int(held)
