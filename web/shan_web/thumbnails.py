"""Small copies of photos as JPEG, made once and kept in a folder of bounded size."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import logging
import os
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger(__name__)

MOST_BYTES = 512 << 20
_UNFINISHED = ".part"
_QUALITY = {160: 78, 320: 80, 640: 82}


class ThumbnailCache:
    """Files by key, the longest unused are deleted first. Where it cannot write, it makes every copy anew.

    Several processes may share the folder: a file is written beside its place and renamed.
    """

    def __init__(self, folder: Path, most_bytes: int = MOST_BYTES) -> None:
        self.folder, self._most = folder, most_bytes
        self._lock = threading.Lock()
        self._sizes: OrderedDict[str, int] | None = None  # the longest unused first
        self._held = 0
        self._writable = True

    def get(self, key: str, make: Callable[[], bytes]) -> tuple[bytes, bool]:
        """The copy with a key, and whether it was kept; `make` makes it, and its errors are the caller's."""
        name = hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
        path = self._path(name)
        with contextlib.suppress(OSError):
            found = path.read_bytes()
            if found.endswith(b"\xff\xd9"):  # whole: a computer may have stopped while the file was written
                self._used(name, len(found))
                return found, True
        made = make()
        self._keep(name, made)
        return made, False

    @property
    def held_bytes(self) -> int:
        """Bytes of the files."""
        return self._held

    def _path(self, name: str) -> Path:
        return self.folder / name[:2] / f"{name}.jpg"

    def _used(self, name: str, size: int) -> None:
        with self._lock:
            sizes = self._listed()
            if name not in sizes:
                sizes[name] = size
                self._held += size
            sizes.move_to_end(name)
        with contextlib.suppress(OSError):
            os.utime(self._path(name))

    def _keep(self, name: str, made: bytes) -> None:
        path = self._path(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(suffix=_UNFINISHED, dir=path.parent)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(made)
                Path(temporary).replace(path)
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise
        except OSError as error:
            if self._writable:
                full = error.errno in (errno.ENOSPC, errno.EDQUOT)
                reason = "the disk is full" if full else error.strerror or error
                log.warning("thumbnails are not kept in %s: %s", self.folder, reason)
            self._writable = False
            return
        self._writable = True
        self._used(name, len(made))
        self._drop()

    def _listed(self) -> OrderedDict[str, int]:
        if self._sizes is None:
            found = []
            for path in self.folder.glob("??/*"):
                with contextlib.suppress(OSError):
                    if path.suffix == _UNFINISHED:  # of a process that was killed
                        path.unlink()
                    else:
                        facts = path.stat()
                        found.append((facts.st_mtime_ns, path.stem, facts.st_size))
            self._sizes = OrderedDict((name, size) for _, name, size in sorted(found))
            self._held = sum(self._sizes.values())
        return self._sizes

    def _drop(self) -> None:
        with self._lock:
            sizes = self._listed()
            while self._held > self._most and sizes:
                name, size = sizes.popitem(last=False)
                self._held -= size
                with contextlib.suppress(OSError):
                    self._path(name).unlink()


def as_jpeg(path: Path, side: int) -> bytes:
    """A photo, no side longer than `side` pixels, as JPEG without metadata. Raises InputError as the decoder does."""
    from shan_engine.photos.decode import thumbnail

    buffer = io.BytesIO()
    thumbnail(path, side).save(buffer, "JPEG", quality=_QUALITY.get(side, 85), progressive=side > 640)
    return buffer.getvalue()
