"""Recall of captions against galleries: exact scores of all pairs through bundles' graphs, one or an ensemble."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .captions import CaptionSplit, CaptionTable
from .errors import InputError
from .gallery import Gallery
from .querybank import Querybank
from .recall import Interval, Recall, joined, ranks
from .scorer import Scorer
from .scoring import score_groups

Protocol = Literal["all", "1k", "5k", "folds"]
Member = tuple[Scorer, Gallery]


@dataclass(frozen=True)
class Evaluation:
    """Recall with 95 % intervals by name, what it was measured on, and the speed; `pairs` counts every member's."""

    recall: Recall
    intervals: dict[str, Interval]
    images: int
    captions: int
    pairs: int
    seconds: float
    querybank: Querybank | None = None

    def as_dict(self) -> dict[str, Any]:
        """Every figure by name."""
        return {
            **(self.querybank.as_dict() if self.querybank else {}),
            "images": self.images,
            "captions": self.captions,
            **self.recall.as_dict(),
            "intervals_95": {name: list(interval) for name, interval in self.intervals.items()},
            "pairs": self.pairs,
            "seconds": round(self.seconds, 1),
            "pairs_per_second": round(self.pairs / self.seconds),
        }


def folds(split: CaptionSplit, protocol: Protocol) -> list[CaptionSplit]:
    """Parts of a split whose images are ranked among themselves.

    `all`: the whole. `5k`: its first 5,000 images. `1k`: as many parts of 1,000 images as it has. `folds`: five equal
    parts, as COCO's 1K test of 5,000. Raises InputError where it has too few images.
    """
    count = len(split.images)
    sizes = {"all": (count, 1), "5k": (5000, 1), "1k": (1000, max(1, count // 1000)), "folds": (count // 5, 5)}
    size, number = sizes[protocol]
    if not 0 < size * number <= count:
        needed = max(size, 1) * number
        raise InputError(f"the split has {count} images, the protocol {protocol} needs {needed}: use --protocol all")
    return [split.images_between(size * part, size * (part + 1)) for part in range(number)]


def evaluate_split(
    members: Sequence[Member],
    table: CaptionTable,
    split: str,
    *,
    protocol: Protocol = "all",
    querybank: Querybank | None = None,
    on_start: Callable[[int], None] = lambda total: None,
    on_pairs: Callable[[int], None] = lambda done: None,
) -> Evaluation:
    """Recall of a split from exact scores of all captions with all images of each fold.

    The scores of several members, each a bundle with its gallery, are averaged; with a `querybank`, whose images the
    galleries hold too, they are normalised by it. Images of a gallery outside the split are left out. Raises InputError
    for an image that a gallery lacks.
    """
    parts = folds(table.split(split), protocol)
    done, total = 0, len(members) * sum(_pairs(part, querybank) for part in parts)
    on_start(total)
    began = time.perf_counter()

    def averaged(images: Sequence[str], captions: Sequence[str]) -> NDArray[np.float32]:
        nonlocal done
        scores = np.zeros((len(captions), len(images)), np.float32)
        for scorer, gallery in members:
            scores += all_scores(scorer, gallery, images, captions, lambda now, before=done: on_pairs(before + now))  # type: ignore[misc]
            done += scores.size
        return scores / np.float32(len(members))

    found = []
    for part in parts:
        scores = averaged(part.images, part.captions)
        if querybank:
            scores -= querybank.hubness(averaged(part.images, querybank.captions))
            scores -= querybank.hubness(averaged(querybank.images, part.captions).T)[:, None]
        found.append(ranks(scores.T, part.caption_images))
    seconds = time.perf_counter() - began
    places = joined(found)
    count = sum(len(part.captions) for part in parts)
    return Evaluation(places.recall(), places.intervals(), len(places.text), count, total, seconds, querybank)


def _pairs(part: CaptionSplit, querybank: Querybank | None) -> int:
    pairs = len(part.images) * len(part.captions)
    if querybank:
        pairs += len(part.images) * len(querybank.captions) + len(querybank.images) * len(part.captions)
    return pairs


def all_scores(
    scorer: Scorer,
    gallery: Gallery,
    images: Sequence[str],
    captions: Sequence[str],
    on_pairs: Callable[[int], None] = lambda done: None,
) -> NDArray[np.float32]:
    """Scores captions x images, in these orders, of some of a gallery's images, by id."""
    tokens = [scorer.tokens(caption) for caption in captions]
    part = gallery.restricted_to(images)
    scores = np.empty((len(tokens), len(images)), np.float32)
    places = {image: place for place, image in enumerate(images)}
    columns = np.array([places[id] for id in part.ids()])
    for group, found in score_groups(scorer, part, tokens, 4 * len(columns), on_pairs):
        for rows, place, pairs in found:
            scores[group][np.ix_(rows, columns[place])] = pairs.T
    return scores
