"""The installed command in a process of its own, as a user runs it, and what it takes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

COMMAND = Path(sys.executable).parent / "shan-engine"


class Usage(NamedTuple):
    """Seconds by the clock and of processors, MiB of the largest moment with mapped files, and what was printed."""

    seconds: float
    cpu_seconds: float
    peak_mib: float
    output: str


def run(*words: object, threads: int | None = None) -> Usage:
    """Run `shan-engine` to its end, start and loading included. Exits with its message if it fails."""
    variables = {**os.environ, **({"OMP_NUM_THREADS": str(threads)} if threads else {})}
    command = [*map(str, (COMMAND, *words))]
    began = time.perf_counter()
    with tempfile.TemporaryFile() as errors:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env=variables) as process:
            printed = (process.stdout.read() if process.stdout else b"").decode()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} failed: {errors.read().decode()}")
    seconds = time.perf_counter() - began
    return Usage(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, printed)


def folder_bytes(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
