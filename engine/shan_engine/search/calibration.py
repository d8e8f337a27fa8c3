"""The probability that a photo shows what was asked, from the parts of its score.

A score ranks the photos for one query; it does not say whether any of them fits. A bundle's calibration does. It was
fitted to photos and categories, of which people had judged whether one shows the other (benchmarks/calibration.py).

    p = sigmoid(bias + steps * Σ steps of the model + Σ weight * part + hubness * bank_hubness)

It holds for one photo and one phrase, so it depends neither on the other photos nor on how many there are. What is
written in a photo is a reason of its own beside that: of both together,

    1 - (1 - p) * (1 - TRUSTED * evidence)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.errors import InputError
from shan_engine.base.packing import Arrays
from shan_engine.gallery.reader import Gallery
from shan_engine.gallery.storage import BANK_HUBNESS, HUBNESS
from shan_engine.parts.written import Written
from shan_engine.scoring.scorer import Scorer
from shan_engine.search.query import Query
from shan_engine.search.ranking import Ranking

TRUSTED = 0.9
"""Share of right photos where all words of a query are written, in the set of benchmarks/written_queries.py."""


@dataclass(frozen=True)
class Calibration:
    """Weights of the logit; `parts` P are those of the bundle's further parts, in their order.

    `written` P turns the part of what is written into evidence from 0 to 1.
    """

    bias: float
    steps: float
    parts: tuple[float, ...]
    hubness: float
    written: tuple[float, ...] = ()

    @classmethod
    def of(cls, scorer: Scorer, gallery: Gallery) -> Calibration | None:
        """A bundle's; None where it has none, or the gallery lacks something that it was fitted to."""
        given, arrays = scorer.bundle.manifest.calibration, gallery.manifest.arrays
        if not given or scorer.parts.without_data(arrays) or (given.get("hubness") and BANK_HUBNESS not in arrays):
            return None
        parts = tuple(given.get(name, 0.0) for name in scorer.parts.names)
        written = tuple(1 / part.weight if isinstance(part, Written) else 0.0 for part in scorer.parts)
        return cls(given.get("bias", 0.0), given.get("steps", 0.0), parts, given.get("hubness", 0.0), written)

    def of_ranking(self, scorer: Scorer, gallery: Gallery, ranking: Ranking) -> NDArray[np.float64]:
        """The probabilities N of a phrase's ranked photos."""
        if not len(ranking.places):
            return np.zeros(0)
        (caption,) = ranking.captions
        return self.probabilities(ScoreFacts.of(scorer, gallery, caption, ranking.places.tolist(), ranking.scores))

    def probabilities(self, facts: ScoreFacts) -> NDArray[np.float64]:
        """Probabilities N."""
        logits = (
            self.bias + self.steps * facts.steps + facts.parts @ np.array(self.parts) + self.hubness * facts.hubness
        )
        seen = 1 / (1 + np.exp(-logits))
        if not any(self.written):
            return np.asarray(seen, np.float64)
        read = TRUSTED * np.clip(facts.parts @ np.array(self.written), 0, 1)
        return np.asarray(1 - (1 - seen) * (1 - read), np.float64)


@dataclass(frozen=True)
class ScoreFacts:
    """What a calibration reads of the scores of N photos with one phrase.

    `steps` N is the sum of the model's steps, `parts` N x P the weighted further parts, `hubness` N the photos' own by
    the bundle's querybank, 0 where it has none.
    """

    steps: NDArray[np.float64]
    parts: NDArray[np.float64]
    hubness: NDArray[np.float64]

    @classmethod
    def of(
        cls, scorer: Scorer, gallery: Gallery, caption: Arrays, places: Sequence[int], scores: NDArray[np.float32]
    ) -> ScoreFacts:
        """Of photos at some places of a gallery, by their scores in it with a phrase, encoded alone."""
        at = [gallery.find(place) for place in places]
        rows = [(block, block.rows[row : row + 1]) for block, row in at]
        known = [scorer.parts.read(block, row) for block, row in rows]
        together = {name: np.concatenate([one[name] for one in known]) for name in known[0]} if known else {}
        parts = scorer.parts.scores(together, caption, (len(places), 1))[:, 0].astype(float)

        def stored(name: str) -> NDArray[np.float64]:
            held = name in gallery.manifest.arrays
            return np.array([float(block.files[name][row][0]) if held else 0.0 for block, row in rows])

        steps = scores.astype(float) + stored(HUBNESS) - parts.sum(axis=1)
        return cls(steps, parts, stored(BANK_HUBNESS))


def check_threshold(
    threshold: float | None, calibration: Calibration | None, queries: Sequence[Query], scorer: Scorer
) -> None:
    """Raise InputError for a threshold outside 0 to 1, or where hits have no probability."""
    if threshold is None:
        return
    if not 0 <= threshold <= 1:
        raise InputError(f"the threshold is {threshold}: give a probability from 0 to 1")
    if calibration is None:
        raise InputError(
            f"hits have no probability, as the bundle {scorer.bundle.path} or this gallery lacks what it takes: search "
            "without a threshold"
        )
    if not all(query.plain for query in queries):
        raise InputError("only hits of a single phrase have a probability: search without a threshold")
