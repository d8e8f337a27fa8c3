"""Search of large galleries: how long, how much memory, and how many of an exhaustive search's hits are found.

    python benchmarks/large_gallery.py make --source flickr8k.gallery --images 100000 --output 100k.gallery
    python benchmarks/large_gallery.py link --source 100k.gallery --times 10 --output 1m.gallery
    python benchmarks/large_gallery.py run --captions captions.tsv 8k.gallery 32k.gallery 100k.gallery 1m.gallery
    python benchmarks/large_gallery.py compare --captions captions.tsv --work FOLDER 8k.gallery 100k.gallery

`make` recombines and jitters the regions of a real gallery's photos, seeded; without --source the demo's. With
--planted, photos of split `test` of a caption file are not recombined but added as they are (agreement.py). `link`
makes a gallery with each photo several times, on the same disk: for times alone. What a first pass reads is copied.
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
import time
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import other_engines
import shan_engine
from command import COMMAND
from linked import link_blocks
from msgspec.structs import replace
from numpy.typing import NDArray
from other_indexes import ENGINES
from provenance import recorded
from reports import queries_of, read_report, write_report
from shan_engine.base.packing import Arrays
from shan_engine.bundle.contents import Bundle
from shan_engine.gallery.blocks import GalleryImage
from shan_engine.gallery.manifest import GalleryManifest
from shan_engine.gallery.reader import Gallery
from shan_engine.indexing.block_writer import Encoded, write_block
from shan_engine.indexing.images import BLOCK_IMAGES
from shan_engine.locate import demo_bundle
from shan_engine.text.captions import CaptionTable

Floats = NDArray[np.float32]
RESULTS = Path(__file__).parent / "results" / "large_gallery.json"
PLOT = Path(__file__).parent.parent / "docs" / "large-gallery.svg"
SWAPPED = 0.3  # share of an image's regions that come from a second photo
NOISE = 0.5  # length of the jitter beside a region's length 1: cosine about 0.89
PART = 256
WARM = 30
TOGETHER = 100  # queries of one search_all
LARGE = 512  # bytes an image, of files that a first pass does not read: regions and boxes


def make(options: argparse.Namespace) -> None:
    planted = set(CaptionTable.read(options.planted).split("test").images) if options.planted else set()
    make_gallery(options.source, options.images, options.output, options.storage, planted)


def compare(options: argparse.Namespace) -> None:
    other_engines.compare(options, queries_of(options.captions, options.queries))


def link(options: argparse.Namespace) -> None:
    entries = GalleryManifest.load(options.source).blocks * options.times
    link_blocks(options.source, options.output, entries, copy_below=LARGE).save(options.output)


def make_gallery(original: Path | None, images: int, output: Path, storage: str, planted: Container[str] = ()) -> None:
    """A gallery of `images` photos recombined of those of another, by default of the demo's.

    Those of the other that are `planted` are not recombined: they are added as they are.
    """
    source = Gallery.open(original or demo_bundle().parent / "gallery")
    held = [block.rows_of(np.arange(len(block))) for block in source.blocks]
    arrays = {name: np.concatenate([block[name] for block in held]) for name in source.manifest.arrays}
    rows = [GalleryImage(id, "", 0, 0, 0) for id in source.ids()]
    whole = arrays["region_mask"].all(axis=1)
    added = np.array([row.id in planted for row in rows])
    real = {name: array[added] for name, array in arrays.items()}
    arrays = {name: array[whole & ~added] for name, array in arrays.items()}
    manifest = replace(source.manifest, dtype=storage, blocks=(), centroids="")
    output.mkdir(parents=True)
    entries, began = [], time.perf_counter()
    for start in range(0, images, BLOCK_IMAGES):
        count = min(BLOCK_IMAGES, images - start)
        entries.append(write_block(output, manifest, count, _recombined(arrays, start, count), pooled=True))
        print(f"{start + count:,} images, {time.perf_counter() - began:.0f} s", flush=True)
    if added.any():
        boxes = np.full((*real["region_mask"].shape, 4), np.nan, np.float32)
        own = [row for row, is_planted in zip(rows, added, strict=True) if is_planted]
        entries.append(write_block(output, manifest, len(own), [(real, boxes, own)], pooled=True))
    replace(manifest, blocks=tuple(entries)).save(output)


def _recombined(held: Arrays, start: int, count: int) -> Iterator[Encoded]:
    """Images of regions recombined; what else a gallery stores is that of the photo with most of the regions."""
    regions: Floats = held["image_regions"].astype(np.float32, copy=False)
    _, K, D = regions.shape
    for first in range(start, start + count, PART):
        size = min(PART, start + count - first)
        random = np.random.default_rng((0, first))
        one, other = random.integers(len(regions), size=(2, size))
        swapped = random.random((size, K)) < SWAPPED
        made = np.where(swapped[:, :, None], regions[other], regions[one])
        made = made + random.standard_normal(made.shape, np.float32) * np.float32(NOISE / D**0.5)
        made /= np.linalg.norm(made, axis=2, keepdims=True)
        images = [GalleryImage(f"image{number}", "", 0, 0, 0) for number in range(first, first + size)]
        kept = {name: array[one] for name, array in held.items() if name != "image_regions"}
        yield {**kept, "image_regions": made}, np.full((size, K, 4), np.nan, np.float32), images


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
    seconds, cpu = [], []
    for query in queries[:WARM]:
        began, worked = time.perf_counter(), time.process_time()
        engine.search(query, explain=False)
        seconds.append(time.perf_counter() - began)
        cpu.append(time.process_time() - worked)
    together = queries[:TOGETHER]
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
    scanned = cascade[0].stages
    return {
        "images": len(engine),
        "storage": engine.gallery.manifest.dtype,
        "seconds_a_query": round(statistics.median(seconds), 4),
        "cpu_seconds_a_query": round(statistics.median(cpu), 4),
        "queries_together": len(together),
        "seconds_together": round(seconds_together, 2),
        "cpu_seconds_together": round(cpu_together, 2),
        **compared,
        "scanned": vars(scanned) if scanned else None,
        "cold_seconds": round(statistics.median(cold), 2),
        "cold_cpu_seconds": round(statistics.median(cpu_cold), 2),
        "seconds_by_id": round(seconds_by_id, 4),
        "blocks": len(engine.gallery.blocks),
        "peak_mib": peak,
        "bytes_an_image": round(sum(f.stat().st_size for f in path.rglob("*") if f.is_file()) / len(engine)),
        "recorded": recorded(),
    }


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
