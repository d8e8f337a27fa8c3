"""Why a photo was found: the parts of its score, and the region behind each word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from shan_engine.gallery.reader import Gallery
from shan_engine.gallery.storage import HUBNESS
from shan_engine.scoring.encoders import Arrays, Scorer
from shan_engine.search.photo_query import step_1
from shan_engine.search.query import Asked, Part, phrase_weight
from shan_engine.text.tokenizer import Word

if TYPE_CHECKING:
    from shan_engine.base.metadata import Value
from shan_engine.search.results import Hit, WordRegion


def hits_at(
    scorer: Scorer,
    gallery: Gallery,
    asked: Asked,
    scores: NDArray[np.float32],
    places: NDArray[np.int64],
    *,
    explain: bool,
    with_metadata: bool,
) -> tuple[Hit, ...]:
    """The images at `places` in the gallery's order as hits, best first; with `explain` what their scores come from."""
    parts = asked.parts(scorer) if explain else ()
    numbers = np.searchsorted(gallery.ends, places, side="right")
    hits = {}
    for number in np.unique(numbers):  # a block's list of images is read once
        block = gallery.blocks[number]
        ranks = np.flatnonzero(numbers == number).tolist()
        rows = (places[ranks] - (gallery.ends[number] - len(block))).tolist()
        known: Sequence[Mapping[str, Value]] = [{}] * len(rows)
        if with_metadata and block.metadata_file:
            from shan_engine.gallery.filters import metadata_of  # here, as most searches do without SQLite

            known = metadata_of(block, rows)
        for rank, row, image, metadata in zip(ranks, rows, block.images_at(rows), known, strict=True):
            explained: tuple[tuple[float, ...], tuple[WordRegion, ...]] = ((), ())
            hubness = None
            if explain:
                stored = block.rows_of([row])
                explained = _explain(scorer, asked, parts, stored, block.boxes(row))
                if HUBNESS in stored:
                    hubness = float(stored[HUBNESS][0]) * phrase_weight(parts)
            hits[rank] = Hit(rank + 1, float(scores[rank]), image, *explained, metadata, hubness)
    return tuple(hits[rank] for rank in range(len(places)))


def _explain(
    scorer: Scorer, asked: Asked, parts: Sequence[Part], images: Arrays, boxes: NDArray[np.float32]
) -> tuple[tuple[float, ...], tuple[WordRegion, ...]]:
    """Parts of a score, each the weighted sum over the question's parts, and the words of the wanted phrases."""
    complete = scorer.complete(images)
    steps: list[NDArray[np.floating]] = []
    words: list[WordRegion] = []
    for part, reading in zip(parts, asked.readings, strict=False):  # a photo has none and comes last
        of_phrase, found = explain_phrase(scorer, reading.words, complete, part.caption, boxes)
        steps.append(np.array(of_phrase) * part.weight)
        words += found if part.weight > 0 else ()
    if asked.question.photo:
        like = float(step_1(scorer, images, parts[-1].caption)[0]) * parts[-1].weight
        steps.append(np.array([like, *[0.0] * (max(map(len, steps), default=1) - 1)]))
    return tuple(np.sum(steps, axis=0).tolist()), tuple(words)


def explain_phrase(
    scorer: Scorer, words: Sequence[Word], image: Arrays, caption: Arrays, boxes: NDArray[np.float32]
) -> tuple[tuple[float, ...], tuple[WordRegion, ...]]:
    """Parts of the score of one complete image with one phrase of these words, and the regions the words look at.

    Either is empty where the model does not say.
    """
    outputs = scorer.explain(image, caption)
    steps = tuple(float(value) for value in outputs["step_scores"][0, 0]) if "step_scores" in outputs else ()
    if "word_attention" not in outputs:
        return steps, ()
    attention = outputs["word_attention"][0, 0]
    found = []
    for word in words:
        weights = attention[list(word.tokens)].mean(0)  # of a word in several pieces
        region = int(weights.argmax())
        box = tuple(float(value) for value in boxes[region]) if np.isfinite(boxes[region]).all() else None
        found.append(WordRegion(word.text, region, box, float(weights[region])))  # type: ignore[arg-type]
    return steps, tuple(found)
