"""Photos below a folder."""

from __future__ import annotations

import stat
from collections import Counter
from pathlib import Path

from shan_engine.base.errors import InputError, unread
from shan_engine.photos.decode import SUFFIXES, UNREAD, FoundPhotos, Photo, _files


def find_photos(folder: Path) -> FoundPhotos:
    """All JPEG, PNG, TIFF and WebP files below `folder`, hidden ones left out.

    Raises InputError where there is no such folder or no photo in it that can be looked at.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}: give the folder that holds your photos")
    root = folder.resolve()  # but not a photo's own link, which may come to mean another file
    photos, others, errors = [], Counter[str](), list[OSError]()
    for path in _files(folder, errors.append):
        suffix = path.suffix.lower()
        if suffix in UNREAD:
            others[suffix] += 1
        elif suffix in SUFFIXES:
            try:
                status = path.stat()
            except OSError as error:
                errors.append(error)
                continue
            if stat.S_ISREG(status.st_mode):
                id = path.relative_to(folder).as_posix()
                photos.append(Photo(id, root / id, f"{status.st_size}:{status.st_mtime_ns}"))
    passed_over = dict(others.most_common())
    # What was deleted since its folder was listed, and a link to nothing, are not there.
    there = [error for error in errors if not isinstance(error, FileNotFoundError | NotADirectoryError)]
    unreadable = tuple(unread(Path(error.filename), error, "") for error in there)
    if not photos and unreadable:
        raise InputError(unreadable[0])
    if not photos:
        more = "".join(f"; {count} {suffix} are not read, save them as JPEG" for suffix, count in passed_over.items())
        raise InputError(f"no photos in {folder}: it has no file ending in {', '.join(sorted(SUFFIXES))}{more}")
    return FoundPhotos(sorted(photos, key=lambda photo: photo.id), passed_over, unreadable)
