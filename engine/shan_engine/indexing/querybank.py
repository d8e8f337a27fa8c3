"""Scores normalised by a querybank: hubs, which rank high for queries of all kinds, lose what they have with those.

A candidate's hubness is log(mean of exp(β s)) / β over its scores s with a bank of queries that are known beforehand,
such as a training split's captions. Taken from the candidate's scores, a softmax over all queries decides instead of
one over the candidates: the inverted softmax (Smith et al. 2017) over a querybank (Bogolin et al. 2022, "Cross Modal
Retrieval with Querybank Normalisation", β = 20 there too), for all queries and not only where a hub comes first.
Nothing of the queries asked later is used.

    GALLERY/querybank.json   the captions by which a gallery's images are normalised, and β

`index` measures every image's hubness once and stores it as one more array; `evaluate` can measure both sides' anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.errors import GalleryError, InputError
from shan_engine.base.manifests import Fields, Format, Positive
from shan_engine.base.packing import Arrays
from shan_engine.gallery.reader import Gallery
from shan_engine.gallery.storage import HUBNESS
from shan_engine.scoring.passes import CaptionBatches
from shan_engine.scoring.scorer import Scorer
from shan_engine.text.query_files import read_captions

FILE = "querybank.json"
SIZE = 2000
INVERSE_TEMPERATURE = 20.0
LEAST, MOST = 1e-3, 1e4
Item = TypeVar("Item")
HubnessOf = Callable[[Arrays], NDArray[np.float32]]
"""What gives the hubness B of images, from their arrays as a gallery stores them."""


class Querybank(Fields, frozen=True):
    """Captions; `inverse_temperature` is β."""

    captions: tuple[str, ...]
    inverse_temperature: Positive = INVERSE_TEMPERATURE

    @classmethod
    def of(
        cls, captions: Sequence[str], *, size: int | None = None, inverse_temperature: float | None = None
    ) -> Querybank:
        """At most `size` (2,000) of some captions, evenly spread. Raises InputError for none, or a β out of range."""
        beta = INVERSE_TEMPERATURE if inverse_temperature is None else inverse_temperature
        if not captions or (size is not None and size < 1):
            raise InputError("a querybank must have captions: give at least one, better some thousand")
        if not LEAST <= beta <= MOST:
            raise InputError(f"the inverse temperature is {beta}: choose one from {LEAST:g} to {MOST:,.0f}, such as 20")
        return cls(spread(captions, size), beta)

    @classmethod
    def read(cls, path: Path, *, size: int | None = None, inverse_temperature: float | None = None) -> Querybank:
        """As `of`, from a text file with a caption on each line."""
        if path.suffix != ".txt":
            raise InputError(f"{path} is no querybank: give a .txt file with a caption on each line")
        return cls.of(read_captions(path), size=size, inverse_temperature=inverse_temperature)

    @classmethod
    def load(cls, gallery: Path) -> Querybank:
        """What `save` wrote. Raises GalleryError where it is missing or damaged."""
        return FORMAT.read(gallery / FILE)

    @classmethod
    def of_gallery(cls, gallery: Gallery) -> Querybank | None:
        """What a gallery is normalised by, if it is. Raises GalleryError where that is missing or damaged."""
        return cls.load(gallery.path) if HUBNESS in gallery.manifest.arrays else None

    def save(self, gallery: Path) -> None:
        """Write it into a gallery."""
        FORMAT.save(gallery / FILE, self)

    def hubness(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Of M candidates from their scores with Q of a bank's queries, Q x M."""
        highest = scores.max(axis=0)
        mean = np.expm1(self.inverse_temperature * (scores - highest).astype(np.float64)).mean(axis=0)
        return np.asarray(highest + np.log1p(mean) / self.inverse_temperature, np.float32)

    def measure(self, scorer: Scorer) -> HubnessOf:
        """What measures images' hubness by this bank.

        Captions are read as queries are; those of which the model knows no word are left out. Raises InputError where
        none is left.
        """
        tokens = []
        for caption in self.captions:
            try:
                tokens.append(scorer.encoders.read(caption).tokens)
            except InputError:
                continue
        if not tokens:
            raise InputError("the model knows no word of the querybank: give captions such as will be searched")

        @cache
        def encoded() -> CaptionBatches:
            return CaptionBatches.encode(scorer.encoders, tokens)

        def of(images: Arrays) -> NDArray[np.float32]:
            prepared = scorer.pairs.prepare(images)
            found = scorer.pairs.scores((None, prepared, batch) for batch in encoded().arrays)
            return self.hubness(np.concatenate([outputs["scores"].T for _, outputs in found]))

        return of


FORMAT = Format(
    fields=Querybank,
    error=GalleryError,
    holder="",
    missing="there is no {path}: index the store into a new gallery",
    damaged="{path} is damaged ({fault}): index the store into a new gallery",
    remake="",
    version=None,
)


def refuse_unlike(galleries: Sequence[Gallery]) -> None:
    """Raise InputError where galleries, whose scores are to be compared, are not normalised by the same querybank."""
    if len(galleries) < 2:
        return
    first = Querybank.of_gallery(galleries[0])
    for gallery in galleries[1:]:
        if Querybank.of_gallery(gallery) != first:
            raise InputError(
                f"the galleries {galleries[0].path} and {gallery.path} are not normalised by the same querybank: index "
                "their stores alike"
            )


def spread(items: Sequence[Item], size: int | None) -> tuple[Item, ...]:
    """At most `size` (2,000) of some items, evenly spread over them."""
    count = min(SIZE if size is None else size, len(items))
    return tuple(items[place * len(items) // count] for place in range(count))
