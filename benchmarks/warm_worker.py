"""One tree's engine, kept warm for benchmarks/warm.py: a request a line on standard input, its seconds on output.

It imports nothing but `shan_engine`, so that it runs with older trees, too.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import shan_engine

Engine = Any  # older trees have it elsewhere
_engines: dict[tuple[str, int], Engine] = {}


def engine_of(gallery: str, model: str | None, threads: int) -> Engine:
    """A gallery's engine, opened when it is first asked."""
    if (gallery, threads) not in _engines:
        _engines[gallery, threads] = shan_engine.open(gallery, model, device="cpu", threads=threads)
    return _engines[gallery, threads]


def seconds(engine: Engine, queries: list[str], callers: int, top_k: int, explain: bool) -> float:
    """Seconds until all queries are answered, asked one after another by each of `callers` threads."""
    ready = threading.Barrier(callers + 1)

    def ask(own: list[str]) -> None:
        if callers > 1:
            ready.wait()
        for query in own:
            engine.search(query, top_k=top_k, explain=explain)

    if callers == 1:
        began = time.perf_counter()
        ask(queries)
        return time.perf_counter() - began
    with ThreadPoolExecutor(callers) as pool:
        asked = [pool.submit(ask, queries[caller::callers]) for caller in range(callers)]
        ready.wait()
        began = time.perf_counter()
        for one in asked:
            one.result()
        return time.perf_counter() - began


def main() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        engine = engine_of(request.pop("gallery"), request.pop("model"), request.pop("threads"))
        try:
            began = time.process_time()
            taken = seconds(engine, **request)
            answer: dict[str, Any] = {"seconds": taken, "cpu_seconds": time.process_time() - began}
        except Exception as error:  # a tree that cannot do it says so in the report
            answer = {"failed": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
