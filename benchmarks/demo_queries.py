"""How many of the demo's thirty plain queries have a right photo among the first three.

    python benchmarks/demo_queries.py

The queries and their right photos (file patterns) stand in artifacts/demo/queries.tsv. The queries were written before
any result was seen; the right photos of three were narrowed later (docs/demo.md).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

import shan_engine

QUERIES = Path(__file__).parents[1] / "artifacts" / "demo" / "queries.tsv"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args(arguments)
    rows = [line.split("\t") for line in QUERIES.read_text("utf-8").splitlines()[1:]]
    with shan_engine.open(device="cpu") as engine:
        results = engine.search_all([query for query, _ in rows], top_k=3, explain=False)
    found = 0
    print("| query | first three | right |\n|---|---|---|")
    for result, (query, patterns) in zip(results, rows, strict=True):
        ids = [hit.image.id for hit in result.hits]
        right = any(fnmatch(id, pattern) for id in ids for pattern in patterns.split())
        found += right
        print(f"| {query} | {', '.join(id.removesuffix('.jpg') for id in ids)} | {'yes' if right else 'no'} |")
    print(f"\n{found} of {len(rows)} queries have a right photo among the first three.")


if __name__ == "__main__":
    main()
