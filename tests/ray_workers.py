"""A test's own Ray cluster, and its worker processes."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def own_cluster(cpus: int) -> Iterator[None]:
    """A cluster of so many CPUs on this machine; on a busy one it may not start within the 30 s that Ray waits."""
    from shan_engine.jobs.ray_cluster import import_ray

    ray = import_ray()
    for tries_left in reversed(range(4)):
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", category=FutureWarning, module="ray")
                ray.init(
                    num_cpus=cpus, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR,
                    object_store_memory=2**27,
                )  # fmt: skip
            break
        except Exception as error:
            ray.shutdown()
            if "timed out during startup" not in str(error) or not tries_left:
                raise
    try:
        yield
    finally:
        ray.shutdown()


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
