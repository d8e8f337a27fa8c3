"""Check every record of a feature store, in a separate process: reading a damaged page may end the process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from shan_engine.base.errors import InputError, ShanError, StoreError
from shan_engine.base.isolated import isolated, tell
from shan_engine.store.feature_store import FeatureStore
from shan_engine.store.lmdb import restore
from shan_engine.store.records import check_record


def verify_store(path: Path) -> Iterator[tuple[str, str | None]]:
    """Check every record against its checksum. Yields each id with its fault, or None if there is none.

    Raises StoreError if the store cannot be read at all, ids or records are missing, or metadata or text are damaged.
    """
    try:
        for id, problem in isolated(__name__, str(path)):
            if id is None:
                raise StoreError(problem)
            yield id, problem
    except ChildProcessError as error:
        raise StoreError(
            f"the check of the store {path} could not finish ({error}), so nothing is known: run it again"
        ) from error
    except EOFError as error:
        raise StoreError(f"the store {path} is damaged (one of its pages cannot be read): {restore(path)}") from error


def _check(path: Path) -> Iterator[tuple[str, str | None]]:
    with FeatureStore.open(path) as store:
        ids = store.ids()
        for id in ids:
            try:
                record = store.read([id])[0]
                check_record(record, feature_dim=store.feature_dim, max_regions=store.schema.max_regions)
                yield id, None
            except (StoreError, InputError) as error:
                yield id, str(error) if f"'{id}'" in str(error) else f"image '{id}': {error}"
        store.metadata()
        store.facts()
        store.contents()
        for _ in store.texts():  # raises where one is damaged
            pass
        if store.entries() != {len(ids)}:
            raise StoreError(
                f"the store {path} is damaged ({max(store.entries())} images were written to it, but "
                f"{len(ids)} were found): {restore(path)}"
            )


def _main(path: Path) -> None:
    """Tell pairs: id and problem. Null instead of an id says why the check stopped early."""
    tell(_pairs(path))


def _pairs(path: Path) -> Iterator[tuple[str | None, str | None]]:
    try:
        yield from _check(path)
    except ShanError as error:
        yield None, str(error)


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
