"""Bound the memory of photos that are decoded at the same time."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from shan_engine.base.threads import memory_quota

_LARGE = 64 << 20  # before a photo that takes more bytes, memory of photos that are done goes back to the system


def decoding_memory(most: int) -> int:
    """Bytes for photos that are decoded at the same time: `most`, or in a container with less than four times that a
    quarter of its memory.
    """
    return int(min(most, memory_quota() / 4))


class MemoryBudget:
    """Threads share `total` bytes; one that wants more than are free waits, one that wants more than all runs alone."""

    def __init__(self, total: int) -> None:
        self._total = self._free = total
        self._changed = threading.Condition()

    @contextmanager
    def held(self, wanted: int) -> Iterator[None]:
        """Hold `wanted` bytes, or all of them if there are fewer."""
        large, wanted = wanted >= _LARGE, min(wanted, self._total)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= wanted)
            self._free -= wanted
        try:
            if large:
                _give_back()
            yield
        finally:
            with self._changed:
                self._free += wanted
                self._changed.notify_all()


def _give_back() -> None:
    """Return freed memory to the system. Otherwise glibc keeps that of every thread for later, 100 MB and more each."""
    with suppress(AttributeError, OSError, TypeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
