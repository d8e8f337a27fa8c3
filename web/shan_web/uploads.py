"""Photos that a page searches with: read once, kept in memory under a random name, the longest unused dropped."""

from __future__ import annotations

import secrets
import tempfile
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator
from pathlib import Path

from shan_engine.base.errors import InputError
from shan_engine.search.photo_query import QueryPhoto
from shan_engine.session import Session

MOST_BYTES = 32 << 20
MOST_PIXELS = 50_000_000
SECONDS = 30
_KEPT = 64


class Uploads:
    """Photos by gallery and name; each takes some hundred kilobytes."""

    def __init__(self) -> None:
        self._photos: OrderedDict[tuple[str, str], QueryPhoto] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, gallery: str, engine: Session, body: bytes) -> str:
        """Read an encoded photo, and give the name under which `get` finds it. Raises InputError for what is none."""
        with tempfile.TemporaryDirectory(prefix="shan-engine-") as folder:
            path = Path(folder) / "photo"  # without a suffix, which would choose the reader
            path.write_bytes(body)
            try:
                photo = engine.photo(path, untrusted_pixels=MOST_PIXELS)
            except InputError as error:
                raise InputError(str(error).replace(str(path), "the photo")) from error
        name = secrets.token_urlsafe(16)
        with self._lock:
            self._photos[gallery, name] = photo
            while len(self._photos) > _KEPT:
                self._photos.popitem(last=False)
        return name

    def get(self, gallery: str, name: str) -> QueryPhoto:
        """An uploaded photo. Raises InputError where it is no longer kept."""
        with self._lock:
            photo = self._photos.get((gallery, name))
            if photo is None:
                raise InputError("the photo is no longer kept: drop it on the page again")
            self._photos.move_to_end((gallery, name))
            return photo


async def whole_body(chunks: AsyncIterator[bytes]) -> bytes:
    """The body of a request. Raises InputError where it has more than MOST_BYTES, or none."""
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > MOST_BYTES:
            raise InputError(f"the photo has more than {MOST_BYTES >> 20} MB: send a smaller copy")
    if not body:
        raise InputError("there is no photo in the request: send its bytes as the body")
    return bytes(body)
