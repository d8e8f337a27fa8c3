"""A bounded queue: so many requests work at once on threads, so many may wait, and others are sent away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Answer = TypeVar("Answer")


class BusyError(Exception):
    """The queue is full; `seconds` later it may not be."""

    def __init__(self, seconds: int) -> None:
        super().__init__("too many requests are waiting: ask again in a moment")
        self.seconds = seconds


class GoneError(Exception):
    """Whoever asked has closed the connection, so that nobody waits for the answer."""


class Queue:
    """Threads of their own for one kind of work. Who leaves while waiting is never worked for."""

    def __init__(self, name: str, *, workers: int, waiting: int) -> None:
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix=f"shan-{name}")
        self._turns = asyncio.Semaphore(workers)
        self._most, self.waiting, self.working = waiting, 0, 0

    async def run(self, work: Callable[[], Answer], gone: Callable[[], Awaitable[bool]] | None = None) -> Answer:
        """The answer of `work`, on one of the threads.

        Raises BusyError where too many wait already, and GoneError where `gone` says so when the turn comes.
        """
        if self.waiting >= self._most:
            raise BusyError(2)
        self.waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self.waiting -= 1
        try:
            if gone is not None and await gone():
                raise GoneError
            self.working += 1
            try:
                # Shielded: a thread cannot be stopped, and its turn ends only when it does.
                return await _whole(asyncio.get_running_loop().run_in_executor(self._threads, work))
            finally:
                self.working -= 1
        finally:
            self._turns.release()

    def close(self) -> None:
        """Give the threads back when they are done."""
        self._threads.shutdown(wait=True, cancel_futures=True)


async def _whole(future: asyncio.Future[Answer]) -> Answer:
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        raise
