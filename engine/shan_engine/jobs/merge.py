"""The hits of all blocks into one table, in order, within a bound of memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from shan_engine.base.ids import spelt_out
from shan_engine.gallery.images import Images
from shan_engine.jobs.hits import Hits, hits_dtype, ranked, ranks
from shan_engine.jobs.journal import Journal
from shan_engine.writers.hits_parquet import ROW_GROUP, HitsWriter


@dataclass(frozen=True)
class Merge:
    """What a table is made of: `rows` in all, merged `window` at a time, of at most `most_hits` held together.

    A single row may hold more hits than that: they are ranked together.
    """

    journal: Journal
    images: Images
    names: list[str]
    steps: tuple[str, ...]
    by_image: bool
    top_k: int | None
    rows: int
    window: int
    most_hits: int

    def write(self, writer: HitsWriter) -> None:
        """Write all hits, ranked within their rows."""
        for first in range(0, self.rows, self.window):
            for hits in self._ranked(first, min(first + self.window, self.rows)):
                rank = ranks(hits) + 1
                for start in range(0, len(hits), ROW_GROUP):
                    self._append(writer, hits[start : start + ROW_GROUP], rank[start : start + ROW_GROUP])

    def _ranked(self, first: int, stop: int) -> Iterator[Hits]:
        """Hits of the rows from `first` to before `stop`, some rows at a time."""
        counts = np.zeros(stop - first, np.int64)
        for hits in self._slices(first, stop):
            counts += np.bincount(hits["row"] - first, minlength=len(counts))
        begin, held = first, 0
        for row, count in enumerate(counts.tolist(), first):
            if held and held + count > self.most_hits:
                yield self._together(begin, row)
                begin, held = row, 0
            held += count
        if held:
            yield self._together(begin, stop)

    def _together(self, first: int, stop: int) -> Hits:
        return ranked(np.concatenate(list(self._slices(first, stop))), self.top_k)

    def _slices(self, first: int, stop: int) -> Iterator[Hits]:
        """Of every block, the hits of those rows."""
        dtype = hits_dtype(len(self.steps))
        for data in self.journal.hits(first, stop - 1):
            hits = np.frombuffer(data, dtype)
            begin, end = np.searchsorted(hits["row"], (first, stop))
            yield hits[begin:end].copy()  # a view would keep all of the block's hits

    def _append(self, writer: HitsWriter, hits: Hits, rank: np.ndarray) -> None:
        query_numbers, places = (hits["column"], hits["row"]) if self.by_image else (hits["row"], hits["column"])
        numbers, which_query = np.unique(query_numbers, return_inverse=True)
        queries = self.journal.queries(numbers.tolist())
        found, which_image = np.unique(places, return_inverse=True)
        galleries, ids = self.images.name(found)
        image_ids, names = [spelt_out(id) for id in ids], [spelt_out(self.names[number]) for number in galleries]
        columns = {
            "query_id": [queries[number][0] for number in which_query.tolist()],
            "query": [queries[number][1] for number in which_query.tolist()],
            "rank": rank.astype(np.int32),
            "image_id": [image_ids[number] for number in which_image.tolist()],
            "gallery": [names[number] for number in which_image.tolist()],
            "score": np.ascontiguousarray(hits["score"]),
        }
        for step, name in enumerate(self.steps):
            columns[name] = np.ascontiguousarray(hits["steps"][:, step])
        writer.append(columns)
