"""Querybank normalisation of scores: hubs, which rank high for queries of all kinds, lose what they have with those.

A candidate's hubness is log(mean of exp(β s)) / β over its scores s with a bank of queries that are known beforehand,
such as a training split's captions. Taken from the candidate's scores, a softmax over all queries decides instead of
one over the candidates (the inverted softmax of Smith et al. 2017; Bogolin et al. 2022, "Cross Modal Retrieval with
Querybank Normalisation", whose β is 20, too). Nothing of the queries asked later is used.

    GALLERY/querybank.json   the captions by which a gallery's images are normalised, and β

`index` measures every image's hubness once and stores it as one more array; `evaluate` can measure both sides' anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .captions import CaptionSplit
from .errors import GalleryError, InputError
from .fields import demand, digest, save_manifest
from .gallery import Gallery
from .gallery_manifest import GalleryManifest
from .gallery_storage import HUBNESS, Arrays
from .scorer import Scorer
from .scoring import batches_by_length

FILE = "querybank.json"
SIZE = 2000
INVERSE_TEMPERATURE = 20.0
MEND = "index the store into a new gallery"


@dataclass(frozen=True)
class Querybank:
    """Captions, and where captions are to be normalised too, ids of a gallery's images; `inverse_temperature` is β."""

    captions: tuple[str, ...]
    images: tuple[str, ...] = ()
    inverse_temperature: float = INVERSE_TEMPERATURE

    @classmethod
    def of_captions(
        cls, captions: Sequence[str], *, size: int = SIZE, inverse_temperature: float = INVERSE_TEMPERATURE
    ) -> Querybank:
        """At most `size` of some captions, evenly spread. Raises InputError for none, or a β that is not above 0."""
        if not captions or size < 1 or not 0 < inverse_temperature < np.inf:
            raise InputError(
                f"a querybank of {min(size, len(captions))} captions with β = {inverse_temperature}: "
                "both must be above 0"
            )
        return cls(_spread(captions, size), (), inverse_temperature)

    @classmethod
    def of_split(
        cls, split: CaptionSplit, *, size: int = SIZE, inverse_temperature: float = INVERSE_TEMPERATURE
    ) -> Querybank:
        """The same of a split's captions, and as many of its images."""
        bank = cls.of_captions(split.captions, size=size, inverse_temperature=inverse_temperature)
        return cls(bank.captions, _spread(split.images, size), inverse_temperature)

    @classmethod
    def of_gallery(cls, gallery: Path, manifest: GalleryManifest) -> Querybank | None:
        """What a gallery is normalised by, if it is. Raises GalleryError where it is missing or damaged."""
        if HUBNESS not in manifest.arrays:
            return None
        path = gallery / FILE
        try:
            data = json.loads(path.read_text("utf-8"))
            demand(type(data) is dict and data.pop("digest", None) == digest(data), "its fields are not those written")
            return cls(tuple(data["captions"]), tuple(data["images"]), data["inverse_temperature"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise GalleryError(f"{path} is missing or damaged ({error}): {MEND}") from error

    def save(self, gallery: Path) -> None:
        """Write it into a gallery."""
        save_manifest(gallery / FILE, asdict(self), indent=1)

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

    def of_images(self, scorer: Scorer) -> Callable[[Arrays], NDArray[np.float32]]:
        """What gives the hubness of B images, by the arrays that a gallery stores of them.

        Raises InputError for a caption that the model cannot take.
        """
        tokens = [scorer.tokens(caption) for caption in self.captions]
        captions = [scorer.encode_captions([tokens[row] for row in rows]) for rows in batches_by_length(tokens)]

        def of(images: Arrays) -> NDArray[np.float32]:
            terms = scorer.for_pairs(images)
            found = scorer.score_calls((None, terms, batch) for batch in captions)
            return self.hubness(np.concatenate([outputs["scores"].T for _, outputs in found]))

        return of


def refuse_unlike(galleries: Sequence[Gallery]) -> None:
    """Raise InputError where galleries, whose scores are to be compared, are not normalised by the same querybank."""
    first = galleries[0]
    for gallery in galleries[1:]:
        banks = (Querybank.of_gallery(one.path, one.manifest) for one in (first, gallery))
        if next(banks) != next(banks):
            raise InputError(
                f"the galleries {first.path} and {gallery.path} are not normalised by the same querybank: index their "
                "stores alike"
            )


def _spread(items: Sequence[str], size: int) -> tuple[str, ...]:
    count = min(size, len(items))
    return tuple(items[place * len(items) // count] for place in range(count))
