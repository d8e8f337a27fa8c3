"""Load on `shan-engine serve`: how long answers take, how many fail, and how much memory the server holds.

    shan-engine serve --gallery 100k.gallery --port 8750 &
    python benchmarks/serving.py http://127.0.0.1:8750 --clients 1 8 64 --requests 200 --seconds 60

Each client asks one query after another, as the page does: 48 hits with their cards and explanations. A round ends
after --requests answers or --seconds. `thumbnail_ms` is the time to get the first picture, which was made before.
"""

from __future__ import annotations

import argparse
import http.client
import json
import resource
import statistics
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from provenance import recorded
from reports import demo_queries, write_report


class Round:
    """Some clients at once; what they saw is in `seconds`, `thumbnails` and `errors`."""

    def __init__(self, address: str, clients: int, requests: int, seconds: float) -> None:
        self._host = urlsplit(address).netloc
        self._left, self._end = requests, time.monotonic() + seconds
        self._lock = threading.Lock()
        self._queries = demo_queries()
        self.seconds: list[float] = []
        self.thumbnails: list[float] = []
        self.errors: dict[str, int] = {}
        began = time.monotonic()
        threads = [threading.Thread(target=self._client) for _ in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.took = time.monotonic() - began

    def _client(self) -> None:
        with closing(http.client.HTTPConnection(self._host, timeout=120)) as connection:
            self._ask(connection)

    def _ask(self, connection: http.client.HTTPConnection) -> None:
        while (number := self._next()) is not None:
            query = urlencode({"q": self._queries[number % len(self._queries)], "limit": 48, "cards": "true"})
            try:
                answer, seconds = timed(connection, f"/api/search?{query}")
                self.seconds.append(seconds)
                source = json.loads(answer)["cards"][0].split('src="')
                if len(source) > 1:
                    self.thumbnails.append(timed(connection, source[1].split('"')[0].replace("&amp;", "&"))[1])
            except (OSError, http.client.HTTPException, ValueError) as error:
                with self._lock:
                    self.errors[str(error)] = self.errors.get(str(error), 0) + 1
                connection.close()

    def _next(self) -> int | None:
        with self._lock:
            if self._left == 0 or time.monotonic() > self._end:
                return None
            self._left -= 1
            return self._left


def timed(connection: http.client.HTTPConnection, path: str) -> tuple[bytes, float]:
    began = time.perf_counter()
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise ValueError(f"status {answer.status}")
    return body, time.perf_counter() - began


def percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else 0.0


def resident(process: int | None) -> int:
    """Megabytes of a process; 0 where it is not known."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * resource.getpagesize() >> 20


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--requests", type=int, default=200, help="answers of a round, at most")
    parser.add_argument("--seconds", type=float, default=60, help="of a round, at most")
    parser.add_argument("--process", type=int, help="the server's, for its memory")
    parser.add_argument("--report", type=Path)
    options = parser.parse_args(arguments)
    Round(options.address, 1, len(demo_queries()), options.seconds)  # thumbnails are made, files are mapped
    rows = []
    for clients in options.clients:
        done = Round(options.address, clients, options.requests, options.seconds)
        row = {
            "clients": clients,
            "answers": len(done.seconds),
            "p50_ms": round(1000 * percentile(done.seconds, 0.5)),
            "p99_ms": round(1000 * percentile(done.seconds, 0.99)),
            "answers_per_second": round(len(done.seconds) / done.took, 1),
            "thumbnail_ms": round(1000 * statistics.median(done.thumbnails)) if done.thumbnails else None,
            "errors": sum(done.errors.values()),
            "megabytes": resident(options.process),
        }
        rows.append(row)
        print("  ".join(f"{name} {value}" for name, value in row.items()), *done.errors, flush=True)
    if options.report:
        write_report(options.report, {"recorded": recorded(), "rounds": rows})


if __name__ == "__main__":
    main()
