"""The bundle that a gallery keeps: the gallery stays searchable after an upgrade, and on another machine.

    GALLERY/bundles/<first 12 characters of the fingerprint>/   the manifest and every file that it names

`index` copies the bundle before the gallery's manifest names its fingerprint. It is a copy, not a link: a program that
writes over the original changes nothing here. Compiled plans stay with the original.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from shan_engine.base.files import fresh_folder, sync_folder
from shan_engine.bundle.contents import Bundle
from shan_engine.bundle.manifest import MANIFEST
from shan_engine.locate import KEPT, kept_bundle


def keep_bundle(gallery: Path, bundle: Bundle) -> None:
    """Copy a bundle into a gallery, unless it is there. The caller holds the gallery's lock.

    Raises InputError where the disk is full or a file cannot be read.
    """
    place = kept_bundle(gallery, bundle.manifest.fingerprint)
    if place.exists():
        return
    for unfinished in (gallery / KEPT).glob(".*"):  # of a process that was killed
        shutil.rmtree(unfinished, ignore_errors=True)
    with fresh_folder(place) as fresh:
        for name in (*bundle.manifest.files, MANIFEST):
            shutil.copyfile(bundle.path / name, fresh / name)
        sync_folder(fresh)


def copy_kept(gallery: Path, other: Path, fingerprint: str) -> None:
    """Give another gallery the bundle that a gallery keeps, if it keeps one. On one disk it takes no more space."""
    place, copy = kept_bundle(gallery, fingerprint), kept_bundle(other, fingerprint)
    if place.exists() and not copy.exists():
        with fresh_folder(copy) as fresh:
            for file in place.iterdir():
                try:
                    os.link(file, fresh / file.name)
                except OSError:  # another disk, or one without links
                    shutil.copyfile(file, fresh / file.name)
            sync_folder(fresh)


def drop_others(gallery: Path, fingerprint: str) -> None:
    """Delete the bundles of a gallery that it was indexed with before."""
    place = kept_bundle(gallery, fingerprint)
    for folder in place.parent.iterdir() if place.exists() else ():
        if folder != place:
            shutil.rmtree(folder, ignore_errors=True)
