"""Other engines on a gallery's regions and a query's words: what they find, and how fast (`large_gallery.py compare`).

Each engine is compared with the exhaustive ranking by its own score: SHAN's of this one, MaxSim of engines for
multi-vectors, the cosine of mean region and mean word of engines for vectors. All are searched in one process, query
by query in turn, each with as many threads as there are usable CPUs (`taskset -c 1` for one: then its CPU time is that
of a free core, whatever else runs). Captions are encoded beforehand. Indexes stay in --work, so that a second run
only searches. fast-plaid and xtr-warp-rs need another torch than this project has: use an environment of their own,
with the trees of this project in PYTHONPATH.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from other_indexes import ENGINES, TEN, Engine, Problem
from provenance import package, recorded
from reports import read_report, write_report
from shan_engine.base.threads import usable_cpus
from shan_engine.bundle.contents import Bundle
from shan_engine.gallery.reader import Gallery
from shan_engine.locate import demo_bundle
from shan_engine.scoring.scorer import Scorer
from shan_engine.search.answer import search
from shan_engine.search.cascade import Cascade
from shan_engine.search.tuning import StageWidths

Floats = NDArray[np.float32]
RESULTS = Path(__file__).parent / "results" / "other_engines.json"
PLOT = Path(__file__).parent.parent / "docs" / "other-engines.svg"
ALL_STEPS = 110  # images that reach all steps, at most
PAUSE = 0.002  # seconds before a search: threads of the engine before spin for a while
PART = 2**14  # regions whose MaxSim is computed at once


def compare(options: argparse.Namespace, queries: Sequence[str]) -> None:
    """Measure all engines on each gallery; the plot is drawn for the default report alone."""
    held = read_report(options.report)
    for path in options.galleries:
        images, rows = measure(path, options.bundle or demo_bundle(), queries, options)
        held[str(images)] = {"images": images, "queries": len(queries), "recorded": recorded(), "engines": rows}
        write_report(options.report, held)
    if options.report == RESULTS:
        plot(held)


def measure(
    path: Path, bundle: Path, queries: Sequence[str], options: argparse.Namespace
) -> tuple[int, list[dict[str, Any]]]:
    scorer = Scorer(Bundle.open(bundle), "cpu", threads=usable_cpus())
    gallery = Gallery.open(path, scorer.bundle, release_pages=False)
    remember_captions(scorer)
    problem = problem_of(scorer, gallery, queries)
    work = options.work / str(len(gallery))
    work.mkdir(parents=True, exist_ok=True)
    engines = [this_one(scorer, gallery, queries)]
    for name in options.engines:
        print(f"{len(gallery):,} images: {name} …", flush=True)
        engines.append(ENGINES[name](problem, work))
    whole = engines[0].search
    truth = {"SHAN": [set(whole(number, exhaustive=True)) for number in range(len(queries))]}
    truth["cosine"] = [set(ten) for ten in best(problem.means @ problem.pooled.T)]
    if any(engine.score == "MaxSim" for engine in engines):
        truth["MaxSim"] = [set(ten) for ten in best(max_sim(problem))]
    rows = [one for _, one in sorted(measured(engines, truth, len(queries)).items())]
    for row in rows:
        print(json.dumps({name: value for name, value in row.items() if name != "settings"}), flush=True)
        for setting in row["settings"]:
            print("  ", json.dumps(setting), flush=True)
    return len(gallery), rows


def measured(engines: Sequence[Engine], truth: dict[str, list[set[int]]], queries: int) -> dict[int, dict[str, Any]]:
    """Median milliseconds of a search and mean agreement of every setting; queries take all settings in turn."""
    ways = [(place, name) for place, engine in enumerate(engines) for name in engine.settings]
    seconds: dict[tuple[int, str], list[float]] = {way: [] for way in ways}
    cpu: dict[tuple[int, str], list[float]] = {way: [] for way in ways}
    own: dict[tuple[int, str], list[float]] = {way: [] for way in ways}
    ours: dict[tuple[int, str], list[float]] = {way: [] for way in ways}
    for number in [0, *range(queries)]:  # the first warms up
        for way in ways:
            engine = engines[way[0]]
            time.sleep(PAUSE)
            began, worked = time.perf_counter(), time.process_time()
            found = engine.search(number, **engine.settings[way[1]])
            cpu[way].append(time.process_time() - worked)
            seconds[way].append(time.perf_counter() - began)
            own[way].append(len(truth[engine.score][number].intersection(found)) / TEN)
            ours[way].append(len(truth["SHAN"][number].intersection(found)) / TEN)
    rows = {}
    for place, engine in enumerate(engines):
        settings = [
            {
                "setting": name,
                "milliseconds": round(1000 * statistics.median(seconds[place, name][1:]), 3),
                "cpu_milliseconds": round(1000 * statistics.median(cpu[place, name][1:]), 3),
                "agreement_at_10": round(statistics.fmean(own[place, name][1:]), 4),
                "finds_of_shan": round(statistics.fmean(ours[place, name][1:]), 4),
            }
            for name in engine.settings
        ]
        rows[place] = {"engine": engine.name, "score": engine.score, **engine.facts, "settings": settings}
    return rows


def remember_captions(scorer: Scorer) -> None:
    """Encode each caption once, so that searches are timed without it."""
    encode, held = scorer.encoders.encode_captions, dict[str, Any]()

    def remembered(token_lists: Sequence[Sequence[int]]) -> Any:
        key = str(token_lists)
        if key not in held:
            held[key] = encode(token_lists)
        return held[key]

    scorer.encoders.encode_captions = remembered  # type: ignore[method-assign]


def problem_of(scorer: Scorer, gallery: Gallery, queries: Sequence[str]) -> Problem:
    arrays = (block.rows_of(np.arange(len(block)))["image_regions"] for block in gallery.blocks)
    regions: Floats | None = None
    start = 0
    for block in arrays:
        if regions is None:
            regions = np.empty((len(gallery), *block.shape[1:]), np.float32)
        regions[start : start + len(block)] = block
        start += len(block)
    assert regions is not None
    encoders = scorer.encoders
    words = [encoders.encode_captions([encoders.read(query).tokens])["caption_words"][0] for query in queries]
    means = np.stack([rows.mean(axis=0) for rows in words])
    return Problem(regions, of_length_1(regions.mean(axis=1)), words, of_length_1(means))


def of_length_1(vectors: Floats) -> Floats:
    found: Floats = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return found


def best(scores: Floats) -> list[list[int]]:
    """The places of the first ten in each row of scores."""
    return [np.argsort(-row, kind="stable")[:TEN].tolist() for row in scores]


def max_sim(problem: Problem) -> Floats:
    """The sum over words of the highest cosine with a region, queries x N."""
    words, starts = np.concatenate(problem.words), np.cumsum([0, *(len(rows) for rows in problem.words)])[:-1]
    N, K, D = problem.regions.shape
    found, step = np.empty((len(starts), N), np.float32), max(1, PART // K)
    for start in range(0, N, step):
        part = problem.regions[start : start + step]
        highest = (words @ part.reshape(-1, D).T).reshape(len(words), -1, K).max(axis=2)
        found[:, start : start + step] = np.add.reduceat(highest, starts, axis=0)
    return found


def this_one(scorer: Scorer, gallery: Gallery, queries: Sequence[str]) -> Engine:
    cascade, places = Cascade(scorer, gallery), {id: place for place, id in enumerate(gallery.ids())}

    def ask(number: int, candidates: int = 0, exhaustive: bool = False) -> list[int]:
        widths = StageWidths(candidates, min(candidates, ALL_STEPS)) if candidates else None
        (found,) = search(
            scorer,
            gallery,
            [queries[number]],
            top_k=TEN,
            explain=False,
            exhaustive=exhaustive,
            cascade=cascade,
            cascade_from=0,
            widths=widths,
        )
        return [places[hit.image.id] for hit in found.hits]

    size = sum(file.stat().st_size for file in gallery.path.rglob("*") if file.is_file())
    widths = [width for width in (20, 50, 150, 500, 1500, 5000, 15000) if width <= len(gallery)]
    return Engine(
        "shan-engine",
        "SHAN",
        ask,
        {f"{width} candidates": {"candidates": width} for width in widths},
        {"bytes_an_image": round(size / len(gallery)), "version": package("shan-engine")},
    )


def plot(report: dict[str, Any]) -> None:
    """Agreement over milliseconds, a panel for each gallery, as ann-benchmarks draws it: up and left is better."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    sizes = sorted(report.values(), key=lambda one: one["images"])
    figure, panels = plt.subplots(
        1, len(sizes), figsize=(5 * len(sizes), 4), sharey=True, layout="constrained", squeeze=False
    )
    for axes, one in zip(panels[0], sizes, strict=True):
        for row in one["engines"]:
            points = sorted((each["cpu_milliseconds"], each["agreement_at_10"]) for each in row["settings"])
            axes.plot(*zip(*points, strict=True), "o-", label=f"{row['engine']} ({row['score']})", markersize=4)
        axes.set(xscale="log", xlabel="CPU milliseconds a query", title=f"{one['images']:,} images")
        axes.grid(alpha=0.3)
    panels[0][0].set_ylabel("share of its own exhaustive first ten")
    panels[0][-1].legend(fontsize=8, loc="lower right")
    figure.savefig(PLOT, metadata={"Date": None})
