"""What a gallery's storage costs and saves: bytes, differences of scores and recall, and captions of a photo.

    python benchmarks/storage.py STORE CAPTIONS --work FOLDER [--model BUNDLE --captions 30000]

STORE holds the photos of CAPTIONS' split `test`. By storage, a gallery of them is made, evaluated, and its scores are
compared with float32's; then so many captions of all splits are indexed, and a photo is searched among them. Outputs in
FOLDER are kept, and taken as they are by the next run.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from command import folder_bytes, run
from provenance import recorded
from reports import captions, write_report
from shan_engine.gallery.reader import Gallery
from shan_engine.locate import demo_bundle
from shan_engine.text.captions import CaptionTable

RESULTS = Path(__file__).parent / "results" / "storage.json"
STORAGES = ("float32", "float16", "int8")
RECALLS = [f"{way}_retrieval_r{k}" for way in ("text", "image") for k in (1, 5, 10)]


def of_photos(store: Path, table: Path, model: Path, work: Path) -> dict[str, dict[str, Any]]:
    """By storage: bytes of a photo's regions, recall, and how far scores are from float32's."""
    queries = work / "test.txt"
    queries.write_text("".join(f"{text}\n" for text in CaptionTable.read(table).split("test").captions), "utf-8")
    rows, exact = {}, None
    for storage in STORAGES:
        gallery, found, scores = (work / f"{name}.{storage}" for name in ("photos", "evaluate", "scores"))
        scores = scores.with_name(f"{scores.name}.npy")
        common = ("--gallery", gallery, "--model", model)
        if not gallery.exists():
            run("index", store, "--model", model, "--output", gallery, "--storage", storage)
        if not found.exists():
            found.write_text(run("evaluate", "--captions", table, "--split", "test", *common, "--json").output, "utf-8")
        if not scores.exists():
            run("score", "--queries", queries, *common, "--output", scores)
        own = np.load(scores)
        exact = own if exact is None else exact
        recall = json.loads(found.read_text("utf-8"))
        regions = sum(file.stat().st_size for file in gallery.glob("blocks/*/image_regions*.npy"))
        rows[storage] = {
            "bytes_of_regions": round(regions / len(Gallery.open(gallery))),
            "largest_difference": float(f"{np.abs(own - exact).max():.1e}"),
            "root_mean_square_difference": float(f"{np.sqrt(np.square(own - exact, dtype=np.float64).mean()):.1e}"),
            **{name: recall[name] for name in RECALLS},
        }
        print(storage, json.dumps(rows[storage]), flush=True)
    return rows


def of_captions(table: Path, count: int, model: Path, work: Path) -> dict[str, dict[str, Any]]:
    """By storage: what it takes to index captions, and to search the demo's dog among them."""
    texts = work / "captions.txt"
    texts.write_text("".join(f"{text}\n" for text in captions(table, count)), "utf-8")
    photo = demo_bundle().parent / "photos" / "dog.jpg"
    rows = {}
    for storage in ("float32", "int8"):
        gallery = work / f"captions.{storage}"
        options = ("--model", model, "--output", gallery, "--storage", storage)
        index = run("index-captions", texts, *options, threads=1)
        search = run("search", "--image", photo, "--gallery", gallery, "--model", model, threads=1)
        rows[storage] = {
            "captions": count,
            "index_cpu_seconds": round(index.cpu_seconds, 1),
            "index_peak_mib": round(index.peak_mib),
            "bytes": folder_bytes(gallery),
            "search_cpu_seconds": round(search.cpu_seconds, 1),
            "search_peak_mib": round(search.peak_mib),
        }
        print(storage, json.dumps(rows[storage]), flush=True)
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("table", type=Path, metavar="captions")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=demo_bundle())
    parser.add_argument("--captions", type=int, default=30_000)
    parser.add_argument("--report", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    report = {
        "recorded": recorded(),
        "photos": of_photos(options.store, options.table, options.model, options.work),
        "captions": of_captions(options.table, options.captions, options.model, options.work),
    }
    write_report(options.report, report)


if __name__ == "__main__":
    main()
