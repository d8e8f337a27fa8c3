"""Repair a gallery of photos: from what it holds twice, from its store, or by leaving images out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import xxhash
from msgspec.structs import replace

from shan_engine.base.errors import GalleryError
from shan_engine.base.files import fresh_folder, npy_header, replacing
from shan_engine.base.locks import LOCK, hold_lock
from shan_engine.gallery.block_files import LIST, METADATA, BlockFiles
from shan_engine.gallery.id_rows import ID_FILES
from shan_engine.gallery.manifest import MANIFEST, BlockEntry, GalleryManifest
from shan_engine.gallery.pooled import POOLED_FILES
from shan_engine.gallery.reader import Gallery
from shan_engine.gallery.storage import layout, row_checksums
from shan_engine.indexing.images import index_store
from shan_engine.indexing.pooled import add_pooled
from shan_engine.indexing.querybank import FILE, ImageHubness, Querybank
from shan_engine.indexing.renew import renew_blocks
from shan_engine.indexing.tables import renew_tables
from shan_engine.indexing.written import renew_written
from shan_engine.integrity.findings import Finding, some
from shan_engine.integrity.repairs.bundle import only_bundle, repair_bundle, sound_bundle
from shan_engine.integrity.repairs.storage import storage_of
from shan_engine.locate import kept_bundle
from shan_engine.scoring.scorer import Scorer
from shan_engine.search.tuning import TUNING
from shan_engine.store.feature_store import FeatureStore

Agree = Callable[[Sequence[str]], None]
"""Hears what will be left out because nothing can rebuild it; raises InputError where the user does not want that."""


@dataclass
class _Damage:
    """What of a gallery is damaged, after everything that it holds twice was put right."""

    unlisted: set[str] = field(default_factory=set)
    ids: dict[str, str] = field(default_factory=dict)
    tables: set[str] = field(default_factory=set)
    pooled: set[str] = field(default_factory=set)
    by_id: set[str] = field(default_factory=set)
    written: bool = False
    tuning: bool = False

    @classmethod
    def of(cls, findings: Iterable[Finding]) -> _Damage:
        """From a check's findings."""
        found = cls()
        for one in findings:
            if one.part == "list" or (one.part in ("array", "images") and not one.ids):
                found.unlisted.add(one.block)
            elif one.part in ("array", "images"):
                found.ids |= dict.fromkeys(one.ids, one.block)
            elif one.part == "metadata":
                found.tables.add(one.block)
            elif one.part == "pooled":
                found.pooled.add(one.block)
            elif one.part == "ids":
                found.by_id.add(one.block)
            found.written |= one.part == "written"
            found.tuning |= one.part == "tuning"
        return found


def repair_gallery(
    path: Path,
    findings: Sequence[Finding],
    check: Callable[[], Sequence[Finding]],
    *,
    store: Path | None,
    model: Path | None,
    agree: Agree,
    on_images: Callable[[int], None],
) -> list[str]:
    """Repair a gallery with these findings; sentences of what was done. `check` finds what is still damaged.

    Raises GalleryError or BundleError where it needs what is not there, and what `agree` raises.
    """
    path = path.resolve()
    busy = GalleryError(f"another process is writing the gallery {path}: wait for it and run again")
    with hold_lock(path / LOCK, busy):
        if any(one.part == "manifest" for one in findings):
            return _rebuild(path, store, model, agree, on_images)
        manifest = GalleryManifest.load(path)
        done = []
        kept = kept_bundle(path, manifest.fingerprint)
        if any(one.part == "bundle" for one in findings):
            done += repair_bundle(kept, model)
        done += _restore_arrays(path, manifest, findings)
        return done + _replace_images(path, manifest, _Damage.of(check()), store, model, agree, on_images)


def _restore_arrays(path: Path, manifest: GalleryManifest, findings: Sequence[Finding]) -> list[str]:
    """Give files of arrays the header and the size that the manifest says, and lost checksums of rows."""
    done = []
    entries = {entry.name: entry for entry in manifest.blocks}
    kinds = layout(manifest.arrays, manifest.dtype)
    for one in (one for one in findings if one.part == "array"):
        entry, name = entries[one.block], one.file.removesuffix(".npy")
        file = path / "blocks" / one.block / one.file
        if name in kinds and file.exists() and _restore(file, entry, *kinds[name]):
            done.append(f"the header and size of {file} were restored")
    for block in {one.block for one in findings if one.file == "rows.npy"}:
        if _restore_rows(path / "blocks" / block, entries[block], manifest):
            done.append(f"{path / 'blocks' / block / 'rows.npy'} was computed again")
    return done


def _restore(file: Path, entry: BlockEntry, dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> bool:
    """Give a file its header again, and zeros where it was cut, which rows tell then; whether that changes it."""
    whole = (entry.images, *shape)
    header, size = npy_header(whole, dtype), dtype.itemsize * int(np.prod(whole, dtype=np.int64))
    held = file.read_bytes()
    data = held[len(header) :][:size].ljust(size, b"\0")
    if held == header + data:
        return False
    with replacing(file) as temporary:
        temporary.write_bytes(header + data)
    return True


def _restore_rows(folder: Path, entry: BlockEntry, manifest: GalleryManifest) -> bool:
    """Compute a block's `rows.npy` from its arrays; whether that gives the file that was written."""
    files = BlockFiles(folder, entry, layout(manifest.arrays, manifest.dtype))
    try:
        held = row_checksums(list(files.arrays.values()), range(entry.images))
    except GalleryError:
        return False
    data = npy_header(held.shape, held.dtype) + held.tobytes()
    if xxhash.xxh3_64_hexdigest(data) != entry.files.get("rows.npy"):
        return False
    with replacing(folder / "rows.npy") as temporary:
        temporary.write_bytes(data)
    return True


def _replace_images(
    path: Path,
    manifest: GalleryManifest,
    damage: _Damage,
    store: Path | None,
    model: Path | None,
    agree: Agree,
    on_images: Callable[[int], None],
) -> list[str]:
    """Encode damaged images again, write tables and indices again, leave out what cannot be; one manifest names it."""
    # Mean regions are made of the block's images: where some of these are damaged, all of the block are encoded again.
    for block in damage.pooled & set(damage.ids.values()):
        listed = next(one for one in Gallery(path, manifest).blocks if one.name == block)
        damage.ids |= dict.fromkeys(listed.ids, block)
    opened = FeatureStore.open(store) if store else None
    try:
        renewed, lost = _renewable(path, manifest, damage, opened)
        _tell(damage, lost, opened, agree)
        done = []
        held = _without(path, manifest, damage)
        if renewed:
            assert opened is not None
            scorer = _scorer(path, manifest.fingerprint, model)
            hubness = ImageHubness(scorer, Querybank.of_gallery(Gallery(path, manifest)))
            held = renew_blocks(path, held, renewed, opened, scorer, hubness=hubness, on_images=on_images)
            done.append(f"encoded again from {store}: {some(renewed)}")
        if opened is not None and (damage.tables or damage.written or renewed):
            held = renew_written(path, renew_tables(path, held, opened.described()), opened)
            done += [f"the metadata of {path} were written again from {store}"] if damage.tables else []
            done += [f"the index of written words of {path} was made again from {store}"] if damage.written else []
    finally:
        if opened is not None:
            opened.close()
    done += [f"the index by id of {path} was made again from its lists"] if damage.by_id else []
    if manifest.staged:
        done += [f"the mean regions of {path} were computed again"] if damage.pooled else []
        held = add_pooled(path, held)
    if held != manifest:
        held.save(path)
    if damage.tuning:
        (path / TUNING).unlink(missing_ok=True)
    return done + [f"left out: {sentence}" for sentence in lost]


def _renewable(
    path: Path, manifest: GalleryManifest, damage: _Damage, store: FeatureStore | None
) -> tuple[list[str], list[str]]:
    """Ids of images to be encoded again, and sentences of those that nothing can rebuild."""
    there = [info.id for info in store.infos()] if store else []
    held = set(there)
    renewed = [id for id in damage.ids if id in held]
    gone = [id for id in damage.ids if id not in held]
    unnamed = "" if store else " without its store: name that with --store"
    lost = [f"{some(gone)} of {path}{unnamed}"] if gone else []
    if damage.unlisted:
        sound = [block for block in Gallery(path, manifest).blocks if block.name not in damage.unlisted]
        listed = {id for block in sound for id in block.ids}
        # The list of these blocks is lost: their images are those of the store that no other block has.
        others = [id for id in there if id not in listed and id not in damage.ids]
        renewed += others
        count = sum(entry.live for entry in manifest.blocks if entry.name in damage.unlisted)
        if len(others) < count:
            lost.append(f"{count - len(others):,} images of {path} whose list is damaged{unnamed}")
    return renewed, lost


def _tell(damage: _Damage, lost: list[str], store: FeatureStore | None, agree: Agree) -> None:
    """Complete what is lost, and ask about it."""
    if store is None:
        lost += ["metadata of some images without the gallery's store: name that with --store"] * bool(damage.tables)
        lost += ["the index of written words without the gallery's store: name that with --store"] * damage.written
    lost += ["what `tune` measured: run it again"] * bool(damage.tuning)
    if lost:
        agree(lost)


def _without(path: Path, manifest: GalleryManifest, damage: _Damage) -> GalleryManifest:
    """The manifest without what is damaged."""
    entries = []
    for entry, block in zip(manifest.blocks, Gallery(path, manifest).blocks, strict=True):
        if entry.name in damage.unlisted:
            continue
        deleted = set(entry.deleted)
        if entry.name in damage.ids.values():
            deleted |= {row for row, id in zip(block.rows.tolist(), block.ids, strict=True) if id in damage.ids}
        dropped = METADATA if entry.name in damage.tables else "\0"
        pooled = POOLED_FILES if entry.name in damage.pooled else ()
        made = {*pooled, *(ID_FILES if entry.name in damage.by_id else ())}
        files = {name: held for name, held in entry.files.items() if not name.startswith(dropped) and name not in made}
        entries.append(replace(entry, deleted=tuple(sorted(deleted)), files=files))
    blocks = tuple(entry for entry in entries if entry.live)
    return replace(manifest, blocks=blocks, written="" if damage.written else manifest.written)


def _scorer(path: Path, fingerprint: str, model: Path | None) -> Scorer:
    bundle = sound_bundle(kept_bundle(path, fingerprint), fingerprint, model)
    if bundle is None:
        raise GalleryError(f"no whole copy of the bundle {fingerprint[:12]} of {path} is known: name one with --model")
    return Scorer(bundle)


def _rebuild(
    path: Path, store: Path | None, model: Path | None, agree: Agree, on_images: Callable[[int], None]
) -> list[str]:
    """Index the store into a new gallery that takes the place of one whose manifest is lost."""
    if store is None:
        raise GalleryError(f"{path / MANIFEST} is damaged: name the store that the gallery was made of with --store")
    scorer = Scorer(only_bundle(path, model))
    bank = Querybank.load(path) if (path / FILE).exists() else None
    with FeatureStore.open(store) as opened:
        gone = sorted(_listed(path) - set(opened.ids()))
        if gone:
            agree([f"{some(gone)}, which {path} may hold and {store} does not"])
        dtype = storage_of(path.glob("blocks/*/*regions.npy"))
        with fresh_folder(path, overwrite=True) as fresh:
            index_store(opened, scorer, fresh, dtype=dtype, querybank=bank, on_images=on_images)
            if (path / TUNING).exists():
                shutil.copyfile(path / TUNING, fresh / TUNING)
    return [f"{path} was indexed again from {store}"]


def _listed(path: Path) -> set[str]:
    """Ids in the lists of all blocks, those of deleted images too, as far as they can be read."""
    found = set()
    for file in path.glob(f"blocks/*/{LIST}"):
        for line in file.read_bytes().splitlines():
            try:
                found.add(str(json.loads(line)["id"]))
            except (ValueError, KeyError, TypeError):
                continue
    return found
