"""Region features made elsewhere, read into a feature store. Each reader is a file beside this one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from shan_engine.base.errors import InputError, ShanError
from shan_engine.store.dtype import stored_dtype
from shan_engine.store.feature_store import FeatureStore
from shan_engine.store.importers.bottom_up_tsv import open_tsv
from shan_engine.store.importers.npz_folder import open_npz_folder
from shan_engine.store.importers.scan_npy import open_npy, open_scan_folder
from shan_engine.store.importers.source import Source
from shan_engine.store.records import RegionRecord
from shan_engine.store.schema import StoreSchema
from shan_engine.text.captions import SCAN_FEATURES

__all__ = ["Source", "import_features"]


def import_features(
    features: Path,
    store_path: Path,
    *,
    ids: Path | None = None,
    dtype: str | None = None,
    extractor: str | None = None,
    replace: bool = False,
    batch_size: int = 64,
    on_start: Callable[[int], None] = lambda total: None,
    on_records: Callable[[int], None] = lambda done: None,
) -> int:
    """Import features into the store at `store_path`, made where it is missing; returns the number of images.

    `features` is a SCAN `.npy` (N x K x F or N x F; `ids` its ids, one a line) or a folder of SCAN's
    `<split>_ims.npy`, a bottom-up-attention `.tsv`, or a folder of one `.npz` an image. `extractor` is the name the
    store records, by default `imported-<F>d`; `dtype` is float32 or float16, by default what the store has, float32
    for a new one. An image whose id is in the store replaces the one there if `replace`; a cut-off import is so done
    again.
    `on_start` gets the number of images, 0 where only reading everything would tell. Each batch is one
    transaction. Raises InputError where a file cannot be used or, unless `replace`, an id is in the store (before
    anything is written, but for a `.tsv`, whose batches before that id stay), StoreError from the store; the sentence
    says how many images are in the store by then.
    """
    if batch_size < 1:
        raise InputError(f"a batch of {batch_size} images cannot be written: choose 1 or more")
    source = _open(features, ids)
    name = f"imported-{source.feature_dim}d" if extractor is None else extractor
    schema = StoreSchema(name, source.feature_dim, max(100, source.regions), stored_dtype(store_path, dtype))
    on_start(len(source.ids or ()))
    records = _unique(source.records, features)
    done = 0
    # Read and encoded before the store is made: a file that is bad from its beginning leaves no store behind.
    batch = list(islice(records, batch_size))
    schema.encode(batch)
    with FeatureStore.create(store_path, schema) as store:
        if source.ids is not None and not replace:
            store.refuse_held(source.ids)
        try:
            while batch:
                store.write(batch, replace=replace)
                done += len(batch)
                on_records(done)
                batch = list(islice(records, batch_size))
        except ShanError as error:
            if not done:
                raise
            kept = "the image before it was" if done == 1 else f"{done} images before it were"
            raise type(error)(f"{error}; {kept} imported and stay, so running again needs --replace") from error
    return done


def _open(features: Path, ids: Path | None) -> Source:
    suffix = features.suffix.lower()
    if not features.exists():
        raise InputError(f"there is no file or folder {features}: give the features to import")
    if suffix == ".npy" and features.is_file():
        return open_npy(features, ids)
    if ids is not None:
        raise InputError(f"{features} names its images itself: leave out the ids file {ids}")
    if features.is_dir():
        return open_scan_folder(features) if any(features.glob(f"*{SCAN_FEATURES}")) else open_npz_folder(features)
    if suffix == ".tsv":
        return open_tsv(features)
    raise InputError(f"{features} is of no known format: give a .npy file, a .tsv file or a folder of .npz files")


def _unique(records: Iterator[RegionRecord], features: Path) -> Iterator[RegionRecord]:
    seen: set[str] = set()
    for record in records:
        if record.id in seen:
            raise InputError(f"{features} has the id '{record.id}' twice: give every image its own id")
        seen.add(record.id)
        yield record
