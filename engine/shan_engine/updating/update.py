"""Bring a collection up to date: extract its photos, read its table, index its store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from shan_engine.base.choices import Device
from shan_engine.base.errors import InputError
from shan_engine.base.locks import hold_lock
from shan_engine.base.metadata import Metadata
from shan_engine.base.threads import usable_cpus
from shan_engine.bundle.contents import Bundle
from shan_engine.collections.settings import Collection
from shan_engine.gallery.manifest import MANIFEST, GalleryManifest
from shan_engine.indexing.images import IndexResult, index_store
from shan_engine.locate import place_of
from shan_engine.photos.extract import ExtractionResult, extract_photos
from shan_engine.photos.extractor import ExtractorOnDemand
from shan_engine.photos.read_text import ReadingResult, read_texts
from shan_engine.photos.text_reader import TextReader
from shan_engine.scoring.scorer import Scorer
from shan_engine.store.dtype import held_dtype
from shan_engine.store.feature_store import FeatureStore
from shan_engine.store.metadata import Described, fit
from shan_engine.updating.space import Space, SpaceWatch

BATCH = 8  # photos a call of the extractor: Ctrl-C waits for a call


@contextmanager
def updating(collection: Collection, device: Device = "auto") -> Iterator[Update]:
    """An update of a collection, which no other process may have at the same time.

    Raises InputError at once where another process updates it or another model than its own made its gallery, and
    BundleError where its model is missing.
    """
    store = collection.store
    store.parent.mkdir(parents=True, exist_ok=True)
    busy = InputError(f"another process is updating the collection '{collection.name}': wait for it and run again")
    with hold_lock(store.parent / f"{store.name}.lock", busy):
        yield Update(collection, device)


class Update:
    """The steps of an update, in the order of the methods. Each keeps what it has done if it is stopped."""

    def __init__(self, collection: Collection, device: Device) -> None:
        self._collection, self._device = collection, device
        self.bundle = open_bundle(collection)
        if (collection.gallery / MANIFEST).exists():
            _refuse_other_model(collection, self.bundle)
        self._reader = TextReader() if collection.read_text else None

    @cached_property
    def _table(self) -> Metadata | None:
        collection = self._collection
        return Metadata.read(collection.metadata, collection.metadata_id_column) if collection.metadata else None

    def extract(
        self,
        *,
        prune: bool = False,
        on_start: Callable[[int], None] = lambda total: None,
        on_photo: Callable[[int], None] = lambda done: None,
        on_space: Callable[[Space], None] = lambda space: None,
    ) -> ExtractionResult:
        """Extract new and changed photos, as `extract_photos`, which tells what it raises.

        `on_space` hears once how much disk space a large run takes, as soon as that can be measured.
        """
        collection = self._collection
        space = SpaceWatch(collection.store, on_space)

        def start(total: int) -> None:
            space.start(total)
            on_start(total)

        def photo(done: int) -> None:
            space.done(done)
            on_photo(done)

        return extract_photos(
            collection.folders,
            collection.store,
            ExtractorOnDemand(extractor_of(collection, self.bundle), self._device),
            exclude=collection.exclude,
            prune=prune,
            dtype=held_dtype(collection.store) or collection.storage,
            batch_size=BATCH,
            workers=usable_cpus(),
            on_start=start,
            on_photo=photo,
        )

    def read_text(
        self,
        *,
        on_start: Callable[[int], None] = lambda total: None,
        on_photo: Callable[[int], None] = lambda done: None,
        on_pace: Callable[[float], None] = lambda seconds: None,
    ) -> ReadingResult | None:
        """Read what is written in photos that were not read yet, as `read_texts`; None if the collection does not."""
        if self._reader is None:
            return None
        return read_texts(
            self._collection.store,
            self._reader,
            workers=usable_cpus(),
            on_start=on_start,
            on_photo=on_photo,
            on_pace=on_pace,
        )

    def describe(self) -> tuple[Described | None, tuple[str, ...]]:
        """Put the collection's table into the store, if it changed; how it fits, and what it says about itself.

        Raises InputError where the table cannot be used.
        """
        if self._table is None:
            return None, ()
        store = self._collection.store
        with FeatureStore.open(store) as opened:
            held, infos, facts = opened.metadata(), opened.infos(), opened.facts()
        fitted, described = fit(store, infos, self._table, facts)
        if held is None or held.stamp != fitted.stamp:
            with FeatureStore.open(store, readonly=False) as opened:
                opened.put_metadata(self._table)
        return described, self._table.notices

    def index(
        self,
        *,
        on_start: Callable[[int], None] = lambda total: None,
        on_images: Callable[[int], None] = lambda done: None,
    ) -> IndexResult:
        """Encode new and changed images into the gallery, as `index_store`, which tells what it raises."""
        gallery = self._collection.gallery
        with FeatureStore.open(self._collection.store) as store:
            return index_store(
                store,
                Scorer(self.bundle, self._device),
                gallery,
                dtype=None if (gallery / MANIFEST).exists() else self._collection.storage,
                on_start=on_start,
                on_images=on_images,
            )


def open_bundle(collection: Collection) -> Bundle:
    """The bundle to update a collection with: its own `model`, else the one that its gallery goes with."""
    return Bundle.open(place_of(collection.gallery, collection.model).bundle)


def _refuse_other_model(collection: Collection, bundle: Bundle) -> None:
    """Raise InputError where the collection names another model than the one that made its gallery."""
    if GalleryManifest.load(collection.gallery).fingerprint != bundle.manifest.fingerprint:
        raise InputError(
            f"the gallery of the collection '{collection.name}' was made with another model than {bundle.path}: take "
            f"`model` out of the collection's file to keep the old one, or change the gallery with `SHAN_MODEL="
            f"{bundle.path} shan-engine index {collection.store} --output {collection.gallery} --model new`"
        )


def extractor_of(collection: Collection, bundle: Bundle) -> Path:
    """The extractor's ONNX file. Raises InputError where neither collection nor bundle has one."""
    found = collection.extractor or bundle.feature_extractor
    if found is None:
        raise InputError(
            f"the bundle {bundle.path} has no feature extractor: name one as `extractor` in the file of the collection "
            f"'{collection.name}'"
        )
    return found
