"""A full score matrix as one `.npy` file, captions x images, float32, and beside it the ids of its columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..files import NpyWriter, replacing


def ids_path(matrix: Path) -> Path:
    """Where the ids of a matrix's columns are, one a line: `scores.ids.txt` for `scores.npy`."""
    return matrix.with_suffix(".ids.txt")


@contextmanager
def score_matrix_writer(path: Path, captions: int, image_ids: Sequence[str]) -> Iterator[NpyWriter]:
    """A writer whose `append` takes rows R x images; both files change only if the block ends well.

    Raises InputError where the disk is full or the folder cannot be written.
    """
    with (
        replacing(path) as matrix,
        replacing(ids_path(path)) as ids,
        NpyWriter(matrix, (captions, len(image_ids)), "float32") as writer,
    ):
        # A file name may hold a line break, or bytes that are no UTF-8.
        with ids.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            file.writelines(id.replace("\n", "\\n") + "\n" for id in image_ids)
        yield writer
