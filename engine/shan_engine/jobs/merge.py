"""Merge the pairs of all blocks into one sorted table, within a bound of memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from shan_engine.base.ids import spelt_out
from shan_engine.gallery.images import Images
from shan_engine.jobs.journal import Journal, damaged_journal
from shan_engine.jobs.kept_pairs import KeptPairs, pairs_dtype, ranked, ranks
from shan_engine.jobs.written_texts import texts_of
from shan_engine.parts.written import WrittenWords
from shan_engine.writers.hits_parquet import ROW_GROUP, HitsWriter


@dataclass(frozen=True)
class Merge:
    """A table to be written: `rows` rows of the full matrix, merged `window` rows at a time.

    At most `most_pairs` pairs are held at once, except that the pairs of one row are always ranked together. With
    `words` the table tells what is written in the photos.
    """

    journal: Journal
    images: Images
    names: list[str]
    steps: tuple[str, ...]
    by_image: bool
    top_k: int | None
    rows: int
    window: int
    most_pairs: int
    words: WrittenWords | None = None

    def write(self, writer: HitsWriter) -> None:
        """Write all pairs, ranked within their rows."""
        for first in range(0, self.rows, self.window):
            for pairs in self._ranked(first, min(first + self.window, self.rows)):
                rank = ranks(pairs) + 1
                for start in range(0, len(pairs), ROW_GROUP):
                    self._append(writer, pairs[start : start + ROW_GROUP], rank[start : start + ROW_GROUP])

    def _ranked(self, first: int, stop: int) -> Iterator[KeptPairs]:
        """The sorted pairs of rows `first` to before `stop`, a few rows at a time."""
        counts = np.zeros(stop - first, np.int64)
        for pairs in self._slices(first, stop):
            counts += np.bincount(pairs["row"] - first, minlength=len(counts))
        begin, held = first, 0
        for row, count in enumerate(counts.tolist(), first):
            if held and held + count > self.most_pairs:
                yield self._together(begin, row)
                begin, held = row, 0
            held += count
        if held:
            yield self._together(begin, stop)

    def _together(self, first: int, stop: int) -> KeptPairs:
        return ranked(np.concatenate(list(self._slices(first, stop))), self.top_k)

    def _slices(self, first: int, stop: int) -> Iterator[KeptPairs]:
        """From each block, its pairs in rows `first` to before `stop`. Raises InputError for what no block can hold."""
        for data in self.journal.pairs(first, stop - 1):
            pairs = self._checked(data)
            begin, end = np.searchsorted(pairs["row"], (first, stop))
            yield pairs[begin:end].copy()  # a view would keep all pairs of the block in memory

    def _checked(self, data: bytes) -> KeptPairs:
        """The pairs of a block: rows ascend, and rows and columns are those of the matrix."""
        try:
            pairs = np.frombuffer(data, pairs_dtype(len(self.steps)))
        except (ValueError, TypeError) as error:
            raise damaged_journal(self.journal.path, f"a block has no pairs: {error}") from error
        rows, columns = pairs["row"], pairs["column"]
        if len(pairs):
            there = (rows[1:] >= rows[:-1]).all() and rows[0] >= 0 and rows[-1] < self.rows
            if not (there and columns.min() >= 0 and columns.max() < self._columns):
                raise damaged_journal(self.journal.path, "a block has pairs of no caption or photo")
        return pairs

    @cached_property
    def _columns(self) -> int:
        return self.journal.query_count() if self.by_image else len(self.images)

    def _append(self, writer: HitsWriter, pairs: KeptPairs, rank: np.ndarray) -> None:
        query_numbers, places = (pairs["column"], pairs["row"]) if self.by_image else (pairs["row"], pairs["column"])
        numbers, which_query = np.unique(query_numbers, return_inverse=True)
        queries = self.journal.queries(numbers.tolist())
        found, which_image = np.unique(places, return_inverse=True)
        galleries, ids = self.images.name(found)
        image_ids, names = [spelt_out(id) for id in ids], [spelt_out(self.names[number]) for number in galleries]
        columns: dict[str, Any] = {
            "query_id": [queries[number][0] for number in which_query.tolist()],
            "query": [queries[number][1] for number in which_query.tolist()],
            "rank": rank.astype(np.int32),
            "image_id": [image_ids[number] for number in which_image.tolist()],
            "gallery": [names[number] for number in which_image.tolist()],
            "score": np.ascontiguousarray(pairs["score"]),
        }
        if self.words:
            columns["text"] = texts_of(self.words, self.images, columns["query"], places)
        for step, name in enumerate(self.steps):
            columns[name] = np.ascontiguousarray(pairs["steps"][:, step])
        writer.append(columns)
