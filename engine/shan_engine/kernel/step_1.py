"""Step 1 of SHAN's score in NumPy: the kernel's reference, its stand-in where there is none, and what feeds it.

For one caption of n words with arrays T (`caption_words`), U (`caption_queries`) and T T^T (`caption_gram`), and the
regions V of an image: attention weights α = softmax over words (V U^T) and β = softmax over regions (V U^T). A region's
cosine is that with Σ_j α_ij t_j, a word's that with Σ_i β_ij v_i; step 1 is a times the regions' mean plus b times the
words' mean (docs/scoring.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.errors import InputError
from shan_engine.base.packing import Arrays
from shan_engine.kernel.constants import MASK, REGIONS, ShanConstants

SHARPNESS = 9.0
"""A region's attention to another photo's is the softmax of its cosines with them times this, as with words."""
TABLE_WIDTH = 16  # rows of a table of centroids are a multiple of this many floats
_LOWEST_EXPONENT = -80.0  # exp of less is 0 in float32


def word_count(caption: Mapping[str, NDArray[Any]]) -> int:
    """How many words, the markers among them, a batch of captions is padded to."""
    return int(caption["caption_words"].shape[1])


def regions_as_caption(images: Mapping[str, NDArray[Any]]) -> Arrays:
    """Arrays with which step 1 takes one image for a caption, its K regions for words.

    Raises InputError where the model does not store regions.
    """
    if REGIONS not in images:
        raise InputError("this model stores no regions, so photos cannot be compared: search with words alone")
    regions = np.ascontiguousarray(images[REGIONS], np.float32)
    return {
        "caption_words": regions,
        "caption_queries": SHARPNESS * regions,
        "caption_gram": regions @ regions.transpose(0, 2, 1),
        "word_mask": images[MASK],
    }


def local_scores(
    constants: ShanConstants | None, images: Mapping[str, NDArray[Any]], caption: Mapping[str, NDArray[Any]]
) -> NDArray[np.float32]:
    """Step 1 of B images (float32 arrays as a gallery stores them) with one caption without padding: B.

    Without `constants`, both directions weigh 1.
    """
    regions, mask = images[REGIONS], images[MASK]
    words, queries, gram = (caption[name][0] for name in ("caption_words", "caption_queries", "caption_gram"))
    affinity = np.where(mask[..., None], regions @ queries.T, -np.inf)
    similarity = regions @ words.T
    alpha = _softmax(np.where(mask[..., None], affinity, 0), axis=2)
    lengths = np.sqrt(((alpha @ gram) * alpha).sum(axis=2))
    of_regions = (alpha * similarity).sum(axis=2) / np.maximum(lengths, 1e-8)
    beta = _softmax(affinity, axis=1).transpose(0, 2, 1)
    attended = beta @ regions
    lengths = np.linalg.norm(attended, axis=2)
    of_words = (beta * similarity.transpose(0, 2, 1)).sum(axis=2) / np.maximum(lengths, 1e-8)
    a, b = (constants.region_weight, constants.word_weight) if constants else (1.0, 1.0)
    score = a * (of_regions * mask).sum(axis=1) / mask.sum(axis=1) + b * of_words.mean(axis=1)
    return np.asarray(score, np.float32)


def _softmax(values: NDArray[Any], axis: int) -> NDArray[Any]:
    exponents = np.exp(values - values.max(axis=axis, keepdims=True))
    return exponents / exponents.sum(axis=axis, keepdims=True)  # type: ignore[no-any-return]


def centroid_tables(
    centroids: NDArray[np.float32], captions: Sequence[Mapping[str, NDArray[Any]]]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Tables C x Q x W of Q centroids for C captions, each encoded alone, and how many words each has.

    `Kernel.centroid_scores` adds them up: step 1 as if every region were its centroid, without the lengths of attended
    vectors.
    """
    words = np.array([word_count(caption) for caption in captions])
    width = -(-(1 + 2 * int(words.max())) // TABLE_WIDTH) * TABLE_WIDTH
    tables = np.zeros((len(captions), len(centroids), width), np.float32)
    for table, caption, count in zip(tables, captions, words, strict=True):
        table[:, : 1 + 2 * count] = _table(centroids, caption)
    return tables, words


def _table(centroids: NDArray[np.float32], caption: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
    """What each centroid adds to a caption of n words, Q x (1 + 2n).

    Its region's cosine, then for each word its unnormalised attention weight, then that times the similarity.
    """
    T, U, gram = (caption[name][0] for name in ("caption_words", "caption_queries", "caption_gram"))
    affinity, similarity = centroids @ U.T, centroids @ T.T
    alpha = np.exp(affinity - affinity.max(axis=1, keepdims=True))
    alpha /= alpha.sum(axis=1, keepdims=True)
    lengths = np.sqrt(((alpha @ gram) * alpha).sum(axis=1))
    cosines = (alpha * similarity).sum(axis=1) / np.maximum(lengths, 1e-8)
    weights = np.exp(np.maximum(affinity - affinity.max(axis=0), _LOWEST_EXPONENT))
    return np.concatenate([cosines[:, None], weights, weights * similarity], axis=1)
