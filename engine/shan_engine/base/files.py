"""Files written beside their final place and renamed into it, so that a reader sees the old or the new."""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from shan_engine.base.errors import InputError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it is synced and renamed to `path`, else removed.

    After that, a loss of power leaves the new file. Raises InputError where the disk is full or the folder cannot be
    written.
    """
    try:
        make_folder(path.parent)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            sync_file(temporary)
            temporary.chmod(0o644)
            temporary.replace(path)
        except BaseException:
            # Not after the rename: a caller that hears of an error takes back what the new file names.
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        with suppress(OSError):
            sync_names(path.parent)
    except OSError as error:
        raise InputError(write_failure(path, error)) from error


def remove_unfinished(path: Path) -> None:
    """Remove what `replacing` left beside `path` in a process that was killed; no other may be writing there."""
    for temporary in path.parent.glob(f".{glob.escape(path.name)}.*"):
        temporary.unlink(missing_ok=True)


def foreign_name(folder: Path, own: Collection[str]) -> str | None:
    """The first name in a folder that is not `own`, nor what `replacing` left of one; None where there is none.

    Raises OSError where the folder cannot be read.
    """
    unfinished = tuple(f".{name}." for name in own)
    try:
        names = [item.name for item in folder.iterdir()]
    except FileNotFoundError:
        return None
    return min((name for name in names if name not in own and not name.startswith(unfinished)), default=None)


def refuse_overwriting(output: Path, *inputs: Path | None) -> None:
    """Raise InputError where `output` is one of the files that it is made from."""
    for path in inputs:
        if path is not None and output.exists() and path.exists() and output.samefile(path):
            raise InputError(f"{output} would be written over what it is made from: choose another output")


@contextmanager
def fresh_folder(output: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a folder beside `output`; on success it is renamed to `output`, else removed.

    With `overwrite` a folder that is there is deleted after that. Raises InputError where there is one without
    `overwrite`, the disk is full or the folder above cannot be written.
    """
    if output.exists() and not overwrite:
        raise InputError(f"{output} is there already: choose a new folder")
    try:
        make_folder(output.parent)
        fresh = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
        try:
            fresh.chmod(0o755)
            yield fresh
            if output.exists() and overwrite:
                _exchange(fresh, output)
            else:
                fresh.rename(output)
            with suppress(OSError):
                sync_names(output.parent)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    except OSError as error:
        raise InputError(write_failure(output, error)) from error


def _exchange(fresh: Path, output: Path) -> None:
    """Rename the folder `fresh` to `output`; the one that is there is deleted after that, or else put back."""
    aside = Path(tempfile.mkdtemp(prefix=f".{output.name}.old.", dir=output.parent))
    old = aside / output.name
    try:
        output.rename(old)
        fresh.rename(output)
    except BaseException:
        if old.exists() and not output.exists():
            old.rename(output)
        aside.rmdir()
        raise
    shutil.rmtree(aside, ignore_errors=True)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it where they are missing, and put their names on disk. Raises OSError."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for one in missing:
        with suppress(OSError):
            sync_names(one.parent)


def sync_file(path: Path) -> None:
    """Put what was written to a file on disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Put a folder's files on disk, and the folder's own name, before something that names them is written."""
    for path in folder.iterdir():
        sync_file(path)
    sync_names(folder)
    sync_names(folder.parent)


def sync_names(folder: Path) -> None:
    """Put the names of a folder's files on disk, so that a loss of power undoes no rename or removal among them."""
    if os.name == "posix":  # elsewhere a folder cannot be opened
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_failure(path: Path, error: OSError) -> str:
    """One sentence for a failed write: what, where, and the fix."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full while writing {path}: free some space there and run the command again"
    return f"cannot write {path}: {error.strerror or error}; check the folder and its permissions"


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def npy_header(shape: tuple[int, ...], dtype: DTypeLike) -> bytes:
    """What a `.npy` file begins with, before its numbers in C order."""
    held = BytesIO()
    fields = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(held, fields)
    return held.getvalue()


class NpyWriter:
    """A `.npy` file of a known shape, written row by row with plain writes.

    A memory map would end the process on a full disk (SIGBUS); a write raises OSError.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        self._dtype = np.dtype(dtype)
        self._file = path.open("wb")
        self._file.write(npy_header(shape, dtype))

    def append(self, rows: NDArray[Any]) -> None:
        """Add rows after those written so far."""
        self._file.write(np.ascontiguousarray(rows, self._dtype).data)

    def __enter__(self) -> NpyWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()
