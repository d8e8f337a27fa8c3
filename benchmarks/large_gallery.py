"""Search of large galleries: how long, how much memory, and how many of an exhaustive search's hits are found.

    python benchmarks/large_gallery.py make --source flickr8k.gallery --images 100000 --output 100k.gallery
    python benchmarks/large_gallery.py link --source 100k.gallery --times 10 --output 1m.gallery
    python benchmarks/large_gallery.py link --source 1m.gallery --times 10 --vectors 8k.gallery --output 10m.gallery
    python benchmarks/large_gallery.py run --captions captions.tsv 8k.gallery 32k.gallery 100k.gallery 1m.gallery
    python benchmarks/large_gallery.py compare --captions captions.tsv --work FOLDER 8k.gallery 100k.gallery

`make` recombines and jitters the regions of a real gallery's photos, seeded; without --source the demo's. With
--planted, photos of split `test` of a caption file are not recombined but added as they are (agreement.py). `link`
makes a gallery with each photo several times, on the same disk: for times alone. What a first pass reads is copied.
With --vectors, that is of other photos, recombined of this gallery's: only exact rows are then those of another photo.
`run` takes queries from split `test` of a caption file, or without one the demo's queries, and writes
benchmarks/results/large_gallery.json and docs/large-gallery.svg. `compare` gives the same regions to other engines
(other_engines.py).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import other_engines
import shan_engine
from command import COMMAND
from linked import link_blocks
from other_indexes import ENGINES
from provenance import recorded
from recombined import held_by, make_gallery, with_other_vectors
from reports import queries_of, read_report, write_report
from shan_engine.bundle.contents import Bundle
from shan_engine.gallery.manifest import GalleryManifest
from shan_engine.gallery.reader import Gallery
from shan_engine.locate import demo_bundle
from shan_engine.text.captions import CaptionTable

RESULTS = Path(__file__).parent / "results" / "large_gallery.json"
PLOT = Path(__file__).parent.parent / "docs" / "large-gallery.svg"
WARM = 30
TOGETHER = 100  # queries of one search_all
LARGE = 512  # bytes an image, of files that a first pass does not read: regions and boxes


def make(options: argparse.Namespace) -> None:
    make_gallery(options.source, options.images, options.output, options.storage, planted_by(options.planted))


def planted_by(captions: Path | None) -> set[str]:
    return set(CaptionTable.read(captions).split("test").images) if captions else set()


def compare(options: argparse.Namespace) -> None:
    other_engines.compare(options, queries_of(options.captions, options.queries))


def link(options: argparse.Namespace) -> None:
    blocks = GalleryManifest.load(options.source).blocks
    linked = link_blocks(options.source, options.output, blocks * options.times, copy_below=LARGE)
    if options.vectors:
        photos, _, _ = held_by(Gallery.open(options.vectors), planted_by(options.planted))
        linked = with_other_vectors(options.output, linked, len(blocks), photos)
    linked.save(options.output)


def run(options: argparse.Namespace) -> None:
    bundle = options.bundle or demo_bundle()
    queries = queries_of(options.captions, options.queries)
    held = read_report(options.report)
    machine = {"machine": platform.machine(), "cpus": os.cpu_count(), "model": Bundle.open(bundle).manifest.model}
    alike = all(held.get(name) == value for name, value in machine.items())
    rows = {row["images"]: row for row in held.get("rows", ()) if alike}
    for path in options.galleries:
        row = measure(bundle, path, queries, options.exhaustive_pairs)
        size = row["images"]
        rows[size] = {**(rows.get(size, {}) if not options.exhaustive_pairs else {}), **row}
        print(json.dumps(rows[size]), flush=True)
        write_report(options.report, {**held, **machine, "rows": [rows[size] for size in sorted(rows)]})
    if options.report == RESULTS:
        plot([rows[size] for size in sorted(rows)])


def measure(bundle: Path, path: Path, queries: list[str], exhaustive_pairs: float) -> dict[str, Any]:
    engine = shan_engine.open(path, bundle, device="cpu")
    last = engine.gallery.blocks[-1].images_at([0])[0].id
    began = time.perf_counter()
    engine.image(last)  # the first photo that is looked up by its id
    seconds_by_id = time.perf_counter() - began
    cascade = engine.search_all(queries, explain=False)  # also reads the pages that are looked at
    seconds, cpu, together = [], [], queries[:TOGETHER]
    with own_memory() as own:
        for query in queries[:WARM]:
            began, worked = time.perf_counter(), time.process_time()
            engine.search(query, explain=False)
            seconds.append(time.perf_counter() - began)
            cpu.append(time.process_time() - worked)
        began, worked = time.perf_counter(), time.process_time()
        engine.search_all(together, explain=False)
        seconds_together, cpu_together = time.perf_counter() - began, time.process_time() - worked
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    compared = {}
    if exhaustive_pairs:
        asked = queries[:: max(1, round(len(queries) * len(engine) / exhaustive_pairs))]
        began = time.perf_counter()
        exhaustive = engine.search_all(asked, explain=False, exhaustive=True)
        found = {hits.query: [hit.image.id for hit in hits] for hits in cascade}
        truth = [{hit.image.id for hit in hits} for hits in exhaustive]
        compared = {
            "seconds_a_query_exhaustive": round((time.perf_counter() - began) / len(asked), 3),
            "agreement_at_10": shares([found[query] for query in asked], truth),
            "queries_compared": len(asked),
        }
    images, blocks, storage = len(engine), len(engine.gallery.blocks), engine.gallery.manifest.dtype
    engine.close()
    command = [*map(str, (COMMAND, "search", queries[0], "--gallery", path, "--model", bundle, "--json"))]
    cold, cpu_cold = [], []
    # As an installed command runs: its modules are compiled before the times count.
    compiled = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run(command, check=True, capture_output=True, env=compiled)
    for _ in range(3):
        began, worked = time.perf_counter(), _of_children()
        subprocess.run(command, check=True, capture_output=True, env=compiled)
        cold.append(time.perf_counter() - began)
        cpu_cold.append(_of_children() - worked)
    forget(path)
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=compiled)
    from_disk = time.perf_counter() - began
    scanned = cascade[0].stages
    return {
        "images": images,
        "storage": storage,
        "seconds_a_query": round(statistics.median(seconds), 4),
        "cpu_seconds_a_query": round(statistics.median(cpu), 4),
        "queries_together": len(together),
        "seconds_together": round(seconds_together, 2),
        "cpu_seconds_together": round(cpu_together, 2),
        **compared,
        "scanned": vars(scanned) if scanned else None,
        "cold_seconds": round(statistics.median(cold), 2),
        "cold_cpu_seconds": round(statistics.median(cpu_cold), 2),
        "from_disk_seconds": round(from_disk, 2),
        "seconds_by_id": round(seconds_by_id, 4),
        "blocks": blocks,
        "peak_mib": peak,
        "own_peak_mib": max(own, default=None),
        "bytes_an_image": round(sum(f.stat().st_size for f in path.rglob("*") if f.is_file()) / images),
        "recorded": recorded(),
    }


@contextmanager
def own_memory() -> Iterator[list[int]]:
    """MiB that this process holds beside mapped files, a hundred times a second; empty where the system tells none."""
    seen: list[int] = []
    status, done = Path("/proc/self/status"), threading.Event()

    def look() -> None:
        while not done.wait(0.01):
            seen.append(int(status.read_text().partition("RssAnon:")[2].split()[0]) // 1024)

    watcher = threading.Thread(target=look)
    if status.exists():
        watcher.start()
    try:
        yield seen
    finally:
        done.set()
        if watcher.ident:
            watcher.join()


def forget(gallery: Path) -> None:
    """Let the system drop a gallery's files from its cache: the next one to read them waits for the disk."""
    for file in gallery.rglob("*"):
        if file.is_file() and hasattr(os, "posix_fadvise"):
            with file.open("rb") as held:
                os.posix_fadvise(held.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _of_children() -> float:
    """Processor seconds of all processes that this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def shares(found: list[list[str]], truth: list[set[str]]) -> float:
    return round(float(np.mean([len(set(ids) & held) / len(held) for ids, held in zip(found, truth, strict=True)])), 4)


def plot(rows: list[dict[str, Any]]) -> None:
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for key, label in (("seconds_a_query", "in stages"), ("seconds_a_query_exhaustive", "exhaustive")):
        known = [row for row in rows if key in row]
        axes.plot([row["images"] for row in known], [row[key] for row in known], "o-", label=label)
    axes.set(xscale="log", yscale="log", xlabel="images", ylabel="seconds a query, warm")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(PLOT, metadata={"Date": None})


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    phases = parser.add_subparsers(dest="phase", required=True)
    maker = phases.add_parser("make")
    maker.add_argument("--source", type=Path, help="gallery of real photos; else the demo's")
    maker.add_argument("--images", type=int, required=True)
    maker.add_argument("--output", type=Path, required=True)
    maker.add_argument("--storage", default="int8")
    maker.add_argument("--planted", type=Path, help="caption file: add its photos of split test as they are")
    linker = phases.add_parser("link")
    linker.add_argument("--source", type=Path, required=True)
    linker.add_argument("--times", type=int, required=True)
    linker.add_argument("--output", type=Path, required=True)
    linker.add_argument("--vectors", type=Path, help="gallery of real photos: recombine what a first pass reads")
    linker.add_argument("--planted", type=Path, help="as of `make`: these photos are not recombined")
    runner, other = phases.add_parser("run"), phases.add_parser("compare")
    runner.add_argument("galleries", type=Path, nargs="+")
    runner.add_argument(
        "--exhaustive-pairs", type=float, default=2e7, help="pairs of the exhaustive comparison; 0: as it was"
    )
    other.add_argument("galleries", type=Path, nargs="+")
    other.add_argument("--work", type=Path, required=True, help="folder for the other engines' indexes")
    other.add_argument("--engines", nargs="*", choices=ENGINES, default=list(ENGINES))
    for phase in (runner, other):
        phase.add_argument("--captions", type=Path)
        phase.add_argument("--queries", type=int, default=200)
        phase.add_argument("--bundle", type=Path)
    for phase, path in ((runner, RESULTS), (other, other_engines.RESULTS)):
        phase.add_argument("--report", type=Path, default=path, help="the plot is drawn for the default one alone")
    options = parser.parse_args(arguments)
    {"make": make, "link": link, "run": run, "compare": compare}[options.phase](options)


if __name__ == "__main__":
    main()
