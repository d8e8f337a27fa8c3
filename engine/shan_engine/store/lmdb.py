"""Open LMDB environments, and turn LMDB's errors into sentences that tell a user what to do."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import lmdb

from shan_engine.base.errors import StoreError
from shan_engine.base.files import sync_file, sync_names
from shan_engine.collections.repairing import repair_command
from shan_engine.store.pages import check_pages

_logger = logging.getLogger(__name__)
_FIRST_MAP_BYTES = 1 << 26
_FULL_DISK_BYTES = 1 << 20
_TRIES = 100
_T = TypeVar("_T")
_FILES = ("data.mdb", "lock.mdb")
# A bad transaction, or a tree too deep for a cursor, can only come from a page with wrong bytes.
_DAMAGE = (
    lmdb.CorruptedError,
    lmdb.InvalidError,
    lmdb.PageNotFoundError,
    lmdb.PanicError,
    lmdb.ProblemError,
    lmdb.BadTxnError,
    lmdb.BadValsizeError,
    lmdb.CursorFullError,
    lmdb.IncompatibleError,
)
# For each system error number, what follows the store's name in the message.
_SYSTEM_ERRORS = {
    errno.EACCES: "cannot be opened: permission denied, let its owner give you access to its folder and files",
    errno.EPERM: "cannot be opened: permission denied, let its owner give you access to its folder and files",
    errno.EROFS: "cannot be written: its disk is read-only, so copy it to another one",
    errno.EFBIG: "is unchanged: its file cannot grow so large here, use another disk or raise `ulimit -f`",
    errno.EIO: "cannot be read or written (input/output error): check its disk and `ulimit -f`, and run again",
    errno.ENOMEM: "does not fit into the address space: end other programs or raise `ulimit -v`, and run again",
    errno.EMFILE: "cannot be opened: too many files are open, raise `ulimit -n` and run again",
}


def open_environment(path: Path, *, readonly: bool) -> lmdb.Environment:
    """Open the environment in folder `path`. Unless `readonly`, make it if it is missing.

    A reader that may not write the lock file, as on a read-only disk or in another user's folder, reads without it.
    """
    held = path / "lock.mdb"
    lock = not readonly or os.access(held if held.exists() else path, os.W_OK)
    size = 0 if (path / "data.mdb").exists() else _FIRST_MAP_BYTES
    environment = lmdb.open(str(path), map_size=size, max_dbs=8, readonly=readonly, create=not readonly, lock=lock)
    if lock:
        # A reader that was killed seems to read on: no writer reuses what it saw, and its place is taken for good.
        environment.reader_check()
    return environment


def open_checked(path: Path, *, readonly: bool) -> tuple[lmdb.Environment, dict[str, int], int]:
    """As `open_environment`, with the number of entries of each table by name, and the data file's inode.

    Raises StoreError if the data file is shorter than its pages, or these would lead LMDB astray; OSError if other
    processes compact it all the time.
    """
    for _ in range(_TRIES):
        before = inode_of(path)
        environment = open_environment(path, readonly=readonly)
        try:
            # What is checked is the file at this path. LMDB may have opened the one from before a compaction.
            tables, fault = _entries(path, environment), None
        except StoreError as error:
            tables, fault = {}, error
        except BaseException:
            environment.close()
            raise
        inode = inode_of(path)
        if fault is None and inode is not None and before in (None, inode):
            return environment, tables, inode
        environment.close()
        if fault is not None and before == inode:
            raise fault
    raise OSError(errno.EBUSY, "other programs compact it all the time")


def inode_of(path: Path) -> int | None:
    """The number of a store's data file, which another file has after a compaction; None if there is none."""
    try:
        return (path / "data.mdb").stat().st_ino
    except FileNotFoundError:
        return None


def is_store(path: Path) -> bool:
    """Whether folder `path` holds an environment. An empty data file, which a failed copy leaves, does not count.

    Raises StoreError if the folder cannot be read.
    """
    with clear_errors(path):
        try:
            status = (path / "data.mdb").stat()
            return stat.S_ISREG(status.st_mode) and status.st_size > 0
        except (FileNotFoundError, NotADirectoryError):
            return False


@contextmanager
def making(path: Path) -> Iterator[None]:
    """Make the folder `path` for an environment, if it does not exist. If the `with` block fails, remove what is new.

    Raises StoreError if the folder cannot be made or holds other files.
    """
    try:
        if (path / "data.mdb").exists():
            new_folder, new = False, False
        else:
            new_folder, new = not path.exists(), True
            # Another writer may be making the same store right now.
            if not new_folder and (not path.is_dir() or any(item.name not in _FILES for item in path.iterdir())):
                raise StoreError(f"{path} exists already and is not a feature store: name another folder")
            path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make a store at {path} ({error.strerror}): name another folder") from error
    try:
        yield
    except Exception:
        if new:
            for name in _FILES:
                (path / name).unlink(missing_ok=True)
        if new_folder:
            with suppress(OSError):  # another program has put a file there
                path.rmdir()
        raise


def bytes_needed(environment: lmdb.Environment) -> int:
    """Size that the data file must have, in bytes, for every page to be readable."""
    return int((environment.info()["last_pgno"] + 1) * environment.stat()["psize"])


def _entries(path: Path, environment: lmdb.Environment) -> dict[str, int]:
    # LMDB maps the file, so reading a page beyond its end would end the process (SIGBUS).
    needed = bytes_needed(environment)
    size = (path / "data.mdb").stat().st_size
    if size < needed:
        raise StoreError(f"the store {path} is truncated ({size} of {needed} bytes): {restore(path)}")
    try:
        return check_pages(path, environment)
    except ValueError as error:
        _logger.debug("%s: %s", path, error)
        raise damaged(path, "one of its pages cannot be read") from error


def restore(path: Path) -> str:
    """The clause that says what to do with a damaged store."""
    return f"{repair_command(path)}, or restore it from a copy"


def damaged(path: Path, fault: str) -> StoreError:
    """The error for a store that cannot be read as a whole; `fault` is a clause."""
    return StoreError(f"the store {path} is damaged ({fault}): {restore(path)}")


@contextmanager
def clear_errors(path: Path) -> Iterator[None]:
    """Turn errors of LMDB and the operating system into a StoreError that says what to do."""
    try:
        yield
    except (lmdb.Error, OSError) as error:
        raise StoreError(_sentence(path, error)) from error


def _sentence(path: Path, error: lmdb.Error | OSError) -> str:
    number = error.errno if isinstance(error, OSError) else getattr(error, "code", 0)
    if number in (errno.ENOSPC, errno.EDQUOT) or (number == errno.EIO and _is_full(path)):
        return f"the disk is full, and {path} keeps only what was written before: free some space and run again"
    if isinstance(error, _DAMAGE):
        return str(damaged(path, str(error)))
    if isinstance(error, lmdb.VersionMismatchError):
        return f"the store {path} was written by another version of LMDB ({error}): use the shan-engine that made it"
    if isinstance(error, lmdb.ReadersFullError):
        return f"too many programs are reading the store {path} ({error}): end some of them and run again"
    if isinstance(error, lmdb.LockError) or number in (errno.EAGAIN, errno.EBUSY, errno.ENOLCK):
        return (
            f"the store {path} cannot be locked ({error}): end the other programs that use it, "
            "or copy it to a local disk, and run again"
        )
    if number in _SYSTEM_ERRORS:
        return f"the store {path} {_SYSTEM_ERRORS[number]}"
    return f"the store {path} cannot be used ({error}): fix that and run again"


def _is_full(path: Path) -> bool:
    # LMDB reports an incomplete write as an input/output error. The first write to a full disk is one.
    try:
        return shutil.disk_usage(path).free < _FULL_DISK_BYTES
    except OSError:
        return False


def begin_reading(environment: lmdb.Environment) -> lmdb.Transaction:
    """A read transaction, which sees one state of the store until it ends."""
    try:
        return environment.begin(buffers=True)
    except lmdb.MapResizedError:  # another process has grown the store
        environment.set_mapsize(0)
        return environment.begin(buffers=True)


def write_transaction(environment: lmdb.Environment, action: Callable[[lmdb.Transaction], None], room: int = 0) -> None:
    """Run `action` in one write transaction, and again if the map had to grow.

    `room` is roughly how many bytes it adds.
    """
    while True:
        try:
            with environment.begin(write=True) as transaction:
                action(transaction)
            return
        except lmdb.MapFullError:
            environment.set_mapsize(2 * environment.info()["map_size"] + 2 * room)
        except lmdb.MapResizedError:
            environment.set_mapsize(0)


def fill_last_pages(path: Path, environment: lmdb.Environment) -> None:
    """Extend the data file in `path` to the length of its pages."""
    # LMDB does not write pages that it has freed again. At the end of the file, that would look like truncation.
    data = path / "data.mdb"
    if data.stat().st_size < bytes_needed(environment):
        with environment.begin(write=True):
            if data.stat().st_size < (needed := bytes_needed(environment)):
                os.truncate(data, needed)


@contextmanager
def locked_for_compaction(environment: lmdb.Environment, rewrite: Callable[[lmdb.Transaction], None]) -> Iterator[None]:
    """Hold the write lock after two transactions that change nothing, the last of which has an odd number.

    A data file has two roots. The last transaction's number decides which one counts: it is odd or even. That number
    is in the lock file, where other processes keep it over a compaction, but a compacted file has only the odd root.
    After the two transactions both roots of the old file hold the same, so a process that still reads it loses
    nothing. `rewrite` must write something that is there already.
    """
    last, in_a_row = 0, 0
    while True:
        if in_a_row >= 2 and last % 2:
            try:
                transaction = environment.begin(write=True)
            except lmdb.MapResizedError:  # another process has grown the store
                environment.set_mapsize(0)
                transaction = environment.begin(write=True)
            with transaction:
                if transaction.id() == last + 1:
                    yield
                    return
        numbers: list[int] = []

        def noted(transaction: lmdb.Transaction, numbers: list[int] = numbers) -> None:
            numbers.append(transaction.id())
            rewrite(transaction)

        write_transaction(environment, noted)
        in_a_row = in_a_row + 1 if numbers[-1] == last + 1 else 1
        last = numbers[-1]


def compact_environment(path: Path, environment: lmdb.Environment) -> None:
    """Replace the data file in `path` by a copy without freed pages; call it under `locked_for_compaction`."""
    fresh = path / "compact.tmp"
    shutil.rmtree(fresh, ignore_errors=True)  # left by a run that was killed
    try:
        # Also here, to detect a full disk before the copy that fills it is removed.
        with clear_errors(path):
            fresh.mkdir()
            environment.copy(str(fresh), compact=True)
            copy = fresh / "data.mdb"
            sync_file(copy)
            copy.replace(path / "data.mdb")
            sync_names(path)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
