"""Photos as queries and unwanted phrases, measured by Flickr8k's captions; the numbers in docs/searching.md.

    shan-engine extract flickr8k/photos --store f8k.store
    shan-engine index f8k.store --output f8k.gallery
    python benchmarks/asking.py f8k.gallery captions.tsv

Alike: of 200 test photos, the mean tf-idf cosine of their captions with those of the ten most similar of all photos.
Unwanted: of dev and test photos, those among the first 30 for twenty queries "X without Y" whose captions name X, name
Y, and name X but not Y.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import shan_engine
from numpy.typing import NDArray
from shan_engine.engine import Engine
from shan_engine.search.photo_query import QueryPhoto
from shan_engine.text.captions import CaptionTable

HITS, FIRST = 10, 30
SHARPNESSES = (2, 4, 9, 20, 50)
WEIGHTS = (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1, 1.5)
PAIRS = [
    ("a dog", "snow"), ("a dog", "grass"), ("a dog", "water"), ("a dog", "a ball"), ("a dog", "a beach"),
    ("a dog", "a field"), ("a man", "a bike"), ("a man", "a hat"), ("a man", "snow"), ("a man", "a rock"),
    ("a man", "a beach"), ("a boy", "water"), ("a boy", "a ball"), ("a girl", "a dress"), ("a girl", "grass"),
    ("children", "water"), ("people", "a street"), ("people", "a building"), ("a child", "a slide"),
    ("a woman", "a dog"),
]  # fmt: skip


def words_of(captions: Path) -> tuple[dict[str, Counter[str]], dict[str, str]]:
    """How many of an image's captions have a word, and the image's split."""
    words: dict[str, Counter[str]] = {}
    splits = {}
    for split, image, caption in CaptionTable.read(captions).rows:
        words.setdefault(image, Counter()).update(set(re.findall("[a-z]+", caption.lower())))
        splits[image] = split
    return words, splits


def tf_idf(ids: list[str], words: dict[str, Counter[str]]) -> NDArray[np.float32]:
    """A row of length 1 for each image."""
    images = Counter(word for id in ids for word in words.get(id, ()))
    columns = {word: column for column, word in enumerate(word for word, count in images.items() if count > 1)}
    rows = np.zeros((len(ids), len(columns)), np.float32)
    for row, id in enumerate(ids):
        for word, count in words.get(id, Counter[str]()).items():
            if word in columns:
                rows[row, columns[word]] = count**0.5 * np.log(len(ids) / images[word])
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9), np.float32)


def measure_alike(engine: Engine, words: dict[str, Counter[str]], splits: dict[str, str], queries: int) -> None:
    ids = engine.ids
    test = [place for place, id in enumerate(ids) if splits.get(id) == "test"]
    asked = np.random.default_rng(0).choice(test, queries, replace=False)
    rows = tf_idf(ids, words)
    related = rows[asked] @ rows.T
    own = (np.arange(queries), asked)

    def report(name: str, scores: NDArray[np.float32]) -> None:
        scores[own] = -np.inf
        best = np.argsort(-scores, axis=1)[:, :HITS]
        print(f"{name:34} {np.take_along_axis(related, best, axis=1).mean():.4f}", flush=True)

    report("captions themselves (the best)", related.copy())
    report("by chance", np.random.default_rng(1).random(related.shape, np.float32))
    vectors = engine.vectors()
    report("cosine of mean regions", vectors[asked] @ vectors.T)
    regions = np.concatenate(
        [images["image_regions"] for block in engine.gallery.blocks for _, images in block.batches(2048)]
    )
    largest = np.empty_like(related)
    for row, place in enumerate(asked):
        cosines = (regions.reshape(-1, regions.shape[2]) @ regions[place].T).reshape(len(ids), -1, regions.shape[1])
        largest[row] = cosines.max(axis=2).mean(axis=1) + cosines.max(axis=1).mean(axis=1)
    report("largest cosine of each region", largest)
    kernel, mask = engine.scorer.kernel, np.ones(regions.shape[:2], np.bool_)
    assert kernel is not None
    everything = np.arange(len(ids))
    for sharpness in SHARPNESSES:
        scores = np.empty_like(related)
        for row, place in enumerate(asked):
            photo = QueryPhoto(Path(ids[place]), {"image_regions": regions[[place]], "region_mask": mask[:1]}, largest)
            caption = photo.as_caption() | {"caption_queries": sharpness * regions[[place]]}
            scores[row] = kernel.local_scores(regions, None, mask, everything, caption)[:, 0]
        report(f"step 1, sharpness {sharpness}", scores)


def measure_unwanted(engine: Engine, words: dict[str, Counter[str]], splits: dict[str, str]) -> None:
    ids = [id for id in engine.ids if splits.get(id) in ("dev", "test")]
    phrases = sorted({phrase for pair in PAIRS for phrase in pair})
    scores = dict(zip(phrases, engine.score(phrases, ids=ids).T, strict=True))
    for weight in WEIGHTS:
        counts = np.zeros(3)
        for wanted, unwanted in PAIRS:
            best = np.argsort(weight * scores[unwanted] - scores[wanted])[:FIRST]
            has = np.array(
                [[phrase.split()[-1] in words[ids[place]] for phrase in (wanted, unwanted)] for place in best]
            )
            counts += has[:, 0].sum(), has[:, 1].sum(), (has[:, 0] & ~has[:, 1]).sum()
        named, other, right = counts / (len(PAIRS) * FIRST)
        print(f"weight {weight}: {named:.1%} wanted, {other:.1%} unwanted, {right:.1%} wanted and not unwanted")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("gallery", type=Path)
    parser.add_argument("captions", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--queries", type=int, default=200, help="photos to ask with")
    options = parser.parse_args(arguments)
    with shan_engine.open(options.gallery, options.model) as engine:
        words, splits = words_of(options.captions)
        measure_unwanted(engine, words, splits)
        measure_alike(engine, words, splits, options.queries)


if __name__ == "__main__":
    main()
