"""A photo as a query: search for photos like it, or for captions that fit it.

No model here was trained to compare photos. Their similarity is step 1 of the score, with the regions of one photo in
place of words. Each region of one side attends to the most similar ones of the other; its cosines with what it attends
to are averaged, both ways as in the model's direction. So the kernel and the cascade take a photo as they take a
caption. On Flickr8k the ten most similar photos by this measure share more caption words than the ten by the cosine of
mean regions (docs/searching.md). In a model that has the global term, the cosine of both photos' vectors is added. It
is all where the model stores no regions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.choices import Device
from shan_engine.base.errors import InputError
from shan_engine.base.packing import Arrays
from shan_engine.bundle.contents import Bundle
from shan_engine.gallery.reader import Gallery
from shan_engine.gallery.storage import SEEN
from shan_engine.kernel.constants import REGIONS
from shan_engine.kernel.step_1 import local_scores, regions_as_caption
from shan_engine.parts.global_term import IMAGE_VECTOR, QUERY_VECTOR
from shan_engine.scoring.encoders import Encoders
from shan_engine.scoring.scorer import Scorer
from shan_engine.store.records import pad_classes

if TYPE_CHECKING:
    from shan_engine.photos.extractor import FeatureExtractor


@dataclass(frozen=True)
class QueryPhoto:
    """`images` are the photo's arrays as a gallery stores them, each 1 x its shape; `boxes` K x 4 in pixels."""

    path: Path
    images: Arrays
    boxes: NDArray[np.float32]

    @classmethod
    def read(cls, path: Path, encoders: Encoders, extractor: Callable[[], FeatureExtractor]) -> QueryPhoto:
        """Read a photo with the extractor that `open_extractor` opened.

        Raises InputError if it cannot be decoded, has no region, or its features do not have the bundle's size.
        """
        # Here, as a search with words alone starts faster without it.
        from shan_engine.photos.decode import read_scaled

        if not path.is_file():
            raise InputError(f"there is no photo {path}: give the path of an image file")
        network, bundle = extractor(), encoders.bundle
        scaled = read_scaled(path, network.recipe.width, network.recipe.height, fit=network.recipe.fit)
        ((features, boxes, seen),) = network(scaled.pixels[None], [path])
        if not len(features):
            raise InputError(f"{path} has no region: {network.model} found nothing in it")
        if features.shape[1] != bundle.manifest.feature_dim:
            raise InputError(
                f"{network.model} gives features of size {features.shape[1]}, the bundle {bundle.path} takes "
                f"{bundle.manifest.feature_dim}: name the extractor that it was trained on"
            )
        images = encoders.encode_images(features[None], np.ones((1, len(features)), np.bool_))
        if seen is not None:
            images |= zip(SEEN, pad_classes([seen], len(seen.classes)), strict=True)
        pixels = np.full((len(features), 4), np.nan) if boxes is None else scaled.in_pixels(boxes)
        return cls(path, images, pixels.astype(np.float32))

    @classmethod
    def stored(cls, gallery: Gallery, id: str) -> QueryPhoto:
        """A photo of a gallery, from what is stored of it. Raises InputError where there is none with this id."""
        block, row = gallery.find(gallery.place(id))
        (image,) = block.images_at([row])
        return cls(Path(image.path or image.id), block.rows_of([row]), block.boxes(row))

    def as_caption(self) -> Arrays:
        """The photo's arrays as step 1 and the global term take a caption's.

        Raises InputError if the model stores neither regions nor a vector.
        """
        vector = {QUERY_VECTOR: self.images[IMAGE_VECTOR]} if IMAGE_VECTOR in self.images else {}
        return vector if vector and REGIONS not in self.images else regions_as_caption(self.images) | vector


def open_extractor(bundle: Bundle, model: Path | None = None, device: Device = "auto") -> FeatureExtractor:
    """The feature extractor of an ONNX file, or the bundle's own by default.

    Raises InputError if the bundle has none, or was trained on another one.
    """
    # Here, as a search with words alone starts faster without it.
    from shan_engine.photos.extractor import FeatureExtractor

    model = model or bundle.feature_extractor
    if model is None:
        raise InputError(
            f"the bundle {bundle.path} has no feature extractor to read photos with: name the one that it was trained "
            "on with --extractor"
        )
    network = FeatureExtractor(model, device)
    expected = bundle.manifest.feature_extractor
    if expected not in (None, network.recipe.name):
        raise InputError(
            f"{model} is the extractor '{network.recipe.name}', the bundle {bundle.path} was trained on "
            f"'{expected}': name that one"
        )
    return network


def step_1(scorer: Scorer, images: Arrays, caption: Arrays) -> NDArray[np.float32]:
    """Step 1 alone of B images, by their stored arrays as float32, with one caption, or a photo in its place: B.

    Where the model stores no regions, it is the cosine of both vectors.
    """
    if REGIONS not in images:
        return np.asarray(images[IMAGE_VECTOR] @ caption[QUERY_VECTOR][0], np.float32)
    if scorer.kernel:
        return scorer.kernel.step_1(images, caption)[:, 0]
    return local_scores(scorer.constants, images, caption)
