"""The best images of each caption as a Parquet table: query, rank, image_id, score."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, install_command
from ..files import replacing


class TopKWriter:
    """An open table; make one with `top_k_writer`."""

    def __init__(self, arrow: Any, schema: Any, writer: Any) -> None:
        self._arrow, self._schema, self._writer = arrow, schema, writer

    def append(
        self,
        captions: Sequence[str],
        image_ids: Sequence[str],
        scores: NDArray[np.float32],
        places: NDArray[np.int64],
    ) -> None:
        """Add the rows of C captions: `scores` and `places` (into `image_ids`) are each C x k, best first.

        A file name that is no valid UTF-8 is written with its odd bytes spelt out, as in `caf\\udce9.jpg`.
        """
        count, k = scores.shape
        columns = {
            "query": [text for text in map(_utf8, captions) for _ in range(k)],
            "rank": np.tile(np.arange(1, k + 1, dtype=np.int32), count),
            "image_id": [_utf8(image_ids[place]) for place in places.ravel().tolist()],
            "score": np.ascontiguousarray(scores, np.float32).ravel(),
        }
        self._writer.write_table(self._arrow.table(columns, schema=self._schema))


def _utf8(text: str) -> str:
    # Lone surrogates cannot be written; spelt out rather than replaced, different ids stay different.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def import_pyarrow() -> Any:
    """The `pyarrow` module with `pyarrow.parquet` loaded. Raises InputError where it is missing."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise InputError(
            f"writing .parquet needs pyarrow, which is not installed: {install_command('parquet')}"
        ) from error
    return pyarrow


@contextmanager
def top_k_writer(path: Path) -> Iterator[TopKWriter]:
    """A writer of the table; `path` changes only if the block ends well.

    Raises InputError where pyarrow is missing, the disk is full or the folder cannot be written.
    """
    arrow = import_pyarrow()
    schema = arrow.schema(
        [
            ("query", arrow.string()),
            ("rank", arrow.int32()),
            ("image_id", arrow.string()),
            ("score", arrow.float32()),
        ]
    )
    with replacing(path) as temporary, arrow.parquet.ParquetWriter(str(temporary), schema) as table:
        yield TopKWriter(arrow, schema, table)
