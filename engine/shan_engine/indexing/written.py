"""Write the index of what is written in a gallery's photos (gallery/written.py says what it holds)."""

from __future__ import annotations

import json
import sqlite3
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from msgspec.structs import replace
from numpy.typing import NDArray

from shan_engine.base.errors import GalleryError
from shan_engine.base.files import replacing, sync_names
from shan_engine.base.text_lines import TextLine
from shan_engine.gallery.manifest import GalleryManifest
from shan_engine.gallery.reader import Gallery
from shan_engine.gallery.storage import file_checksum
from shan_engine.gallery.written import MOST_WORDS, NAME, PLACE_BITS, WrittenFile, docs_of, row_checksum
from shan_engine.store.feature_store import FeatureStore
from shan_engine.text.written import clean_line, looks, words_of

_SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE blocks (name TEXT PRIMARY KEY, base INTEGER) WITHOUT ROWID;
CREATE TABLE photos (doc INTEGER PRIMARY KEY, lines BLOB, checksum INTEGER);
CREATE TABLE words (id INTEGER PRIMARY KEY, word TEXT, photos INTEGER, looks TEXT, mirror TEXT, size INTEGER);
CREATE TABLE places (id INTEGER PRIMARY KEY, places BLOB, checksum INTEGER);
CREATE TABLE pairs (id INTEGER PRIMARY KEY, places BLOB, checksum INTEGER);
"""
_INDICES = """
CREATE UNIQUE INDEX words_word ON words (word, photos, looks);
CREATE INDEX words_looks ON words (looks, word, photos);
CREATE INDEX words_begin ON words (size, looks, word, photos);
CREATE INDEX words_end ON words (size, mirror, word, photos, looks);
"""
FEWEST_COMMON, COMMON_PHOTOS = 4096, 100
"""A word is common from so many places on, or from one for so many photos."""
Lines = Sequence[TextLine]
BlockTexts = tuple[str, int, Mapping[int, Lines]]
"""A block's name, how many rows it has, and what is written in the photos in some of them."""


@dataclass(frozen=True)
class Counted:
    """In how many of a collection's `photos` each word is; `name` tells collections apart."""

    name: str
    photos: int
    words: Mapping[str, int]

    @classmethod
    def of(cls, held: WrittenFile) -> Counted:
        """As an index has it."""
        return cls(held.counted, held.photos, held.counts())


def renew_written(gallery: Path, manifest: GalleryManifest, store: FeatureStore) -> GalleryManifest:
    """Bring a gallery's index to what its store says is written in its photos; the manifest that names it.

    It names none where nothing is written. Raises OSError where a write fails, StoreError for damaged text.
    """
    blocks = list(_of_store(gallery, manifest, store))
    if not any(texts for _, _, texts in blocks):
        return replace(manifest, written="")
    photos = sum(entry.live for entry in manifest.blocks)
    stamp = _stamp(blocks, photos)
    if manifest.written and _is_whole(gallery, manifest.written, stamp):
        return manifest
    return replace(manifest, written=write_written(gallery, blocks, stamp=stamp, photos=photos))


def copy_written(
    galleries: Sequence[Gallery], folder: Path, manifest: GalleryManifest, rows: Mapping[str, Sequence[tuple[str, int]]]
) -> GalleryManifest:
    """Write the index of a gallery that was copied of others: `rows` says, by block, where each row was before.

    Parts of one collection keep its counts, so that their scores agree; else words are counted anew.
    """
    files = [WrittenFile(one.path, one.manifest.written) for one in galleries if one.manifest.written]
    if not files:
        return replace(manifest, written="")
    by_block = {name: file for file in files for name in file.bases}

    def texts(before: Sequence[tuple[str, int]]) -> dict[int, Lines]:
        found = (by_block[name].lines(name, [row])[0] if name in by_block else () for name, row in before)
        return {row: lines for row, lines in enumerate(found) if lines}

    blocks = [(entry.name, entry.images, texts(rows[entry.name])) for entry in manifest.blocks]
    photos = sum(entry.live for entry in manifest.blocks)
    same = len(files) == len(galleries) and len({file.counted for file in files}) == 1
    counted = Counted.of(files[0]) if same else None
    for file in files:
        file.close()
    stamp = _stamp(blocks, photos)
    return replace(manifest, written=write_written(folder, blocks, stamp=stamp, photos=photos, counted=counted))


def remove_others(gallery: Path, manifest: GalleryManifest) -> None:
    """Delete the indices of written words that a manifest does not name."""
    for file in gallery.glob(f"*{NAME.format('*')}"):
        if file.name != NAME.format(manifest.written):
            file.unlink(missing_ok=True)


def _of_store(gallery: Path, manifest: GalleryManifest, store: FeatureStore) -> Iterator[BlockTexts]:
    for block in Gallery(gallery, manifest).blocks:
        rows = dict(zip(block.ids, block.rows.tolist(), strict=True))
        texts = {rows[id]: _cleaned(lines) for id, lines in store.texts(rows)}
        yield block.name, block.entry.images, {row: lines for row, lines in sorted(texts.items()) if lines}


def _cleaned(lines: Lines) -> tuple[TextLine, ...]:
    cleaned = (TextLine(clean_line(line.text), line.confidence, line.box) for line in lines)
    return tuple(line for line in cleaned if line.text)


def _stamp(blocks: Iterable[BlockTexts], photos: int) -> str:
    """XXH3 of all that an index is made of."""
    state = xxhash.xxh3_64(str(photos).encode())
    for name, _, texts in blocks:
        for row, lines in texts.items():
            state.update(f"{name} {row} ".encode() + _packed(lines))
    return state.hexdigest()


def _packed(lines: Lines) -> bytes:
    return json.dumps([(line.text, line.confidence, *line.box) for line in lines]).encode()


def _is_whole(gallery: Path, name: str, stamp: str) -> bool:
    """Whether the index is as it was written, of the same texts, counted over this gallery."""
    try:
        if file_checksum(gallery / NAME.format(name)) != name:
            return False
        held = WrittenFile(gallery, name)
    except (OSError, GalleryError):
        return False
    held.close()
    return bool(held.stamp == held.counted == stamp)


def write_written(
    gallery: Path, blocks: Iterable[BlockTexts], *, stamp: str, photos: int, counted: Counted | None = None
) -> str:
    """Write an index file and return the name that a manifest calls it by: its checksum.

    Words are counted over these blocks' `photos`, unless they were `counted` over a larger collection. Raises OSError
    where a write fails.
    """
    with replacing(gallery / NAME.format("new")) as temporary:
        temporary.unlink(missing_ok=True)
        connection = sqlite3.connect(temporary)
        try:
            connection.executescript(f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;{_SCHEMA}")
            common = max(FEWEST_COMMON, photos // COMMON_PHOTOS)
            docs = _fill(connection, blocks, counted, common)
            whole = counted or Counted(stamp, photos, {})
            facts = {"stamp": stamp, "counted": whole.name, "photos": whole.photos, "docs": docs, "common": common}
            connection.executemany(
                "INSERT INTO facts VALUES (?, ?)", ((name, str(fact)) for name, fact in facts.items())
            )
            connection.commit()
            connection.executescript(_INDICES)
        except sqlite3.OperationalError as error:
            raise OSError(str(error)) from error
        finally:
            connection.close()
        name = file_checksum(temporary)
    (gallery / NAME.format("new")).replace(gallery / NAME.format(name))
    sync_names(gallery)
    return name


def _fill(connection: sqlite3.Connection, blocks: Iterable[BlockTexts], counted: Counted | None, common: int) -> int:
    """Fill all tables but the facts, and return how many docs there are."""
    numbers: dict[str, int] = {}
    words, places = array("Q"), array("Q")
    base = 0
    for name, images, texts in blocks:
        connection.execute("INSERT INTO blocks VALUES (?, ?)", (name, base))
        for row, lines in texts.items():
            packed, doc = _packed(lines), base + row
            connection.execute("INSERT INTO photos VALUES (?, ?, ?)", (doc, packed, row_checksum(packed)))
            written = chain.from_iterable(words_of(line.text) for line in lines)
            for place, word in zip(range(MOST_WORDS), written, strict=False):
                words.append(numbers.setdefault(word, len(numbers)))
                places.append(doc << int(PLACE_BITS) | place)
        base += images
    at = np.frombuffer(words, np.uint64), np.frombuffer(places, np.uint64)
    rows = _write_places(connection, numbers, *at)
    _write_pairs(connection, *at, common)
    if counted:
        # Words of other parts of the collection have no places here, but their counts are the same everywhere.
        rows = [(number, word, counted.words.get(word, photos)) for number, word, photos in rows]
        elsewhere = (word for word in counted.words if word not in numbers)
        rows += [(len(numbers) + more, word, counted.words[word]) for more, word in enumerate(elsewhere)]
    connection.executemany(
        "INSERT INTO words VALUES (?, ?, ?, ?, ?, ?)",
        ((number, word, photos, seen := looks(word), seen[::-1], len(seen)) for number, word, photos in rows),
    )
    return base


def _write_places(
    connection: sqlite3.Connection, numbers: Mapping[str, int], words: NDArray[np.uint64], places: NDArray[np.uint64]
) -> list[tuple[int, str, int]]:
    """Write each word's places, of N words at N places in order; the words' numbers, and in how many photos each is."""
    counts: list[int] = []

    def rows() -> Iterator[tuple[int, bytes, int]]:
        for number, own in zip(range(len(numbers)), _of_each(words, places, np.arange(len(numbers))), strict=True):
            counts.append(len(docs_of(own)))
            yield number, *_place_row(own)

    connection.executemany("INSERT INTO places VALUES (?, ?, ?)", rows())
    return list(zip(numbers.values(), numbers, counts, strict=True))


def _write_pairs(
    connection: sqlite3.Connection, words: NDArray[np.uint64], places: NDArray[np.uint64], common: int
) -> None:
    """Write where two words follow each other that each have at least `common` places, of N words at N places."""
    ids = words.view(np.int64)
    own = (np.bincount(ids) >= common)[ids]
    first = np.flatnonzero(own[:-1] & own[1:] & (places[1:] == places[:-1] + np.uint64(1)))
    pairs = words[first] << np.uint64(32) | words[first + 1]
    there = np.unique(pairs)
    rows = zip(there.tolist(), _of_each(pairs, places[first], there), strict=True)
    connection.executemany("INSERT INTO pairs VALUES (?, ?, ?)", ((id, *_place_row(own)) for id, own in rows))


def _of_each(
    keys: NDArray[np.uint64], places: NDArray[np.uint64], wanted: NDArray[Any]
) -> Iterator[NDArray[np.uint64]]:
    """For each of the `wanted` keys, ascending, the places N whose keys N are equal to it."""
    order = np.argsort(keys, kind="stable")
    places, ends = places[order], np.searchsorted(keys[order], wanted, side="right").tolist()
    for start, end in pairwise([0, *ends]):
        yield places[start:end]


def _place_row(places: NDArray[np.uint64]) -> tuple[bytes, int]:
    data = places.astype("<u8").tobytes()
    return data, row_checksum(data)
