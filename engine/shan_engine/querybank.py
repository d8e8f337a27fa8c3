"""Querybank normalisation of scores: hubs, which rank high for queries of all kinds, lose what they have with those.

A candidate's hubness is log(mean of exp(β s)) / β over its scores s with a bank of queries that are known beforehand,
such as the training split's. Taken from the candidate's scores, a softmax over all queries decides instead of one over
the candidates (the inverted softmax of Smith et al. 2017; Bogolin et al. 2022, "Cross Modal Retrieval with Querybank
Normalisation", whose β is 20, too). Nothing of the queries asked later is used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .captions import CaptionSplit
from .errors import InputError

SIZE = 2000
INVERSE_TEMPERATURE = 20.0


@dataclass(frozen=True)
class Querybank:
    """Queries of both kinds: ids of a gallery's images, and captions; `inverse_temperature` is β."""

    images: tuple[str, ...]
    captions: tuple[str, ...]
    inverse_temperature: float = INVERSE_TEMPERATURE

    @classmethod
    def of_split(
        cls, split: CaptionSplit, *, size: int = SIZE, inverse_temperature: float = INVERSE_TEMPERATURE
    ) -> Querybank:
        """At most `size` images and as many captions of a split, evenly spread over it."""
        if size < 1 or not 0 < inverse_temperature < np.inf:
            raise InputError(f"a querybank of {size} with β = {inverse_temperature}: both must be above 0")
        return cls(_spread(split.images, size), _spread(split.captions, size), inverse_temperature)

    def as_dict(self) -> dict[str, float]:
        """Its figures by name."""
        return {
            "querybank_images": len(self.images),
            "querybank_captions": len(self.captions),
            "inverse_temperature": self.inverse_temperature,
        }

    def hubness(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Of M candidates from their scores with Q of the bank's queries, Q x M."""
        highest = scores.max(axis=0)
        mean = np.exp(self.inverse_temperature * (scores - highest)).mean(axis=0)
        hubness: NDArray[np.float32] = highest + np.log(mean) / np.float32(self.inverse_temperature)
        return hubness


def _spread(items: tuple[str, ...], size: int) -> tuple[str, ...]:
    count = min(size, len(items))
    return tuple(items[place * len(items) // count] for place in range(count))
