"""Choose the dtype of a store before opening it for writing."""

from __future__ import annotations

from pathlib import Path

from shan_engine.base.choices import STORE_DTYPES, StoreDtype
from shan_engine.base.errors import StoreError
from shan_engine.store.feature_store import FeatureStore
from shan_engine.store.lmdb import is_store


def stored_dtype(path: Path, wanted: StoreDtype | None) -> StoreDtype:
    """The dtype to make or open the store at `path` with: `wanted`, else that of the store there, else float32.

    Raises StoreError where the store there has another one than `wanted`.
    """
    if not is_store(path):
        return wanted or STORE_DTYPES[0]
    try:
        with FeatureStore.open(path) as store:
            held = store.schema.dtype
    except StoreError:  # `create` reports what is wrong with it, or completes it
        return wanted or STORE_DTYPES[0]
    if wanted not in (None, held):
        raise StoreError(f"the store {path} holds {held}, not {wanted}: leave out --storage, or use a new store")
    return held
