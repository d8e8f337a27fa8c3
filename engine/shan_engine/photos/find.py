"""Find the photos below a folder."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from shan_engine.base.errors import InputError, unread
from shan_engine.photos.formats import PLAIN, READ, UNREAD, how_to_read


@dataclass(frozen=True)
class Photo:
    """A photo file.

    `id` is its path below the folder, with forward slashes. `stamp` is its size and modification time, so it changes
    when the file does.
    """

    id: str
    path: Path
    stamp: str


@dataclass(frozen=True)
class FoundPhotos:
    """The photos below a folder, sorted by id.

    `passed_over` counts photos in formats that are not read, by suffix, the most frequent first. `unreadable` has one
    sentence for each folder or photo that cannot be accessed.
    """

    photos: list[Photo]
    passed_over: dict[str, int]
    unreadable: tuple[str, ...] = ()


def find_photos(folder: Path) -> FoundPhotos:
    """Find all photos that this installation reads below `folder`, except hidden ones.

    Raises InputError if the folder does not exist or holds no photo that can be accessed.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}: give the folder that holds your photos")
    root = folder.resolve()  # resolve the folder, but not a photo that is a link: its target may change
    photos, others, errors = [], Counter[str](), list[OSError]()
    for path in _files(folder, errors.append):
        suffix = path.suffix.lower()
        if suffix in UNREAD:
            others[suffix] += 1
        elif suffix in READ:
            try:
                status = path.stat()
            except OSError as error:
                errors.append(error)
                continue
            if stat.S_ISREG(status.st_mode):
                id = path.relative_to(folder).as_posix()
                photos.append(Photo(id, root / id, f"{status.st_size}:{status.st_mtime_ns}"))
    passed_over = dict(others.most_common())
    # A file deleted after its folder was listed, or a broken link, is not an error: it is simply not there.
    there = [error for error in errors if not isinstance(error, FileNotFoundError | NotADirectoryError)]
    unreadable = tuple(unread(Path(error.filename), error, "") for error in there)
    if not photos and unreadable:
        raise InputError(unreadable[0])
    if not photos:
        more = "".join(
            f"; {count} {suffix} are not read, {how_to_read(suffix)}" for suffix, count in passed_over.items()
        )
        raise InputError(f"no photos in {folder}: it has no file ending in {', '.join(sorted(PLAIN))}{more}")
    return FoundPhotos(sorted(photos, key=lambda photo: photo.id), passed_over, unreadable)


def _files(folder: Path, on_error: Callable[[OSError], None]) -> Iterator[Path]:
    """All files below `folder`, except hidden files and those in hidden folders."""
    for parent, folders, names in os.walk(folder, onerror=on_error):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(parent, name) for name in names if not name.startswith("."))
