"""A collection that moved to another disk, folder or user: the store's photos get their new paths."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from shan_engine.base.errors import InputError
from shan_engine.photos.known import known_images
from shan_engine.store.contents import Content, Place
from shan_engine.store.feature_store import FeatureStore


def move_root(store_path: Path, old: Path, new: Path) -> int:
    """Say that the photos below folder `old` now lie below `new`. Ids and features stay. Returns how many images moved.

    Raises InputError if `new` is no folder or the store knows no photo below either of them.
    """
    if not new.is_dir():
        raise InputError(f"there is no folder {new}: give the folder where the photos of {old} are now")
    begin, target = Path(os.path.abspath(old)), new.resolve()  # noqa: PTH100  the old folder may no longer exist

    def moved(file: Place) -> Place:
        if not Path(file.path).is_relative_to(begin):
            return file
        return replace(file, path=str(target / Path(file.path).relative_to(begin)))

    with FeatureStore.open(store_path, readonly=False) as store:
        images = known_images(store)
        contents = {id: Content(image.hash, tuple(map(moved, image.files))) for id, image in images.items()}
        contents = {id: content for id, content in contents.items() if content != images[id].content}
        if contents:
            store.relocate(contents)
        elif not any(Path(file.path).is_relative_to(target) for image in images.values() for file in image.files):
            raise InputError(f"the store {store_path} has no photo below {old}: see the paths with `search --paths`")
    return len(contents)
