"""Where a report's figures come from: commit, date, processor, versions. The standard library alone."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PACKAGES = ("numpy", "onnxruntime", "shan-engine")


def recorded(tree: Path = ROOT) -> dict[str, Any]:
    """What a report says of itself under "recorded": the tree's commit, the date, the processor, the versions.

    A report from before reports said so has "added_in" instead of "commit": the commit that brought its figures.
    """
    return {
        "commit": commit(tree),
        "date": date.today().isoformat(),
        "cpu": cpu(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "versions": {"python": platform.python_version(), **{name: package(name) for name in PACKAGES}},
    }


def commit(tree: Path = ROOT) -> str | None:
    """The tree's commit, with "-dirty" if files differ from it; None outside a git repository."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        return subprocess.check_output(command, cwd=tree, text=True, stderr=subprocess.DEVNULL).strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def cpu() -> str:
    """The processor's name as the system has it; on virtual machines it may be no more than its maker."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def package(name: str) -> str | None:
    """A package's installed version."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
