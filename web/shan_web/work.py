"""What is done for a request, on a thread: each function asks the engine and shapes its answer."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from shan_engine.base.errors import InputError
from shan_engine.caption_engine import CaptionEngine
from shan_engine.gallery.near import near_condition
from shan_engine.search.query import Query
from shan_engine.search.results import Hit, QueryHits
from shan_engine.writers.cards import Picture, cards_of, environment, texts

from shan_web.answers import captions_answer, search_answer, version
from shan_web.asked import DEEPEST, Browse, Captions, Explain, OfGallery, Search, Similar, Thumbnail
from shan_web.galleries import Galleries, PhotoEngine, Served
from shan_web.thumbnails import ThumbnailCache, as_jpeg
from shan_web.uploads import Uploads

FILTER_SECONDS = 2.0
CARD_SIDE = 640


class NotThereError(InputError):
    """A gallery, a photo or its file is not there."""


class Work:
    """The galleries with what requests leave behind: thumbnails on disk, uploaded photos in memory."""

    def __init__(self, galleries: Galleries, cache: ThumbnailCache) -> None:
        self.galleries, self.cache, self.uploads = galleries, cache, Uploads()
        self._card = environment().from_string(
            '{% from "cards.html" import card with context %}{{ card(one, attributes) }}'
        )

    def warm(self) -> None:
        """Load what the first query needs, so that nobody waits for it."""
        for one in self.galleries:
            if not isinstance(one.engine, CaptionEngine) and len(one.engine):
                one.engine.search("a photo", top_k=1)

    def search(self, wanted: Search) -> dict[str, Any]:
        """The answer to a query. Raises InputError for what cannot be asked."""
        served = self.served(wanted.gallery)
        engine, began = served.photos(), time.perf_counter()
        photo = None
        if wanted.upload is not None:
            photo = self.uploads.get(served.name, wanted.upload)
        elif wanted.like is not None:
            photo = engine.stored_photo(wanted.like)
        query = wanted.q if wanted.q and wanted.q.strip() else None
        found = engine.search(
            query,
            also=wanted.also,
            without=wanted.without,
            image=photo,
            unlike=[engine.stored_photo(id) for id in wanted.unlike],
            where=_where(wanted.where, wanted.near),
            filter_seconds=FILTER_SECONDS,
            skip=wanted.skip,
            top_k=_depth(wanted.skip, wanted.limit),
            threshold=wanted.threshold,
            grouped=wanted.grouped,
        )
        return self._answer(served, engine, found, wanted.skip, wanted.limit, began, cards=wanted.cards)

    def similar(self, wanted: Similar) -> dict[str, Any]:
        """Photos like one of the gallery, itself among them."""
        return self.search(
            Search(wanted.gallery, like=wanted.id, where=wanted.where, skip=wanted.skip, limit=wanted.limit)
        )

    def browse(self, wanted: Browse) -> dict[str, Any]:
        """Photos without a query."""
        served = self.served(wanted.gallery)
        engine, began = served.photos(), time.perf_counter()
        found = engine.browse(
            where=_where(wanted.where, wanted.near),
            filter_seconds=FILTER_SECONDS,
            skip=wanted.skip,
            top_k=_depth(wanted.skip, wanted.limit),
        )
        return self._answer(served, engine, found, wanted.skip, wanted.limit, began, cards=wanted.cards)

    def explain(self, wanted: Explain) -> dict[str, Any]:
        """One photo with a query. Raises NotThereError where the gallery does not have it."""
        served = self.served(wanted.gallery)
        engine, began = served.photos(), time.perf_counter()
        image(engine, wanted.id)
        found = engine.search(wanted.q, ids=[wanted.id], top_k=1)
        if wanted.fine:
            (found,) = engine.fine_regions([Query.of(wanted.q)], [found])
        return self._answer(served, engine, found, 0, 1, began, cards=wanted.cards)

    def captions(self, wanted: Captions) -> dict[str, Any]:
        """Captions that fit an uploaded photo."""
        served = self.served(wanted.gallery)
        engine, began = served.captions(), time.perf_counter()
        found = engine.search(self.uploads.get(served.name, wanted.upload), top_k=wanted.limit)
        return captions_answer(found, gallery=served.name, seconds=time.perf_counter() - began)

    def upload(self, wanted: OfGallery, body: bytes) -> dict[str, Any]:
        """Read a photo to search with."""
        served = self.served(wanted.gallery)
        return {"upload": self.uploads.add(served.name, served.engine, body)}

    def columns(self, wanted: OfGallery) -> dict[str, Any]:
        """What a gallery's columns hold."""
        served = self.served(wanted.gallery)
        return {
            "gallery": served.name,
            "columns": [
                {
                    "name": one.name,
                    "type": one.type,
                    "known": one.known,
                    "least": _finite(one.least),
                    "most": _finite(one.most),
                    "values": [value for value in one.values if _finite(value) is not None],
                }
                for one in served.column_facts()
            ],
        }

    def overview(self) -> list[dict[str, Any]]:
        """All galleries."""
        return [
            {
                "name": one.name,
                "kind": one.kind,
                "size": len(one.engine),
                "path": str(one.engine.path),
                "problem": one.problem(),
            }
            for one in self.galleries
        ]

    def thumbnail(self, wanted: Thumbnail) -> tuple[bytes, bool]:
        """A small JPEG, and whether it was kept. Raises NotThereError, InputError for a photo that is damaged."""
        path = self.file(wanted.gallery, wanted.id)
        facts = path.stat()
        key = f"{path}\0{facts.st_mtime_ns}\0{facts.st_size}\0{wanted.side}"
        return self.cache.get(key, lambda: as_jpeg(path, wanted.side))

    def file(self, gallery: str, id: str) -> Path:
        """The file of a photo. Raises NotThereError where there is none."""
        path = image(self.served(gallery).photos(), id).path
        if not path:
            raise NotThereError(f"the photo '{id}' has no file: its features were imported without one")
        if not Path(path).is_file():
            raise NotThereError(f"the file of the photo '{id}' is not there: it was moved or deleted")
        return Path(path)

    def served(self, name: str) -> Served:
        """A gallery by name. Raises NotThereError where there is none."""
        try:
            return self.galleries.get(name)
        except InputError as error:
            raise NotThereError(str(error)) from error

    def _answer(
        self,
        served: Served,
        engine: PhotoEngine,
        found: QueryHits,
        skip: int,
        limit: int,
        began: float,
        *,
        cards: bool,
    ) -> dict[str, Any]:
        following = skip + limit
        more = len(found.hits) == limit and following < min(found.matching, DEEPEST)
        answer = search_answer(
            found,
            gallery=served.name,
            photos=len(engine),
            seconds=time.perf_counter() - began,
            following=following if more else None,
        )
        for hit in answer["hits"]:
            hit["metadata"] = {name: _finite(value) for name, value in hit["metadata"].items()}
        return answer | ({"cards": self._cards(served.name, found, skip)} if cards else {})

    def _cards(self, gallery: str, found: QueryHits, skip: int) -> list[str]:
        """The hits as the page shows them; `skip` keeps the names of their regions apart from those of other pages."""
        keys = (f"w{skip}-{number}" for number in range(1_000_000))
        return [
            self._card.render(one=one, attributes={"loading": "lazy", "decoding": "async"}).encode(
                "utf-8", "replace"
            ).decode()
            for one in cards_of(found, lambda hit: _picture(gallery, hit), keys)
        ]  # fmt: skip


def image(engine: PhotoEngine, id: str) -> Any:
    """A photo of a gallery. Raises NotThereError where there is none with this id."""
    try:
        return engine.image(id)
    except InputError as error:
        raise NotThereError(str(error)) from error


def photo_address(route: str, gallery: str, id: str, **more: object) -> str:
    """The address of something of a photo."""
    named = {"gallery": gallery, "id": id, **more}
    pairs = (f"{name}={quote(str(value), safe='', errors='surrogateescape')}" for name, value in named.items())
    return f"{route}?{'&'.join(pairs)}"


def _picture(gallery: str, hit: Hit) -> Picture:
    if not hit.image.path:
        return Picture(problem=texts()["no_photo"])
    address = photo_address("/api/thumbnail", gallery, hit.image.id, side=CARD_SIDE, v=version(hit.image))
    return Picture(address)


def _where(where: str | None, near: str | None) -> str | None:
    if where is not None and not where.strip():
        where = None
    return where if near is None else near_condition(near, where)


def _depth(skip: int, limit: int) -> int:
    return max(1, min(skip + limit, DEEPEST))


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
