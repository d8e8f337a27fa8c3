"""Repair a feature store: drop damaged records, or write what is sound into a new data file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from shan_engine.base.errors import StoreError
from shan_engine.base.ids import spelt_out
from shan_engine.collections.repairing import renew_command
from shan_engine.integrity.findings import Finding, some
from shan_engine.store.feature_store import FeatureStore
from shan_engine.store.salvage import Salvaged, salvage, write

_TABLES = {
    "facts": "the own metadata of some photos: `extract` reads them again",
    "files": "the list of some photos' copies: `extract` makes it again",
    "text": "what is written in some photos: `extract --read-text` reads it again",
    "metadata": "the table of metadata: set it again with `shan-engine store metadata`",
}


def repair_store(path: Path, findings: Sequence[Finding], agree: Callable[[Sequence[str]], None]) -> list[str]:
    """Repair a store with these findings; sentences of what was done.

    Raises StoreError where nothing of it can be read, and what `agree` raises when it hears what is lost.
    """
    if not (path / "data.mdb").exists():
        raise StoreError(f"nothing of the store {path} is left to repair: {renew_command(path)}")
    ids = [id for one in findings if one.part == "record" for id in one.ids]
    held = salvage(path)
    # An id may also have lost its way to a record that is sound: then the record must not be deleted by its id.
    if all(one.part == "record" for one in findings) and set(ids) == set(held.lost):
        agree([_lost(path, ids)])
        with FeatureStore.open(path, readonly=False) as store:
            store.delete(ids)
        return [f"left out of {path}: {some(list(map(spelt_out, ids)))}"]
    if lost := _losses(path, held):
        agree(lost)
    write(path, held)
    kept = (
        f"{len(held.records):,} images of {path} are in a new data file; the damaged one was kept as data.mdb.damaged"
    )
    return [kept, *(f"left out: {sentence}" for sentence in lost)]


def _losses(path: Path, held: Salvaged) -> list[str]:
    if not held.records:
        raise StoreError(
            f"no image of the store {path} can be read: restore it from a copy, or extract or import again"
        )
    return [_lost(path, held.lost)] * bool(held.lost) + [_TABLES[name] for name in held.damaged]


def _lost(path: Path, ids: Iterable[str]) -> str:
    return f"{some(list(map(spelt_out, ids)))} of {path}: {renew_command(path)} after the repair"
