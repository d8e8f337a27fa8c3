"""Check every byte of a gallery of photos against what its manifest and its rows say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from shan_engine.base.errors import GalleryError
from shan_engine.gallery.block_files import LIST, METADATA, BlockFiles
from shan_engine.gallery.id_rows import ID_FILES
from shan_engine.gallery.manifest import MANIFEST, BlockEntry, GalleryManifest
from shan_engine.gallery.pooled import POOLED_FILES
from shan_engine.gallery.storage import HUBNESS, Layout, held_checksum, layout, row_checksums
from shan_engine.gallery.written import WrittenFile
from shan_engine.gallery.written_format import written_path
from shan_engine.indexing.querybank import Querybank
from shan_engine.integrity.checks.bundle import check_kept
from shan_engine.integrity.findings import Event, Finding, Part, clause, some
from shan_engine.search.tuning import TUNING, Tuning

NEW_BANK = "run `shan-engine index STORE --output NEW --querybank CAPTIONS` with the captions that it was made with"
_ROWS = 256  # of a block, that are checked together


def check_gallery(path: Path, fix: str) -> Iterator[Event]:
    """Faults of a gallery, one after another. `fix` is the clause that names the repairing command."""
    try:
        manifest = GalleryManifest.load(path)
    except GalleryError as error:
        yield Finding("manifest", MANIFEST, f"{clause(error)}: {fix}")
        return
    yield from _small_files(path, manifest, fix)
    done = 0
    kinds = layout(manifest.arrays, manifest.dtype)
    for entry in manifest.blocks:
        for event in check_block(path / "blocks" / entry.name, entry, kinds, fix):
            yield event if isinstance(event, Finding) else done + event
        done += entry.images


def _small_files(path: Path, manifest: GalleryManifest, fix: str) -> Iterator[Finding]:
    """Faults of what lies beside the blocks."""
    try:
        if manifest.written:
            WrittenFile(path, manifest.written).check()
    except GalleryError:
        name = written_path(path, manifest.written)
        yield Finding("written", name.name, f"{name} is missing or damaged; it is the index of written words: {fix}")
    if HUBNESS in manifest.arrays:
        try:
            Querybank.load(path)
        except GalleryError as error:
            yield Finding("querybank", "querybank.json", f"{clause(error)}: {NEW_BANK}")
    try:
        Tuning.load(path)
    except GalleryError as error:
        yield Finding("tuning", TUNING, f"{clause(error)}: {fix}")
    yield from check_kept(path, manifest.fingerprint, fix)


def check_block(folder: Path, entry: BlockEntry, kinds: Layout, fix: str) -> Iterator[Event]:
    """Faults of one block, and how many of its images were checked so far."""
    files = BlockFiles(folder, entry, kinds)
    ids, unlisted = _ids(files, entry)
    if ids is None:
        yield Finding("list", LIST, f"{folder / LIST} is {unlisted}: {fix}", block=entry.name)
    live = np.setdiff1d(np.arange(entry.images), np.array(entry.deleted, np.int64))
    every = tuple(ids[row] for row in live) if ids else ()
    checked = entry.files.keys() - {LIST, "rows.npy"}
    changed = [name for name in sorted(checked) if held_checksum(folder / name) != entry.files[name]]
    for name in changed:
        yield _of_file(folder / name, every, _whose(every, entry), fix, entry.name)
    unread = [name for name in kinds if not _maps(files, name)]
    for name in (f"{name}.npy" for name in unread if f"{name}.npy" not in changed):
        sentence = f"{folder / name} is missing, cut or has a damaged header; it holds {_whose(every, entry)}: {fix}"
        yield Finding("array", name, sentence, every, entry.name)
    rows_file = folder / "rows.npy"
    if held_checksum(rows_file) != entry.files.get("rows.npy") or not _maps(files, "rows"):
        sentence = f"{rows_file} is missing or damaged; it holds the checksums of {_whose(every, entry)}: {fix}"
        yield Finding("array", "rows.npy", sentence, every, entry.name)
    elif not unread:
        for start in range(0, len(live), _ROWS):
            some_rows = live[start : start + _ROWS]
            held = row_checksums(list(files.arrays.values()), some_rows)
            wrong = some_rows[held != files.row_checksums[some_rows]]
            if len(wrong):
                named = tuple(ids[row] for row in wrong) if ids else ()
                whose = some(named) if named else f"{len(wrong)} images"
                sentence = f"{folder} is damaged, as bytes of {whose} have changed: {fix}"
                yield Finding("images", entry.name, sentence, named, entry.name)
            files.release()
            yield int(some_rows[-1]) + 1
    yield entry.images


def _of_file(path: Path, ids: tuple[str, ...], whose: str, fix: str, block: str) -> Finding:
    """The fault of a file of a block whose bytes are not those of the manifest."""
    part: Part = "array"
    holds = "data"
    if path.name.startswith(METADATA):
        part, holds = "metadata", "the metadata"
    elif path.name in POOLED_FILES:
        part, holds = "pooled", "the mean regions"
    elif path.name in ID_FILES:
        part, holds = "ids", "the index by id"
    sentence = f"{path} is missing or damaged; it holds {holds} of {whose}: {fix}"
    return Finding(part, path.name, sentence, ids, block)


def _ids(files: BlockFiles, entry: BlockEntry) -> tuple[list[str] | None, str]:
    """Ids of all rows of a block's files, or None and why they cannot be read."""
    try:
        ids = [fields["id"] for fields in files.listed(range(entry.images))]
    except GalleryError:
        return None, f"missing or damaged; it lists {entry.live:,} images"
    live = [id for row, id in enumerate(ids) if row not in set(entry.deleted)]
    return (ids, "") if len(set(live)) == len(live) else (None, "damaged, as it names an image twice")


def _maps(files: BlockFiles, name: str) -> bool:
    """Whether an array's header and size are those of the manifest."""
    try:
        files.check_shape(name)
    except GalleryError:
        return False
    return True


def _whose(ids: tuple[str, ...], entry: BlockEntry) -> str:
    return some(ids) if ids else f"{entry.live:,} images"
