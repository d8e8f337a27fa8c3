"""How a gallery whose manifest is lost stores its arrays."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from shan_engine.base.choices import GALLERY_DTYPES
from shan_engine.base.packing import read_npy


def storage_of(files: Iterable[Path]) -> str | None:
    """The type of the largest of these `.npy` files that can be read and has one of galleries; None if none has."""
    for file in sorted(files, key=lambda file: -file.stat().st_size):
        try:
            held = read_npy(file, mapped=True)
        except (OSError, ValueError, TypeError):
            continue
        if held.dtype.name in GALLERY_DTYPES:
            return held.dtype.name
    return None
