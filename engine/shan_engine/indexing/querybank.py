"""Normalise scores by a querybank: demote hubs, photos that rank high for every query.

A candidate's hubness is log(mean of exp(β s)) / β over its scores s with a bank of queries known beforehand, such as
a training split's captions. Subtracting it from the candidate's scores replaces a softmax over the candidates by one
over the queries: the inverted softmax (Smith et al. 2017) over a querybank (Bogolin et al. 2022, "Cross Modal
Retrieval with Querybank Normalisation", β = 20 there too). It applies to all queries, not only
to those where a hub ranks first. It uses nothing of the queries asked later.

    GALLERY/querybank.json   the captions that normalise a gallery's images, and β

`index` measures every image's hubness once and stores it as another array; `evaluate` can remeasure both sides.

A bundle may have a querybank of its own. Hubness by that is measured over the further parts of a score alone: they
take no pairs of regions and words, so that 100,000 images take seconds. Only searches subtract it.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.errors import GalleryError, InputError
from shan_engine.base.manifests import Fields, Format, Positive, digest
from shan_engine.base.packing import Arrays
from shan_engine.gallery.reader import Gallery
from shan_engine.gallery.storage import BANK_HUBNESS, HUBNESS
from shan_engine.indexing.kept_arrays import kept_arrays
from shan_engine.scoring.passes import CaptionBatches
from shan_engine.scoring.scorer import Scorer
from shan_engine.text.query_files import read_captions

FILE = "querybank.json"
KEPT_QUERIES = "querybank.npz"
SIZE = 2000
INVERSE_TEMPERATURE = 20.0
LEAST, MOST = 1e-3, 1e4
Item = TypeVar("Item")
HubnessOf = Callable[[Arrays], NDArray[np.float32]]
"""Computes the hubness B of images from their arrays as a gallery stores them."""


class Querybank(Fields, frozen=True):
    """Captions; `inverse_temperature` is β."""

    captions: tuple[str, ...]
    inverse_temperature: Positive = INVERSE_TEMPERATURE

    @classmethod
    def of(
        cls, captions: Sequence[str], *, size: int | None = None, inverse_temperature: float | None = None
    ) -> Querybank:
        """At most `size` (2,000) of the captions, evenly spaced. Raises InputError for none, or a β out of range."""
        beta = INVERSE_TEMPERATURE if inverse_temperature is None else inverse_temperature
        if not captions or (size is not None and size < 1):
            raise InputError("a querybank must have captions: give at least one, preferably a few thousand")
        if not LEAST <= beta <= MOST:
            raise InputError(f"the inverse temperature is {beta}: choose one from {LEAST:g} to {MOST:,.0f}, such as 20")
        return cls(spread(captions, size), beta)

    @classmethod
    def read(cls, path: Path, *, size: int | None = None, inverse_temperature: float | None = None) -> Querybank:
        """As `of`, from a text file with a caption on each line."""
        if path.suffix != ".txt":
            raise InputError(f"{path} is not a querybank: give a .txt file with a caption on each line")
        return cls.of(read_captions(path), size=size, inverse_temperature=inverse_temperature)

    @classmethod
    def load(cls, gallery: Path) -> Querybank:
        """Load what `save` wrote. Raises GalleryError if it is missing or damaged."""
        return FORMAT.read(gallery / FILE)

    @classmethod
    def of_gallery(cls, gallery: Gallery) -> Querybank | None:
        """A gallery's querybank; None if not normalised. Raises GalleryError if the file is missing or damaged."""
        return cls.load(gallery.path) if HUBNESS in gallery.manifest.arrays else None

    def save(self, gallery: Path) -> None:
        """Write it into a gallery."""
        FORMAT.save(gallery / FILE, self)

    def hubness(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Hubness M of candidates, from their scores Q x M with a bank's queries."""
        highest = scores.max(axis=0)
        mean = np.expm1(self.inverse_temperature * (scores - highest).astype(np.float64)).mean(axis=0)
        return np.asarray(highest + np.log1p(mean) / self.inverse_temperature, np.float32)

    def measure(self, scorer: Scorer) -> HubnessOf:
        """The function that measures images' hubness by this bank.

        Captions are read as queries; those without a known word are dropped. Raises InputError if none is left.
        """
        tokens = _known_tokens(scorer, self.captions)

        @cache
        def encoded() -> CaptionBatches:
            return CaptionBatches.encode(scorer.encoders, tokens)

        def of(images: Arrays) -> NDArray[np.float32]:
            found = scorer.score_batches(images, encoded().arrays)
            return self.hubness(np.concatenate([scores.T for scores in found]))

        return of


def bundle_hubness(scorer: Scorer, keep: Path | None = None) -> HubnessOf | None:
    """The function that measures images' hubness by the bundle's own querybank; None where it has none.

    It takes the arrays of a gallery that the further parts of a score read. Queries are encoded when they are needed,
    or read from the file `keep`, which is written if it is missing, damaged or of another bank.
    """
    bundle = scorer.bundle
    if not bundle.querybank or not scorer.parts:
        return None
    beta = bundle.manifest.querybank["inverse_temperature"]

    def joined() -> Arrays:
        batches = CaptionBatches.encode(scorer.encoders, _known_tokens(scorer, bundle.querybank)).arrays
        return scorer.parts.joined(batches)

    @cache
    def encoded() -> Arrays:
        arrays = kept_arrays(keep, digest(bundle.manifest.files), joined) if keep else joined()
        # Columns first: photos take the weights of a few classes for all queries.
        return {name: np.asfortranarray(array) for name, array in arrays.items()}

    def of(images: Arrays) -> NDArray[np.float32]:
        captions = encoded()
        count = len(next(iter(captions.values())))
        scores = scorer.parts.totals(images, captions, (len(next(iter(images.values()))), count))
        return mean_of_exponentials(scores, beta)

    return of


class ImageHubness:
    """The hubness of images to be indexed, by a gallery's querybank, if it has one, and by the bundle's own.

    The banks' queries are encoded once; those of the bundle's own are kept in the folder `keep` for the next run.
    Raises InputError for a bank of which the model knows no word.
    """

    def __init__(self, scorer: Scorer, bank: Querybank | None, keep: Path | None = None) -> None:
        self.bank = bank
        self._of_gallery = bank.measure(scorer) if bank else None
        self._of_bundle = bundle_hubness(scorer, keep and keep / KEPT_QUERIES)

    def arrays(self, images: Arrays, shapes: Container[str]) -> Arrays:
        """Hubness B by name, of images as a gallery stores them; the bundle's only where `shapes` has a place."""
        found = {HUBNESS: self._of_gallery(images)} if self._of_gallery else {}
        if self._of_bundle and BANK_HUBNESS in shapes:
            found[BANK_HUBNESS] = self._of_bundle(images)
        return found


def mean_of_exponentials(scores: NDArray[np.float32], beta: float) -> NDArray[np.float32]:
    """log(mean of exp(β s)) / β over the columns of scores B x Q, in float32: B."""
    highest = scores.max(axis=1, keepdims=True)
    means = np.exp(np.float32(beta) * (scores - highest)).mean(axis=1)
    return np.asarray(highest[:, 0] + np.log(means) / np.float32(beta), np.float32)


def _known_tokens(scorer: Scorer, captions: Sequence[str]) -> list[tuple[int, ...]]:
    """Tokens of captions read as queries, without those of which the model knows no word.

    Raises InputError if none is left.
    """
    tokens = []
    for caption in captions:
        try:
            tokens.append(scorer.encoders.read(caption).tokens)
        except InputError:
            continue
    if not tokens:
        raise InputError("the model knows no word of the querybank: give captions like the queries you expect")
    return tokens


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
    """Raise InputError if galleries whose scores are compared are not normalised by the same querybank."""
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
    """At most `size` (2,000) of the items, evenly spaced."""
    count = min(SIZE if size is None else size, len(items))
    return tuple(items[place * len(items) // count] for place in range(count))
