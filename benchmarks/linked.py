"""A gallery of links to blocks of another one: as many images as times are to be measured for, and few copies."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace
from shan_engine.gallery.manifest import BlockEntry, GalleryManifest


def link_blocks(source: Path, folder: Path, entries: Sequence[BlockEntry], *, copy_below: int = 0) -> GalleryManifest:
    """Link the source's blocks into a new folder on its disk, each as often as it is named.

    Files with fewer bytes an image than `copy_below` are copied: a pass over all images then reads as much memory as
    one over so many different ones. The manifest is returned and not saved.
    """
    linked = []
    for number, entry in enumerate(entries):
        name = f"{number:012x}"
        (folder / "blocks" / name).mkdir(parents=True)
        for file in (source / "blocks" / entry.name).iterdir():
            place = folder / "blocks" / name / file.name
            (shutil.copyfile if file.stat().st_size < copy_below * entry.images else os.link)(file, place)
        linked.append(replace(entry, name=name))
    return replace(GalleryManifest.load(source), blocks=tuple(linked))
