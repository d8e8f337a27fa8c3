"""The feature store: region features of a photo collection, in LMDB.

In reading order:

- `feature_store`: reads, writes and compacts a store.
- `records`, `schema`, `metadata`: the bytes of a record, what all records have in common, and facts about images.
- `facts`, `contents`, `texts`: the photos' own metadata, their files, what is written in them.
- `lmdb`: LMDB environments, and clear sentences for their errors.
- `dtype`: the dtype of a store that is about to be written.
- `verify`: checks every record.
- `importers`: reads features made elsewhere into a store.

Imports `base` and `text` (for the names in SCAN's files). `FeatureStore` is here too; it is imported on first use, as
some machines have no lmdb.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shan_engine.store.feature_store import FeatureStore

__all__ = ["FeatureStore"]


def __getattr__(name: str) -> Any:
    if name != "FeatureStore":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from shan_engine.store.feature_store import FeatureStore

    return FeatureStore
