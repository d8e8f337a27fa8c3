"""What a search in stages finds of the exhaustive first ten, and at which depth of its first pass photos stand.

    python benchmarks/agreement.py ten 8000.gallery 100k.gallery --captions captions.tsv --name demo
    python benchmarks/large_gallery.py make --source f8k.gallery --images 1000000 --planted captions.tsv --output P
    python benchmarks/agreement.py planted P --captions captions.tsv --name demo

The queries are captions of split `test`, and short ones: one to three neighbouring words of these captions, without
function words. Widths are chosen on split `dev` (--split dev). A hit is right if its exact score is at least that of
the tenth exhaustive hit, less 1e-4.

`ten` compares with an exhaustive search. `planted` asks for photos that were put as they are among recombined others,
each with a caption of its own. A photo counts if its exact score is at least that of the tenth hit. So no exhaustive
search is needed, and a million photos take minutes. Both write benchmarks/results/agreement.json.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shan_engine
from numpy.typing import NDArray
from provenance import recorded
from reports import queries_of, read_report, short_queries_of, write_report
from shan_engine.base.errors import InputError
from shan_engine.gallery.normalised import normalised
from shan_engine.gallery.reader import Gallery
from shan_engine.locate import demo_bundle
from shan_engine.search.cascade import Cascade
from shan_engine.search.query import EncodedClause, Query, ReadQuery
from shan_engine.search.results import QueryHits
from shan_engine.text.captions import CaptionTable

RESULTS = Path(__file__).parent / "results" / "agreement.json"
TEN = 10
CLOSE = 1e-4  # by which the score of a right hit may be below the tenth's
KINDS = {"captions": queries_of, "short": short_queries_of}


def ten(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """For each kind of queries, the mean agreement, its fifth percentile and the least."""
    row: dict[str, Any] = {}
    with shan_engine.open(path, options.bundle, device="cpu") as engine:
        row["images"] = len(engine)
        for kind in options.kinds:
            queries = KINDS[kind](options.captions, options.queries, options.split)
            staged = engine.search_all(queries, top_k=TEN, explain=False, mark_unanswerable=True)
            began = time.perf_counter()
            exact = engine.search_all(queries, top_k=TEN, explain=False, mark_unanswerable=True, exhaustive=True)
            seconds = (time.perf_counter() - began) / len(queries)
            shares = right_shares(staged, exact)
            scanned = next(found.stages for found in staged if not found.error)
            row[kind] = {**summary(shares), "seconds_a_query_exhaustive": round(seconds, 3)}
            row["scored"] = vars(scanned) if scanned else None
            print(f"{len(engine):,} images, {kind}: {row[kind]}, {row['scored']}", flush=True)
    return row


def right_shares(staged: Sequence[QueryHits], exhaustive: Sequence[QueryHits]) -> list[float]:
    """The share of each query's hits that are right; queries that cannot be read are left out."""
    return [
        sum(hit.score >= whole.hits[-1].score - CLOSE for hit in found) / len(whole)
        for found, whole in zip(staged, exhaustive, strict=True)
        if not whole.error
    ]


def summary(shares: Sequence[float]) -> dict[str, Any]:
    """Of shares of hits that are right, one a query."""
    return {
        "queries": len(shares),
        "mean": round(float(np.mean(shares)), 4),
        "percentile_5": round(float(np.quantile(shares, 0.05, method="lower")), 4),
        "least": round(min(shares), 4),
    }


def planted(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """How many of the planted photos that belong to a query's first ten are found, and their first-pass ranks."""
    split = CaptionTable.read(options.captions).split(options.split)
    with shan_engine.open(path, options.bundle, device="cpu") as engine:
        cascade = Cascade(engine.scorer, normalised(engine.gallery, engine.scorer.bundle))
        _, captions = np.unique(split.caption_images, return_index=True)  # the first caption of each photo
        asked = [(split.captions[one], split.images[split.caption_images[one]]) for one in captions]
        places = {image: place_of(engine.gallery, image) for _, image in asked}
        asked = [one for one in asked if places[one[1]] is not None]
        asked = asked[:: max(1, len(asked) // options.queries)][: options.queries]
        depths, found, widths = [], [], []
        for caption, image in asked:
            hits = engine.search(caption, top_k=TEN, explain=False)
            place = np.array([places[image]])
            clauses = ReadQuery.read(engine.scorer.encoders, Query.of(caption)).encode(engine.scorer.encoders)
            if exact(cascade, clauses, place) < hits.hits[-1].score - CLOSE:
                continue
            (stand_in,), (estimates,) = cascade.first_pass([clauses])
            first = stand_in + estimates
            depths.append(int(np.count_nonzero(first >= first[place])))
            found.append(image in {hit.image.id for hit in hits})
            widths.append(hits.stages.step_1 if hits.stages else len(engine))
        row = {
            "images": len(engine),
            "queries": len(asked),
            "belong": len(depths),
            "found": sum(found),
            "step_1": max(widths),
            "depth": {str(share): int(np.quantile(depths, share, method="higher")) for share in (0.5, 0.9, 0.99, 1.0)},
        }
        print(f"planted: {row}", flush=True)
        return row


def place_of(gallery: Gallery, id: str) -> int | None:
    """The place of an image; None where a gallery lacks it."""
    try:
        return gallery.place(id)
    except InputError:
        return None


def exact(cascade: Cascade, clauses: Sequence[EncodedClause], place: NDArray[np.int64]) -> float:
    """The exact score of the image at `place` with a caption."""
    ways = cascade.step_1 if cascade.kernel.constants.steps == 1 else cascade.all_steps
    return float(ways(clauses[0].caption, place)[0] + cascade.offsets(clauses, place)[0])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("phase", choices=("ten", "planted"))
    parser.add_argument("galleries", type=Path, nargs="+")
    parser.add_argument("--captions", type=Path, required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--queries", type=int, default=200, help="of each kind")
    parser.add_argument("--bundle", type=Path, default=demo_bundle())
    parser.add_argument("--name", default="demo", help="the model's name in the report")
    parser.add_argument("--report", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    for path in options.galleries:
        row = {ten.__name__: ten, planted.__name__: planted}[options.phase](path, options)
        row = {"split": options.split, **row, "recorded": recorded()}
        held = read_report(options.report)
        rows = {one["images"]: one for one in held.get(options.name, {}).get(options.phase, ())}
        rows[row["images"]] = {**rows.get(row["images"], {}), **row}  # other kinds of queries stay
        named = {**held.get(options.name, {}), options.phase: [rows[size] for size in sorted(rows)]}
        write_report(options.report, {**held, options.name: named})


if __name__ == "__main__":
    main()
