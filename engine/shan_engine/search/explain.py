"""Why photos were found: the parts of their scores, and the region behind each word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.packing import Arrays
from shan_engine.gallery.storage import HUBNESS
from shan_engine.scoring.scorer import Scorer
from shan_engine.search.photo_query import step_1
from shan_engine.search.query import ReadQuery, phrase_weight
from shan_engine.text.tokenizer import Word

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class WordRegion:
    """The region a word attends to most: its number, its box in pixels (None if unknown), the weight 0..1."""

    word: str
    region: int
    box: Box | None
    weight: float


@dataclass(frozen=True)
class Explanation:
    """The parts of one score, the regions behind its words, and the subtracted hubness (None: not normalised)."""

    step_scores: tuple[float, ...] = ()
    words: tuple[WordRegion, ...] = ()
    hubness: float | None = None


def explain(
    scorer: Scorer,
    query: ReadQuery,
    captions: Sequence[Arrays],
    images: Arrays,
    boxes: NDArray[np.float32],
) -> list[Explanation]:
    """Explain the scores of B images with a query, in one call per phrase.

    `captions` are the query's encoded phrases, `images` the arrays that the gallery stores, B x their shape, `boxes`
    B x K x 4. Each part of a score is the weighted sum over the query's parts; words come from phrases with a positive
    weight.
    """
    count, parts = len(boxes), query.parts(captions)
    steps = np.zeros((count, 0))
    words: list[list[WordRegion]] = [[] for _ in range(count)]
    for part, reading in zip(parts, query.readings, strict=False):  # a photo has none and comes last
        of_phrase, found = explain_phrase(scorer, reading.words, images, part.caption, boxes)
        steps = of_phrase * part.weight if not steps.size else steps + of_phrase * part.weight
        for row, regions in enumerate(found if part.weight > 0 else ()):
            words[row] += regions
    if query.query.photo:
        like = step_1(scorer, images, parts[-1].caption) * parts[-1].weight
        steps = steps if steps.size else np.zeros((count, 1))
        steps[:, 0] += like
    hubness = images[HUBNESS].astype(float) * phrase_weight(parts) if HUBNESS in images else [None] * count
    return [
        Explanation(tuple(row.tolist()), tuple(found), None if hub is None else float(hub))
        for row, found, hub in zip(steps, words, hubness, strict=True)
    ]


def explain_phrase(
    scorer: Scorer, words: Sequence[Word], images: Arrays, caption: Arrays, boxes: NDArray[np.float32]
) -> tuple[NDArray[np.float64], list[list[WordRegion]]]:
    """Parts B x steps of the scores of B images with one phrase of these words, and the regions its words look at.

    Either is empty if the model does not give it.
    """
    outputs = scorer.explain(images, caption)
    count = len(boxes)
    steps = outputs["step_scores"][:, 0].astype(float) if "step_scores" in outputs else np.zeros((count, 0))
    if "word_attention" not in outputs:
        return steps, [[] for _ in range(count)]
    return steps, [
        _word_regions(words, attention, own)
        for attention, own in zip(outputs["word_attention"][:, 0], boxes, strict=True)
    ]


def _word_regions(
    words: Sequence[Word], attention: NDArray[np.float32], boxes: NDArray[np.float32]
) -> list[WordRegion]:
    """Explain one image, from the attention weights n x K of the caption's tokens over its regions."""
    found = []
    for word in words:
        weights = attention[list(word.tokens)].mean(0)  # a word of several tokens
        region = int(weights.argmax())
        x0, y0, x1, y1 = boxes[region].tolist()
        known = bool(np.isfinite(boxes[region]).all())
        found.append(WordRegion(word.text, region, (x0, y0, x1, y1) if known else None, float(weights[region])))
    return found
