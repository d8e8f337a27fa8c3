"""All images of a gallery with many captions, a group of captions and a call's images at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.errors import GalleryError
from shan_engine.gallery.block_files import FIX
from shan_engine.gallery.reader import Gallery
from shan_engine.scoring.encoders import Arrays, Scorer

MAX_CAPTIONS = 32
# Captions of one pass over the gallery: encoded, and their rows of scores held, together.
GROUP_CAPTIONS = 256
GROUP_BYTES = 256 * 2**20


# Scores B x C of images at `slice`, in the gallery's order, with the captions of a group at those rows.
GroupScores = Iterator[tuple[NDArray[np.int64], slice, NDArray[np.float32]]]


def score_groups(
    scorer: Scorer,
    gallery: Gallery,
    token_lists: Sequence[Sequence[int]],
    row_bytes: int,
    on_pairs: Callable[[int], None] = lambda done: None,
) -> Iterator[tuple[slice, GroupScores]]:
    """Every caption with every image: groups of captions in input order, each with its scores, to be used up first.

    A group's captions meet each image in turn, so that images are read once a group. Memory: a call's images,
    a group's captions encoded, and what the caller keeps, `row_bytes` a caption: at most 256 MiB of it unless a
    single row is larger. `on_pairs` hears how many pairs are done. Raises GalleryError, naming the image, for a
    score that is NaN or infinite: no ranking holds it.
    """
    size = max(1, min(GROUP_CAPTIONS, GROUP_BYTES // max(1, row_bytes)))
    for start in range(0, len(token_lists), size):
        group = slice(start, min(start + size, len(token_lists)))
        yield group, _score_group(scorer, gallery, token_lists[group], start * len(gallery), on_pairs)


def _score_group(
    scorer: Scorer,
    gallery: Gallery,
    token_lists: Sequence[Sequence[int]],
    done: int,
    on_pairs: Callable[[int], None],
) -> GroupScores:
    batches = batches_by_length(token_lists)
    captions = [scorer.encode_captions([token_lists[row] for row in rows]) for rows in batches]
    held = scorer.held(gallery)
    if held:
        for number, columns, scores in held.scores(captions):
            refuse_not_finite(gallery, range(columns.start, columns.stop), scores)
            yield batches[number], columns, scores
            done += scores.size
            on_pairs(done)
        return
    longest = max(len(tokens) for tokens in token_lists)
    images_per_call = scorer.images_per_call(gallery, len(batches[0]), longest)

    def calls() -> Iterator[tuple[tuple[NDArray[np.int64], slice], Arrays, Arrays]]:
        offset = 0
        for block in gallery.blocks:
            for place, stored in block.batches(images_per_call):
                columns = slice(offset + place.start, offset + place.stop)
                images = scorer.for_pairs(stored)
                for rows, batch in zip(batches, captions, strict=True):
                    yield (rows, columns), images, batch
            offset += len(block)
            block.release()

    for (rows, columns), results in scorer.score_calls(calls()):
        scores = results["scores"]
        refuse_not_finite(gallery, range(columns.start, columns.stop), scores)
        yield rows, columns, scores
        done += scores.size
        on_pairs(done)


def refuse_not_finite(gallery: Gallery, places: Sequence[int] | NDArray[np.int64], scores: NDArray[np.float32]) -> None:
    """Raise GalleryError, naming the first image, where of those at `places` some score (R x C) is NaN or infinite."""
    finite = np.isfinite(scores).all(axis=1)
    if not finite.all():
        block, row = gallery.find(int(places[int(finite.argmin())]))
        (image,) = block.images_at([row])
        raise GalleryError(f"image '{image.id}' of the gallery {gallery.path} has a NaN or infinite score: {FIX}")


def batches_by_length(token_lists: Sequence[Sequence[int]]) -> list[NDArray[np.int64]]:
    """Rows of captions to be scored together: of similar length, so that padding stays small."""
    order = np.argsort([len(tokens) for tokens in token_lists], kind="stable")
    return [order[start : start + MAX_CAPTIONS] for start in range(0, len(order), MAX_CAPTIONS)]
