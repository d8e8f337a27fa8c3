"""Import region features made elsewhere into a feature store.

- `bottom_up_tsv`, `npz_folder`, `scan_npy`: one reader for each format.
- `with_boxes`: features that end in their boxes.
- `source`: what a reader gives to the importer, `import_features`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from shan_engine.base.choices import StoreDtype
from shan_engine.base.errors import InputError, ShanError
from shan_engine.store.dtype import stored_dtype
from shan_engine.store.feature_store import FeatureStore
from shan_engine.store.importers.bottom_up_tsv import open_tsv
from shan_engine.store.importers.npz_folder import open_npz_folder
from shan_engine.store.importers.scan_npy import open_npy, open_scan_folder
from shan_engine.store.importers.source import Source
from shan_engine.store.importers.with_boxes import with_boxes
from shan_engine.store.records import RegionRecord, check_record
from shan_engine.store.schema import StoreSchema
from shan_engine.text.captions import SCAN_FEATURES

__all__ = ["Source", "import_features"]


def import_features(
    features: Path,
    store_path: Path,
    *,
    ids: Path | None = None,
    dtype: StoreDtype | None = None,
    extractor: str | None = None,
    boxes: bool = False,
    replace: bool = False,
    on_broken: Callable[[str], None] | None = None,
    batch_size: int = 64,
    on_start: Callable[[int], None] = lambda total: None,
    on_records: Callable[[int], None] = lambda done: None,
) -> int:
    """Import features into the store at `store_path`, making it if it is missing. Returns the number of images.

    `features` is one of:

    - a SCAN `.npy`, N x K x F or N x F, with an optional file `ids` of one id a line;
    - a folder of SCAN's `<split>_ims.npy`;
    - a bottom-up-attention `.tsv`, or LXMERT's;
    - a folder with one `.npz` for each image.

    Features may have any numeric dtype. Rows of zeros after an image's last region are padding, and are left out. With
    `boxes`, each region's feature ends in its box (`with_boxes`).

    The store records `extractor`, by default `imported-<F>d`, as the origin of the features. `dtype` is float32 or
    float16; by default that of the store, or float32 for a new one. With `replace`, an image replaces one with the
    same id, so that an interrupted import can be repeated. With `on_broken`, images that cannot be used, or whose id
    came before, are left out, and it hears what is wrong with each. Each batch is one transaction. `on_start` hears the
    number of images, or 0 if it is known only after reading everything.

    Raises InputError if a file cannot be used, an image cannot be used and `on_broken` is None, or, unless `replace`,
    the store has an id already. This is checked before anything is written, except for a `.tsv`, whose earlier batches
    stay. Raises StoreError for a fault of the store. The message says how many images were imported by then.
    """
    if batch_size < 1:
        raise InputError(f"a batch of {batch_size} images is too small: give at least 1")
    source = with_boxes(_open(features, ids)) if boxes else _open(features, ids)
    name = f"imported-{source.feature_dim}d" if extractor is None else extractor
    schema = StoreSchema(name, source.feature_dim, max(100, source.regions), stored_dtype(store_path, dtype))
    on_start(len(source.ids or ()))
    images = _Images(source, features, schema)
    records = images.good(on_broken)
    done = 0
    # Read and encode a batch before making the store, so that a file that is bad from the start leaves no store.
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
            raise type(error)(f"{error}; {kept} imported and kept, so pass --replace to run again") from error
    return done


class _Images:
    """The images of a source, each checked on its own."""

    def __init__(self, source: Source, features: Path, schema: StoreSchema) -> None:
        self._source, self._features, self._schema = source, features, schema
        self._seen: set[str] = set()

    def good(self, on_broken: Callable[[str], None] | None) -> Iterator[RegionRecord]:
        """Those that can be used; `on_broken` hears what is wrong with another. Without it, that is raised."""
        good = 0
        for record in self._source.records:
            fault = self._fault(record)
            if isinstance(record, RegionRecord) and fault is None:
                good += 1
                yield record
            elif on_broken is not None:
                on_broken(str(fault))
            elif self._source.ids is None:
                raise InputError(f"{fault}; {self._others(good)}") from fault
            elif fault is not None:
                raise fault

    def _fault(self, record: RegionRecord | InputError) -> InputError | None:
        if isinstance(record, InputError):
            return record
        if record.id in self._seen:
            return InputError(f"{self._features} has the id '{record.id}' twice: give each image its own id")
        try:
            check_record(record, feature_dim=self._schema.feature_dim, max_regions=self._schema.max_regions)
        except InputError as error:
            return error
        self._seen.add(record.id)
        return None

    def _others(self, good: int) -> str:
        """How many images can be used: `good` that were read, and those of the rest. Published files have cut lines."""
        whole = good + sum(self._fault(record) is None for record in self._source.records)
        images = "1 image" if whole == 1 else f"{whole:,} images"
        return f"pass --skip-broken to leave out what is broken and import its {images} that can be used"


def _open(features: Path, ids: Path | None) -> Source:
    suffix = features.suffix.lower()
    if not features.exists():
        raise InputError(f"there is no file or folder {features}: name the features to import")
    if suffix == ".npy" and features.is_file():
        return open_npy(features, ids)
    if ids is not None:
        raise InputError(f"{features} contains its own ids: leave out the ids file {ids}")
    if features.is_dir():
        return open_scan_folder(features) if any(features.glob(f"*{SCAN_FEATURES}")) else open_npz_folder(features)
    if suffix == ".tsv":
        return open_tsv(features)
    raise InputError(f"{features} has an unknown format: give a .npy file, a .tsv file or a folder of .npz files")
