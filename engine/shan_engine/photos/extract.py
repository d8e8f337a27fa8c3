"""Bring a feature store up to date with a folder: decode new photos, extract their regions, write them in batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from shan_engine.base.choices import StoreDtype
from shan_engine.base.errors import InputError, StoreError
from shan_engine.base.facts import Facts
from shan_engine.photos.decode import ScaledPhoto, read_scaled
from shan_engine.photos.extractor import FeatureExtractor, Regions
from shan_engine.photos.facts.renew import FactReader, outdated, renew
from shan_engine.photos.find import Photo, find_photos
from shan_engine.store.dtype import stored_dtype
from shan_engine.store.feature_store import FeatureStore
from shan_engine.store.lmdb import is_store
from shan_engine.store.records import RegionRecord
from shan_engine.store.schema import SCHEMA_VERSION, StoreSchema

_AHEAD = 64  # photos decoded before the extractor asks for them
_Decoded = tuple[Photo, ScaledPhoto, Facts]


@dataclass(frozen=True)
class ExtractionResult:
    """What a run did: how many photos it added or renewed, found unchanged, and removed from the store.

    `broken` has one sentence for each photo that could not be used and each folder that could not be listed; photos in
    such a folder stay in the store as they are. `passed_over` counts photos in formats that are not read, by suffix.
    `sidecars` has one sentence for each side-car that cannot be read. `unnamed_places` counts photos that know where
    they were taken, but there is no table to name the place. `damaged` has one sentence for each photo read in part.
    """

    added: int
    unchanged: int
    removed: int
    broken: tuple[str, ...]
    passed_over: dict[str, int]
    sidecars: tuple[str, ...] = ()
    unnamed_places: int = 0
    damaged: tuple[str, ...] = ()


def extract_photos(
    folder: Path,
    store_path: Path,
    extractor: FeatureExtractor,
    *,
    dtype: StoreDtype | None = None,
    batch_size: int = 16,
    workers: int = 2,
    strict: bool = False,
    on_start: Callable[[int], None] = lambda total: None,
    on_photo: Callable[[int], None] = lambda done: None,
) -> ExtractionResult:
    """Bring the store up to date with the photos below `folder`.

    Only new and changed photos are extracted. Of the others, the facts are read if the photo or a side-car changed.
    Photos deleted from the folder are removed from the store. Each batch is committed on its own, so that an
    interrupted run resumes where it stopped. A photo is skipped if it cannot be decoded or the extractor finds no
    region in it; if that photo has changed, its old record is removed. With `strict`, photos that can be
    read only in part are skipped too.

    `dtype` None keeps that of the store, or means float32 for a new store. `on_start` hears how many photos there are
    to extract, `on_photo` how many are done. Raises InputError if no photo can be used or the extractor's outputs are
    not regions, and StoreError if the store holds features of another extractor or dtype.
    """
    listing = find_photos(folder)
    photos = listing.photos
    dtype = stored_dtype(store_path, dtype)
    plan = _plan(folder, photos, store_path, extractor.recipe.name)
    reader = FactReader()
    renewed = outdated(store_path, plan.kept(photos), reader) if plan.held else []
    on_start(len(plan.extract) + len(renewed))
    broken: dict[str, str] = {}
    damaged: list[str] = []
    added = 0
    with ExitStack() as stack:
        store = None
        if plan.delete or plan.move:
            store = stack.enter_context(FeatureStore.open(store_path, readonly=False))
            store.delete(plan.delete)
            _move(store, plan.move)
        # Closed at once if the run is interrupted, which drops the photos still waiting to be decoded.
        decoded = stack.enter_context(
            closing(_decode(plan.extract, extractor, workers, reader, broken, None if strict else damaged))
        )
        for batch in _batches(decoded, batch_size):
            found = extractor(np.stack([scaled.pixels for _, scaled, _ in batch]), [photo.path for photo, *_ in batch])
            records = []
            for (photo, scaled, _), regions in zip(batch, found, strict=True):
                if len(regions.features):
                    records.append(_record(photo, scaled, regions))
                else:
                    broken[photo.id] = f"{photo.path} has no regions: {extractor.model} found nothing in it"
            if not records:
                continue
            if store is None:
                most = max(len(record.features) for record in records)
                size, version = records[0].features.shape[1], SCHEMA_VERSION if extractor.recipe.classes else 1
                schema = StoreSchema(extractor.recipe.name, size, max(100, most), dtype, version)
                store = stack.enter_context(FeatureStore.create(store_path, schema))
            store.write(records)
            stored = {record.id for record in records}
            store.put_facts({photo.id: reader.stored(photo, facts) for photo, _, facts in batch if photo.id in stored})
            added += len(records)
            on_photo(added + len(broken))
        stale = [id for id in broken if id in plan.held]
        if stale:
            if store is None:
                store = stack.enter_context(FeatureStore.open(store_path, readonly=False))
            store.delete(stale)
            broken |= {id: f"{broken[id]}; the features of its earlier version were removed" for id in stale}
    on_photo(len(plan.extract))
    renew(store_path, renewed, reader, workers=workers, on_photo=lambda done: on_photo(len(plan.extract) + done))
    if not added and len(broken) == len(photos):
        first = next(iter(broken.values()))
        raise InputError(f"none of the {len(photos)} photos in {folder} can be used, the first: {first}")
    removed = len(plan.delete) + len(stale)
    unchanged = len(photos) - len(plan.extract)
    skipped = (*listing.unreadable, *broken.values())
    return ExtractionResult(
        added, unchanged, removed, skipped, listing.passed_over, tuple(reader.faults), reader.unnamed, tuple(damaged)
    )


def _record(photo: Photo, scaled: ScaledPhoto, regions: Regions) -> RegionRecord:
    """The record of a photo, with boxes in pixels of the whole photo."""
    boxes = regions.boxes
    if boxes is not None:
        x0, y0, x1, y1 = scaled.part
        boxes = np.array([x0, y0] * 2) + boxes * np.array([x1 - x0, y1 - y0] * 2)
        boxes = (boxes * np.array(scaled.size * 2, np.float32)).astype(np.float32)
    return RegionRecord(photo.id, regions.features, boxes, str(photo.path), *scaled.size, photo.stamp, regions.seen)


@dataclass(frozen=True)
class _Plan:
    """How a store differs from a folder: photos to extract, photos whose path alone changed, ids to delete.

    `held` are the ids in the store, without those to delete.
    """

    extract: list[Photo]
    move: list[Photo]
    delete: list[str]
    held: set[str]

    def kept(self, photos: list[Photo]) -> list[Photo]:
        """Those of the photos whose features stay as they are."""
        new = {photo.id for photo in self.extract}
        return [photo for photo in photos if photo.id not in new]


def _plan(folder: Path, photos: list[Photo], store_path: Path, extractor: str) -> _Plan:
    if not is_store(store_path):
        return _Plan(photos, [], [], set())
    with FeatureStore.open(store_path) as store:
        if store.schema.feature_extractor != extractor:
            raise StoreError(
                f"the store {store_path} holds features of '{store.schema.feature_extractor}', "
                f"not of '{extractor}': name a new store"
            )
        held = {info.id: info for info in store.infos()}
    root = folder.resolve()
    gone = [info.id for info in held.values() if info.path == str(root / info.id) and _is_gone(Path(info.path))]
    plan = _Plan([], [], gone, held.keys() - set(gone))
    for photo in photos:
        info = held.get(photo.id)
        elsewhere = info is not None and info.path not in ("", str(photo.path))
        if info is not None and elsewhere and _is_another(Path(info.path), photo.path):
            raise InputError(
                f"the store {store_path} already has '{photo.id}' from {info.path}: name a new "
                "store, or extract a folder that holds both"
            )
        if info is None or info.stamp != photo.stamp:
            plan.extract.append(photo)
        elif elsewhere:
            plan.move.append(photo)
    return plan


def _is_gone(path: Path) -> bool:
    """Whether the file does not exist. A file that cannot be accessed may still exist, so it counts as present."""
    try:
        path.stat()
    except OSError as error:
        return isinstance(error, FileNotFoundError | NotADirectoryError)
    return False


def _is_another(held: Path, photo: Path) -> bool:
    """Whether the path held for a photo names an existing file other than `photo`."""
    try:
        return not held.samefile(photo)
    except FileNotFoundError:  # one of the two no longer exists
        return False


def _move(store: FeatureStore, photos: list[Photo], batch_size: int = 256) -> None:
    """Rewrite the records of photos with their present path."""
    for start in range(0, len(photos), batch_size):
        batch = photos[start : start + batch_size]
        records = store.read([photo.id for photo in batch])
        store.write([replace(record, path=str(photo.path)) for record, photo in zip(records, batch, strict=True)])


def _decode(
    photos: list[Photo],
    extractor: FeatureExtractor,
    workers: int,
    reader: FactReader,
    broken: dict[str, str],
    damaged: list[str] | None,
) -> Generator[_Decoded, None, None]:
    """Decoded photos in order, at most _AHEAD in advance. A photo that fails leaves a sentence in `broken`, by id.

    A photo that can be read in part leaves one in `damaged`; it fails if that is None.
    """

    def load(photo: Photo) -> _Decoded:
        recipe = extractor.recipe
        scaled = read_scaled(photo.path, recipe.width, recipe.height, extractor.part_of(photo.id))
        if scaled.damage and damaged is None:
            raise InputError(scaled.damage)
        if scaled.damage and damaged is not None:
            damaged.append(scaled.damage)
        return photo, scaled, reader.read(photo, scaled.embedded, scaled.size)

    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[tuple[Photo, Future[_Decoded]]] = deque()
        queue = iter(photos)
        try:
            waiting.extend((photo, pool.submit(load, photo)) for photo in islice(queue, _AHEAD))
            while waiting:
                photo, decoded = waiting.popleft()
                waiting.extend((photo, pool.submit(load, photo)) for photo in islice(queue, 1))
                try:
                    yield decoded.result()
                except InputError as error:
                    broken[photo.id] = str(error)
        finally:
            pool.shutdown(cancel_futures=True)


def _batches(items: Iterable[_Decoded], size: int) -> Iterator[list[_Decoded]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
