"""Bring the facts in a feature store up to date: read those of photos and side-cars that are new or have changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from shan_engine.base.facts import Facts
from shan_engine.photos.facts.collect import collected, read_embedded
from shan_engine.photos.facts.embedded import Embedded
from shan_engine.photos.facts.places import has_places, place_names
from shan_engine.photos.facts.sidecars import Sidecars
from shan_engine.photos.find import Photo
from shan_engine.store.facts import StoredFacts
from shan_engine.store.feature_store import FeatureStore

_VERSION = 1  # of what is read: a higher number reads the facts of all photos again
_BATCH = 512


class FactReader:
    """Reads the facts of photos. Several threads may use it, but for `stored`, which names places.

    `faults` has a sentence for each side-car that cannot be read, `unnamed` counts places without a table to name them.
    """

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.unnamed = 0
        self._sidecars = Sidecars()
        self._has_places = has_places()
        self._kind = f"{_VERSION}{'p' if self._has_places else ''}"

    def stamp(self, photo: Photo) -> str:
        """What changes when the photo's facts may have."""
        return f"{self._kind}|{photo.stamp}|{self._sidecars.stamp(photo.path)}"

    def read(self, photo: Photo, embedded: Embedded | None = None, size: tuple[int, int] = (0, 0)) -> Facts:
        """The facts of a photo. Its file is opened, unless it is given what the file says. `size` is upright."""
        if embedded is None:
            embedded, found = read_embedded(photo.path)
            size = size if all(size) else found
        beside = self._sidecars.read(photo.path)
        self.faults += beside.faults
        return collected(embedded, beside, size)

    def stored(self, photo: Photo, facts: Facts) -> StoredFacts:
        """Facts as a store keeps them, with the names of the place unless the photo names one itself."""
        latitude, longitude = facts.get("latitude"), facts.get("longitude")
        if isinstance(latitude, float) and isinstance(longitude, float) and not facts.keys() & {"town", "country"}:
            facts = {**facts, **place_names(latitude, longitude)}
            self.unnamed += not self._has_places
        return StoredFacts(self.stamp(photo), facts)


def outdated(store: Path, photos: Iterable[Photo], reader: FactReader) -> list[Photo]:
    """Those of the photos that are in the store, but whose facts are not, or have changed."""
    with FeatureStore.open(store) as opened:
        held, ids = opened.facts(), set(opened.ids())
    return [p for p in photos if p.id in ids and (p.id not in held or held[p.id].stamp != reader.stamp(p))]


def renew(
    store: Path,
    photos: list[Photo],
    reader: FactReader,
    *,
    workers: int,
    on_photo: Callable[[int], None] = lambda done: None,
) -> None:
    """Read the facts of these photos of a store, which it has, and keep them. A run that is stopped keeps batches."""
    if not photos:
        return
    with FeatureStore.open(store, readonly=False) as opened, ThreadPoolExecutor(workers) as pool:
        held = opened.facts()
        for start in range(0, len(photos), _BATCH):
            batch = photos[start : start + _BATCH]
            sizes = [_size(held[photo.id].facts) if photo.id in held else (0, 0) for photo in batch]
            read = zip(batch, pool.map(lambda photo, size: reader.read(photo, size=size), batch, sizes), strict=True)
            opened.put_facts({photo.id: reader.stored(photo, facts) for photo, facts in read})
            on_photo(start + len(batch))


def _size(facts: Facts) -> tuple[int, int]:
    """Width and height as they are known: those of an extracted photo do not change without its file."""
    width, height = facts.get("width"), facts.get("height")
    return (width, height) if isinstance(width, int) and isinstance(height, int) else (0, 0)
