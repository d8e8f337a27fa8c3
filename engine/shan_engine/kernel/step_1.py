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
POOLED_WEIGHT = 0.75
"""Of the product of a mean region and a mean word of length 1, where both directions weigh 1/2: beside further parts of
a score, it then ranks images most like step 1 does (docs/scoring.md)."""


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


def pooled_query(
    constants: ShanConstants, captions: Sequence[tuple[float, Mapping[str, NDArray[Any]]]]
) -> NDArray[np.float32]:
    """The vector D whose product with an image's mean region stands in for step 1 with captions by their weights.

    Each caption is encoded alone.
    """
    found = np.zeros(captions[0][1]["caption_words"].shape[2], np.float32)
    for weight, caption in captions:
        mean = caption["caption_words"][0][caption["word_mask"][0]].mean(axis=0)
        found += np.float32(weight / max(float(np.linalg.norm(mean)), 1e-8)) * mean
    return found * np.float32(POOLED_WEIGHT * (constants.region_weight + constants.word_weight))


def _softmax(values: NDArray[Any], axis: int) -> NDArray[Any]:
    exponents = np.exp(values - values.max(axis=axis, keepdims=True))
    return exponents / exponents.sum(axis=axis, keepdims=True)  # type: ignore[no-any-return]
