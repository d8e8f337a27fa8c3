"""Choose the dtype of a store before opening it for writing."""

from __future__ import annotations

from pathlib import Path

from shan_engine.base.choices import STORE_DTYPES, StoreDtype
from shan_engine.base.errors import StoreError
from shan_engine.store.feature_store import FeatureStore


def stored_dtype(path: Path, wanted: StoreDtype | None) -> StoreDtype:
    """The dtype to make or open the store at `path` with: `wanted`, else that of the store there, else float32.

    Raises StoreError where the store there has another one than `wanted`.
    """
    try:
        store = FeatureStore.open_if_made(path)
    except StoreError:  # `create` reports what is wrong with it
        store = None
    if store is None:
        return wanted or STORE_DTYPES[0]
    with store:
        held = store.schema.dtype
    if wanted not in (None, held):
        raise StoreError(f"the store {path} holds {held}, not {wanted}: leave out --storage, or use a new store")
    return held
