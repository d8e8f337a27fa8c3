"""Fit a bundle's calibration, tell how reliable its probabilities are, and how often the best photo passes by chance.

    shan-engine extract coco-mini/photos --store coco.store --model B
    shan-engine index coco.store --output coco.gallery --model B
    python benchmarks/calibration.py --judged coco-mini/boxes.tsv --gallery coco.gallery --model B --output weights.json
    python -m shan_export.complete B --calibration weights.json

`--judged` is a table with the columns image and category: each photo shows its categories and none of the others. Every
category is asked for as "NAME" and as "a NAME". The parts of these scores give a logistic regression its features.

Reliability comes from categories that were left out one at a time. Expected calibration error: the mean distance
between probability and share of right pairs, over ten bins, weighted by their pairs. Chance: the share of wrong pairs
above a threshold is q, so that the best of N photos passes with 1 - (1 - q)^N; where none passes, q is the most that
it may be. `--demo` measures q a second time, on a gallery whose file names say which animal a photo shows: it asks for
ImageNet's animals that no name has.

Phrases are of forms that the calibration was not fitted to. Of each form: the mean probability of a query's best hit,
and the share of best hits that are right.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from csv import DictReader
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import shan_engine
from numpy.typing import NDArray
from provenance import recorded
from reports import write_report
from shan_engine.base.errors import InputError
from shan_engine.engine import Engine
from shan_engine.gallery.normalised import raw
from shan_engine.scoring.passes import score_matrix
from shan_engine.search.calibration import ScoreFacts
from shan_model.classes.table import ClassTable

RIDGE = 1.0
NONE = 3.0  # where none of n pairs passes, 3 / n is the upper end of a 95 % interval for their share
BINS = 10
THRESHOLDS = (0.3, 0.5, 0.7, 0.9)
SIZES = (254, 1_000_000)
KIN = 150  # a kind of so many classes or more, such as mammal, says little of a photo


def read_judged(path: Path) -> dict[str, set[str]]:
    """The photos that show each category."""
    shown: dict[str, set[str]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in DictReader(file, delimiter="\t"):
            shown.setdefault(row["category"], set()).add(row["image"])
    return shown


def known(engine: Engine, query: str) -> bool:
    """Whether the model knows a word of a query."""
    try:
        return bool(engine.scorer.encoders.read(query))
    except InputError:
        return False


def features(engine: Engine, query: str) -> NDArray[np.float64]:
    """What a calibration reads of all photos with a query, N x (steps, parts, hubness)."""
    scorer, gallery = engine.scorer, raw(engine.gallery)
    tokens = list(scorer.encoders.read(query).tokens)
    scores = score_matrix(scorer, gallery, [tokens])[:, 0]
    caption = scorer.encoders.encode_captions([tokens])
    facts = ScoreFacts.of(scorer, gallery, caption, range(len(gallery)), scores)
    return np.column_stack([facts.steps, facts.parts, facts.hubness])


def fit(rows: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bias and weights of a logistic regression with a small ridge on standardised columns, by Newton's method."""
    mean, spread = rows.mean(0), rows.std(0)
    used = spread > 1e-9
    x = np.column_stack([np.ones(len(rows)), (rows - mean)[:, used] / spread[used]])
    ridge = np.diag([0.0, *[RIDGE] * (x.shape[1] - 1)])
    beta = np.zeros(x.shape[1])
    for _ in range(30):
        p = 1 / (1 + np.exp(-x @ beta))
        step = np.linalg.solve((x.T * (p * (1 - p))) @ x + ridge, x.T @ (right - p) - ridge @ beta)
        beta += step
        if np.abs(step).max() < 1e-9:
            break
    weights = np.zeros(rows.shape[1])
    weights[used] = beta[1:] / spread[used]
    return np.array([beta[0] - weights @ mean, *weights])


def probabilities(beta: NDArray[np.float64], rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of the pairs in `rows`."""
    found: NDArray[np.float64] = 1 / (1 + np.exp(-(beta[0] + rows @ beta[1:])))
    return found


def reliability(p: NDArray[np.float64], right: NDArray[np.float64]) -> dict[str, Any]:
    """Expected calibration error, and of each bin its pairs, mean probability and share of right pairs."""
    number = np.minimum((p * BINS).astype(int), BINS - 1)
    bins = [(int(own.sum()), float(p[own].mean()), float(right[own].mean())) for own in _each(number)]
    error = sum(count * abs(mean - share) for count, mean, share in bins) / len(p)
    brier = float(((p - right) ** 2).mean())
    return {"expected_calibration_error": error, "brier": brier, "pairs": len(p), "bins": bins}


def _each(number: NDArray[np.int64]) -> list[NDArray[np.bool_]]:
    return [number == one for one in np.unique(number)]


def chance(p: NDArray[np.float64]) -> dict[str, dict[str, float]]:
    """By threshold: the share of wrong pairs P that pass it, and how often the best of N photos does."""
    found = {}
    for threshold in THRESHOLDS:
        q = float((p >= threshold).mean()) or min(1.0, NONE / len(p))
        found[str(threshold)] = {"share": q, **{f"best of {size:,}": 1 - (1 - q) ** size for size in SIZES}}
    return found


def with_article(name: str) -> str:
    """The name after "a" or "an"."""
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def phrases(shown: Mapping[str, set[str]]) -> dict[str, list[tuple[str, set[str]]]]:
    """By form, queries and the photos that they fit; of two things, those that some photo shows together."""
    photo, both = "a photo of a NAME", "a NAME and a NAME"
    found: dict[str, list[tuple[str, set[str]]]] = {
        photo: [(f"a photo of {with_article(name)}", shown[name]) for name in sorted(shown)],
        both: [],
    }
    for pair in combinations(sorted(shown), 2):
        if together := shown[pair[0]] & shown[pair[1]]:
            found[both].append((" and ".join(map(with_article, pair)), together))
    return {form: asked for form, asked in found.items() if asked}


def best_hits(engine: Engine, beta: NDArray[np.float64], asked: Sequence[tuple[str, set[str]]]) -> dict[str, float]:
    """Of some queries, the mean probability of the most probable photo, and the share of these that fit."""
    chances, right, ids = [], [], engine.ids
    for query, fitting in asked:
        if known(engine, query):
            found = probabilities(beta, features(engine, query))
            chances.append(found.max())
            right.append(ids[int(found.argmax())] in fitting)
    return {"queries": len(right), "mean probability": float(np.mean(chances)), "right": float(np.mean(right))}


def absent_animals(ids: Sequence[str]) -> list[str]:
    """First names of ImageNet's animals of which no file name has a name, nor one of what they are kinds of."""
    table = ClassTable.load()
    said = " ".join(ids).lower().replace("-", " ").replace("_", " ")
    animals = next(set(node.classes) for node in table.nodes if "animal" in node.names)
    near = [node for node in table.nodes if len(node.classes) < KIN]
    named = {
        number
        for node in near
        if any(word.rstrip("s") in said for name in node.names for word in name.lower().split())
        for number in node.classes
    }
    return [leaf.names[0] for leaf in table.leaves if leaf.classes[0] in animals - named]


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit, print, and write the weights and a report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judged", type=Path, required=True, help="table with the columns image and category")
    parser.add_argument("--gallery", type=Path, required=True, help="gallery of the judged photos")
    parser.add_argument("--model", type=Path, help="bundle that made the galleries")
    parser.add_argument("--demo", type=Path, help="gallery of photos with animals' names")
    parser.add_argument("--output", type=Path, required=True, help="weights to write, for the bundle's manifest")
    parser.add_argument("--report", type=Path, help="where to write the figures")
    options = parser.parse_args(arguments)

    shown = read_judged(options.judged)
    with shan_engine.open(options.gallery, options.model, device="cpu") as engine:
        ids, parts = engine.ids, engine.scorer.parts.names
        asked = [(name, query) for name in sorted(shown) for query in (name, f"a {name}") if known(engine, query)]
        rows = np.concatenate([features(engine, query) for _, query in asked])
    right = np.array([float(id in shown[name]) for name, _ in asked for id in ids])
    category = np.repeat([name for name, _ in asked], len(ids))
    beta = fit(rows, right)
    with shan_engine.open(options.gallery, options.model, device="cpu") as engine:
        of_phrases = {form: best_hits(engine, beta, some) for form, some in phrases(shown).items()}
    left_out = np.zeros(len(rows))
    for name in shown:
        own = category == name
        left_out[own] = probabilities(fit(rows[~own], right[~own]), rows[own])

    weights = dict(zip(("bias", "steps", *parts, "hubness"), beta.tolist(), strict=True))
    weights = {name: weight for name, weight in weights.items() if weight}
    report: dict[str, Any] = {
        "weights": weights,
        "photos": len(ids),
        "categories": len(shown),
        "reliability": reliability(left_out, right),
        "best_hits_of_phrases": of_phrases,
        "chance": {"judged": chance(left_out[right == 0])},
    }
    if options.demo:
        with shan_engine.open(options.demo, options.model, device="cpu") as engine:
            queries = [name for name in absent_animals(engine.ids) if known(engine, name)]
            wrong = [probabilities(beta, features(engine, query)) for query in queries]
        report["chance"]["demo"] = {"queries": len(queries), **chance(np.concatenate(wrong))}
    print(json.dumps(report, indent=1))
    write_report(options.output, weights)
    if options.report:
        write_report(options.report, {**report, "recorded": recorded()})


if __name__ == "__main__":
    main()
