"""Image ids: what they are as bytes, and how a table shows one that is no text."""

from __future__ import annotations

import hashlib
import os
import posixpath
import unicodedata

from shan_engine.base.errors import InputError

MAX_ID_BYTES = 4096  # as long as a path
_KEY_BYTES = 480  # LMDB takes keys of up to 511 bytes


def spelt_out(id: str) -> str:
    """An id as UTF-8 text for a table: a file name's bytes that are none are spelt out, as in `caf\\udce9.jpg`."""
    # Spelt out rather than replaced, different ids stay different.
    return id.encode("utf-8", "backslashreplace").decode("utf-8")


def encode_id(id: str) -> bytes:
    """An id as bytes, a file name's undecodable bytes as they are.

    Raises InputError where it is no Unicode text.
    """
    try:
        return id.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise InputError(f"the id {id!r} is not Unicode text: rename that image") from error


def canonical(id: str) -> str:
    """The one form of an id or a path: `/` between folders, no `./`, and accents composed (NFC)."""
    return posixpath.normpath(unicodedata.normalize("NFC", id).replace("\\", "/"))


def forms(id: str) -> set[str]:
    """The canonical forms by which an image may be meant: as it is written, and as a path without links in it."""
    form = canonical(id)
    return {form, canonical(os.path.realpath(form))}


def store_key(id: str) -> bytes:
    """An id as the store's key: its bytes or, of more than 480, the first ones and a digest, 481 in all.

    Raises as `encode_id`.
    """
    raw = encode_id(id)
    if len(raw) <= _KEY_BYTES:
        return raw
    digest = hashlib.sha256(raw).digest()
    return raw[: _KEY_BYTES + 1 - len(digest)] + digest


def is_shortened(key: bytes) -> bool:
    """Whether a store's key is of an id that is too long to be a key, so that only its record tells the id."""
    return len(key) > _KEY_BYTES


def decode_id(key: bytes) -> str:
    """The id that a store's key was made from; of a shortened key, text that names it in a message."""
    return key.decode("utf-8", "surrogateescape")
