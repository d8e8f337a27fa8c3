"""What a filter costs: a gallery with metadata, and the same one's first block many times over, up to a million images.

    python benchmarks/filters.py GALLERY --work FOLDER

FOLDER must be on the gallery's disk: blocks are linked, not copied, into a folder of their own there.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import shan_engine
from linked import link_blocks
from provenance import recorded
from reports import write_report
from shan_engine.base.column_types import Value
from shan_engine.base.metadata import Metadata
from shan_engine.gallery.filters import matching
from shan_engine.gallery.manifest import GalleryManifest
from shan_engine.gallery.reader import Gallery
from shan_engine.indexing.tables import renew_tables
from shan_engine.locate import locate_bundle

RESULTS = Path(__file__).parent / "results" / "filters.json"
LICENCES = ("CC0", "CC-BY", "GPL")
CONDITIONS = ("year = 2001", "year >= 2020 AND licence = 'CC0'", "year >= 2001", "1")
QUERIES = ("a dog on grass", "two people on a beach", "a red car", "a child in water")


def timed(action: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    return action(), time.perf_counter() - start


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("gallery", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--images", type=int, default=1_000_000, help="of the larger gallery, at least")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--report", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    manifest = GalleryManifest.load(options.gallery)
    ids = Gallery(options.gallery, manifest).ids()
    rows: dict[str, tuple[Value, ...]] = {
        id: (1990 + number % 35, LICENCES[number % 3], f"author {number % 97}") for number, id in enumerate(ids)
    }
    metadata = Metadata({"year": "INTEGER", "licence": "TEXT", "author": "TEXT"}, rows)
    model = locate_bundle(options.model)
    options.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.work) as work:
        measured = measure(options.gallery, manifest, metadata, model, Path(work), options.images)
    write_report(options.report, {"recorded": recorded(), "rows": measured})


def measure(
    source: Path, manifest: GalleryManifest, metadata: Metadata, model: Path, work: Path, images: int
) -> list[dict[str, Any]]:
    rows = []
    for copies in (1, -(-images // len(Gallery(source, manifest).blocks[0]))):
        folder = work / str(copies)
        linked = link_blocks(source, folder, manifest.blocks if copies == 1 else manifest.blocks[:1] * copies)
        renewed, seconds = timed(partial(renew_tables, folder, linked, metadata))
        renewed.save(folder)
        engine = shan_engine.open(folder, model)
        gallery = engine.gallery
        tables = sum(file.stat().st_size for file in folder.glob("blocks/*/*.sqlite"))
        row: dict[str, Any] = {"images": len(gallery), "seconds_to_write": round(seconds, 2)}
        row |= {"bytes_an_image": round(tables / len(gallery)), "conditions": {}, "searches": {}}
        rows.append(row)
        print(f"{len(gallery):,} images: tables written in {seconds:.1f} s, {row['bytes_an_image']} bytes an image")
        for where in CONDITIONS:
            found, seconds = timed(partial(matching, gallery, where))
            row["conditions"][where] = {"match": len(found), "seconds": round(seconds, 3)}
            print(f"  {where}: {len(found):,} match, found in {seconds:.2f} s")
        if copies == 1:
            engine.search(QUERIES[0], explain=False)  # loads the model
            for condition in (None, *CONDITIONS):
                ask = partial(engine.search, where=condition, explain=False)
                seconds = sum(timed(partial(ask, query))[1] for query in QUERIES)
                row["searches"][condition or "all"] = round(seconds / len(QUERIES), 3)
                print(f"  a search where {condition}: {seconds / len(QUERIES):.2f} s")
    return rows


if __name__ == "__main__":
    main()
