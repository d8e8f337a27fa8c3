"""A full score matrix as one `.npy` file, captions x images, float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..files import NpyWriter, replacing


@contextmanager
def score_matrix_writer(path: Path, captions: int, images: int) -> Iterator[NpyWriter]:
    """A writer whose `append` takes rows R x images; `path` changes only if the block ends well.

    Raises InputError where the disk is full or the folder cannot be written.
    """
    with replacing(path) as temporary, NpyWriter(temporary, (captions, images), "float32") as writer:
        yield writer
