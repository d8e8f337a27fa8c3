"""The photos that a store knows, by content and by path, and what became of files that are not found."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import xxhash

from shan_engine.photos.find import FoundPhotos
from shan_engine.store.contents import Content, Place
from shan_engine.store.feature_store import FeatureStore

_CHUNK, _BEGINNING = 1 << 20, 1 << 16


@dataclass(frozen=True)
class KnownImage:
    """An image of a store. `content` is as the store has it, or made from the record; `hash` is empty if unknown."""

    id: str
    content: Content
    hash: str

    @property
    def files(self) -> tuple[Place, ...]:
        """Its files, its own first."""
        return self.content.files

    @property
    def bytes(self) -> str:
        """The photo's size in bytes, as text."""
        return size_of(self.files[0].stamp)


def known_images(store: FeatureStore) -> dict[str, KnownImage]:
    """All images of a store, by id."""
    contents = store.contents()
    images = {}
    for info in store.infos():
        content = contents.get(info.id) or Content("", (Place(info.id, info.path, info.stamp),))
        images[info.id] = KnownImage(info.id, content, content.hash)
    return images


def size_of(stamp: str) -> str:
    """The size in bytes that a stamp begins with."""
    return stamp.partition(":")[0]


def content_hash(path: str | Path, *, beginning: bool = False) -> str:
    """The hash of a file's bytes (XXH3, 128 bits, hexadecimal), or of its first 64 kB; empty if it cannot be read."""
    digest = xxhash.xxh3_128()
    try:
        with Path(path).open("rb") as file:
            if beginning:
                digest.update(file.read(_BEGINNING))
            while not beginning and (chunk := file.read(_CHUNK)):
                digest.update(chunk)
    except OSError:
        return ""
    return digest.hexdigest()


def content_hashes(paths: Collection[str], workers: int, *, beginning: bool = False) -> dict[str, str]:
    """The hashes of files or of their beginnings, by path, as `content_hash`."""
    with ThreadPoolExecutor(workers) as pool:
        return dict(zip(paths, pool.map(partial(content_hash, beginning=beginning), paths), strict=True))


def is_gone(path: str) -> bool:
    """Whether the file does not exist. A file that cannot be accessed may still exist, so it counts as present."""
    try:
        Path(path).stat()
    except OSError as error:
        return isinstance(error, FileNotFoundError | NotADirectoryError)
    return False


class Absence:
    """Why files of a store were not found below the roots."""

    def __init__(self, listing: FoundPhotos) -> None:
        self._listing = listing

    @cached_property
    def _with_photos(self) -> set[Path]:
        folders = {photo.path.parent for photo in self._listing.photos}
        return folders.union(*(folder.parents for folder in folders))

    def below_roots(self, path: str) -> bool:
        """Whether the path lies in one of the folders that were walked."""
        return any(Path(path).is_relative_to(root) for root in self._listing.roots)

    def left_out(self, path: str) -> bool:
        """Whether a pattern leaves out the file or a folder that it lies in."""
        excluded = self._listing.excluded
        return path in excluded or any(str(parent) in excluded for parent in Path(path).parents)

    def vanished(self, path: str) -> Path | None:
        """The topmost folder around a missing file that has no photo at all, as a share that is not mounted."""
        folders = [
            folder for folder in Path(path).parents if any(folder.is_relative_to(root) for root in self._listing.roots)
        ]
        return next((folder for folder in reversed(folders) if folder not in self._with_photos), None)
