"""What the part `written` of a score does for queries of words that are written, and to plain ones.

    python benchmarks/written_queries.py --report benchmarks/results/written_queries.json
    python benchmarks/written_queries.py --learn

Over the demo's photos and generated ones (`written_set.py`): mean average precision of 50 queries of written words
and 50 plain ones, with and without the part, and 95 % intervals of the difference by paired bootstrap over queries.
The plain ones are also asked without their article, "giraffe" for "a giraffe", as a single word may be meant as
written. Readers' mistakes are made up: 3 % of the letters that may be taken for others are.

`--learn` finds weight and trusts on another set of photos and queries: by coordinate descent on the mean log
probability that a softmax over all photos gives a right one, as long as the plain queries, of both wordings, lose no
more than 0.001 of their mean average precision. They stand in `shan_engine/parts/written.py`.
"""

from __future__ import annotations

import argparse
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from provenance import recorded
from reports import write_report
from shan_engine.bundle.contents import Bundle
from shan_engine.engine import Engine
from shan_engine.gallery.reader import Gallery
from shan_engine.indexing.images import index_store
from shan_engine.locate import demo_bundle
from shan_engine.parts.written import WEIGHT, Trust, WrittenWords
from shan_engine.photos.extract import extract_photos
from shan_engine.photos.extractor import FeatureExtractor
from shan_engine.scoring.scorer import Scorer
from shan_engine.store.feature_store import FeatureStore
from written_set import draw, photos_of

DEMO = Path(__file__).parents[1] / "artifacts" / "demo"
QUERIES = 50  # of each kind
TEMPERATURE = 0.1
LEAST_GAIN = 0.01  # that a larger value must bring
MOST_LOST = 0.001  # of the plain queries' mean average precision
STEPS = {
    "weight": (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.2, 1.5, 2.0),
    "quoted": (0.6, 0.8, 1.0, 1.2, 1.5),
    "number": (0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.5),
    "unlearnt": (1.0,),  # the weight says it
    "learnt": (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0),
    "alone": (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0),
    "told": (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0),
    "length": (0.0, 0.25, 0.5, 0.75, 1.0),
}
_ARTICLE = re.compile("^(an?|the) ")
Asked = tuple[str, frozenset[int]]
"""A query and the places of its right photos."""


@dataclass(frozen=True)
class Sets:
    """Photos without and with what is written in them, and queries of both kinds."""

    plain: Gallery
    written: Gallery
    of_words: list[Asked]
    of_things: list[Asked]

    @property
    def bare(self) -> list[Asked]:
        """Queries of things without their article."""
        return [(_ARTICLE.sub("", query), right) for query, right in self.of_things]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--learn", action="store_true")
    parser.add_argument(
        "--photos", type=int, help="of the demo's and of the generated ones, for a trial (default: all)"
    )
    parser.add_argument("--work", type=Path, help="folder to keep (default: a temporary one)")
    parser.add_argument("--report", type=Path)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        scorer = Scorer(Bundle.open(demo_bundle()), "cpu")
        sets = made(scorer, options.work or Path(temporary), "learn" if options.learn else "judge", options.photos)
        found = learnt(scorer, sets) if options.learn else judged(scorer, sets)
    for name, value in found.items():
        print(f"{name}: {value}")
    if options.report:
        write_report(options.report, {**found, "recorded": recorded()})


def made(scorer: Scorer, work: Path, part: str, most: int | None) -> Sets:
    """The galleries of a part of the set, and its queries."""
    photos, store = work / "photos", work / "store"
    random = np.random.default_rng(29)
    if not photos.exists():
        photos.mkdir(parents=True)
        for photo in sorted((DEMO / "photos").glob("*.jpg"))[:most]:
            shutil.copy(photo, photos)
    own = list(photos_of(part))[:most]
    texts = {one.name: draw(one, photos, random) for one in own}
    assert scorer.bundle.feature_extractor is not None
    extract_photos(photos, store, FeatureExtractor(scorer.bundle.feature_extractor, "cpu"))
    with FeatureStore.open(store, readonly=False) as held:
        held.forget_text()
        index_store(held, scorer, work / "plain")
        held.put_text(texts, reader="made up")
        index_store(held, scorer, work / "gallery")
    plain, written = (Gallery.open(work / name, scorer.bundle) for name in ("plain", "gallery"))
    ids = plain.ids()
    places = {id: place for place, id in enumerate(ids)}
    assert ids == written.ids()
    of_words = [(query, frozenset({places[one.name]})) for one in own for query in one.queries]
    things = [row.split("\t") for row in (DEMO / "unseen_queries.tsv").read_text("utf-8").splitlines()[1:]]
    if part == "judge":
        judged_before = [row.split("\t") for row in (DEMO / "queries.tsv").read_text("utf-8").splitlines()[1:]]
        things = judged_before + things[1::2]
    else:
        things = things[::2]
    of_things = [(row[0], _matching(ids, row[1])) for row in things]
    return Sets(plain, written, of_words[:QUERIES], [one for one in of_things if one[1]][:QUERIES])


def _matching(ids: Sequence[str], patterns: str) -> frozenset[int]:
    return frozenset(place for place, id in enumerate(ids) if any(fnmatch(id, one) for one in patterns.split()))


def scores_of(scorer: Scorer, gallery: Gallery, queries: Sequence[Asked]) -> NDArray[np.float32]:
    """Scores of all photos with each query, queries x photos, as a search ranks them."""
    scores = np.full((len(queries), len(gallery)), -np.inf, np.float32)
    places = {id: place for place, id in enumerate(gallery.ids())}
    with Engine(Scorer(scorer.bundle, "cpu"), gallery) as engine:
        results = engine.search_all(
            [query for query, _ in queries], top_k=len(gallery), explain=False, exhaustive=True, with_metadata=False
        )
    for row, result in enumerate(results):
        for hit in result:
            scores[row, places[hit.image.id]] = hit.score
    return scores


def average_precision(scores: NDArray[np.float32], right: frozenset[int]) -> float:
    """Of one query's scores N."""
    order = np.argsort(-scores, kind="stable")
    hits = np.isin(order, list(right))
    return float((np.cumsum(hits)[hits] / (np.flatnonzero(hits) + 1)).mean())


def judged(scorer: Scorer, sets: Sets) -> dict[str, object]:
    """Mean average precision of both kinds without and with the part, and intervals of the difference."""
    found: dict[str, object] = {"photos": len(sets.plain), "weight": WEIGHT, "trust": asdict(Trust())}
    random = np.random.default_rng(0)
    for kind, queries in (("written", sets.of_words), ("plain", sets.of_things), ("bare", sets.bare)):
        both = [
            np.array([average_precision(row, right) for row, (_, right) in zip(scores, queries, strict=True)])
            for scores in (scores_of(scorer, gallery, queries) for gallery in (sets.plain, sets.written))
        ]
        drawn = random.integers(0, len(queries), (10_000, len(queries)))
        low, high = np.percentile((both[1] - both[0])[drawn].mean(axis=1), [2.5, 97.5])
        found[kind] = {
            "queries": len(queries),
            "without": round(float(both[0].mean()), 4),
            "with": round(float(both[1].mean()), 4),
            "difference": [round(float(low), 4), round(float(high), 4)],
            "worse": [query for (query, _), old, new in zip(queries, *both, strict=True) if new < old],
        }
    return found


def learnt(scorer: Scorer, sets: Sets) -> dict[str, object]:
    """Weight and trusts by coordinate descent from small ones, which stay where larger ones gain little."""
    queries = [*sets.of_words, *sets.of_things, *sets.bare]
    plain = scores_of(scorer, sets.plain, queries)
    precision = [average_precision(row, right) for row, (_, right) in zip(plain, queries, strict=True)]
    things = precision[len(sets.of_words) :]
    least = float(np.mean(things)) - MOST_LOST

    def worth(weight: float, trust: Trust) -> tuple[float, float, float]:
        words, found = WrittenWords([sets.written], scorer.bundle.learnt_word, trust), []
        docs = np.concatenate([words.docs(block, block.rows) for block in sets.written.blocks])
        precision = []
        for row, (query, right) in zip(plain, queries, strict=True):
            scores = row + np.float32(weight) * words.evidence(docs, query)
            logits = scores.astype(float) / TEMPERATURE
            logits -= np.log(np.exp(logits - logits.max()).sum()) + logits.max()
            found.append(logits[list(right)].mean())
            precision.append(average_precision(scores, right))
        cut = len(sets.of_words)
        held = float(np.mean(precision[cut:]))
        return (float(np.mean(found)) if held >= least else -np.inf), float(np.mean(precision[:cut])), held

    weight, trust = STEPS["weight"][0], Trust(learnt=STEPS["learnt"][0], alone=STEPS["alone"][0], told=STEPS["told"][0])
    best = worth(weight, trust)
    for _ in range(3):
        before = best
        for name, values in STEPS.items():
            for value in values:
                own, other = (value, trust) if name == "weight" else (weight, replace(trust, **{name: value}))
                if (now := worth(own, other))[0] > best[0] + LEAST_GAIN:
                    best, weight, trust = now, own, other
        if best == before:
            break
    return {
        "log_probability": best[0],
        "written": best[1],
        "plain": best[2],
        "plain_without": least + MOST_LOST,
        "weight": weight,
        "trust": asdict(trust),
    }


if __name__ == "__main__":
    main()
