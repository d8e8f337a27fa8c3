"""The engine from Python, as the command line uses it: open a gallery, ask it, score with it.

import shan_engine

with shan_engine.open("pictures.gallery") as engine:
    for hit in engine.search("a dog on grass", where="year >= 2020", top_k=5):
        print(hit.rank, hit.score, hit.image.id, hit.metadata)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.choices import DEFAULT_RECALL_TARGET, Backend, Device, Precision
from shan_engine.base.errors import InputError
from shan_engine.bundle.contents import Bundle
from shan_engine.gallery.captions import CaptionGallery
from shan_engine.gallery.filters import check_filter, columns
from shan_engine.gallery.reader import Gallery
from shan_engine.locate import locate_gallery
from shan_engine.scoring.encoders import Scorer
from shan_engine.scoring.passes import score_groups
from shan_engine.search.captions import CaptionHits, search_captions
from shan_engine.search.exhaustive import QueryHits, search
from shan_engine.search.photo_query import QueryPhoto
from shan_engine.search.query import Query

__all__ = ["CaptionEngine", "Engine", "Query", "open", "open_captions"]

StrPath = str | os.PathLike[str]


class _Opened:
    """A bundle's graphs, and what is asked of them."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer

    def photo(self, path: StrPath, *, extractor: StrPath | None = None) -> QueryPhoto:
        """A photo to ask with, read by the bundle's feature extractor or another file of the same one.

        Raises InputError as `QueryPhoto.read` does.
        """
        return QueryPhoto.read(Path(path), self.scorer, Path(extractor) if extractor else None)


class Engine(_Opened):
    """A gallery of photos and what scores it. Its photos' order is that of `ids`."""

    def __init__(self, scorer: Scorer, gallery: Gallery) -> None:
        super().__init__(scorer)
        self.gallery = gallery

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *error: object) -> None:
        for block in self.gallery.blocks:
            block.release()

    def __len__(self) -> int:
        return len(self.gallery)

    @property
    def ids(self) -> list[str]:
        """Ids of all photos."""
        return self.gallery.ids()

    @property
    def columns(self) -> list[str]:
        """Columns that a filter may name."""
        return columns(self.gallery)

    def search(
        self,
        query: str | None = None,
        *,
        also: Sequence[str] = (),
        without: Sequence[str] = (),
        image: StrPath | QueryPhoto | None = None,
        image_weight: float = 1.0,
        where: str | None = None,
        top_k: int = 10,
        explain: bool = True,
        exhaustive: bool = False,
        recall_target: float = DEFAULT_RECALL_TARGET,
    ) -> QueryHits:
        """The `top_k` best photos for a query, a photo `image`, or both.

        `also` and `without` are phrases whose scores are added or taken away, "words" or "words:weight"; `where` is an
        SQL condition on `columns`. The rest is as of `search.exhaustive.search`. Raises InputError for what cannot be
        asked.
        """
        if where is not None:
            check_filter(self.gallery, where)  # before a model reads the photo
        photo = image if image is None or isinstance(image, QueryPhoto) else self.photo(image)
        question = Query.of(query, also=also, without=without, photo=photo, photo_weight=image_weight)
        (found,) = self.search_all(
            [question],
            where=where,
            top_k=top_k,
            explain=explain,
            exhaustive=exhaustive,
            recall_target=recall_target,
        )
        return found

    def search_all(
        self,
        questions: Sequence[str | Query],
        *,
        where: str | None = None,
        top_k: int = 10,
        explain: bool = True,
        exhaustive: bool = False,
        recall_target: float = DEFAULT_RECALL_TARGET,
        on_start: Callable[[int], None] = lambda total: None,
        on_pairs: Callable[[int], None] = lambda done: None,
    ) -> list[QueryHits]:
        """The best photos for each question, in fewer passes over the gallery than one search each takes.

        As `search.exhaustive.search`, which has the options' meanings and errors.
        """
        return search(
            self.scorer,
            self.gallery,
            questions,
            top_k=top_k,
            explain=explain,
            exhaustive=exhaustive,
            recall_target=recall_target,
            where=where,
            on_start=on_start,
            on_pairs=on_pairs,
        )

    def score(self, captions: Sequence[str], *, ids: Sequence[str] | None = None) -> NDArray[np.float32]:
        """Exact scores of photos with captions, B x C: of all photos, or of those with `ids` in that order.

        Raises InputError for a caption that the model cannot take and for an id that the gallery does not have.
        """
        gallery = self.gallery if ids is None else self.gallery.restricted_to(ids)
        tokens = [self.scorer.tokens(caption) for caption in captions]
        scores = np.empty((len(gallery), len(captions)), np.float32)
        for group, found in score_groups(self.scorer, gallery, tokens, 4 * len(gallery)):
            for rows, images, part in found:
                scores[images, group.start + rows] = part
        if ids is None:
            return scores
        places = {id: place for place, id in enumerate(gallery.ids())}
        return scores[[places[id] for id in ids]]

    def vectors(self) -> NDArray[np.float32]:
        """A vector of length 1 for each photo, N x D: the mean of its regions, for an index that takes one a photo.

        It says less than the score, which compares every word with every region. Raises InputError where the model
        keeps no regions.
        """
        if "image_regions" not in self.gallery.manifest.arrays:
            raise InputError("this model keeps no regions: score its photos with `score`")
        parts = []
        for block in self.gallery.blocks:
            for _, images in block.batches(1024):
                mask = images["region_mask"]
                parts.append((images["image_regions"] * mask[..., None]).sum(axis=1) / mask.sum(axis=1, keepdims=True))
            block.release()
        means = np.concatenate(parts) if parts else np.zeros((0, 1), np.float32)
        lengths = np.linalg.norm(means, axis=1, keepdims=True)
        return np.asarray(means / np.maximum(lengths, 1e-8), np.float32)


class CaptionEngine(_Opened):
    """A gallery of captions and what scores it."""

    def __init__(self, scorer: Scorer, gallery: CaptionGallery) -> None:
        super().__init__(scorer)
        self.gallery = gallery

    def __enter__(self) -> CaptionEngine:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def __len__(self) -> int:
        return len(self.gallery)

    def search(
        self,
        image: StrPath | QueryPhoto,
        *,
        top_k: int = 10,
        explain: bool = True,
        on_start: Callable[[int], None] = lambda total: None,
        on_captions: Callable[[int], None] = lambda done: None,
    ) -> CaptionHits:
        """The captions that fit a photo best. Raises InputError for a photo that cannot be read."""
        photo = image if isinstance(image, QueryPhoto) else self.photo(image)
        on_start(len(self.gallery))
        return search_captions(self.scorer, self.gallery, photo, top_k=top_k, explain=explain, on_captions=on_captions)


def open(
    gallery: StrPath | None = None,
    model: StrPath | None = None,
    *,
    device: Device = "auto",
    threads: int | None = None,
    backend: Backend = "auto",
    precision: Precision | None = None,
) -> Engine:
    """Open a gallery of photos with the bundle that made it.

    `backend` and `precision` are those of `scoring.encoders.Scorer`.

    Left out, they are those in SHAN_GALLERY and SHAN_MODEL, else the bundled demo's. Raises GalleryError or BundleError
    where they are missing, damaged or not made for each other, BackendError where the back end cannot run here.
    """
    place = locate_gallery(_path(gallery), _path(model))
    bundle = Bundle.open(place.bundle)
    scorer = Scorer(bundle, device, threads=threads, backend=backend, precision=precision)
    return Engine(scorer, Gallery.open(place.gallery, bundle))


def open_captions(
    gallery: StrPath, model: StrPath | None = None, *, device: Device = "auto", threads: int | None = None
) -> CaptionEngine:
    """Open a gallery of captions, as `open` does one of photos."""
    place = locate_gallery(Path(gallery), _path(model))
    bundle = Bundle.open(place.bundle)
    return CaptionEngine(Scorer(bundle, device, threads=threads), CaptionGallery.open(place.gallery, bundle))


def _path(path: StrPath | None) -> Path | None:
    return None if path is None else Path(path)
