"""Choose the dtype of a store before opening it for writing."""

from __future__ import annotations

from pathlib import Path

from shan_engine.base.choices import STORE_DTYPES, StoreDtype
from shan_engine.base.errors import StoreError
from shan_engine.store.feature_store import FeatureStore


def held_dtype(path: Path) -> StoreDtype | None:
    """The dtype of the store at `path`; None where none is, or one that was only begun or cannot be opened."""
    try:
        store = FeatureStore.open_if_made(path)
    except StoreError:  # `create` reports what is wrong with it
        return None
    if store is None:
        return None
    with store:
        return store.schema.dtype


def stored_dtype(path: Path, wanted: StoreDtype | None) -> StoreDtype:
    """The dtype to make or open the store at `path` with: `wanted`, else that of the store there, else float32.

    Raises StoreError where the store there has another one than `wanted`.
    """
    held = held_dtype(path)
    if None not in (held, wanted) and held != wanted:
        raise StoreError(f"the store {path} holds {held}, not {wanted}: leave out --storage, or use a new store")
    return held or wanted or STORE_DTYPES[0]
