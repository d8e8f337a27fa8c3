"""Why photos were found: the parts of their scores, and the region behind each word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.packing import Arrays
from shan_engine.base.text_lines import TextLine
from shan_engine.gallery.storage import HUBNESS, SEEN
from shan_engine.kernel.constants import MASK
from shan_engine.parts.class_evidence import seen_classes
from shan_engine.scoring.scorer import Scorer
from shan_engine.search.photo_query import step_1
from shan_engine.search.pointing import Pointer, content_words
from shan_engine.search.query import ReadQuery, phrase_weight
from shan_engine.text.tokenizer import Tokenized, Word

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class WordRegion:
    """The region that a content word means: its number, its box in pixels (None if unknown), how near it is.

    `weight` is the cosine of word and region; of models that attend otherwise it is the attention weight, 0 to 1.
    """

    word: str
    region: int
    box: Box | None
    weight: float


@dataclass(frozen=True)
class SeenAs:
    """A class that a photo was seen as, its probability, and the region where it shows most, with its box in pixels."""

    name: str
    probability: float
    region: int
    box: Box | None


@dataclass(frozen=True)
class Explanation:
    """The parts of one score (`Scorer.score_parts`), the regions behind its words, and what the photo was seen as.

    `hubness` is what was subtracted, None in a gallery that is not normalised. `written` are the lines in the photo
    that have words of the query.
    """

    step_scores: tuple[float, ...] = ()
    words: tuple[WordRegion, ...] = ()
    hubness: float | None = None
    seen: tuple[SeenAs, ...] = ()
    written: tuple[TextLine, ...] = ()


def explain(
    scorer: Scorer,
    query: ReadQuery,
    captions: Sequence[Arrays],
    images: Arrays,
    boxes: NDArray[np.float32],
    known: Arrays,
) -> list[Explanation]:
    """Explain the scores of B images with a query, in one call per phrase.

    `captions` are the query's encoded phrases, `images` the arrays that the gallery stores, B x their shape, `boxes`
    B x K x 4, `known` what further parts read of the images. Each part of a score is the weighted sum over the query's
    clauses; words come from phrases with a positive weight.
    """
    count, clauses = len(boxes), query.clauses(captions)
    steps = np.zeros((count, 0))
    words: list[list[WordRegion]] = [[] for _ in range(count)]
    for clause, reading in zip(clauses, query.readings, strict=False):  # photos have none and come last
        of_phrase, found = explain_phrase(scorer, reading, images, clause.caption, boxes, known)
        steps = of_phrase * clause.weight if not steps.size else steps + of_phrase * clause.weight
        for row, regions in enumerate(found if clause.weight > 0 else ()):
            words[row] += regions
    for clause in clauses[len(query.readings) :]:
        like = _likeness(scorer, images, clause.caption, known, steps.shape[1]) * clause.weight
        steps = steps + like if steps.size else like
    hubness = images[HUBNESS].astype(float) * phrase_weight(clauses) if HUBNESS in images else [None] * count
    return [
        Explanation(tuple(row.tolist()), tuple(found), None if hub is None else float(hub), seen)
        for row, found, hub, seen in zip(steps, words, hubness, _seen(scorer, images, boxes), strict=True)
    ]


def _likeness(scorer: Scorer, images: Arrays, photo: Arrays, known: Arrays, width: int) -> NDArray[np.float64]:
    """What a photo gives each part of the scores of B images: `width` columns as phrases have, as few as fit if 0."""
    further = scorer.parts.scores(known, photo, (len(images[MASK]), 1))[:, 0]
    steps = width - len(scorer.parts) if width else max(1, len(scorer.steps)) if scorer.parts else 1
    found = np.zeros((len(further), steps + len(scorer.parts)))
    found[:, 0], found[:, steps:] = step_1(scorer, images, photo), further
    return found


def _seen(scorer: Scorer, images: Arrays, boxes: NDArray[np.float32]) -> list[tuple[SeenAs, ...]]:
    """What each of B photos was seen as, nothing where the gallery does not say."""
    if not all(name in images for name in SEEN):
        return [()] * len(boxes)
    return [
        tuple(SeenAs(one.name, one.probability, one.region, _box(own, one.region)) for one in seen)
        for own, seen in zip(boxes, seen_classes(images, scorer.bundle.classes), strict=True)
    ]


def _box(boxes: NDArray[np.float32], region: int) -> Box | None:
    """The box of a region among K x 4; None where it is not known."""
    if region >= len(boxes) or not np.isfinite(boxes[region]).all():
        return None
    x0, y0, x1, y1 = boxes[region].tolist()
    return x0, y0, x1, y1


def explain_phrase(
    scorer: Scorer,
    reading: Tokenized,
    images: Arrays,
    caption: Arrays,
    boxes: NDArray[np.float32],
    known: Arrays,
) -> tuple[NDArray[np.float64], list[list[WordRegion]]]:
    """Parts B x P of the scores of B images with one phrase, and the regions that its content words mean.

    Either is empty if the model does not give it. `known` is what further parts read of the images.
    """
    outputs = scorer.explain(images, caption)
    count = len(boxes)
    steps = outputs["step_scores"][:, 0].astype(float) if "step_scores" in outputs else np.zeros((count, 0))
    steps = np.concatenate([steps, scorer.parts.scores(known, caption, (count, 1))[:, 0]], axis=1)
    if "word_attention" not in outputs:
        return steps, [[] for _ in range(count)]
    if pointer := Pointer.of(scorer, reading, caption):
        return steps, [
            [
                WordRegion(word.text, region, _box(own, region), cosine)
                for word, (region, cosine) in zip(pointer.words, regions, strict=True)
            ]
            for regions, own in zip(pointer.regions(images), boxes, strict=True)
        ]
    words = [(word.text, _rows(word, caption)) for word in content_words(reading.words)]
    return steps, [
        _word_regions(words, attention, own)
        for attention, own in zip(outputs["word_attention"][:, 0], boxes, strict=True)
    ]


def _rows(word: Word, caption: Arrays) -> list[int]:
    """The tokens of a word that count: a model that pools pieces to words keeps a row for the first of them."""
    mask = caption.get("word_mask")
    return [place for place in word.tokens if mask is None or mask[0, place]] or list(word.tokens)


def _word_regions(
    words: Sequence[tuple[str, list[int]]], attention: NDArray[np.float32], boxes: NDArray[np.float32]
) -> list[WordRegion]:
    """Explain one image by words with their rows of the attention weights n x K of tokens over its regions."""
    found = []
    for text, rows in words:
        weights = attention[rows].mean(0)
        region = int(weights.argmax())
        found.append(WordRegion(text, region, _box(boxes, region), float(weights[region])))
    return found
