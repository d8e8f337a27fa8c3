"""Where the time of a search in stages goes: milliseconds of every stage of a warm query, and of opening before it.

    python benchmarks/stages.py f8k.gallery 100k.gallery 1m.gallery --captions captions.tsv --bundle BUNDLE

Each query is asked alone, without explanations, in a process that has answered it once. A row of the table is the
median over the queries. The stages are those of `search/stages.py`; what is left of a query is the last row. Writes
benchmarks/results/stages.json.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import shan_engine
from provenance import recorded
from reports import queries_of, read_report, write_report
from shan_engine.locate import demo_bundle
from shan_engine.search import ranked, stages
from shan_engine.search.calibration import Calibration
from shan_engine.search.cascade import Cascade
from shan_engine.search.query import ReadQuery

RESULTS = Path(__file__).parent / "results" / "stages.json"
STAGES: tuple[tuple[str, object, str], ...] = (
    ("encode the query", ReadQuery, "encode"),
    ("first pass: mean regions", Cascade, "scan"),
    ("first pass: further parts, hubness", Cascade, "estimates"),
    ("choose the best", stages, "highest"),
    ("exact step 1", Cascade, "step_1"),
    ("further parts of these", Cascade, "offsets"),
    ("all steps", Cascade, "all_steps"),
    ("what is proven", stages, "_highest_unseen"),
    ("probabilities", Calibration, "of_ranking"),
    ("hits", ranked, "described"),
)
REST = "the rest"


class Clock:
    """Seconds of each stage of one query."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def timed(self, stage: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """The same, with its time added to the stage's."""

        def measured(*arguments: Any, **options: Any) -> Any:
            began = time.perf_counter()
            try:
                return work(*arguments, **options)
            finally:
                self.seconds[stage] = self.seconds.get(stage, 0) + time.perf_counter() - began

        return measured

    @contextmanager
    def on_all(self) -> Iterator[None]:
        """Time every stage of the engine."""
        with ExitStack() as stack:
            for stage, owner, name in STAGES:
                stack.enter_context(patch.object(owner, name, self.timed(stage, getattr(owner, name))))
            yield


def measure(path: Path, bundle: Path, queries: Sequence[str]) -> dict[str, Any]:
    began = time.perf_counter()
    engine = shan_engine.open(path, bundle, device="cpu")
    opened = time.perf_counter()
    engine.search(queries[0], explain=False)
    first = time.perf_counter()
    for query in queries:
        engine.search(query, explain=False)  # also reads the pages that are looked at
    rows, clock, stages, cpu = [], Clock(), None, []
    with clock.on_all():
        for query in queries:
            clock.seconds, start, worked = {}, time.perf_counter(), time.process_time()
            stages = engine.search(query, explain=False).stages
            whole = time.perf_counter() - start
            cpu.append(1000 * (time.process_time() - worked))
            rows.append({"query": whole, **clock.seconds, REST: whole - sum(clock.seconds.values())})
    names = ["query", *(stage for stage, _, _ in STAGES), REST]
    medians = {name: 1000 * statistics.median(row.get(name, 0) for row in rows) for name in names}
    return {
        "images": len(engine),
        "queries": len(queries),
        "steps": engine.scorer.score_parts,
        "scored": vars(stages) if stages else None,
        "open_ms": round(1000 * (opened - began), 1),
        "first_query_ms": round(1000 * (first - opened), 1),
        "cpu_milliseconds": round(statistics.median(cpu), 2),
        "milliseconds": {name: round(value, 2) for name, value in medians.items()},
        "recorded": recorded(),
    }


def table(row: dict[str, Any]) -> str:
    whole = row["milliseconds"]["query"]
    title = f"{row['images']:,} images, {row['queries']} queries, {' + '.join(row['steps'])}"
    lines = [f"{title}; open {row['open_ms']} ms, first query {row['first_query_ms']} ms; scored {row['scored']}"]
    lines.append(f"  {'of all processors together':36} {row['cpu_milliseconds']:9.2f} ms")
    for name, value in row["milliseconds"].items():
        lines.append(f"  {name:36} {value:9.2f} ms {value / whole:6.1%}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("galleries", type=Path, nargs="+")
    parser.add_argument("--captions", type=Path, help="queries are of its split `test`; else the demo's")
    parser.add_argument("--queries", type=int, default=60)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--name", default="demo", help="the model's name in the report")
    parser.add_argument("--report", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    queries = queries_of(options.captions, options.queries)
    for path in options.galleries:
        row = measure(path, options.bundle or demo_bundle(), queries)
        print(table(row), flush=True)
        held = read_report(options.report)
        rows = {row["images"]: row for row in held.get(options.name, [])} | {row["images"]: row}
        write_report(options.report, {**held, options.name: [rows[size] for size in sorted(rows)]})


if __name__ == "__main__":
    main()
