"""Times and sizes of a whole collection: extract, index, search, with the installed command.

    python benchmarks/pipeline.py PHOTOS [--work FOLDER] [--output benchmarks/results/pipeline.json]

Every step is a process of its own, as a user runs it; a search is run --repeats times and its median taken.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from command import folder_bytes, run
from provenance import recorded
from reports import write_report


def seconds(*words: object) -> float:
    return run(*words).seconds


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument(
        "--work", type=Path, default=None, help="folder for the store and gallery; else a temporary one"
    )
    parser.add_argument("--repeats", type=int, default=5, help="of each search")
    parser.add_argument("--output", type=Path, default=None, help="JSON file for the figures")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        store, gallery = work / "store", work / "gallery"
        if store.exists() or gallery.exists():
            raise SystemExit(f"{work} has the store of another run, with nothing left to do: name a new folder")
        extract = seconds("extract", options.photos, "--store", store)
        again = seconds("extract", options.photos, "--store", store)
        index = seconds("index", store, "--output", gallery)
        queries = work / "queries.txt"
        queries.write_text("".join(f"a dog on grass number {i}\n" for i in range(32)))
        run("search", "a dog on grass", "--gallery", gallery)
        one = statistics.median(
            seconds("search", "a dog on grass", "--gallery", gallery) for _ in range(options.repeats)
        )
        many = statistics.median(
            seconds("search", "--queries", queries, "--gallery", gallery) for _ in range(options.repeats)
        )
        images = json.loads(run("store", "info", store, "--json").output)["images"]
        figures = {
            "images": images,
            "extract_photos_per_second": round(images / extract, 1),
            "extract_again_seconds": round(again, 2),
            "index_images_per_second": round(images / index, 1),
            "store_bytes_per_image": round(folder_bytes(store) / images),
            "gallery_bytes_per_image": round(folder_bytes(gallery) / images),
            "search_one_query_seconds": round(one, 2),
            "search_32_queries_seconds": round(many, 2),
            "largest_process_mib": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024),
            "recorded": recorded(),
        }
    print(json.dumps(figures, indent=2))
    if options.output:
        write_report(options.output, figures, indent=2)


if __name__ == "__main__":
    main()
