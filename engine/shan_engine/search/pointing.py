"""Which region a word means: the nearest in the joint space, where the photo was also seen as what the word names.

Attention weights spread over similar regions, and words such as "a" have none. So only content words point. Measured
by benchmarks/pointing.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.packing import Arrays
from shan_engine.gallery.storage import SEEN, SEEN_CLASSES, SEEN_PROBABILITIES, SEEN_REGIONS
from shan_engine.kernel.constants import MASK, REGIONS
from shan_engine.parts.class_evidence import CLASS_WEIGHTS
from shan_engine.scoring.scorer import Scorer
from shan_engine.text.function_words import is_function_word
from shan_engine.text.tokenizer import Tokenized, Word

EVIDENCE_WEIGHT = 0.05  # of class evidence beside a cosine
EVIDENCE_FLOOR = 0.01


def content_words(words: Sequence[Word]) -> list[Word]:
    """Words that name something to see; all words where none does."""
    return [word for word in words if not is_function_word(word.text)] or list(words)


@dataclass(frozen=True)
class Pointer:
    """The n content words of a phrase: their rows in the joint space, n x D of length 1, and their class weights n x L.

    `class_weights` is None where the model has no class evidence.
    """

    words: tuple[Word, ...]
    rows: NDArray[np.float32]
    class_weights: NDArray[np.float32] | None

    @classmethod
    def of(cls, scorer: Scorer, reading: Tokenized, caption: Arrays) -> Pointer | None:
        """Of an encoded phrase, arrays 1 x their shape. None where the model does not compare words with regions."""
        if scorer.constants is None:
            return None
        words = content_words(reading.words)
        rows = np.stack([caption["caption_words"][0, list(word.tokens)].mean(axis=0) for word in words])
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        return cls(tuple(words), rows, _class_weights(scorer, reading, words, caption))

    def cosines(self, regions: NDArray[np.float32]) -> NDArray[np.float32]:
        """Cosines n x K of the words with one photo's regions K x D."""
        return self.rows @ regions.T

    def evidence(
        self, photo: Mapping[str, NDArray[Any]], count: int, weight: float = EVIDENCE_WEIGHT
    ) -> NDArray[np.float32]:
        """What the classes that a photo was seen as add to each word and each of `count` regions, n x `count`."""
        if self.class_weights is None or not all(name in photo for name in SEEN):
            return np.zeros((len(self.words), count), np.float32)
        places = np.arange(count)[:, None] == photo[SEEN_REGIONS]  # count x m
        by_region = np.where(places, photo[SEEN_PROBABILITIES].astype(np.float32), np.float32(0))
        weights = self.class_weights.take(photo[SEEN_CLASSES].astype(np.intp), axis=1, mode="clip")
        found: NDArray[np.float32] = np.log(EVIDENCE_FLOOR + weights.astype(np.float32) @ by_region.T)
        return weight * found

    def regions(self, images: Arrays) -> list[list[tuple[int, float]]]:
        """Each word's region and its cosine, of B images by the arrays that a gallery stores."""
        found = []
        for row, (regions, mask) in enumerate(zip(images[REGIONS], images[MASK], strict=True)):
            cosines = self.cosines(regions)
            seen = {name: images[name][row] for name in SEEN if name in images}
            places = np.where(mask, cosines + self.evidence(seen, len(mask)), -np.inf).argmax(axis=1)
            found.append([(int(place), float(own[place])) for place, own in zip(places, cosines, strict=True)])
        return found


def _class_weights(
    scorer: Scorer, reading: Tokenized, words: Sequence[Word], caption: Arrays
) -> NDArray[np.float32] | None:
    """Class weights n x L of each word alone; a word that is the only one shares those of the phrase."""
    if CLASS_WEIGHTS not in caption:
        return None
    if len(words) == 1:
        return caption[CLASS_WEIGHTS]
    before, after = scorer.bundle.tokenizer.markers
    alone = [[*before, *(reading.tokens[place] for place in word.tokens), *after] for word in words]
    return scorer.encoders.encode_words(alone, CLASS_WEIGHTS)
