"""One writer at a time: a lock file that the operating system gives back when its process ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from shan_engine.base.errors import ShanError

LOCK = "writer.lock"


@contextmanager
def hold_lock(path: Path, busy: ShanError) -> Iterator[None]:
    """Hold the lock file `path`, which stays there. Raises `busy` at once where another process holds it."""
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise busy from error
    try:
        yield
    finally:
        lock.release()
