"""Bring a feature store up to date with folders: decode new photos, extract their regions, write them in batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from shan_engine.base.choices import StoreDtype
from shan_engine.base.errors import InputError
from shan_engine.base.facts import Facts
from shan_engine.photos.decode import ScaledPhoto, read_scaled
from shan_engine.photos.extractor import FeatureExtractor, Regions
from shan_engine.photos.facts.renew import FactReader, outdated, renew
from shan_engine.photos.find import Photo
from shan_engine.photos.known import content_hash, content_hashes
from shan_engine.photos.plan import Plan, make_plan
from shan_engine.store.contents import Content
from shan_engine.store.dtype import stored_dtype
from shan_engine.store.feature_store import FeatureStore
from shan_engine.store.records import RegionRecord
from shan_engine.store.schema import SCHEMA_VERSION, StoreSchema

_AHEAD = 64  # photos decoded before the extractor asks for them
_HASHED = 512  # photos hashed before the store is written
_Decoded = tuple[Photo, ScaledPhoto, Facts]


@dataclass(frozen=True)
class ExtractionResult:
    """What a run did: how many photos it added or renewed, found unchanged, and removed from the store.

    `renamed` photos were known by their bytes under another path, `copied` are files with the bytes of another photo:
    both are not extracted. `vanished` counts the photos of folders that are missing or empty and stay in the store.

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
    renamed: int = 0
    copied: int = 0
    vanished: dict[str, int] = field(default_factory=dict)


def extract_photos(
    folders: Path | Sequence[Path],
    store_path: Path,
    extractor: FeatureExtractor,
    *,
    exclude: Sequence[str] = (),
    prune: bool = False,
    dtype: StoreDtype | None = None,
    batch_size: int = 16,
    workers: int = 2,
    strict: bool = False,
    on_start: Callable[[int], None] = lambda total: None,
    on_photo: Callable[[int], None] = lambda done: None,
) -> ExtractionResult:
    """Bring the store up to date with the photos below `folders`, except what the patterns `exclude` leave out.

    Only photos with new bytes are extracted. Of the others, the facts are read if the photo or a side-car changed.
    Photos deleted from the folders are removed from the store; those of a folder that is missing or empty only with
    `prune`. Each batch is committed on its own, so that an interrupted run resumes where it stopped. A photo is skipped
    if it cannot be decoded or the extractor finds no region in it; if that photo has changed, its old record is
    removed. With `strict`, photos that can be read only in part are skipped too.

    `dtype` None keeps that of the store, or means float32 for a new store. `on_start` hears how many photos there are
    to extract, `on_photo` how many are done. Raises InputError if no photo can be used or the extractor's outputs are
    not regions, and StoreError if the store holds features of another extractor or dtype.
    """
    dtype = stored_dtype(store_path, dtype)
    plan = make_plan(folders, store_path, extractor.recipe.name, exclude=exclude, prune=prune, workers=workers)
    _rearrange(store_path, plan)
    reader = FactReader()
    renewed = outdated(store_path, plan.kept, reader) if plan.kept else []
    on_start(len(plan.extract) + len(plan.unhashed) + len(renewed))
    broken: dict[str, str] = {}
    damaged: list[str] = []
    added = 0
    with ExitStack() as stack:
        store = None
        # Closed at once if the run is interrupted, which drops the photos still waiting to be decoded.
        decoded = stack.enter_context(
            closing(_decode(plan, extractor, workers, reader, broken, None if strict else damaged))
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
            stored = [(photo, facts) for photo, _, facts in batch if photo.id not in broken]
            store.write(records, contents={photo.id: plan.content(photo) for photo, _ in stored})
            store.put_facts({photo.id: reader.stored(photo, facts) for photo, facts in stored})
            added += len(records)
            on_photo(added + len(broken))
        for photo in [photo for photo in plan.extract if photo.id in broken]:
            for copy in plan.copies.get(photo.id, ()):
                broken[copy.id] = f"{copy.path} cannot be used: it has the same bytes as {photo.path}"
                plan.copied -= 1
        stale = [id for id in broken if id in plan.held]
        if stale:
            if store is None:
                store = stack.enter_context(FeatureStore.open(store_path, readonly=False))
            store.discard(stale)
            broken |= {id: f"{broken[id]}; the features of its earlier version were removed" for id in stale}
    done = len(plan.extract)
    on_photo(done)
    _hash(store_path, plan.unhashed, workers, lambda hashed: on_photo(done + hashed))
    done += len(plan.unhashed)
    renew(store_path, renewed, reader, workers=workers, on_photo=lambda read: on_photo(done + read))
    listing = plan.listing
    if not added and len(broken) == len(listing.photos):
        first = next(iter(broken.values()))
        places = folders if isinstance(folders, Path) else ", ".join(map(str, folders))
        raise InputError(f"none of the {len(listing.photos)} photos in {places} can be used, the first: {first}")
    return ExtractionResult(
        added,
        plan.unchanged,
        plan.removed + len(stale),
        (*listing.unreadable, *broken.values()),
        listing.passed_over,
        tuple(reader.faults),
        reader.unnamed,
        tuple(damaged),
        plan.renamed,
        plan.copied,
        {str(folder): count for folder, count in plan.vanished.items()},
    )


def _rearrange(store_path: Path, plan: Plan) -> None:
    """Apply what a plan says about photos that need no extraction."""
    if plan.delete or plan.contents:
        with FeatureStore.open(store_path, readonly=False) as store:
            store.discard(plan.delete)
            store.relocate(plan.contents)


def _record(photo: Photo, scaled: ScaledPhoto, regions: Regions) -> RegionRecord:
    """The record of a photo, with boxes in pixels of the whole photo."""
    boxes = regions.boxes
    if boxes is not None:
        boxes = scaled.in_pixels(boxes).astype(np.float32)
    return RegionRecord(photo.id, regions.features, boxes, str(photo.path), *scaled.size, photo.stamp, regions.seen)


def _hash(store_path: Path, unhashed: dict[str, Content], workers: int, on_photo: Callable[[int], None]) -> None:
    """Store the hashes of photos that an older version extracted, by image id."""
    if not unhashed:
        return
    with FeatureStore.open(store_path, readonly=False) as store:
        items = iter(unhashed.items())
        done = 0
        while batch := dict(islice(items, _HASHED)):
            hashes = content_hashes([content.files[0].path for content in batch.values()], workers)
            store.put_contents({id: Content(hashes[c.files[0].path], c.files) for id, c in batch.items()})
            done += len(batch)
            on_photo(done)


def _decode(
    plan: Plan,
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
        if photo.id not in plan.hashes:
            plan.hashes[photo.id] = content_hash(photo.path)
        scaled = read_scaled(photo.path, recipe.width, recipe.height, extractor.part_of(photo.id), recipe.fit)
        if scaled.damage and damaged is None:
            raise InputError(scaled.damage)
        if scaled.damage and damaged is not None:
            damaged.append(scaled.damage)
        return photo, scaled, reader.read(photo, scaled.embedded, scaled.size)

    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[tuple[Photo, Future[_Decoded]]] = deque()
        queue = iter(plan.extract)
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
