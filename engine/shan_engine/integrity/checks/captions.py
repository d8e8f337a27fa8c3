"""Check every file of a gallery of captions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from shan_engine.base.errors import GalleryError
from shan_engine.gallery.captions import LIST, CaptionGallery, CaptionManifest
from shan_engine.gallery.manifest import MANIFEST
from shan_engine.gallery.storage import held_checksum
from shan_engine.integrity.checks.bundle import check_kept
from shan_engine.integrity.findings import Event, Finding, clause, some


def check_captions(path: Path, fix: str) -> Iterator[Event]:
    """Faults of a gallery of captions. `fix` is the clause that names the repairing command."""
    try:
        manifest = CaptionManifest.load(path)
    except GalleryError as error:
        yield Finding("manifest", MANIFEST, f"{clause(error)}: {fix}")
        return
    yield from check_kept(path, manifest.fingerprint, fix)
    gallery, done = CaptionGallery(path, manifest.blocks), 0
    places: list[int] = []
    for block in manifest.blocks:
        folder = path / "blocks" / block.name
        try:
            listed = gallery.listed(block)
            ids = tuple(id for _, id, _ in listed)
            places += [place for place, _, _ in listed]
            whose = some(ids, "caption")
        except GalleryError:
            ids, whose = (), f"{block.captions:,} captions"
        for name, held in sorted(block.files.items()):
            if held_checksum(folder / name) != held:
                sentence = f"{folder / name} is missing or damaged; it holds {whose}: {fix}"
                yield Finding("list" if name == LIST else "captions", name, sentence, ids, block.name)
        done += block.captions
        yield done
