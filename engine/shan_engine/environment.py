"""Opening LMDB environments, and what their errors mean to a user."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb

from .errors import StoreError

_FIRST_MAP_BYTES = 1 << 26
_FULL_DISK_BYTES = 1 << 20


def open_environment(path: Path, *, readonly: bool) -> lmdb.Environment:
    """The environment in folder `path`, made where it is missing and not `readonly`."""
    size = 0 if (path / "data.mdb").exists() else _FIRST_MAP_BYTES
    return lmdb.open(str(path), map_size=size, max_dbs=3, readonly=readonly, create=not readonly)


def bytes_needed(environment: lmdb.Environment) -> int:
    """Size the data file must have for every page to be readable."""
    return int((environment.info()["last_pgno"] + 1) * environment.stat()["psize"])


def refuse_truncated(path: Path, environment: lmdb.Environment) -> None:
    """Raise StoreError where the data file is shorter than its pages."""
    # LMDB maps the file: reading a page beyond its end would end the process (SIGBUS).
    needed = bytes_needed(environment)
    size = (path / "data.mdb").stat().st_size
    if size < needed:
        raise StoreError(f"the store {path} is truncated ({size} of {needed} bytes): restore a copy or extract again")


@contextmanager
def clear_errors(path: Path) -> Iterator[None]:
    """Turn LMDB's errors into a StoreError that says what to do."""
    try:
        yield
    except (
        lmdb.DiskError,
        lmdb.CorruptedError,
        lmdb.InvalidError,
        lmdb.PageNotFoundError,
        lmdb.Error,
        OSError,
    ) as error:
        if "No space left" in str(error) or _is_short_write(path, error):
            message = f"the disk is full: {path} stays as it was before; free some space and run again"
        elif "ermission denied" in str(error):
            message = f"the store {path} cannot be opened: permission denied"
        else:
            message = f"the store {path} is damaged or truncated ({error}): restore it from a copy or extract again"
        raise StoreError(message) from error


def _is_short_write(path: Path, error: Exception) -> bool:
    # LMDB calls a write that ended half-way, as the first one on a full disk does, an input/output error.
    try:
        return "Input/output error" in str(error) and shutil.disk_usage(path).free < _FULL_DISK_BYTES
    except OSError:
        return False
