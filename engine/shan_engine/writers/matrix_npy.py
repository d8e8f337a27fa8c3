"""Write a full score matrix (float32) to one `.npy` file, in place and block by block, and its ids to text files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.files import npy_header, replacing


def rows_path(matrix: Path) -> Path:
    """The file with the ids of a matrix's rows, one a line: `scores.rows.txt` for `scores.npy`."""
    return matrix.with_suffix(".rows.txt")


def columns_path(matrix: Path) -> Path:
    """The file with the ids of a matrix's columns, one a line: `scores.columns.txt` for `scores.npy`."""
    return matrix.with_suffix(".columns.txt")


class MatrixFile:
    """A matrix R x C on disk; use `with` to close it. A new file reserves its full size at once.

    It does not use a memory map, which would end the process on a full disk (SIGBUS). A plain write raises OSError.
    """

    def __init__(self, path: Path, shape: tuple[int, int]) -> None:
        self._columns = shape[1]
        header = npy_header(shape, "<f4")
        self._begins, size = len(header), len(header) + 4 * shape[0] * shape[1]
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if os.fstat(self._file).st_size != size or os.pread(self._file, len(header), 0) != header:
                os.truncate(self._file, 0)
                if hasattr(os, "posix_fallocate"):  # fails now if the disk is too small
                    os.posix_fallocate(self._file, 0, size)
                else:
                    os.truncate(self._file, size)
                self._write(0, header)
        except BaseException:
            os.close(self._file)
            path.unlink()
            raise

    def __enter__(self) -> MatrixFile:
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._file)

    def write(self, row: int, column: int, values: NDArray[np.float32]) -> None:
        """Write a rectangle of numbers at a row and column, and sync it to disk."""
        whole = values.shape[1] == self._columns
        for number, part in enumerate([values] if whole else values):
            self._write(self._place(row + number, column), np.ascontiguousarray(part).tobytes())
        os.fsync(self._file)

    def read(self, row: int, column: int, shape: tuple[int, int]) -> NDArray[np.float32]:
        """Read a rectangle of numbers at a row and column."""
        rows = [os.pread(self._file, 4 * shape[1], self._place(row + number, column)) for number in range(shape[0])]
        return np.frombuffer(b"".join(rows), np.float32).reshape(shape)

    def _place(self, row: int, column: int) -> int:
        return self._begins + 4 * (row * self._columns + column)

    def _write(self, place: int, data: bytes) -> None:
        left = memoryview(data)
        while left:
            count = os.pwrite(self._file, left, place)
            left, place = left[count:], place + count


def write_ids(path: Path, ids: Iterable[Sequence[str]]) -> None:
    """Write ids, one a line, with tabs between their parts. Raises InputError if the disk is full."""
    # A file name may contain a line break, or bytes that are not UTF-8.
    with (
        replacing(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file,
    ):
        file.writelines("\t".join(part.replace("\n", "\\n") for part in parts) + "\n" for parts in ids)
