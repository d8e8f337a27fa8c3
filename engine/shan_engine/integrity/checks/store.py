"""Check a feature store, in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from shan_engine.base.errors import StoreError
from shan_engine.collections.repairing import renew_command
from shan_engine.integrity.findings import Event, Finding, clause
from shan_engine.store.verify import verify_store


def check_store(path: Path, fix: str) -> Iterator[Event]:
    """Faults of a store. `fix` is the clause that names the repairing command."""
    done = 0
    if not (path / "data.mdb").exists():
        yield Finding("store", "data.mdb", f"the store {path} has lost its data.mdb: {renew_command(path)}")
        return
    try:
        for done, (id, problem) in enumerate(verify_store(path), 1):
            if problem is not None:
                yield Finding("record", "data.mdb", f"{clause(problem)}: {fix}, then {renew_command(path)}", (id,))
            yield done
    except StoreError as error:
        yield Finding("store", "data.mdb", f"{clause(error)}: {fix}, or restore it from a copy")
    yield done
