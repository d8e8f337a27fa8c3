"""A photo that is asked with: for photos like it, or for captions that fit it.

No model here was trained to compare photos. How alike two are is step 1 of the score with the regions of the photo
asked with in the place of words: each region of one side attends to the most similar ones of the other, and the cosines
with what they attend to are averaged, both ways as in the model's direction. So the kernel, the search in steps and the
sum with the scores of phrases take a photo as they take a caption. On Flickr8k the ten most similar photos by it have
more words of their captions in common than by the cosine of mean regions (docs/searching.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.choices import Device
from shan_engine.base.errors import InputError
from shan_engine.scoring.encoders import Arrays, Scorer

SHARPNESS = 9.0
"""A region's attention to the other photo's is the softmax of its cosines with them times this, as with words."""


@dataclass(frozen=True)
class QueryPhoto:
    """`images` are the photo's arrays as a gallery stores them, each 1 x its shape; `boxes` K x 4 in pixels."""

    path: Path
    images: Arrays
    boxes: NDArray[np.float32]

    @classmethod
    def read(cls, path: Path, scorer: Scorer, extractor: Path | None = None, device: Device = "auto") -> QueryPhoto:
        """Read a photo with a feature extractor's ONNX file, else the bundle's own.

        Raises InputError where it cannot be decoded, has no region, or the bundle has no extractor or is made for
        another one.
        """
        # Here, as a search with words alone starts faster without them.
        from shan_engine.photos.decode import read_scaled
        from shan_engine.photos.extractor import FeatureExtractor

        if not path.is_file():
            raise InputError(f"there is no photo {path}: give the file of one")
        bundle = scorer.bundle
        model = extractor or bundle.feature_extractor
        if model is None:
            raise InputError(
                f"the bundle {bundle.path} has no feature extractor to read {path} with: name the one that it was "
                "trained on with --extractor"
            )
        network = FeatureExtractor(model, device)
        expected = bundle.manifest.feature_extractor
        if expected not in (None, network.recipe.name):
            raise InputError(
                f"{model} is the extractor '{network.recipe.name}', the bundle {bundle.path} was trained on "
                f"'{expected}': name that one"
            )
        scaled = read_scaled(path, network.recipe.width, network.recipe.height)
        ((features, boxes),) = network(scaled.pixels[None], [path])
        if not len(features):
            raise InputError(f"{path} has no region: {model} found nothing in it")
        if features.shape[1] != bundle.manifest.feature_dim:
            raise InputError(
                f"{model} gives features of size {features.shape[1]}, the bundle {bundle.path} takes "
                f"{bundle.manifest.feature_dim}: name the extractor that it was trained on"
            )
        images = scorer.encode_images(features[None], np.ones((1, len(features)), np.bool_))
        pixels = np.full((len(features), 4), np.nan) if boxes is None else boxes * np.array(scaled.size * 2)
        return cls(path, images, pixels.astype(np.float32))

    def as_caption(self) -> Arrays:
        """Arrays with which step 1 takes the photo for a caption, its K regions for words.

        Raises InputError where the model does not store regions.
        """
        if "image_regions" not in self.images:
            raise InputError("this model keeps no regions, so that photos cannot be compared: ask with words alone")
        regions = np.ascontiguousarray(self.images["image_regions"], np.float32)
        return {
            "caption_words": regions,
            "caption_queries": SHARPNESS * regions,
            "caption_gram": regions @ regions.transpose(0, 2, 1),
            "word_mask": self.images["region_mask"],
        }


def step_1(scorer: Scorer, images: Mapping[str, NDArray[Any]], caption: Arrays) -> NDArray[np.float32]:
    """Step 1 alone of B images, by the arrays that a gallery stores, with one caption or photo taken for one: B."""
    regions, mask = images["image_regions"], images["region_mask"]
    if scorer.kernel:
        return scorer.kernel.local_scores(regions, None, mask, np.arange(len(mask)), caption)[:, 0]
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
    weights = scorer.step_1_weights
    score = weights[0] * (of_regions * mask).sum(axis=1) / mask.sum(axis=1) + weights[1] * of_words.mean(axis=1)
    return np.asarray(score, np.float32)


def _softmax(values: NDArray[Any], axis: int) -> NDArray[Any]:
    exponents = np.exp(values - values.max(axis=axis, keepdims=True))
    return exponents / exponents.sum(axis=axis, keepdims=True)  # type: ignore[no-any-return]
