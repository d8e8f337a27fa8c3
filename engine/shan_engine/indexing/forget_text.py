"""Remove what is written in photos from a gallery."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from shan_engine.base.errors import GalleryError
from shan_engine.base.files import write_failure
from shan_engine.base.locks import LOCK, hold_lock
from shan_engine.base.metadata import WRITTEN
from shan_engine.gallery.filters import column_types, metadata_held, metadata_of
from shan_engine.gallery.manifest import GalleryManifest
from shan_engine.gallery.reader import Gallery
from shan_engine.gallery.written import WrittenFile
from shan_engine.indexing.tables import remove_other_tables, renew_tables
from shan_engine.indexing.written import remove_others


def forget_text(path: Path) -> bool:
    """Remove the index of written words and the column `text` at once, also for processes that have it open.

    A column of that name from a table of one's own stays. Returns whether there was any text. Raises GalleryError where
    the gallery is missing, damaged or being written, or cannot be changed.
    """
    path = path.resolve()
    GalleryManifest.load(path)  # before a lock makes a file
    busy = GalleryError(f"another process is writing the gallery {path}: wait for it and run again")
    try:
        with hold_lock(path / LOCK, busy):
            manifest = GalleryManifest.load(path)
            if not manifest.written:
                return False
            gallery = Gallery(path, manifest)
            types = column_types([gallery])
            if _is_read(gallery):
                types = {name: kind for name, kind in types.items() if name.lower() != WRITTEN}
            every = ((block, range(len(block))) for block in gallery.blocks)
            renewed = renew_tables(path, manifest, metadata_held(every, types) if types else None)
            renewed = replace(renewed, written="")
            renewed.save(path)
            remove_others(path, renewed)
            remove_other_tables(path, renewed)
            return True
    except OSError as error:
        raise GalleryError(write_failure(path, error)) from error


def _is_read(gallery: Gallery) -> bool:
    """Whether the column `text` is what was read in photos; so it is where the index cannot tell."""
    try:
        held = WrittenFile(gallery.path, gallery.manifest.written)
        for block in gallery.blocks:
            lines = held.lines(block.name, block.rows.tolist())
            for row in (row for row, own in enumerate(lines) if own):
                (known,) = metadata_of(block, [row])
                return known.get(WRITTEN) == "\n".join(line.text for line in lines[row])
    except GalleryError:
        pass
    return True
