"""Warm queries, alone and from several callers, of this tree and of another one in the same run.

    python benchmarks/warm.py [--against TREE] [--work FOLDER] [--images 1500 8000 --turns 15 --threads 2]
    python benchmarks/warm.py --images 300 --large-k 50 --turns 3 --report /tmp/warm.json     # a quick look

TREE is another checkout with its kernel built: `git worktree add TREE COMMIT && make -C TREE .venv/installed`.
Each tree has a process of its own, and the two take turns query by query, so that other work on the machine slows both.
A ratio is the median of the turns' ratios; milliseconds are medians, by the clock and of the processors (cpu), which
hardly differ on a busy machine from a quiet one.

Galleries are synthetic: photos recombined of the demo's (recombined.py), scored with the demo's bundle. --work keeps
them for another run. Three things are measured:

- a query with and without explanation, one caller;
- `--large-k` hits of a gallery of so many photos, beside ten hits of it;
- queries a second, without explanation: one caller and --callers on an engine with one thread, and one caller on an
  engine with two.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from provenance import ROOT, recorded
from recombined import make_gallery
from reports import demo_queries, write_report

RESULTS = Path(__file__).parent / "results" / "warm.json"
PACKAGES = ("model", "export", "engine", "cli")
PAUSE = 0.03  # seconds in which threads of the tree before stop spinning


@dataclass(frozen=True)
class Case:
    """What is timed: some queries, one after another by each caller, on an engine with so many threads."""

    images: int
    top_k: int
    explain: bool
    callers: int
    threads: int
    queries: int  # of a turn


class Taken(NamedTuple):
    """Seconds by the clock, and those of all the worker's threads on processors."""

    seconds: float
    cpu_seconds: float


class Worker:
    """A tree's engine in a process of its own."""

    def __init__(self, tree: Path, model: Path | None) -> None:
        paths = os.pathsep.join(str(tree / package) for package in PACKAGES)
        self._model = str(model) if model else None
        self._process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("warm_worker.py")],
            env={**os.environ, "PYTHONPATH": paths},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, case: Case, gallery: Path, queries: Sequence[str]) -> Taken:
        """What a case's queries take. Raises RuntimeError with what the tree answered."""
        assert self._process.stdin
        assert self._process.stdout
        asked = asdict(case) | {"gallery": str(gallery), "model": self._model, "queries": list(queries)}
        del asked["images"]
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline() or '{"failed": "the process ended"}')
        if "failed" in answer:
            raise RuntimeError(answer["failed"])
        return Taken(**answer)

    def close(self) -> None:
        self._process.communicate()


def cases(images: Sequence[int], large_k: int, threads: int, callers: int) -> list[Case]:
    """A single query's with and without explanation, a large k beside a small one, then several callers'."""
    one = [Case(size, 10, explain, 1, threads, 1) for size in images for explain in (True, False)]
    large = [Case(large_k, k, True, 1, threads, 1) for k in (10, large_k)] if large_k else []
    several = [Case(images[0], 10, False, *each, 2 * callers) for each in ((1, 1), (callers, 1), (1, 2))]
    return [*one, *large, *several]


def taken_in_turn(
    wanted: Sequence[Case], gallery: Path, workers: Mapping[str, Worker], turns: int
) -> dict[tuple[Case, str], list[Taken]]:
    """What each case took with each tree, of every turn after two that warm up; all take their turns one by one."""
    texts = demo_queries()
    found: dict[tuple[Case, str], list[Taken]] = {(case, name): [] for case in wanted for name in workers}
    for turn in range(turns + 2):
        for case, name in found if turn % 2 else reversed(found):
            queries = [texts[(turn * case.queries + number) % len(texts)] for number in range(case.queries)]
            time.sleep(PAUSE)
            taken = workers[name].ask(case, gallery, queries)
            if turn >= 2:
                found[case, name].append(taken)
    return found


def ratio(slow: Sequence[Taken], fast: Sequence[Taken]) -> float:
    """How many times as fast the second is: the median over turns."""
    return round(statistics.median(one.seconds / other.seconds for one, other in zip(slow, fast, strict=True)), 2)


def measure(case: Case, gallery: Path, workers: Mapping[str, Worker], turns: int) -> dict[str, Any]:
    """A case's row: a query's milliseconds by tree, by clock and processors, and how much faster this tree is."""
    found = {name: values for (_, name), values in taken_in_turn([case], gallery, workers, turns).items()}
    row: dict[str, Any] = asdict(case) | {
        "milliseconds": {name: round(1e3 * statistics.median(x.seconds for x in found[name]), 1) for name in found},
        "fastest": {name: round(1e3 * min(x.seconds for x in found[name]), 1) for name in found},
        "cpu": {name: round(1e3 * statistics.median(x.cpu_seconds for x in found[name]), 1) for name in found},
    }
    return row | ({"times_as_fast": ratio(found["against"], found["this"])} if "against" in found else {})


def measure_callers(
    wanted: Sequence[Case], gallery: Path, workers: Mapping[str, Worker], turns: int
) -> list[dict[str, Any]]:
    """Rows of several callers: queries a second by tree, and how many times those of one caller of one thread."""
    found = taken_in_turn(wanted, gallery, workers, turns)
    rows = []
    for case in wanted:
        row: dict[str, Any] = asdict(case) | {"queries_per_second": {}, "times_one_caller": {}}
        for name in workers:
            own = found[case, name]
            row["queries_per_second"][name] = round(case.queries / statistics.median(x.seconds for x in own), 1)
            row["times_one_caller"][name] = ratio(found[wanted[0], name], own)
        rows.append(row)
    return rows


def print_row(row: Mapping[str, Any]) -> None:
    asked = f"{row['images']:>6,} photos, k {row['top_k']:>3}, {'explained' if row['explain'] else 'plain':<9}"
    callers = f"{row['callers']} callers" if row["callers"] > 1 else "1 caller"
    print(f"{asked}  {callers:<9} {row['threads']} threads", end="")
    for key in ("milliseconds", "fastest", "cpu", "queries_per_second", "times_one_caller"):
        if key in row:
            print(f"  {key.replace('_', ' ')} {' / '.join(map(str, row[key].values()))}", end="")
    print(f"  {row['times_as_fast']} times as fast" if "times_as_fast" in row else "", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, help="another checkout of the project")
    parser.add_argument("--images", type=int, nargs="+", default=[1500, 8000])
    parser.add_argument("--large-k", type=int, default=159, help="hits of so many photos; 0: not measured")
    parser.add_argument("--callers", type=int, default=8)
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2, help="of the engine that answers one caller")
    parser.add_argument("--source", type=Path, help="gallery whose photos are recombined; else the demo's")
    parser.add_argument("--model", type=Path, help="bundle for both trees; else each one's demo")
    parser.add_argument("--work", type=Path, help="folder that keeps the galleries; else a temporary one")
    parser.add_argument("--report", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    trees = {"this": ROOT} | ({"against": options.against.resolve()} if options.against else {})
    wanted = cases(options.images, options.large_k, options.threads, options.callers)
    load = os.getloadavg()[0]
    workers = {name: Worker(tree, options.model) for name, tree in trees.items()}
    try:
        with tempfile.TemporaryDirectory() as temporary:
            work = options.work or Path(temporary)
            galleries = {case.images: work / f"{case.images}.gallery" for case in wanted}
            for images, gallery in galleries.items():
                if not gallery.exists():
                    make_gallery(options.source, images, gallery, "float32")
            rows = []
            for case in wanted[:-3]:
                rows.append(measure(case, galleries[case.images], workers, options.turns))
                print_row(rows[-1])
            callers = measure_callers(wanted[-3:], galleries[options.images[0]], workers, options.turns)
            for row in callers:
                print_row(row)
    finally:
        for worker in workers.values():
            worker.close()
    report = {
        "recorded": {name: recorded(tree) for name, tree in trees.items()},
        "load_before_and_after": [round(load, 1), round(os.getloadavg()[0], 1)],
        "turns": options.turns,
        "rows": rows,
        "callers": callers,
    }
    write_report(options.report, report)


if __name__ == "__main__":
    main()
