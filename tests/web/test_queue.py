"""The queue bounds what works and what waits."""

from __future__ import annotations

import asyncio
import threading

import pytest
from shan_web.queue import BusyError, GoneError, Queue


async def until(queue, *, working, waiting):
    """Give the other tasks their turns until so many work and wait."""
    while (queue.working, queue.waiting) != (working, waiting):
        await asyncio.sleep(0)


def test_work_beyond_the_queue_is_sent_away_and_the_rest_is_done():
    async def scene():
        queue, going = Queue("test", workers=2, waiting=3), threading.Event()
        tasks = [asyncio.create_task(queue.run(lambda: going.wait(120))) for _ in range(5)]
        await until(queue, working=2, waiting=3)
        with pytest.raises(BusyError):
            await queue.run(lambda: None)
        going.set()
        assert await asyncio.gather(*tasks) == [True] * 5
        assert (queue.working, queue.waiting) == (0, 0)
        queue.close()

    asyncio.run(scene())


def test_who_has_gone_is_not_worked_for_and_who_is_cancelled_leaves_no_gap():
    async def scene():
        queue, going, done = Queue("test", workers=1, waiting=3), threading.Event(), []

        async def gone():
            return True

        first = asyncio.create_task(queue.run(lambda: going.wait(120)))
        await until(queue, working=1, waiting=0)
        leaving = asyncio.create_task(queue.run(lambda: done.append("worked"), gone))
        cancelled = asyncio.create_task(queue.run(lambda: done.append("worked")))
        await until(queue, working=1, waiting=2)
        cancelled.cancel()
        going.set()
        assert await first
        with pytest.raises(GoneError):
            await leaving
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert done == []
        assert await queue.run(lambda: "free again") == "free again"
        queue.close()

    asyncio.run(scene())
