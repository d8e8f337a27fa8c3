"""Write ranked pairs as a Parquet table. The same rows give the same bytes, however they are divided into batches."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shan_engine.base.files import replacing
from shan_engine.base.optional import import_pyarrow

ROW_GROUP = 2**16
METADATA = b"shan-engine"


class HitsWriter:
    """An open table. Open one with `hits_writer`."""

    def __init__(self, arrow: Any, schema: Any, writer: Any) -> None:
        self._arrow, self._schema, self._writer = arrow, schema, writer
        self._held = arrow.table({name: [] for name in schema.names}, schema=schema)
        self.rows = 0

    def append(self, columns: Mapping[str, Any]) -> None:
        """Add rows: arrays or lists of one length, by column name. Names that are not in the table are ignored."""
        added = self._arrow.table({name: columns[name] for name in self._schema.names}, schema=self._schema)
        self.rows += added.num_rows
        self._held = self._arrow.concat_tables([self._held, added])
        while self._held.num_rows >= ROW_GROUP:
            self._write(ROW_GROUP)

    def finish(self) -> None:
        """Write the rows still held in memory."""
        if self._held.num_rows:
            self._write(self._held.num_rows)

    def _write(self, rows: int) -> None:
        # As one chunk, and always of the same size, because chunks and their sizes affect the bytes of the file.
        self._writer.write_table(self._held.slice(0, rows).combine_chunks(), row_group_size=rows)
        self._held = self._held.slice(rows)


@contextmanager
def hits_writer(
    path: Path, steps: Sequence[str], galleries: bool, metadata: Mapping[str, Any], *, with_text: bool = False
) -> Iterator[HitsWriter]:
    """Open a table of query_id, query, rank, image_id, score and one column for each of `steps`.

    With `galleries`, a column `gallery` follows image_id; `with_text`, a column `text` comes last. `metadata` is stored
    in the file as JSON. `path` changes only if the `with` block ends without an error. Raises InputError if pyarrow is
    missing, the disk is full or the folder cannot be written.
    """
    arrow = import_pyarrow()
    fields = [("query_id", arrow.string()), ("query", arrow.string()), ("rank", arrow.int32())]
    fields += [("image_id", arrow.string()), *([("gallery", arrow.string())] if galleries else [])]
    fields += [(name, arrow.float32()) for name in ("score", *steps)]
    fields += [("text", arrow.string())] if with_text else []
    schema = arrow.schema(fields, metadata={METADATA: json.dumps(metadata, sort_keys=True).encode()})
    with replacing(path) as temporary, arrow.parquet.ParquetWriter(str(temporary), schema) as table:
        writer = HitsWriter(arrow, schema, table)
        yield writer
        writer.finish()
