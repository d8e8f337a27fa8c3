"""Image ids: what they are as bytes, and how a table shows one that is no text."""

from __future__ import annotations

import os
import posixpath
import unicodedata

from shan_engine.base.errors import InputError

MAX_ID_BYTES = 480


def spelt_out(id: str) -> str:
    """An id as UTF-8 text for a table: a file name's bytes that are none are spelt out, as in `caf\\udce9.jpg`."""
    # Spelt out rather than replaced, different ids stay different.
    return id.encode("utf-8", "backslashreplace").decode("utf-8")


def encode_id(id: str) -> bytes:
    """An id as the store's key, a file name's undecodable bytes as they are.

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
    """The canonical forms by which an image may be meant: an absolute path also without the links in it."""
    form = canonical(id)
    return {form, canonical(os.path.realpath(form))} if form.startswith("/") else {form}


def decode_id(key: bytes) -> str:
    """The id that `encode_id` made a key of."""
    return key.decode("utf-8", "surrogateescape")
