"""Whether a gallery that grew by a tenth, ten times, is as good and as fast as one made at once.

    python benchmarks/growth.py f8k.store --captions captions.tsv --work FOLDER

`index` sees the first 39 % of the store's photos, then ten times a tenth more. Beside it, all are indexed at once.
Both galleries answer captions and short queries of split `test` in stages, in turn, and exhaustively: agreement.py says
what agreement is. Writes benchmarks/results/growth.json.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import shan_engine
from agreement import KINDS, TEN, right_shares, summary
from provenance import recorded
from reports import write_report
from shan_engine.bundle.contents import Bundle
from shan_engine.engine import Engine
from shan_engine.indexing.images import index_store
from shan_engine.locate import demo_bundle
from shan_engine.scoring.scorer import Scorer
from shan_engine.store.feature_store import FeatureStore
from shan_engine.store.records import RecordInfo

RESULTS = Path(__file__).parent / "results" / "growth.json"
TIMES, SHARE = 10, 0.1


class Begun:
    """A store that has only the first of another's photos so far."""

    def __init__(self, store: FeatureStore, count: int) -> None:
        self._store, self._count = store, count

    def infos(self) -> list[RecordInfo]:
        return self._store.infos()[: self._count]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def sizes(images: int) -> list[int]:
    """Numbers of photos of a gallery that grows to `images`."""
    return [round(images / (1 + SHARE) ** left) for left in range(TIMES, -1, -1)]


def index(store: FeatureStore, bundle: Path, work: Path, storage: str) -> dict[str, Path]:
    """The gallery that grew, and the one made at once; those that are there are taken as they are."""
    found = {"grown": work / "grown.gallery", "at once": work / "whole.gallery"}
    scorer = Scorer(Bundle.open(bundle), "cpu")
    for name, path in found.items():
        if path.exists():
            continue
        for count in sizes(len(store)) if name == "grown" else [len(store)]:
            result = index_store(cast(FeatureStore, Begun(store, count)), scorer, path, dtype=storage)
            print(f"{name}: {count:,} photos, {result.added:,} new", flush=True)
    return found


def measure(engines: dict[str, Engine], queries: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Agreement of each gallery with its own exhaustive ranking, and milliseconds of a query; they take turns.

    Milliseconds are of the processors: other work on the machine hardly changes them.
    """
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    shares = {}
    for name, engine in engines.items():
        staged = engine.search_all(queries, top_k=TEN, explain=False, mark_unanswerable=True)
        exact = engine.search_all(queries, top_k=TEN, explain=False, mark_unanswerable=True, exhaustive=True)
        shares[name] = right_shares(staged, exact)
        queries = [found.query for found in staged if not found.error]
    for number, query in enumerate(queries):
        for name in sorted(engines, reverse=bool(number % 2)):  # the first of two finds the processor's caches cold
            began = time.process_time()
            engines[name].search(query, top_k=TEN, explain=False)
            seconds[name].append(time.process_time() - began)
    return {
        name: {**summary(shares[name]), "cpu_milliseconds": round(1000 * statistics.median(seconds[name]), 2)}
        for name in engines
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--captions", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder for the two galleries")
    parser.add_argument("--queries", type=int, default=200, help="of each kind")
    parser.add_argument("--bundle", type=Path, default=demo_bundle())
    parser.add_argument("--storage", default="int8")
    parser.add_argument("--report", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    with FeatureStore.open(options.store) as store:
        paths = index(store, options.bundle, options.work, options.storage)
    engines = {name: shan_engine.open(path, options.bundle, device="cpu") for name, path in paths.items()}
    grown, whole = engines.values()
    report: dict[str, Any] = {
        "images": len(whole),
        "sizes": sizes(len(whole)),
        "same_photos": sorted(grown.ids) == sorted(whole.ids),
        "blocks": {name: len(engine.gallery.blocks) for name, engine in engines.items()},
        "recorded": recorded(),
    }
    for kind, of_kind in KINDS.items():
        report[kind] = measure(engines, of_kind(options.captions, options.queries))
        print(f"{kind}: {report[kind]}", flush=True)
    write_report(options.report, report)


if __name__ == "__main__":
    main()
