"""Bring the index of what is written in a gallery's photos up to date."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, groupby
from pathlib import Path

from msgspec.structs import replace

from shan_engine.base.errors import GalleryError
from shan_engine.base.text_lines import TextLine
from shan_engine.gallery.manifest import GalleryManifest
from shan_engine.gallery.reader import Gallery
from shan_engine.gallery.written import WrittenFile
from shan_engine.gallery.written_format import PREFIX, Lines, WrittenBlock, doc_key, packed_lines, written_path
from shan_engine.indexing.written_anew import BlockTexts, Counted, write_written
from shan_engine.indexing.written_changes import Change, append_changes
from shan_engine.store.feature_store import FeatureStore
from shan_engine.text.written import clean_line

MOST_CHANGED = 0.5  # share of a gallery's images in changed blocks: from there on, another file is written
MOST_GROWN, ROOM = 2, 1 << 20  # a file may grow so many times as large as it began, and by so many bytes


def renew_written(gallery: Path, manifest: GalleryManifest, store: FeatureStore) -> GalleryManifest:
    """Bring a gallery's index to what its store says is written in its photos; the manifest that names it.

    It names none where nothing is written. Raises OSError where a write fails, StoreError for damaged text.
    """
    renewal = _Renewal(gallery, manifest, store)
    held = _whole(gallery, manifest.written)
    name = renewal.appended(held) if held else None
    return replace(manifest, written=renewal.written_anew() if name is None else name)


def copy_written(
    galleries: Sequence[Gallery], folder: Path, manifest: GalleryManifest, rows: Mapping[str, Sequence[tuple[str, int]]]
) -> GalleryManifest:
    """Write the index of a gallery that was copied of others: `rows` says, by block, where each row was before.

    Parts of one collection keep its counts, so that their scores agree; else words are counted anew.
    """
    files = [WrittenFile(one.path, one.manifest.written) for one in galleries if one.manifest.written]
    if not files:
        return replace(manifest, written="")
    by_block = {name: file for file in files for name in file.bases}

    def texts(before: Sequence[tuple[str, int]]) -> dict[int, Lines]:
        found = list[Lines]()
        for name, own in groupby(before, key=lambda place: place[0]):
            some = [row for _, row in own]
            found += by_block[name].lines(name, some) if name in by_block else [()] * len(some)
        return {row: lines for row, lines in enumerate(found) if lines}

    blocks = (BlockTexts(entry.name, entry.images, texts(rows[entry.name])) for entry in manifest.blocks)
    photos = sum(entry.live for entry in manifest.blocks)
    same = len(files) == len(galleries) and len({file.counted for file in files}) == 1
    written = write_written(folder, blocks, photos=photos, counted=Counted.of(files[0]) if same else None)
    for file in files:
        file.close()
    return replace(manifest, written=written)


def remove_others(gallery: Path, manifest: GalleryManifest) -> None:
    """Delete the indices of written words that a manifest does not name."""
    for file in gallery.glob(f"*{PREFIX}*"):
        if file != written_path(gallery, manifest.written):
            file.unlink(missing_ok=True)


class _Renewal:
    """A gallery's blocks, and the store's text of their photos."""

    def __init__(self, gallery: Path, manifest: GalleryManifest, store: FeatureStore) -> None:
        self._gallery, self._store = gallery, store
        self._photos = sum(entry.live for entry in manifest.blocks)
        self._images = {entry.name: entry.images for entry in manifest.blocks}
        blocks = Gallery(gallery, manifest).blocks
        self._rows = {block.name: dict(zip(block.ids, block.rows.tolist(), strict=True)) for block in blocks}
        self._sums = {name: store.text_checksum(rows) for name, rows in self._rows.items()}

    def written_anew(self) -> str:
        """Write another file; its name, empty where nothing is written."""
        blocks = (BlockTexts(name, self._images[name], self._texts(name), self._sums[name]) for name in self._rows)
        first = list[BlockTexts]()
        for block in blocks:
            first.append(block)
            if block.texts:
                return write_written(self._gallery, chain(first, blocks), photos=self._photos)
        return ""

    def appended(self, held: WrittenFile) -> str | None:
        """Append to an index what has changed; its name, empty where nothing is written any more.

        None where it is better written anew.
        """
        facts = held.facts
        known, end = dict(facts.blocks), facts.docs
        if facts.counted != facts.stamp:  # counted over a larger collection
            return None
        gone = {name: known.pop(name) for name in facts.blocks.keys() - self._images.keys()}
        blocks = dict[str, WrittenBlock]()
        for name, images in self._images.items():
            base = known[name].base if name in known else end
            end += 0 if name in known else images
            blocks[name] = WrittenBlock(base, images, self._sums[name])
        changed = [name for name in blocks if name not in known or blocks[name].text != known[name].text]
        moved = sum(self._images[name] for name in changed) + sum(block.images for block in gone.values())
        total = sum(self._images.values())
        grown = held.path.stat().st_size > MOST_GROWN * facts.began + ROOM or end > MOST_GROWN * total + ROOM
        if grown or moved > MOST_CHANGED * total:
            return None
        if blocks == facts.blocks and self._photos == facts.photos:
            return held.name
        docs = dict[int, Change]()
        for block in gone.values():
            docs |= {doc: (old, None) for doc, old in _held(held, block).items()}
        for name in changed:
            base = blocks[name].base
            old = _held(held, blocks[name]) if name in known else {}
            new = {base + row: packed_lines(lines) for row, lines in self._texts(name).items()}
            both = {doc: (old.get(doc), new.get(doc)) for doc in sorted({*old, *new})}
            docs |= {doc: change for doc, change in both.items() if change[0] != change[1]}
        texts = facts.texts + sum((new is not None) - (old is not None) for old, new in docs.values())
        return append_changes(held, docs, photos=self._photos, texts=texts, end=end, blocks=blocks) if texts else ""

    def _texts(self, name: str) -> dict[int, Lines]:
        rows = self._rows[name]
        if self._sums[name] is None:
            return {}
        texts = {rows[id]: _cleaned(lines) for id, lines in self._store.texts(rows)}
        return {row: lines for row, lines in sorted(texts.items()) if lines}


def _held(file: WrittenFile, block: WrittenBlock) -> dict[int, bytes]:
    """What an index has of the photos of a block, by their docs."""
    with file.guarded():
        items = file.tree.items(doc_key(block.base), doc_key(block.base + block.images))
        return {int(key[1:], 16): file.tree.value(value) for key, value in items}


def _whole(gallery: Path, name: str) -> WrittenFile | None:
    """An index of which every byte is as it was written; None for another."""
    try:
        held = WrittenFile(gallery, name)
        held.check()
    except GalleryError:
        return None
    return held


def _cleaned(lines: Lines) -> tuple[TextLine, ...]:
    cleaned = (TextLine(clean_line(line.text), line.confidence, line.box) for line in lines)
    return tuple(line for line in cleaned if line.text)
