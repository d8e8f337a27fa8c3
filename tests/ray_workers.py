"""The worker processes of a test's own Ray cluster."""

from __future__ import annotations

import os
from pathlib import Path


def workers_named(actor: str) -> list[int]:
    """Processes of this test's own cluster that are actors of a class."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name = (folder / "cmdline").read_bytes()
            raylet = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            driver = int(Path(f"/proc/{raylet}/stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):  # ended just now
            continue
        if name.startswith(f"ray::{actor}".encode()) and driver == os.getpid():
            found.append(int(folder.name))
    return found
