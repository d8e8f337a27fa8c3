"""Find the captions of a gallery that fit a photo best, by exact scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from shan_engine.base.errors import GalleryError, InputError, first_line
from shan_engine.base.packing import Arrays, unpacked
from shan_engine.gallery.captions import FIX, CaptionGallery
from shan_engine.scoring.scorer import Scorer
from shan_engine.search.explain import WordRegion, explain_phrase
from shan_engine.search.photo_query import QueryPhoto
from shan_engine.text.tokenizer import Tokenized

SCORED_TOGETHER = 256


@dataclass(frozen=True)
class CaptionHit:
    """A caption that fits a photo; `step_scores` are the score's parts, `words` the regions its words look at.

    `CaptionHits.score_parts` names the parts.
    """

    rank: int
    score: float
    id: str
    caption: str
    step_scores: tuple[float, ...] = ()
    words: tuple[WordRegion, ...] = ()


@dataclass(frozen=True)
class CaptionHits:
    """The best captions for a photo, best first; `captions` is how many were scored."""

    photo: Path
    hits: tuple[CaptionHit, ...]
    captions: int
    score_parts: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[CaptionHit]:
        return iter(self.hits)

    def __len__(self) -> int:
        return len(self.hits)


def search_captions(
    scorer: Scorer,
    gallery: CaptionGallery,
    photo: QueryPhoto,
    *,
    top_k: int = 10,
    explain: bool = True,
    on_captions: Callable[[int], None] = lambda done: None,
) -> CaptionHits:
    """The `top_k` captions with the best exact scores for a photo; ties go to the first in the file.

    Memory: one call's captions, and a score for each. Raises InputError for k below 1, GalleryError for a damaged file.
    """
    if top_k < 1:
        raise InputError(f"top-k is {top_k}: ask for at least 1")
    done = 0
    best: list[tuple[float, int, int, int]] = []  # score below 0, place in the file, block, row
    for number, block in enumerate(gallery.blocks):
        arrays = gallery.arrays(block)
        batches = (
            _rows(arrays, slice(start, start + SCORED_TOGETHER)) for start in range(0, block.captions, SCORED_TOGETHER)
        )
        try:
            scores = np.concatenate([of_batch[0] for of_batch in scorer.score_batches(photo.images, batches)])
        except (ValueError, KeyError, TypeError) as error:
            fault = first_line(error)
            raise GalleryError(f"{gallery.path} does not fit the bundle that it names ({fault}): {FIX}") from error
        if not np.isfinite(scores).all():
            raise GalleryError(f"a caption of {gallery.path} has a NaN or infinite score: {FIX}")
        # Ties go to the first in the file, so a block's captions are ranked with their places.
        places = np.array([place for place, _, _ in gallery.listed(block)])
        for row in np.lexsort((places, -scores))[:top_k].tolist():
            best.append((-float(scores[row]), int(places[row]), number, row))
        best = sorted(best)[:top_k]
        done += block.captions
        on_captions(done)
    hits = []
    for rank, (score, _, number, row) in enumerate(best, 1):
        block = gallery.blocks[number]
        _, id, text = gallery.listed(block)[row]
        hit = CaptionHit(rank, -score, id, text)
        if explain:
            caption = _rows(gallery.arrays(block), slice(row, row + 1))
            read = scorer.bundle.tokenizer.encode(text)
            if not _has_rows(caption, read):
                raise GalleryError(f"the caption {id!r} in {gallery.path} is longer than the one encoded: {FIX}")
            steps, (words,) = explain_phrase(scorer, read, photo.images, caption, photo.boxes[None], photo.images)
            hit = replace(hit, step_scores=tuple(steps[0].tolist()), words=tuple(words))
        hits.append(hit)
    return CaptionHits(photo.path, tuple(hits), len(gallery), scorer.score_parts)


def _has_rows(caption: Arrays, read: Tokenized) -> bool:
    """Whether an encoded caption has a row for each token of a text's words, if the model keeps rows."""
    mask = caption.get("word_mask")
    return mask is None or max(place for word in read.words for place in word.tokens) < mask.shape[1]


def _rows(arrays: Arrays, rows: slice) -> Arrays:
    return unpacked({name: array[rows] for name, array in arrays.items()})
