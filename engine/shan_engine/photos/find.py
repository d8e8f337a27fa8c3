"""Find the photos below folders."""

from __future__ import annotations

import stat
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from shan_engine.base.errors import InputError, unread
from shan_engine.photos.formats import PLAIN, READ, UNREAD, how_to_read
from shan_engine.photos.ignore import IgnoreRules
from shan_engine.photos.naming import Found, name_photos
from shan_engine.photos.walk import Walk

NONE_KNOWN: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Photo:
    """A photo file.

    `id` is its path below the root with forward slashes and, of several roots, after the root's name. `stamp` is its
    size in bytes and its modification time, so it changes when the file does.
    """

    id: str
    path: Path
    stamp: str


@dataclass(frozen=True)
class FoundPhotos:
    """The photos below some folders, sorted by id.

    `passed_over` counts photos in formats that are not read, by suffix, the most frequent first. `unreadable` has one
    sentence for each folder or photo that cannot be accessed. `roots` are the resolved folders, missing ones too.
    `excluded` has the paths of the files and folders that patterns leave out.
    """

    photos: list[Photo]
    passed_over: dict[str, int]
    unreadable: tuple[str, ...] = ()
    roots: tuple[Path, ...] = ()
    excluded: frozenset[str] = frozenset()


def find_photos(
    folders: Path | Sequence[Path], *, exclude: Sequence[str] = (), known: Mapping[str, str] = NONE_KNOWN
) -> FoundPhotos:
    """Find all photos that this installation reads below `folders`, except what patterns leave out (photos/ignore.py).

    A photo that several folders or links lead to is found once. `known` has the ids that photos keep, by path.

    Raises InputError if `exclude` has no valid patterns, if no folder holds a photo that can be accessed, or if a
    folder does not exist; one of several may be missing if photos below it are known.
    """
    folders = [folders] if isinstance(folders, Path) else list(folders)
    # Resolve the folders, but not a photo that is a link: its target may change.
    roots = list(dict.fromkeys(folder.resolve() for folder in folders))
    missing = [root for root in roots if not root.is_dir()]
    for root in missing:
        if len(missing) == len(roots) or not any(Path(path).is_relative_to(root) for path in known):
            raise InputError(f"there is no folder {root}: give the folder that holds your photos")
    walk = Walk(IgnoreRules.of(exclude))
    found, others = [], Counter[str]()
    for root, below, entry in walk.files([root for root in roots if root not in missing]):
        _, dot, end = entry.name.rpartition(".")
        suffix = dot + end.lower()
        if suffix in UNREAD:
            others[suffix] += 1
        elif suffix in READ:
            try:
                status = entry.stat()
            except OSError as error:
                walk.errors.append(error)
                continue
            if stat.S_ISREG(status.st_mode):
                found.append(Found(root, below, entry.path, f"{status.st_size}:{status.st_mtime_ns}"))
    passed_over = dict(others.most_common())
    # A file deleted after its folder was listed, or a broken link, is not an error: it is simply not there.
    errors = [error for error in walk.errors if not isinstance(error, FileNotFoundError | NotADirectoryError)]
    unreadable = tuple(unread(Path(error.filename), error, "") for error in errors)
    if not found and unreadable:
        raise InputError(unreadable[0])
    if not found:
        more = "".join(
            f"; {count} {suffix} are not read, {how_to_read(suffix)}" for suffix, count in passed_over.items()
        )
        places = ", ".join(map(str, folders))
        raise InputError(f"no photos in {places}: it has no file ending in {', '.join(sorted(PLAIN))}{more}")
    ids = name_photos(found, [root for root in roots if root not in walk.merged], known)
    photos = [Photo(id, Path(photo.path), photo.stamp) for id, photo in zip(ids, found, strict=True)]
    photos.sort(key=lambda photo: photo.id)
    return FoundPhotos(photos, passed_over, unreadable, tuple(roots), frozenset(walk.excluded))
