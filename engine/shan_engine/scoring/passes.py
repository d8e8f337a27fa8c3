"""The one loop over pairs: images of galleries with many captions, a group of captions and a call's images at a time.

Search, jobs and evaluation all score through `pair_scores`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shan_engine.backends.interface import HeldGallery
from shan_engine.base.errors import GalleryError
from shan_engine.base.packing import Arrays
from shan_engine.gallery.blocks import Block
from shan_engine.gallery.images import Images
from shan_engine.gallery.reader import Gallery
from shan_engine.gallery.storage import HUBNESS
from shan_engine.parts.written import saying
from shan_engine.scoring.encoders import Encoders
from shan_engine.scoring.scorer import Scorer

MAX_CAPTIONS = 32
# Captions of one pass over the gallery: encoded, and their rows of scores held, together.
GROUP_CAPTIONS = 256
GROUP_BYTES = 256 * 2**20


@dataclass(frozen=True)
class CaptionBatches:
    """Captions encoded in batches of similar length, so that padding stays small.

    `rows` are each batch's captions by number, `arrays` their arrays; `longest` is the most tokens of a caption.
    """

    rows: tuple[NDArray[np.int64], ...]
    arrays: tuple[Arrays, ...]
    longest: int

    @classmethod
    def encode(
        cls, encoders: Encoders, token_lists: Sequence[Sequence[int]], texts: Sequence[str] | None = None
    ) -> CaptionBatches:
        """Encode captions, each given as its tokens, and its text where further parts are to read that."""
        rows = batches_by_length(token_lists)
        arrays = [encoders.encode_captions([token_lists[row] for row in batch]) for batch in rows]
        if texts is not None:
            arrays = [
                saying(encoded, [texts[row] for row in batch]) for batch, encoded in zip(rows, arrays, strict=True)
            ]
        return cls(tuple(rows), tuple(arrays), max(map(len, token_lists)))

    def __len__(self) -> int:
        return sum(map(len, self.rows))

    def caption(self, number: int) -> Arrays:
        """The arrays of one caption, 1 x their shape, padded as in its batch."""
        for rows, arrays in zip(self.rows, self.arrays, strict=True):
            (place,) = np.nonzero(rows == number)
            if len(place):
                return {name: array[place[0] : place[0] + 1] for name, array in arrays.items()}
        raise IndexError(number)


PairScores = Iterator[tuple[NDArray[np.int64], slice, Arrays]]
"""Caption numbers, a slice of the images, and their outputs: `scores` B x C, `step_scores` B x C x `score_parts`."""


def pair_scores(
    scorer: Scorer,
    images: Images,
    captions: CaptionBatches,
    *,
    start: int = 0,
    stop: int | None = None,
    outputs: Sequence[str] = ("scores",),
) -> PairScores:
    """Score every caption with the images `start` to `stop` (exclusive), in the images' order.

    A score is the sum of its steps and of the bundle's further parts, minus the image's hubness if its gallery stores
    that. `step_scores` has a column for each of `Scorer.score_parts`. Memory: one call's images and outputs. Raises
    GalleryError, naming the image, for a score that is NaN or infinite.
    """
    stop = len(images) if stop is None else stop
    if start >= stop:
        return
    pairs, parts = scorer.pairs, scorer.parts
    asked = [name for name in outputs if name != "step_scores" or scorer.steps]
    size = pairs.images_per_call(images.shapes, len(captions.rows[0]), captions.longest)

    def calls() -> Iterator[tuple[Any, Arrays, Arrays]]:
        for place, stored, gallery, within in images.batches(start, stop, size):
            prepared = pairs.prepare(stored)
            known = parts.read(*_rows(gallery, within)) if parts else {}
            for rows, batch in zip(captions.rows, captions.arrays, strict=True):
                yield (rows, place, gallery, within, stored.get(HUBNESS), known, batch), prepared, batch

    for (rows, place, gallery, within, hubness, known, batch), found in pairs.scores(calls(), asked):
        if parts:
            _add(parts.scores(known, batch, (len(within), len(rows))), found, outputs)
        if hubness is not None:
            with np.errstate(invalid="ignore"):  # refused below
                found["scores"] = found["scores"] - hubness[:, None]
        refuse_not_finite(gallery, within, found["scores"])
        yield rows, place, found


def _rows(gallery: Gallery, within: range) -> tuple[Block, NDArray[np.int64]]:
    """The block and the rows of images of a gallery that lie in one block."""
    block, row = gallery.find(within.start)
    return block, block.rows[row : row + len(within)]


def _add(parts: NDArray[np.float32], found: Arrays, outputs: Sequence[str]) -> None:
    """Add further parts B x C x P to the scores, and as columns to the steps' where those are asked for."""
    found["scores"] = found["scores"] + parts.sum(-1)
    if "step_scores" in outputs:
        steps = [found["step_scores"]] if "step_scores" in found else []
        found["step_scores"] = np.concatenate([*steps, parts], axis=-1)


@dataclass(frozen=True)
class Group:
    """Captions scored in one pass over the gallery: their numbers and arrays."""

    numbers: slice
    captions: CaptionBatches

    def __len__(self) -> int:
        return len(self.captions)


def caption_groups(
    scorer: Scorer, token_lists: Sequence[Sequence[int]], row_bytes: int, texts: Sequence[str] | None = None
) -> Iterator[Group]:
    """Group captions in input order; each group is encoded only when it is needed. `texts` are as they were written.

    `row_bytes` is what the caller keeps per caption: a group keeps at most 256 MiB, unless a single row is larger.
    """
    size = max(1, min(GROUP_CAPTIONS, GROUP_BYTES // max(1, row_bytes)))
    for start in range(0, len(token_lists), size):
        numbers = slice(start, min(start + size, len(token_lists)))
        own = None if texts is None else texts[numbers]
        yield Group(numbers, CaptionBatches.encode(scorer.encoders, token_lists[numbers], own))


def group_scores(
    scorer: Scorer, gallery: Gallery, group: Group, on_pairs: Callable[[int], None] = lambda done: None
) -> Iterator[tuple[NDArray[np.int64], slice, NDArray[np.float32]]]:
    """Scores B x C of all images with a group's captions: the captions' numbers in the group, the images' places.

    `on_pairs` is called with the pairs done, those of earlier groups included. Raises as `pair_scores` does.
    """
    done = group.numbers.start * len(gallery)
    held = scorer.held(gallery)
    found = (
        _held_scores(scorer, gallery, held, group.captions)
        if held
        else pair_scores(scorer, Images([gallery]), group.captions)
    )
    for rows, place, outputs in found:
        yield rows, place, outputs["scores"]
        done += outputs["scores"].size
        on_pairs(done)


def _held_scores(scorer: Scorer, gallery: Gallery, held: HeldGallery, captions: CaptionBatches) -> PairScores:
    """Parts are added here: they are cheap, and the back end holds only what the steps need."""
    parts = scorer.held_parts(gallery) if scorer.parts else None
    for number, place, scores in held.scores(captions.arrays):
        if parts:
            scores = scores + parts.totals(captions.arrays[number], scores.shape[1], place)
        refuse_not_finite(gallery, range(place.start, place.stop), scores)
        yield captions.rows[number], place, {"scores": scores}


def score_matrix(
    scorer: Scorer,
    gallery: Gallery,
    token_lists: Sequence[Sequence[int]],
    on_pairs: Callable[[int], None] = lambda done: None,
    *,
    texts: Sequence[str] | None = None,
) -> NDArray[np.float32]:
    """Scores N x M of a gallery's images with all captions, in their orders. Raises the errors of `pair_scores`."""
    scores = np.empty((len(gallery), len(token_lists)), np.float32)
    for group in caption_groups(scorer, token_lists, 4 * len(gallery), texts):
        for rows, place, part in group_scores(scorer, gallery, group, on_pairs):
            scores[place, group.numbers.start + rows] = part
    return scores


def refuse_not_finite(gallery: Gallery, places: Sequence[int] | NDArray[np.int64], scores: NDArray[np.float32]) -> None:
    """Raise GalleryError, naming the first such image of `places`, if a score (R x C) is NaN or infinite."""
    finite = np.isfinite(scores).all(axis=1)
    if not finite.all():
        block, row = gallery.find(int(places[int(finite.argmin())]))
        (image,) = block.images_at([row])
        fault = f"image '{image.id}' of the gallery {gallery.path} has a NaN or infinite score"
        raise GalleryError(f"{fault}: delete the gallery and index the store again")


def batches_by_length(token_lists: Sequence[Sequence[int]]) -> list[NDArray[np.int64]]:
    """Numbers of captions to score together: of similar length, so that padding stays small."""
    order = np.argsort([len(tokens) for tokens in token_lists], kind="stable")
    return [order[start : start + MAX_CAPTIONS] for start in range(0, len(order), MAX_CAPTIONS)]
