"""One query over shards on Ray: queries a second for one and two workers, and what Ray adds to a query.

    python benchmarks/shards.py --photos 2000 --queries 200 --report benchmarks/results/shards.json

The photos are random regions, in one gallery and in two halves of it. The overhead of a query is its time with one
worker less that of the same query in this process, the two in turn. Searches are exhaustive and without explanations.
Answers of both kinds are compared, and the encoding of a caption is timed, which every shard does for itself.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
from provenance import recorded
from reports import demo_queries, write_report
from shan_engine import api
from shan_engine.bundle.contents import Bundle
from shan_engine.gallery.reader import Gallery
from shan_engine.indexing.copy import split_gallery
from shan_engine.indexing.images import index_store
from shan_engine.locate import demo_bundle
from shan_engine.scoring.scorer import Scorer
from shan_engine.shards.sharded import ShardedEngine
from shan_engine.store.feature_store import FeatureStore
from shan_engine.store.records import RegionRecord
from shan_engine.store.schema import StoreSchema

REGIONS = 36
WRITTEN_TOGETHER = 256  # photos


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=2000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--ray", default="local")
    parser.add_argument("--work", type=Path, help="where galleries are kept; else they are temporary")
    parser.add_argument("--report", type=Path)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        scorer = Scorer(Bundle.open(demo_bundle()), "cpu", threads=1)
        whole = made(work / "whole.gallery", scorer, options.photos)
        halves = sorted((work / "halves").glob("part-*"))
        halves = halves or split_gallery(Gallery.open(whole, scorer.bundle), 2, work / "halves")
        queries = list(islice(cycle(demo_queries()), options.queries))
        report: dict[str, Any] = {"photos": options.photos, "queries": len(queries), "load": os.getloadavg()}
        report["encode_ms"] = round(1000 * statistics.median(timed(lambda text: encoded(scorer, text), queries)), 2)
        with opened([whole]) as local:
            expected = ranks(local, queries)
            for shards in ([whole], halves):
                with opened(shards, options.ray) as engine:
                    row = measured(engine, local, queries)
                    row["equal"] = alike(ranks(engine, queries), expected)
                report[f"{len(shards)} workers"] = row
                print(len(shards), "workers: ", "  ".join(f"{name} {value}" for name, value in row.items()), flush=True)
    print(f"encoding a caption: {report['encode_ms']} ms")
    if options.report:
        write_report(options.report, {"recorded": recorded(), **report})


def measured(engine: ShardedEngine, local: ShardedEngine, queries: Sequence[str]) -> dict[str, Any]:
    """Queries a second together and one by one, and how much longer a query takes than in this process."""
    options: dict[str, Any] = {"explain": False, "exhaustive": True}
    engine.search_all(list(queries[:16]), **options)
    began = time.perf_counter()
    engine.search_all(list(queries), **options)
    together = time.perf_counter() - began
    here, there = [], []
    for query in queries:
        here += timed(lambda text: local.search(text, **options), [query])
        there += timed(lambda text: engine.search(text, **options), [query])
    more = sorted(1000 * (one - other) for one, other in zip(there, here, strict=True))
    return {
        "queries_per_second": round(len(queries) / together, 1),
        "query_ms": round(1000 * statistics.median(there), 1),
        "query_here_ms": round(1000 * statistics.median(here), 1),
        "overhead_ms": round(statistics.median(more), 1),
        "overhead_p99_ms": round(more[min(len(more) - 1, int(0.99 * len(more)))], 1),
    }


def ranks(engine: ShardedEngine, queries: Sequence[str]) -> list[list[tuple[str, float]]]:
    found = engine.search_all(list(queries[:30]), explain=False, exhaustive=True)
    return [[(hit.image.id, hit.score) for hit in hits] for hits in found]


def alike(found: Sequence[Sequence[tuple[str, float]]], expected: Sequence[Sequence[tuple[str, float]]]) -> bool:
    """Whether hits are the same; a product of fewer rows rounds the last bit of a score otherwise."""
    return all(
        [id for id, _ in one] == [id for id, _ in other]
        and all(abs(a - b) < 1e-6 for (_, a), (_, b) in zip(one, other, strict=True))
        for one, other in zip(found, expected, strict=True)
    )


def encoded(scorer: Scorer, text: str) -> Any:
    return scorer.encoders.encode_captions([scorer.encoders.tokens(text)])


def timed(call: Callable[[str], Any], queries: Sequence[str]) -> list[float]:
    seconds = []
    for query in queries:
        began = time.perf_counter()
        call(query)
        seconds.append(time.perf_counter() - began)
    return seconds


def opened(shards: Sequence[Path], ray: str | None = None) -> ShardedEngine:
    return api.open_shards(shards, demo_bundle(), ray=ray, device="cpu", threads=1)


def made(path: Path, scorer: Scorer, photos: int) -> Path:
    """A gallery of random photos, each made of its number."""
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    manifest = scorer.bundle.manifest
    schema = StoreSchema(manifest.feature_extractor or "random", manifest.feature_dim, max_regions=REGIONS)
    with FeatureStore.create(path.with_suffix(".store"), schema) as store:
        for start in range(0, photos, WRITTEN_TOGETHER):
            numbers = range(start, min(start + WRITTEN_TOGETHER, photos))
            store.write([record(number, manifest.feature_dim) for number in numbers])
        index_store(store, scorer, path)
    return path


def record(number: int, dim: int) -> RegionRecord:
    features = np.abs(np.random.default_rng(number).standard_normal((REGIONS, dim), np.float32))
    return RegionRecord(id=f"{number:09}", features=features)


if __name__ == "__main__":
    main()
