"""The connection to a Ray cluster, of jobs and of searches over shards."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Mapping
from typing import Any

from shan_engine.base.errors import BackendError, first_line
from shan_engine.base.optional import install_command

log = logging.getLogger(__name__)

# Object store of a cluster made for one command: results of a few MB pass through it. Ray would take a third of memory.
OBJECT_BYTES = 2**29
REACH_SECONDS = 5.0


def connect(ray: Any, address: str, cpus: int | None = None) -> None:
    """Connect this process to the cluster at an address; `local` makes one of so many CPUs, all where None.

    Raises BackendError where there is no cluster.
    """
    here = {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": OBJECT_BYTES}
    # The address is always named: without one, Ray would take that in RAY_ADDRESS.
    options = {"address": address, **(here if address == "local" else {})}
    on_termination = signal.getsignal(signal.SIGTERM)
    try:
        _reach(address)
        ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
        if threading.current_thread() is threading.main_thread():  # Ray takes SIGTERM for itself
            signal.signal(signal.SIGTERM, on_termination)
    except Exception as error:  # Ray raises it as it is where a busy machine takes long to start a cluster
        raise BackendError(
            f"no Ray cluster at '{address}' ({first_line(error)}): start one with `ray start --head`, or use "
            "--ray local"
        ) from error


def _reach(address: str) -> None:
    """Raise OSError where nothing listens at host:port: Ray itself would try for more than a minute."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), REACH_SECONDS).close()


def import_ray() -> Any:
    """Import `ray` with usage reports turned off. Raises BackendError if it is not installed."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        import ray
    except ImportError as error:
        raise BackendError(f"--ray needs Ray, which is not installed: {install_command('ray')}") from error
    # Whatever `log_to_driver` says, Ray prints news of its cluster to standard output, where answers go.
    vars(ray._private.worker)["print_to_stdstream"] = _log_news
    return ray


def _log_news(news: Mapping[str, Any], ignore_prefix: bool) -> None:
    for line in news["lines"]:
        log.info("Ray: %s", first_line(line))
