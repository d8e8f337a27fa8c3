"""An earlier result that a job builds on: the images it covered, and its pairs with those that still exist.

A gallery's blocks never change, so a result covers the rows of the blocks that it names, except deleted ones. An image
that `index` encoded again is scored again, even if nothing of it changed.

Every new photo changes how rare written words are. So captions of which a word is written anywhere, now or in the
earlier result, are scored again with all images.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.errors import InputError
from shan_engine.base.files import sha256
from shan_engine.base.ids import spelt_out
from shan_engine.base.optional import import_pyarrow
from shan_engine.gallery.blocks import Block
from shan_engine.gallery.images import Images
from shan_engine.jobs.compute import View
from shan_engine.jobs.identity import JobIdentity
from shan_engine.jobs.journal import Journal
from shan_engine.jobs.kept_pairs import pairs_dtype, ranked
from shan_engine.jobs.plan import Portion
from shan_engine.parts.written import Written, WrittenWords
from shan_engine.scoring.scorer import Scorer
from shan_engine.writers.hits_parquet import METADATA

_FIX = "score once without --since, and keep that result"


@dataclass(frozen=True)
class LastResult:
    """An earlier table of pairs, its digest, and the present images: `old` ones it covers, `new` ones it does not."""

    path: Path
    digest: str
    metadata: dict[str, Any]
    images: Images
    old: Images
    new: Images
    old_galleries: dict[tuple[int, str], int]
    """For each present block that the table covers, the number of its gallery in the table."""

    @classmethod
    def read(cls, path: Path, images: Images) -> LastResult:
        """Read a table for the present `images`. Raises InputError if it is missing or was not written by a job."""
        arrow = import_pyarrow("reading .parquet")
        try:
            held = arrow.parquet.read_schema(path).metadata or {}
            metadata = json.loads(held[METADATA])
            covered = {
                (name, checksum): (number, np.array(deleted, np.int64))
                for number, gallery in enumerate(metadata["galleries"])
                for name, checksum, deleted in gallery["blocks"]
            }
        except (OSError, arrow.ArrowException, ValueError, LookupError, TypeError, RecursionError) as error:
            raise InputError(f"{path} is not a result of `score` that --since can use: {_FIX}") from error
        then = {  # each is used once, because a gallery and its copy have blocks of the same name
            (number, entry.name): covered.pop((entry.name, entry.files.get("rows.npy", "")), None)
            for number, gallery in enumerate(images.galleries)
            for entry in gallery.manifest.blocks
        }

        def old(number: int, block: Block) -> NDArray[np.int64]:
            held = then[number, block.name]
            return np.setdiff1d(block.rows, held[1]) if held else np.empty(0, np.int64)

        def new(number: int, block: Block) -> NDArray[np.int64]:
            return np.setdiff1d(block.rows, old(number, block))

        galleries = {place: held[0] for place, held in then.items() if held}
        return cls(path, sha256(path), metadata, images, images.with_only(old), images.with_only(new), galleries)

    def check(self, identity: JobIdentity) -> None:
        """Raise InputError, naming the difference, if this is not an earlier result of the same job."""
        wanted = json.loads(json.dumps(identity.metadata(self.images, [""] * len(self.images.galleries))))
        for name in ("version", "captions", "bundle", "direction", "top_k", "threshold"):
            if self.metadata.get(name) != wanted[name]:
                difference = f"{name.replace('_', '-')} {self.metadata.get(name)}, not {wanted[name]}"
                raise InputError(f"{self.path} was made with other options ({difference}): {_FIX}")

    def views(self, lost: tuple[int, ...]) -> tuple[tuple[View, ...], tuple[Portion, ...]]:
        """What to score: all captions with the new images, and the `lost` captions with the old images, too."""
        views = (View(self.new, self.images.places_of(self.new)), View(self.old, self.images.places_of(self.old)))
        portions = (Portion(0, len(self.new)), *([Portion(1, len(self.old), lost)] if lost else []))
        return views, portions

    def take_over(self, journal: Journal, images: Images, identity: JobIdentity, scorer: Scorer) -> tuple[int, ...]:
        """Copy the pairs that are still valid into a new journal. Returns the captions to score again, by number.

        Those captions had a full top-k and lost an image of it, so their best images are no longer known; or what is
        written in photos speaks for them.
        """
        by_image, steps = identity.direction == "image-to-text", len(scorer.score_parts)
        with closing(sqlite3.connect("")) as places:  # a temporary database, on disk if it is large
            self._number_images(places)
            lost = np.zeros(journal.query_count(), np.bool_)
            if not by_image and identity.top_k is not None:
                count, gone = np.zeros((2, len(lost)), np.int64)
                for queries, images_at, _ in self._batches(journal, places, steps):
                    np.add.at(count, queries, 1)
                    np.add.at(gone, queries, images_at < 0)
                lost |= (gone > 0) & (count == identity.top_k)
            if scorer.written_words:
                lost |= self._spoken_for(journal, places, scorer, scorer.written_words)
                if by_image and identity.top_k is not None and lost.any():
                    # A caption may leave an image's best, and what comes next there is in no result.
                    lost[:] = True
            for number, (queries, images_at, scores) in enumerate(self._batches(journal, places, steps), 1):
                kept = (images_at >= 0) & ~lost[queries]
                pairs = np.empty(int(kept.sum()), pairs_dtype(steps))
                rows, columns = (images_at, queries) if by_image else (queries, images_at)
                pairs["row"], pairs["column"] = rows[kept], columns[kept]
                pairs["score"], pairs["steps"] = scores[kept, 0], scores[kept, 1:]
                pairs = ranked(pairs, None)
                if len(pairs):
                    data = pairs.tobytes()
                    journal.add_block(-number, int(pairs["row"][0]), int(pairs["row"][-1]), data, keep=True)
        return tuple(np.flatnonzero(lost).tolist())

    def _spoken_for(
        self, journal: Journal, places: sqlite3.Connection, scorer: Scorer, words: WrittenWords
    ) -> NDArray[np.bool_]:
        """For which captions, Q, words in photos speak: in the present images, or in a pair of the earlier result."""
        texts = journal.queries(range(journal.query_count()))
        found = np.fromiter((words.finds(text) for _, text in texts), np.bool_, len(texts))
        column = 1 + scorer.score_parts.index(Written.name)
        for queries, _, scores in self._batches(journal, places, len(scorer.score_parts)):
            found[queries[scores[:, column] != 0]] = True
        return found

    def _number_images(self, places: sqlite3.Connection) -> None:
        """Fill a table of the old images: gallery number and id in the result, place among all present images."""
        places.execute("create table images (gallery, id, place, primary key (gallery, id)) without rowid")
        numbers = iter(self.images.places_of(self.old).tolist())
        for number, block in self.old.blocks:
            gallery = self.old_galleries[number, block.name]
            rows = ((gallery, spelt_out(id), next(numbers)) for id, _ in block.checksums())
            places.executemany("insert into images values (?, ?, ?)", rows)

    def _batches(
        self, journal: Journal, places: sqlite3.Connection, steps: int
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]]:
        """The pairs in batches of N: query numbers, image places (-1: deleted), scores and step scores N x (1 + S)."""
        arrow = import_pyarrow("reading .parquet")
        names = [gallery["name"] for gallery in self.metadata["galleries"]]
        numbers = {spelt_out(name): number for number, name in enumerate(names)}
        try:
            table = arrow.parquet.ParquetFile(self.path)
            columns = table.schema_arrow.names
            values = columns[columns.index("score") :]
            if len(values) != 1 + steps:
                raise InputError(f"{self.path} has other parts of scores ({', '.join(values[1:])}): {_FIX}")
            for batch in table.iter_batches(batch_size=2**16):
                held = batch.to_pydict()
                found = journal.query_numbers(dict.fromkeys(held["query_id"]))
                galleries = [numbers[name] for name in held["gallery"]] if "gallery" in held else [0] * len(batch)
                keys = list(zip(galleries, held["image_id"], strict=True))
                images = {key: _place(places, key) for key in set(keys)}
                yield (
                    np.array([found[id] for id in held["query_id"]], np.int64),
                    np.array([images[key] for key in keys], np.int64),
                    np.stack([batch[name].to_numpy() for name in values], axis=1),
                )
        except (OSError, arrow.ArrowException, ValueError, LookupError) as error:
            raise InputError(f"{self.path} is not a result of `score` that --since can use: {_FIX}") from error


def _place(places: sqlite3.Connection, key: tuple[int, str]) -> int:
    row = places.execute("select place from images where gallery = ? and id = ?", key).fetchone()
    return -1 if row is None else int(row[0])
