"""The files of images, in a feature store: the table `files`, a JSON object for each image id.

It has the hash of the photo's bytes, by which a renamed or copied file is known, and all files with these bytes.
Images of older stores and of imported features have no row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import lmdb

from shan_engine.base.errors import StoreError
from shan_engine.base.ids import decode_id, is_shortened, store_key
from shan_engine.base.manifests import demand
from shan_engine.store.image_rows import delete_rows, put_rows, read_rows

_TABLE = b"files"


@dataclass(frozen=True)
class Place:
    """A file of an image: the id that its path gives it, its path, and the stamp that changes when the file does."""

    id: str
    path: str
    stamp: str


@dataclass(frozen=True)
class Content:
    """The hash of an image's photo (XXH3, 128 bits, hexadecimal; empty if unknown) and its files.

    The first file is the image's own, which it has its id and path from.
    """

    hash: str
    files: tuple[Place, ...]


def write_contents(
    environment: lmdb.Environment, transaction: lmdb.Transaction, contents: Mapping[str, Content]
) -> None:
    """Add or replace rows, by image id, in a write transaction."""
    if not contents:
        return
    rows = {
        store_key(id): {"hash": one.hash, "files": [(file.id, file.path, file.stamp) for file in one.files]}
        for id, one in contents.items()
    }
    put_rows(environment, transaction, _TABLE, rows)


def delete_contents(environment: lmdb.Environment, transaction: lmdb.Transaction, keys: Iterable[bytes]) -> None:
    """Remove the rows of images, by the store's key, in a write transaction."""
    delete_rows(environment, transaction, _TABLE, keys)


def read_contents(path: Path, environment: lmdb.Environment, transaction: lmdb.Transaction) -> dict[str, Content]:
    """All rows of the store `path`, by image id. Raises StoreError if they are damaged."""
    found = {}
    try:
        for key, row in read_rows(environment, transaction, _TABLE):
            files = tuple(Place(*map(str, file)) for file in row["files"])
            demand(bool(files), "an image has no file")
            found[files[0].id if is_shortened(key) else decode_id(key)] = Content(str(row["hash"]), files)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise StoreError(
            f"the list of files of the store {path} is damaged ({error}): extract into a new store"
        ) from error
    return found
