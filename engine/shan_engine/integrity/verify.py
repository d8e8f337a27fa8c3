"""Check everything that a path holds, in a process of its own: a page that cannot be read may end that one."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from shan_engine.base.errors import InputError, ShanError
from shan_engine.base.isolated import isolated, tell
from shan_engine.base.locks import LOCK
from shan_engine.bundle.manifest import Manifest
from shan_engine.collections.repairing import repair_command, repair_gallery_command
from shan_engine.gallery.captions import CaptionManifest
from shan_engine.gallery.manifest import MANIFEST, GalleryManifest
from shan_engine.integrity.checks.bundle import check_bundle
from shan_engine.integrity.checks.captions import check_captions
from shan_engine.integrity.checks.gallery import check_gallery
from shan_engine.integrity.checks.job import check_job
from shan_engine.integrity.checks.store import check_store
from shan_engine.integrity.findings import Event, Finding, Verdict
from shan_engine.integrity.kinds import Kind, collection_at, kind_of
from shan_engine.store.feature_store import FeatureStore

CHECKS: Mapping[Kind, Callable[[Path, str], Iterator[Event]]] = {
    "store": check_store,
    "gallery": check_gallery,
    "captions": check_captions,
    "bundle": check_bundle,
    "job": check_job,
}
UNITS: Mapping[Kind, str] = {
    "store": "images", "gallery": "images", "captions": "captions", "bundle": "files", "job": "blocks"
}  # fmt: skip

_LOCKS = (LOCK, "lock.mdb")  # which a check does without
_TRIES = 3  # of a check while other programs change what is checked


def verify(
    path: Path,
    *,
    on_start: Callable[[int], None] = lambda total: None,
    on_done: Callable[[int], None] = lambda done: None,
) -> list[Verdict]:
    """The verdict on what a path is: one, or that of a collection's store and gallery.

    Nothing is changed. Raises InputError where the path holds nothing of this program.
    """
    collection = collection_at(path)
    if collection is None:
        return [_verdict(path, on_start, on_done)]
    if not collection.store.exists() and not collection.gallery.exists():
        raise InputError(
            f"the collection '{collection.name}' has no store yet: make it with `{collection.command('update')}`"
        )
    found = [_verdict(collection.store, on_start, on_done, "store")]
    if collection.gallery.exists():
        found.append(_verdict(collection.gallery, on_start, on_done))
    return found


def _verdict(
    path: Path, on_start: Callable[[int], None], on_done: Callable[[int], None], kind: Kind | None = None
) -> Verdict:
    """The verdict on a path; `kind` is what it is to be, None where its files tell."""
    kind = kind or kind_of(path)
    _refuse_denied(path)
    fix = repair_gallery_command(path) if kind == "gallery" else repair_command(path)
    total = _total(kind, path)
    on_start(total)
    for _ in range(_TRIES):
        before, findings, done = _manifest(path), [], 0
        for event in _events(kind, path, fix):
            if isinstance(event, Finding):
                findings.append(event)
            else:
                done = event
                on_done(done)
        # Where `index` has removed files meanwhile, a finding may be of one that no manifest names any more.
        if not findings or before == _manifest(path):
            return Verdict(path, kind, {UNITS[kind]: total or done}, tuple(findings))
    raise InputError(f"other programs change {path} all the time: let them end, and run the command again")


def _refuse_denied(path: Path) -> None:
    """Raise InputError for the first file that this user may not read: nothing is known of it, so it is not damaged."""
    for held in itertools.chain([path], path.rglob("*")):
        if (
            held.name not in _LOCKS
            and held.exists()
            and not os.access(held, os.R_OK | (os.X_OK if held.is_dir() else 0))
        ):
            raise InputError(f"cannot read {held}: Permission denied; let its owner give you access to it")


def _manifest(path: Path) -> bytes | None:
    """The bytes of a path's manifest, None where it has none that can be read."""
    try:
        return (path / MANIFEST).read_bytes()
    except OSError:
        return None


def _events(kind: Kind, path: Path, fix: str) -> Iterator[Event]:
    """As the check of the kind, in another process."""
    if kind == "store":  # which is checked in a process of its own anyway
        yield from check_store(path, fix)
        return
    try:
        for held in isolated(__name__, kind, str(path), fix):
            yield held if isinstance(held, int) else Finding(**{**held, "ids": tuple(held["ids"])})
    except ChildProcessError as error:
        raise InputError(
            f"the check of {path} could not finish ({error}), so nothing is known about it: run the command again"
        ) from error
    except EOFError:
        yield Finding("unread", "", f"{path} is damaged, one of its files cannot be read from its disk: {fix}")


def _total(kind: Kind, path: Path) -> int:
    """How many units a path says that it has; 0 where that cannot be read, or is not known before."""
    try:
        if kind == "store":
            with FeatureStore.open(path) as store:
                return len(store)
        if kind == "gallery":
            return sum(entry.live for entry in GalleryManifest.load(path).blocks)
        if kind == "captions":
            return sum(block.captions for block in CaptionManifest.load(path).blocks)
        if kind == "bundle":
            return len(Manifest.load(path).files)
    except ShanError:
        pass
    return 0


def _main(kind: Kind, path: Path, fix: str) -> None:
    """Tell each event of a check, findings at once."""
    events = (vars(event) if isinstance(event, Finding) else event for event in CHECKS[kind](path, fix))
    tell(events, at_once=lambda event: isinstance(event, dict))


if __name__ == "__main__":
    _main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])  # type: ignore[arg-type]
