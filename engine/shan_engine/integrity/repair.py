"""Repair what a check has found damaged in a path."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from shan_engine.base.errors import InputError
from shan_engine.base.files import write_failure
from shan_engine.collections.named import store_of
from shan_engine.integrity.findings import Finding, Verdict
from shan_engine.integrity.kinds import collection_at
from shan_engine.integrity.repairs.bundle import repair_bundle
from shan_engine.integrity.repairs.captions import repair_captions
from shan_engine.integrity.repairs.gallery import repair_gallery
from shan_engine.integrity.repairs.job import repair_job
from shan_engine.integrity.repairs.store import repair_store
from shan_engine.integrity.verify import verify


def repair(
    path: Path,
    *,
    store: Path | None = None,
    model: Path | None = None,
    agree: Callable[[Sequence[str]], None],
    on_start: Callable[[int], None] = lambda total: None,
    on_done: Callable[[int], None] = lambda done: None,
) -> list[str]:
    """Rebuild what can be rebuilt of a path; sentences of what was done, none where it is sound.

    `store` is what a gallery was made of; for a gallery of a collection, its own. `model` is another copy of a bundle.
    `agree` hears what nothing can rebuild before it is left out, and raises InputError to stop that. Each change is
    complete or not made at all, and what is sound stays. Raises a ShanError where something cannot be repaired.
    """
    done = []
    for verdict in verify(path, on_start=on_start, on_done=on_done):
        if not verdict.sound:
            try:
                done += _repaired(verdict, path, store, model, agree, on_done)
            except OSError as error:
                raise InputError(write_failure(verdict.path, error)) from error
    return done


def _repaired(
    verdict: Verdict,
    asked: Path,
    store: Path | None,
    model: Path | None,
    agree: Callable[[Sequence[str]], None],
    on_done: Callable[[int], None],
) -> list[str]:
    path, findings = verdict.path, verdict.findings
    if verdict.kind == "store":
        return repair_store(path, findings, agree)
    if verdict.kind == "bundle":
        return repair_bundle(path, model)
    if verdict.kind == "job":
        return repair_job(path, findings, agree)
    if verdict.kind == "captions":
        return repair_captions(path, findings, model=model, agree=agree, on_captions=on_done)

    def check() -> Sequence[Finding]:
        (found,) = verify(path)
        return found.findings

    collection = collection_at(asked)
    own = collection.store if collection else store_of(path)
    return repair_gallery(path, findings, check, store=store or own, model=model, agree=agree, on_images=on_done)
