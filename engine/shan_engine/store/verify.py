"""Check every record of a feature store, in a separate process: reading a damaged page may end the process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from shan_engine.base.errors import InputError, ShanError, StoreError
from shan_engine.store.feature_store import FeatureStore
from shan_engine.store.lmdb import RESTORE
from shan_engine.store.records import check_record, how_to_replace


def verify_store(path: Path) -> Iterator[tuple[str, str | None]]:
    """Check every record against its checksum. Yields each id with its fault, or None if there is none.

    Raises StoreError if the store cannot be read at all, ids or records are missing, or its metadata are damaged.
    """
    # -P: a file in the current folder with the name of a module must not be imported instead of it.
    command = [sys.executable, "-P", "-m", __name__, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="ascii") as child:
        assert child.stdout is not None
        ended, status = False, 0
        try:
            for line in child.stdout:
                id, problem = json.loads(line)
                if id is not None:
                    yield id, problem
                elif problem is not None:
                    raise StoreError(problem)
                else:
                    ended = True
            status = child.wait()
        finally:
            child.kill()
    if status > 0:  # below 0: ended by a signal, which an unreadable page causes
        raise StoreError(
            f"the check of the store {path} failed ({status}), which says nothing about the store: run it again"
        )
    if not ended:
        raise StoreError(f"the store {path} is damaged (one of its pages cannot be read): {RESTORE}")


def _check(path: Path) -> Iterator[tuple[str, str | None]]:
    with FeatureStore.open(path) as store:
        ids = store.ids()
        for id in ids:
            try:
                record = store.read([id])[0]
                if record.id != id:
                    fix = how_to_replace(path, id)
                    raise StoreError(f"image '{id}' in {path} holds the record of '{record.id}': {fix}")
                check_record(record, feature_dim=store.feature_dim, max_regions=store.schema.max_regions)
                yield id, None
            except (StoreError, InputError) as error:
                yield id, str(error) if f"'{id}'" in str(error) else f"image '{id}': {error}"
        store.metadata()
        store.facts()
        if store.entries() != {len(ids)}:
            raise StoreError(
                f"the store {path} is damaged ({max(store.entries())} images were written to it, but "
                f"{len(ids)} were found): {RESTORE}"
            )


def _main(path: Path) -> None:
    """Print a JSON pair a line: id and problem. The last pair is null and why the check stopped early, or null."""
    try:
        for found in _check(path):
            print(json.dumps(found))
        print(json.dumps((None, None)))
    except ShanError as error:
        print(json.dumps((None, str(error))))


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
