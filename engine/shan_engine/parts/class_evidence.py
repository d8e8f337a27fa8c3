"""Class evidence: what the extractor's own classifier saw in a photo, for things that captions never name.

A photo keeps its m most probable classes. `class_weights` says how much each of the L classes speaks for a query, with
the prior of the class already divided out: 1 is neither for nor against.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from shan_engine.gallery.storage import SEEN_CLASSES, SEEN_PROBABILITIES, SEEN_REGIONS
from shan_engine.kernel.pieces import Pieces
from shan_engine.kernel.shan import Kernel
from shan_engine.parts.part import Named, Part

CLASS_WEIGHTS = "class_weights"
TOGETHER = 4096  # photos whose class numbers stay in the cache
TOLD, LEAST_TOLD = 3, 0.05  # classes that a photo was seen as, most and least probable


@dataclass(frozen=True)
class ClassEvidence(Part):
    """log(floor + Σ_m p_m class_weights[c_m]) over the m classes of a photo; 0 for a photo without any.

    `seen_classes` B x m are numbers of classes, the most probable first, `seen_probabilities` B x m theirs.
    """

    floor: float
    name: ClassVar[str] = "classes"
    image_arrays: ClassVar[tuple[str, ...]] = (SEEN_CLASSES, SEEN_PROBABILITIES)
    caption_arrays: ClassVar[tuple[str, ...]] = (CLASS_WEIGHTS,)

    def scores(self, images: Named, captions: Named) -> NDArray[np.float32]:
        """Evidence B x C."""
        classes, probabilities = images[SEEN_CLASSES], images[SEEN_PROBABILITIES]
        weights = np.asarray(captions[CLASS_WEIGHTS], np.float32)
        found = (_of_captions if weights.flags.c_contiguous else _of_photos)(classes, probabilities, weights)
        return self._evidence(found, probabilities)

    def estimates(self, images: Mapping[str, Pieces], captions: Named, kernel: Kernel) -> NDArray[np.float32]:
        """Evidence B x C."""
        weights, floor = np.ascontiguousarray(captions[CLASS_WEIGHTS], np.float32), np.float32(self.floor)
        found = kernel.evidence(images[SEEN_CLASSES], images[SEEN_PROBABILITIES], weights, 1 - self.floor)
        found += floor
        evidence: NDArray[np.float32] = np.log(found, out=found)
        return evidence

    def _evidence(self, found: NDArray[np.float32], probabilities: NDArray[Any]) -> NDArray[np.float32]:
        evidence: NDArray[np.float32] = np.log(found + np.float32(self.floor))
        evidence[probabilities[:, 0] == 0] = 0
        return evidence


def _of_captions(classes: NDArray[Any], shares: NDArray[Any], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Σ_m p_m class_weights[c_m], B x C, caption by caption: for many photos."""
    found = np.empty((len(classes), len(weights)), np.float32)
    for start in range(0, len(classes), TOGETHER):
        some = slice(start, start + TOGETHER)
        numbers, own = classes[some].astype(np.intp), shares[some].astype(np.float32, copy=False)
        for column, weight in enumerate(weights):
            # Clipped: the numbers of photos that are only skimmed are not checked.
            found[some, column] = np.einsum("bm,bm->b", weight.take(numbers, mode="clip"), own)
    return found


def _of_photos(classes: NDArray[Any], shares: NDArray[Any], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same, photo by photo: for the many captions of a querybank, whose `weights` lie class by class."""
    found = np.empty((len(classes), len(weights)), np.float32)
    for row, (numbers, own) in enumerate(zip(classes.astype(np.intp), shares.astype(np.float32), strict=True)):
        found[row] = own @ weights.T.take(numbers, axis=0, mode="clip")
    return found


@dataclass(frozen=True)
class SeenClass:
    """A class that a photo was seen as: its name, its probability, the region where it is most probable."""

    name: str
    probability: float
    region: int


def seen_classes(images: Named, names: Sequence[str]) -> list[tuple[SeenClass, ...]]:
    """The few most probable classes of each of B photos, from arrays as a gallery stores them."""
    arrays = (images[name].tolist() for name in (SEEN_CLASSES, SEEN_PROBABILITIES, SEEN_REGIONS))
    return [
        tuple(
            SeenClass(names[number], probability, region)
            for number, probability, region in list(zip(*photo, strict=True))[:TOLD]
            if probability >= LEAST_TOLD and number < len(names)
        )
        for photo in zip(*arrays, strict=True)
    ]
