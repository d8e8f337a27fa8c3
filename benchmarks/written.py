"""What finding written words costs: an index of a million photos with twenty words each, and queries over it.

    OMP_NUM_THREADS=1 python benchmarks/written.py [--photos 1000000] --report benchmarks/results/written.json

Words are drawn by Zipf's law from a vocabulary of 200,000, of which 3 % are misread once more; every twentieth is a
number. Times are of one core: to write the index, to open it, to compare all its bytes, to append what one and 2,048
new photos bring, to see which photos' text has changed in a store, and for a query's evidence for all photos (median
and slowest of several turns), which a search adds to its scores. The same word in SQLite's FTS5, for comparison.
"""

from __future__ import annotations

import argparse
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray
from provenance import recorded
from reports import write_report
from shan_engine.base.text_lines import TextLine
from shan_engine.gallery.blocks import Block
from shan_engine.gallery.manifest import BlockEntry, GalleryManifest
from shan_engine.gallery.reader import Gallery
from shan_engine.gallery.written import WrittenFile
from shan_engine.gallery.written_format import WrittenBlock, packed_lines, written_path
from shan_engine.indexing.written_anew import BlockTexts, write_written
from shan_engine.indexing.written_changes import append_changes
from shan_engine.parts.written import WrittenWords
from shan_engine.store.feature_store import FeatureStore
from shan_engine.store.records import RegionRecord
from shan_engine.store.schema import StoreSchema

VOCABULARY, WORDS, BLOCK = 200_000, 20, 2048
TURNS, RARE, STORED = 20, 50_000, 20_000


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=1_000_000)
    parser.add_argument("--report", type=Path)
    options = parser.parse_args(arguments)
    vocabulary = words_made_up(np.random.default_rng(1))
    with tempfile.TemporaryDirectory() as folder:
        began = time.thread_time()
        name = write_written(Path(folder), texts(options.photos, vocabulary), photos=options.photos)
        found: dict[str, object] = {"photos": options.photos, "write_seconds": round(time.thread_time() - began, 1)}
        size = written_path(Path(folder), name).stat().st_size
        found["bytes_a_photo"] = round(size / options.photos, 1)
        gallery = opened(Path(folder), name, options.photos)
        began = time.thread_time()
        WrittenWords([gallery])
        found["open_ms"] = round(1000 * (time.thread_time() - began), 1)
        began = time.thread_time()
        WrittenFile(Path(folder), name).check()
        found["check_ms"] = round(1000 * (time.thread_time() - began), 1)
        found["appended"] = {
            count: appended(Path(folder), name, vocabulary, options.photos, count) for count in (1, BLOCK)
        }
        found["compare_us_a_photo"] = comparing(Path(folder), vocabulary)
        found["queries"] = {asked: cost(gallery, asked) for asked in queries(vocabulary)}
        found["fts5_ms"] = fts5(options.photos, vocabulary)
    for key, value in found.items():
        print(f"{key}: {value}")
    if options.report:
        write_report(options.report, {**found, "recorded": recorded()})


def words_made_up(random: np.random.Generator) -> list[str]:
    """The vocabulary, the most frequent first: words of three to ten letters, every twentieth a number."""
    pairs = [first + second for first in "bcdfghjklmnprstvwz" for second in "aeiou"]
    found: dict[str, None] = {}
    while len(found) < VOCABULARY:
        for row in random.integers(0, len(pairs), (VOCABULARY, 5)):
            word = "".join(pairs[one] for one in row)[: 3 + int(row.sum()) % 8]
            found[str(1 + int(row[0]) * 100 + int(row[1]) % 97) if row[2] % 20 == 0 else word] = None
    return list(found)[:VOCABULARY]


def texts(photos: int, vocabulary: Sequence[str]) -> Iterator[BlockTexts]:
    """Blocks of photos with a line of words each."""
    random = np.random.default_rng(2)
    for start in range(0, photos, BLOCK):
        count = min(BLOCK, photos - start)
        # By Zipf's law, a word's rank is uniform on a scale of logarithms.
        ranks = (np.exp(random.random((count, WORDS)) * np.log(len(vocabulary))) - 1).astype(int)
        misread = random.random((count, WORDS)) < 0.03
        rows = (
            " ".join(
                vocabulary[rank].replace("o", "0", 1) if wrong else vocabulary[rank]
                for rank, wrong in zip(*row, strict=True)
            )
            for row in zip(ranks.tolist(), misread.tolist(), strict=True)
        )
        lines = {row: (TextLine(text, 0.9, (0, 0, 9, 9)),) for row, text in enumerate(rows)}
        yield BlockTexts(f"{start:012x}", count, lines)


def queries(vocabulary: Sequence[str]) -> list[str]:
    """Queries by how frequent their words are: one in many photos, rare ones, misspelt ones, phrases, several."""
    common, frequent, rare = vocabulary[0], vocabulary[100], vocabulary[RARE]
    long = next(word for word in vocabulary[5_000:] if len(word) >= 8)
    misspelt = long[:5] + "x" + long[6:]
    return [
        common,
        frequent,
        rare,
        misspelt,
        f'"{common} {vocabulary[1]}"',
        f"the {frequent} with {rare} and {long}",
        f"{long[:5]}*",
        "zzzzzz",
    ]


def opened(folder: Path, name: str, photos: int) -> Gallery:
    """A gallery that has nothing but the index."""
    sizes = [min(BLOCK, photos - start) for start in range(0, photos, BLOCK)]
    entries = tuple(BlockEntry(f"{number * BLOCK:012x}", size) for number, size in enumerate(sizes))
    manifest = GalleryManifest("", "", "float32", {"region_mask": (1,)}, entries)
    return Gallery(folder, replace(manifest, written=name))


def appended(folder: Path, name: str, vocabulary: Sequence[str], photos: int, count: int) -> dict[str, float]:
    """What it costs to append a block of new photos: processor time, by the clock, and in bytes."""
    held = WrittenFile(folder, name)
    (block,) = texts(count, vocabulary)
    docs = {held.docs + row: (None, packed_lines(lines)) for row, lines in block.texts.items()}
    blocks = {**held.facts.blocks, "new": WrittenBlock(held.docs, count)}
    size, began, clock = held.path.stat().st_size, time.thread_time(), time.perf_counter()
    append_changes(held, docs, photos=photos + count, texts=photos + count, end=held.docs + count, blocks=blocks)
    return {
        "processor_ms": round(1000 * (time.thread_time() - began), 1),
        "clock_ms": round(1000 * (time.perf_counter() - clock), 1),
        "bytes": held.path.stat().st_size - size,
    }


def comparing(folder: Path, vocabulary: Sequence[str]) -> float:
    """Microseconds a photo to see whether its text in a store is another one."""
    schema, none = StoreSchema("none", 1, max_regions=1), np.ones((1, 1), np.float32)
    with FeatureStore.create(folder / "store", schema) as store:
        for block in texts(STORED, vocabulary):
            ids = {f"{block.name}{row}": lines for row, lines in block.texts.items()}
            store.write([RegionRecord(id=id, features=none, boxes=None, path="", width=1, height=1) for id in ids])
            store.put_text(ids, reader="made up")
        rows = {id: row for row, id in enumerate(store.ids())}
        began = time.thread_time()
        store.text_checksum(rows)
        return round(1e6 * (time.thread_time() - began) / len(rows), 2)


def cost(gallery: Gallery, query: str) -> dict[str, float]:
    """Milliseconds of a query that was not asked before, and for how many photos it finds something."""
    words = WrittenWords([gallery])
    docs = np.concatenate([_docs(words, block) for block in gallery.blocks])
    count = int(np.count_nonzero(words.evidence(docs, query)))

    def ask() -> None:
        words._kept.clear()
        words.evidence(docs, query)

    return {"photos": count, **_milliseconds(ask)}


def _docs(words: WrittenWords, block: Block) -> NDArray[np.int64]:
    return words.docs(block, np.arange(block.entry.images))


def fts5(photos: int, vocabulary: Sequence[str]) -> dict[str, dict[str, float]]:
    """The same texts in FTS5: milliseconds until the photos of a common word and of a frequent one are an array."""
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE VIRTUAL TABLE texts USING fts5(text, content='', detail='full')")
    rows = (line.text for block in texts(photos, vocabulary) for (line,) in block.texts.values())
    connection.executemany("INSERT INTO texts (text) VALUES (?)", ((row,) for row in rows))
    found = {}
    for word in (vocabulary[0], vocabulary[100]):

        def ask(word: str = word) -> None:
            np.array(connection.execute("SELECT rowid FROM texts WHERE texts MATCH ?", (f'"{word}"',)).fetchall())

        found[word] = _milliseconds(ask)
    connection.close()
    return found


def _milliseconds(ask: Callable[[], None]) -> dict[str, float]:
    taken = []
    for _ in range(TURNS):
        began = time.thread_time()
        ask()
        taken.append(1000 * (time.thread_time() - began))
    return {"median_ms": round(statistics.median(taken), 2), "slowest_ms": round(max(taken), 2)}


if __name__ == "__main__":
    main()
