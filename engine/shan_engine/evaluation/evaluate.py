"""Measure recall of captions against galleries, from exact scores of all pairs by one bundle or an ensemble."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.choices import Protocol
from shan_engine.base.errors import InputError
from shan_engine.evaluation.recall import Interval, Recall, joined, ranks
from shan_engine.gallery.normalised import normalised
from shan_engine.gallery.reader import Gallery
from shan_engine.indexing.querybank import Querybank, refuse_unlike, spread
from shan_engine.scoring.passes import score_matrix
from shan_engine.scoring.scorer import Scorer
from shan_engine.text.captions import CaptionSplit, CaptionTable
from shan_engine.text.unknown_words import UnknownWords

Member = tuple[Scorer, Gallery]


@dataclass(frozen=True)
class Evaluation:
    """Recall with 95 % intervals by name, what it was measured on, and the speed; `pairs` counts every member's.

    `unknown` counts captions of mostly unknown words, of every member's. `querybank` is what normalised the scores; if
    it has images, they normalised the captions' scores too.
    """

    recall: Recall
    intervals: dict[str, Interval]
    images: int
    captions: int
    pairs: int
    seconds: float
    querybank: Querybank | None = None
    querybank_images: int = 0
    unknown: UnknownWords = field(default_factory=UnknownWords)

    def as_dict(self) -> dict[str, Any]:
        """Every figure by name."""
        bank: dict[str, Any] = {}
        if self.querybank:
            bank = {
                "querybank_captions": len(self.querybank.captions),
                "querybank_images": self.querybank_images,
                "inverse_temperature": self.querybank.inverse_temperature,
            }
        return {
            **bank,
            "images": self.images,
            "captions": self.captions,
            "captions_mostly_unknown": self.unknown.mostly_unknown,
            **self.recall.as_dict(),
            "intervals_95": {name: list(interval) for name, interval in self.intervals.items()},
            "pairs": self.pairs,
            "seconds": round(self.seconds, 1),
            "pairs_per_second": round(self.pairs / self.seconds),
        }


@dataclass(frozen=True)
class Normalisation:
    """Another split that normalises scores both ways, with at most `size` (2,000) of its captions and its images."""

    split: str
    size: int | None = None
    inverse_temperature: float | None = None

    def of(self, table: CaptionTable, evaluated: str) -> tuple[Querybank, tuple[str, ...]]:
        """The captions and the images. Raises InputError if an image is in the evaluated split too."""
        part = table.split(self.split)
        same = {*part.images} & {*table.split(evaluated).images}
        if same:
            raise InputError(
                f"the split '{self.split}' has images of '{evaluated}', such as {min(same)}: a querybank must be of "
                "other images, name another split, such as train"
            )
        bank = Querybank.of(part.captions, size=self.size, inverse_temperature=self.inverse_temperature)
        return bank, spread(part.images, self.size)


def folds(split: CaptionSplit, protocol: Protocol) -> list[CaptionSplit]:
    """Parts of a split; each part's images are ranked among themselves.

    `all`: the whole. `5k`: its first 5,000 images. `1k`: as many parts of 1,000 images as it has. `folds`: five equal
    parts, as COCO's 1K test of 5,000. Raises InputError if it has too few images.
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
    normalisation: Normalisation | None = None,
    as_searched: bool = False,
    on_start: Callable[[int], None] = lambda total: None,
    on_pairs: Callable[[int], None] = lambda done: None,
) -> Evaluation:
    """Recall of a split from exact scores of all captions with all images of each fold.

    The scores of several members, each a bundle with its gallery, are averaged; with a `normalisation` they are
    normalised both ways. `as_searched` subtracts hubness by the bundles' own querybanks, as a search does. Gallery
    images outside the splits are ignored. Raises InputError, before anything is scored, for an image that a gallery
    lacks, a caption that a bundle cannot take, galleries with different querybanks, and a normalisation by the split's
    own images or of galleries that are already normalised.
    """
    parts = folds(table.split(split), protocol)
    galleries = [gallery for _, gallery in members]
    refuse_unlike(galleries)
    if normalisation and as_searched:
        raise InputError("scores are normalised once: by a split (--querybank), or as searched (--as-searched)")
    own = Querybank.of_gallery(galleries[0])
    bank, images = normalisation.of(table, split) if normalisation else (None, ())
    if own and bank:
        raise InputError(
            f"the gallery {galleries[0].path} is already normalised by a querybank: leave --querybank out, or index "
            "its store without"
        )
    captions = [*(bank.captions if bank else ()), *(caption for part in parts for caption in part.captions)]
    unknown = UnknownWords()
    for scorer, gallery in members:
        gallery.restricted_to([*images, *(image for part in parts for image in part.images)])
        for caption in captions:
            unknown.add(caption, scorer.encoders.caption(caption))
    done, total = 0, 0
    for part in parts:
        total += len(members) * len(part.images) * len(part.captions)
        if bank:
            total += len(members) * (len(part.images) * len(bank.captions) + len(images) * len(part.captions))
    on_start(total)
    began = time.perf_counter()

    def averaged(images: Sequence[str], captions: Sequence[str]) -> NDArray[np.float32]:
        nonlocal done
        scores = np.zeros((len(captions), len(images)), np.float32)
        for scorer, gallery in members:
            seen = normalised(gallery, scorer.bundle) if as_searched else gallery
            scores += all_scores(scorer, seen, images, captions, lambda now, before=done: on_pairs(before + now))  # type: ignore[misc]
            done += scores.size
        return scores / np.float32(len(members))

    found = []
    for part in parts:
        scores = averaged(part.images, part.captions)
        if bank:
            scores -= bank.hubness(averaged(part.images, bank.captions))
            scores -= bank.hubness(averaged(images, part.captions).T)[:, None]
        found.append(ranks(scores.T, part.caption_images))
    seconds = time.perf_counter() - began
    places = joined(found)
    count = sum(len(part.captions) for part in parts)
    return Evaluation(
        places.recall(), places.intervals(), len(places.text), count, total, seconds, own or bank, len(images), unknown
    )


def all_scores(
    scorer: Scorer,
    gallery: Gallery,
    images: Sequence[str],
    captions: Sequence[str],
    on_pairs: Callable[[int], None] = lambda done: None,
) -> NDArray[np.float32]:
    """Scores, captions x images in the given orders, of the gallery's images with these ids."""
    tokens = [scorer.encoders.tokens(caption) for caption in captions]
    part = gallery.restricted_to(images)
    places = {id: place for place, id in enumerate(part.ids())}
    scores = score_matrix(scorer.reading([gallery]), part, tokens, on_pairs, texts=captions)
    return scores[[places[image] for image in images]].T
