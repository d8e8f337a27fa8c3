"""Arrays as they lie on disk, as floats or as int8 with a scale for each row, and the floats they stand for."""

from __future__ import annotations

import math
import mmap
import os
import warnings
import zipfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.errors import first_line
from shan_engine.base.files import npy_header

SCALES = ".scales"
_PICKLED = "it holds Python objects, which may run any program"


Arrays = dict[str, NDArray[Any]]


def unpacked(files: Mapping[str, NDArray[Any]]) -> Arrays:
    """Arrays by name, float32 or bool, of some images' rows of all files."""
    return {name: _floats(rows, files.get(name + SCALES)) for name, rows in files.items() if not name.endswith(SCALES)}


def _floats(rows: NDArray[Any], scales: NDArray[np.float32] | None) -> NDArray[Any]:
    if scales is not None:
        return rows * scales[..., None]
    return rows.astype(np.float32) if rows.dtype == np.float16 else rows


def read_npz(path: Path, *, most_bytes: int, names: Collection[str] = ()) -> Arrays:
    """All arrays of an `.npz` file, or those of `names` that it has.

    Raises OSError, and ValueError for whatever else is wrong inside. Arrays of together more than `most_bytes` are
    refused before they are unpacked: a small archive may hold gigabytes.
    """
    try:
        with path.open("rb") as file:  # NumPy does not close a damaged archive
            with zipfile.ZipFile(file) as archive:
                sizes = {member.filename.removesuffix(".npy"): member.file_size for member in archive.infolist()}
                wanted = [name for name in sizes if not names or name in names]
                if sum(sizes[name] for name in wanted) > most_bytes:
                    raise ValueError(f"its arrays are larger than {most_bytes:,} bytes")
            with _silent(), np.load(file, allow_pickle=False) as held:
                arrays = {name: held[name] for name in wanted}
    except OSError:
        raise
    except ValueError as error:
        raise ValueError(_PICKLED if "allow_pickle" in str(error) else first_line(error)) from error
    except Exception as error:  # BadZipFile, zlib.error, EOFError, SyntaxError, OverflowError and others
        raise ValueError(first_line(error)) from error
    if not all(isinstance(array, np.ndarray) for array in arrays.values()):
        raise ValueError("it holds files that are no arrays")
    return arrays


@contextmanager
def _silent() -> Iterator[None]:
    """Without NumPy's warning that Python 2 wrote a header, as published features have it.

    NumPy multiplies a header's sizes, and only warns of too large ones: those raise FloatingPointError.
    """
    with warnings.catch_warnings(), np.errstate(over="raise", invalid="raise"):
        warnings.simplefilter("ignore", UserWarning)
        yield


def read_npy(path: Path, *, mapped: bool = False) -> NDArray[Any]:
    """The array of an `.npy` file, perhaps mapped.

    Raises OSError, TypeError for an archive of arrays, and ValueError for whatever else is wrong inside.
    """
    with path.open("rb") as file:  # NumPy does not close a damaged archive
        if file.read(2) == b"PK":
            raise TypeError("it is an archive of arrays")
    try:
        with _silent():
            array: NDArray[Any] = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except OSError:
        raise
    except ValueError as error:
        raise ValueError(_PICKLED if "allow_pickle" in str(error) else first_line(error)) from error
    except Exception as error:  # a damaged header: SyntaxError, TokenError, OverflowError and others
        raise ValueError(first_line(error)) from error
    return array


def map_npy(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> tuple[mmap.mmap, NDArray[Any]] | None:
    """The whole file and its array, mapped, if the `.npy` file is exactly as this package writes one; else None.

    Several times as fast as `read_npy`, which says what is wrong with a file.
    """
    header = _header(shape, dtype)
    size = len(header) + dtype.itemsize * math.prod(shape)
    try:
        with path.open("rb", buffering=0) as file:
            if not size > len(header) or os.fstat(file.fileno()).st_size != size or file.read(len(header)) != header:
                return None
            whole = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError:
        return None
    array = np.frombuffer(whole, dtype, math.prod(shape), len(header)).reshape(shape)
    return whole, array


_header = lru_cache(maxsize=256)(npy_header)  # a search asks for the same ones, block after block
