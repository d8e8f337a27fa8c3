"""How well plain queries that the project never chose anything by find photos, in English, German and Spanish.

    python benchmarks/unseen.py
    python benchmarks/unseen.py --queries benchmarks/unseen_queries.tsv --gallery G --row "other photos"

The first command asks a hundred queries about the demo's photos. The second asks thirty about a gallery of the photos
of benchmarks/unseen_photos.py. The lists were written before any model's answers were seen, with all right photos of
each query. To keep them a test, choose nothing by them: no weight, no bank of queries, no training data.

A query is found where a right photo is among its first three. Average precision ranks the whole gallery. Both come with
95 % intervals by bootstrap over the queries. A query without any word that the model knows finds nothing. The figures
go into --report under the name --row; --list prints the first three photos of each query.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from csv import DictReader
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import shan_engine
from provenance import recorded
from reports import read_report, write_report
from shan_engine.base.errors import InputError
from shan_engine.engine import Engine

QUERIES = Path(__file__).parents[1] / "artifacts" / "demo" / "unseen_queries.tsv"
RESULTS = Path(__file__).parent / "results" / "unseen.json"
LANGUAGES = {"english": "query", "german": "german", "spanish": "spanish"}
FIRST = 3
RESAMPLES = 10_000


class Answer(NamedTuple):
    """A query's first photos, whether one of them is right, and the average precision over the whole gallery."""

    first: list[str]
    found: bool
    precision: float
    known: bool


def read_queries(path: Path) -> list[dict[str, str]]:
    """Rows of a list: query, photos, kind, german, spanish."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(DictReader(file, delimiter="\t"))


def right_photos(row: dict[str, str], ids: Sequence[str]) -> set[str]:
    """Ids that a row's patterns name. Exits where a pattern names none."""
    found = {pattern: {id for id in ids if fnmatch(id, pattern)} for pattern in row["photos"].split()}
    missing = [pattern for pattern, named in found.items() if not named]
    if missing:
        raise SystemExit(f"{row['query']}: the gallery has no photo {missing[0]}. Give the list's own --gallery.")
    return set().union(*found.values())


def average_precision(ranked: Sequence[str], right: set[str]) -> float:
    """Mean of the precision at each right photo's rank; a right photo that is not ranked adds 0."""
    ranks = [rank for rank, id in enumerate(ranked, 1) if id in right]
    return sum(place / rank for place, rank in enumerate(ranks, 1)) / len(right)


def answer(engine: Engine, query: str, right: set[str]) -> Answer:
    try:
        hits = engine.search(query, top_k=len(engine), explain=False, exhaustive=True).hits
    except InputError:  # it has no word that the model knows
        return Answer([], False, 0.0, False)
    ranked = [hit.image.id for hit in hits]
    return Answer(ranked[:FIRST], bool(right & set(ranked[:FIRST])), average_precision(ranked, right), True)


def interval(values: Sequence[float]) -> list[float]:
    """The 95 % interval of a mean, by bootstrap."""
    held = np.asarray(values, np.float64)
    means = held[np.random.default_rng(0).integers(0, len(held), (RESAMPLES, len(held)))].mean(axis=1)
    return [round(float(end), 3) for end in np.quantile(means, (0.025, 0.975))]


def figures(answers: Sequence[Answer], kinds: Sequence[str]) -> dict[str, Any]:
    """One language's figures; intervals are of shares, 0 to 1."""
    found = [answer.found for answer in answers]
    precisions = [answer.precision for answer in answers]
    return {
        "found": sum(found),
        "found_share_95": interval(found),
        "mean_average_precision": round(float(np.mean(precisions)), 4),
        "mean_average_precision_95": interval(precisions),
        "found_by_kind": dict(Counter(kind for kind, right in zip(kinds, found, strict=True) if right)),
        "without_known_word": sum(not answer.known for answer in answers),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=Path, default=QUERIES)
    parser.add_argument("--gallery", type=Path, help="default: the demo's")
    parser.add_argument("--model", type=Path, help="default: the gallery's own bundle, else the demo's")
    parser.add_argument("--row", default="demo", help="name of the figures in the report")
    parser.add_argument("--report", type=Path, default=RESULTS)
    parser.add_argument("--list", action="store_true", help="print each query's first three photos")
    options = parser.parse_args(arguments)
    rows = read_queries(options.queries)
    kinds = [row["kind"] for row in rows]
    languages = {}
    with shan_engine.open(options.gallery, options.model, device="cpu") as engine:
        right = [right_photos(row, engine.ids) for row in rows]
        for language, column in LANGUAGES.items():
            answers = [answer(engine, row[column], photos) for row, photos in zip(rows, right, strict=True)]
            languages[language] = figures(answers, kinds)
            if options.list:
                for row, one in zip(rows, answers, strict=True):
                    print(f"{'yes' if one.found else 'no':4}{one.precision:.2f}  {row[column]}: {', '.join(one.first)}")
        images = len(engine)
    print(f"| {images} photos | found of {len(rows)} | 95 % | mean average precision | 95 % |\n|---|---|---|---|---|")
    for language, found in languages.items():
        low, high = (round(len(rows) * share) for share in found["found_share_95"])
        mean, (least, most) = found["mean_average_precision"], found["mean_average_precision_95"]
        print(f"| {language} | {found['found']} | {low} to {high} | {mean:.3f} | {least:.3f} to {most:.3f} |")
    of_kind = dict(Counter(kinds))
    measured = {"images": images, "queries": len(rows), "queries_by_kind": of_kind, **languages, "recorded": recorded()}
    write_report(options.report, read_report(options.report) | {options.row: measured})


if __name__ == "__main__":
    main()
