"""What is written in a gallery's photos: an SQLite file beside its blocks, which the manifest names.

    photos(doc, lines, checksum)         the lines of a photo as JSON: text, confidence, box
    words(id, word, photos, looks, ...)  the vocabulary, and in how many photos of the collection each word is
    places(id, places, checksum)         where a word is: doc * 65,536 + place in the photo's text, ascending, u64
    pairs(id, places, checksum)          where two common words follow each other: the first's id << 32 | the second's
    blocks(name, base), facts            a photo's doc is its block's base and its row there

A phrase of common words is looked up by its pairs: the places of each word alone would take many times as long to read.
SQLite's FTS5 would hand over one row after another, of common words for seconds; here a word's places are one array.
The file never changes: a change of the gallery writes another one. Its name is its checksum, which is compared when it
is opened, as a changed byte of the vocabulary would hide photos. Rows have checksums, too.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from urllib.parse import quote

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from shan_engine.base.errors import GalleryError
from shan_engine.base.text_lines import TextLine
from shan_engine.gallery.manifest import GalleryManifest, unreadable
from shan_engine.gallery.storage import file_checksum
from shan_engine.text.written import FEWEST_LETTERS, looks

PLACE_BITS = np.uint64(16)
MOST_WORDS = 1 << 16  # of a photo
NAME = "written-{}.sqlite"
EXACT, MISREAD, LONGER, MISSPELT = 1.0, 0.9, 0.7, 0.6  # how much a form of a word counts
_FEWEST_BEGUN, _FEWEST_MISSPELT = 4, 5  # letters of a word that others may begin with or be close to
_MOST_FORMS = 256
_LAST = "\U0010ffff"

Form = tuple[str, int, float]
"""A word of the vocabulary, in how many photos of the collection it is, and how much it counts for a word asked."""


def row_checksum(data: bytes) -> int:
    """XXH3 of a row's bytes as SQLite takes it."""
    return xxhash.xxh3_64_intdigest(data) - (1 << 63)


class WrittenFile:
    """The index of one gallery, opened for reading. Several threads may use it."""

    def __init__(self, gallery: Path, name: str) -> None:
        """Raises GalleryError where the file is missing or damaged."""
        self.path, self._gallery = gallery / NAME.format(name), gallery
        self._turn = Lock()
        if not self.path.is_file():
            raise unreadable(gallery, self.fault, lambda manifest: manifest.written == name)
        if file_checksum(self.path) != name:
            raise self.fault
        import sqlite3  # here, as most galleries have no written words

        self._faults = (sqlite3.Error, LookupError, ValueError, TypeError, UnicodeError)
        with self._guarded():
            # Immutable: SQLite then neither locks the file nor looks for a journal beside it.
            place = f"file:{quote(str(self.path))}?mode=ro&immutable=1"
            self._connection = sqlite3.connect(place, uri=True, check_same_thread=False)
            self.close = weakref.finalize(self, self._connection.close)
            facts = dict(self._connection.execute("SELECT name, value FROM facts"))
            self.stamp, self.counted, self.photos = facts["stamp"], facts["counted"], int(facts["photos"])
            blocks = self._connection.execute("SELECT name, base FROM blocks")
            self.bases = {str(name): int(base) for name, base in blocks}
            self.docs = int(facts["docs"])
            # An index of an earlier version has no pairs.
            self._common = int(facts["common"]) if "common" in facts else None

    @cached_property
    def fault(self) -> GalleryError:
        """What is raised where the file is damaged."""
        return GalleryError(
            f"the index of written words {self.path} is missing or damaged: write it again with "
            f"`shan-engine index STORE --output {self._gallery}`"
        )

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            with self._turn:
                yield
        except self._faults as error:
            raise self.fault from error

    def lines(self, block: str, rows: Sequence[int]) -> list[tuple[TextLine, ...]]:
        """What is written in the photos in some rows of a block, none for those of a block that it does not know."""
        base = self.bases.get(block)
        if base is None:
            return [()] * len(rows)
        with self._guarded():
            return [self._lines(base + row) for row in rows]

    def _lines(self, doc: int) -> tuple[TextLine, ...]:
        row = self._connection.execute("SELECT lines, checksum FROM photos WHERE doc = ?", (doc,)).fetchone()
        if row is None:
            return ()
        if row_checksum(row[0]) != row[1]:
            raise ValueError(doc)
        lines = msgspec.json.decode(row[0], type=list[tuple[str, float, float, float, float, float]])
        return tuple(TextLine(text, sure, (a, b, c, d)) for text, sure, a, b, c, d in lines)

    def counts(self) -> dict[str, int]:
        """In how many photos of the collection each word is."""
        with self._guarded():
            return {
                str(word): int(photos) for word, photos in self._connection.execute("SELECT word, photos FROM words")
            }

    def count(self, word: str) -> int:
        """In how many photos of the collection a word is."""
        with self._guarded():
            row = self._connection.execute("SELECT photos FROM words WHERE word = ?", (word,)).fetchone()
            return int(row[0]) if row else 0

    def forms(self, word: str) -> list[Form]:
        """Words of the vocabulary that may be this one: itself, misread ones, longer ones, misspelt ones."""
        with self._guarded():
            found: dict[str, tuple[int, float]] = {}
            self._add(found, "word = ?", (word,), EXACT, word)
            if len(word) >= FEWEST_LETTERS:
                self._add(found, "looks = ?", (looks(word),), MISREAD, word)
            if word.isdigit():  # another number is another thing
                return _as_forms(found)
            if len(word) >= _FEWEST_BEGUN:
                self._add(found, "word >= ? AND word < ?", (word, word + _LAST), LONGER, word)
            if len(word) >= _FEWEST_MISSPELT:
                self._add_misspelt(found, word)
        return _as_forms(found)

    def begun(self, word: str) -> list[Form]:
        """Words of the vocabulary that begin so, each as if it were the word itself."""
        found: dict[str, tuple[int, float]] = {}
        with self._guarded():
            self._add(found, "word >= ? AND word < ?", (word, word + _LAST), EXACT, word)
        return _as_forms(found)

    def _add_misspelt(self, found: dict[str, tuple[int, float]], word: str) -> None:
        """Words at an edit distance of 1: either their first or their last half is the same."""
        from rapidfuzz.distance import Levenshtein  # here, as most queries find nothing written

        own = looks(word)
        sizes, half = range(len(own) - 1, len(own) + 2), len(own) // 2
        for column, part in (("looks", own[:half]), ("mirror", own[half:][::-1])):
            where = f"size IN (?, ?, ?) AND {column} >= ? AND {column} < ?"
            for other, photos, seen in self._rows(where, (*sizes, part, part + _LAST)):
                if other not in found and Levenshtein.distance(own, seen, score_cutoff=1) <= 1 and _alike(word, other):
                    found[other] = photos, MISSPELT

    def _add(
        self, found: dict[str, tuple[int, float]], where: str, values: tuple[str, ...], counts: float, word: str
    ) -> None:
        rows = self._rows(f"{where} ORDER BY photos DESC LIMIT {_MOST_FORMS}", values)
        for other, photos, _ in rows:
            if _alike(word, other):
                found.setdefault(other, (photos, counts))

    def _rows(self, where: str, values: tuple[object, ...]) -> list[tuple[str, int, str]]:
        found = self._connection.execute(f"SELECT word, photos, looks FROM words WHERE {where}", values)
        return [(str(word), int(photos), str(seen)) for word, photos, seen in found]

    def places(self, word: str) -> NDArray[np.uint64]:
        """Where a word is: doc and place in its text in one number, ascending."""
        with self._guarded():
            return self._places("places", self._known(word)[0])

    def in_order(self, words: Sequence[str]) -> NDArray[np.uint64]:
        """Where words follow each other: the places of the first of them, ascending."""
        with self._guarded():
            runs = sorted(self._runs(words))
            _, first, table, id = runs[0]
            places = self._places(table, id) - np.uint64(first)
            for _, at, table, id in runs[1:]:
                if not len(places):
                    break
                places = _both(places, self._places(table, id), np.uint64(at))
        # Places of one photo never run into those of the next: a photo has fewer words than there are places.
        last = places + np.uint64(len(words) - 1)
        own: NDArray[np.uint64] = places[last >> PLACE_BITS == places >> PLACE_BITS]
        return own

    def _runs(self, words: Sequence[str]) -> list[tuple[int, int, str, int]]:
        """What to read for words in order, of single words or common pairs: size in bytes, first word, table and id."""
        known = [self._known(word) for word in words]
        common = [self._common is not None and size >= self._common * 8 for _, size in known]
        runs = []
        for at, (id, size) in enumerate(known):
            if common[at] and at + 1 < len(words) and common[at + 1]:
                pair = id << 32 | known[at + 1][0]
                runs.append((self._size("pairs", pair), at, "pairs", pair))
            elif not (common[at] and at and common[at - 1]):
                runs.append((size, at, "places", id))
        return runs

    def _known(self, word: str) -> tuple[int, int]:
        """A word's id, and the size of its places in bytes; -1 and 0 where it is not written."""
        row = self._connection.execute("SELECT id FROM words WHERE word = ?", (word,)).fetchone()
        return (row[0], self._size("places", row[0])) if row else (-1, 0)

    def _size(self, table: str, id: int) -> int:
        # SQLite knows it without reading the places.
        row = self._connection.execute(f"SELECT length(places) FROM {table} WHERE id = ?", (id,)).fetchone()
        return row[0] if row else 0

    def _places(self, table: str, id: int) -> NDArray[np.uint64]:
        row = self._connection.execute(f"SELECT places, checksum FROM {table} WHERE id = ?", (id,)).fetchone()
        if row is None:
            return np.zeros(0, np.uint64)
        if row_checksum(row[0]) != row[1]:
            raise ValueError(id)
        found = np.frombuffer(row[0], "<u8")
        if len(found) and int(found.max() >> PLACE_BITS) >= self.docs:
            raise ValueError(id)
        return found


def _both(places: NDArray[np.uint64], others: NDArray[np.uint64], further: np.uint64) -> NDArray[np.uint64]:
    """Those of some places that, so much `further`, are among others; both ascend."""
    wanted = places + further
    at = np.minimum(np.searchsorted(others, wanted), len(others) - 1) if len(others) else np.zeros(0, np.int64)
    return places[others[at] == wanted] if len(others) else places[:0]


@dataclass(frozen=True)
class Counting:
    """A gallery whose photos count for how rare words are: its folder, the name of its index, and how many it has."""

    gallery: Path
    written: str
    photos: int

    @classmethod
    def of(cls, gallery: Path) -> Counting:
        """As the gallery's manifest says. Raises GalleryError where it is missing or damaged."""
        manifest = GalleryManifest.load(gallery)
        return cls(gallery, manifest.written, sum(block.live for block in manifest.blocks))

    def open(self) -> WrittenFile:
        """The index; the present one, where `index` has replaced the named one meanwhile. Raises GalleryError."""
        try:
            return WrittenFile(self.gallery, self.written)
        except GalleryError:
            present = GalleryManifest.load(self.gallery).written
            if present in ("", self.written):
                raise
            return WrittenFile(self.gallery, present)


def docs_of(places: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The docs of some places, each once, ascending."""
    docs = (places >> PLACE_BITS).astype(np.int64)
    new = np.ones(len(docs), np.bool_)
    np.not_equal(docs[1:], docs[:-1], out=new[1:])
    return docs[new]


def _as_forms(found: dict[str, tuple[int, float]]) -> list[Form]:
    return [(word, photos, counts) for word, (photos, counts) in found.items()]


def _alike(word: str, other: str) -> bool:
    """Whether one may be taken for the other: a number for no word, a word for no number."""
    digits = [sum(map(str.isdigit, one)) for one in (word, other)]
    return not (digits[0] == 0 and digits[1] == len(other)) and not (digits[1] == 0 and digits[0] == len(word))
