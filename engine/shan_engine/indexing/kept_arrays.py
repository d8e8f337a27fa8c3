"""Arrays that take long to compute, kept in a file for the next run."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from shan_engine.base.errors import InputError
from shan_engine.base.files import replacing
from shan_engine.base.packing import Arrays

_KEY = "made_from"


def kept_arrays(file: Path, made_from: str, make: Callable[[], Arrays]) -> Arrays:
    """The arrays in an `.npz` file if they were made from the same, else those of `make`, which are then kept.

    `made_from` stands for all that they depend on. A file that is damaged or cannot be written is passed over, and its
    folder is not made.
    """
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as held:
            if str(held[_KEY]) == made_from:
                return {name: held[name] for name in held.files if name != _KEY}  # zip's checksums tell damage
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass
    arrays = make()
    if not file.parent.is_dir():
        return arrays
    saved: dict[str, Any] = {_KEY: np.array(made_from), **arrays}
    try:
        with replacing(file) as temporary, temporary.open("wb") as output:
            np.savez(output, **saved)
    except InputError:  # the disk is full or read-only: nothing but time is lost
        pass
    return arrays
