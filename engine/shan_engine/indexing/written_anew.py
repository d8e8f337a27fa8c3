"""Write the index of what is written in a gallery's photos as a whole; gallery/written_format.py says what it holds."""

from __future__ import annotations

import secrets
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from shan_engine.base.files import replacing
from shan_engine.base.merkle_tree import Appender, build_tree
from shan_engine.gallery.written import WrittenFile
from shan_engine.gallery.written_format import (
    PLACE_BITS,
    Lines,
    WordCounts,
    WrittenBlock,
    WrittenFacts,
    doc_key,
    looks_keys,
    packed_lines,
    packed_places,
    place_key,
    written_name,
    written_path,
)
from shan_engine.indexing.written_changes import words_in

FEWEST_COMMON, COMMON_PHOTOS = 4096, 100
"""A word is common from so many places on, or from one for so many photos."""
_RANGE = np.uint64(32)
Item = tuple[str, bytes]


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


@dataclass(frozen=True)
class BlockTexts:
    """A block's name, how many rows it has, and what is written in the photos in some of them.

    `checksum` is the store's of that text, None where that is not known.
    """

    name: str
    images: int
    texts: Mapping[int, Lines]
    checksum: int | None = None


def write_written(gallery: Path, blocks: Iterable[BlockTexts], *, photos: int, counted: Counted | None = None) -> str:
    """Write an index into a file of its own and return what a manifest calls it.

    Words are counted over these blocks' `photos`, unless they were `counted` over a larger collection. Raises
    InputError where a write fails.
    """
    file = secrets.token_hex(8)
    with replacing(written_path(gallery, file)) as temporary, temporary.open("wb", 1 << 20) as opened:
        to, texts = Appender(opened), _Texts(photos)
        root = build_tree(to, chain(texts.documents(blocks), texts.words(counted, photos)))
        stamp = texts.stamp.hexdigest()
        facts = WrittenFacts(
            stamp=stamp,
            counted=counted.name if counted else stamp,
            photos=counted.photos if counted else photos,
            docs=texts.docs,
            texts=texts.count,
            began=to.end,
            runs=[(to.start, to.end, to.state.intdigest())],
            root=(root.node, root.depth),
            blocks=texts.blocks,
        )
        ref = to.append(msgspec.msgpack.encode(facts))
    return written_name(file, ref)


class _Texts:
    """What is written in photos, and from that all items of a tree, in the order of their keys."""

    def __init__(self, photos: int) -> None:
        self.stamp = xxhash.xxh3_64(str(photos).encode())  # over all that an index is made of
        self.blocks: dict[str, WrittenBlock] = {}
        self.docs = self.count = 0
        self._numbers: dict[str, int] = {}
        self._words, self._places = array("Q"), array("Q")

    def documents(self, blocks: Iterable[BlockTexts]) -> Iterator[Item]:
        """The photos' lines."""
        numbers, words, places = self._numbers, self._words, self._places
        for block in blocks:
            for row, lines in block.texts.items():
                packed, doc = packed_lines(lines), self.docs + row
                self.stamp.update(f"{block.name} {row} ".encode() + packed)
                self.count += 1
                own = words_in(lines)
                words.extend([numbers.setdefault(word, len(numbers)) for word in own])
                places.extend(range(doc << int(PLACE_BITS), (doc << int(PLACE_BITS)) + len(own)))
                yield doc_key(doc), packed
            self.blocks[block.name] = WrittenBlock(self.docs, block.images, block.checksum)
            self.docs += block.images

    def words(self, counted: Counted | None, photos: int) -> Iterator[Item]:
        """The vocabulary, and where its words are; comes after the documents."""
        names = sorted(self._numbers)
        ranks = np.empty(len(names), np.uint64)
        ranks[[self._numbers[name] for name in names]] = np.arange(len(names), dtype=np.uint64)
        words, places = ranks[np.frombuffer(self._words, np.uint64)], np.frombuffer(self._places, np.uint64)
        common = np.bincount(words.view(np.int64), minlength=len(names)) >= max(FEWEST_COMMON, photos // COMMON_PHOTOS)
        pairs = _pairs(words, places, common)
        words, places = _in_order(words, places)
        known = dict(zip(names, map(WordCounts, *_counts(words, places, len(names)), common.tolist()), strict=True))
        if counted:
            # Words of other parts of the collection have no places here, but their counts are the same everywhere.
            known = {word: one._replace(photos=counted.words.get(word, one.photos)) for word, one in known.items()}
            known |= {word: WordCounts(many, 0, False) for word, many in counted.words.items() if word not in known}
        looks = [looks_keys(word) for word in known]
        for keys in zip(*looks, strict=True):
            yield from ((key, b"") for key in sorted(keys))
        for word, docs, held in _segments(words, places):
            yield place_key((names[word],), docs), held
        for pair, docs, held in _segments(*_in_order(*pairs)):
            yield place_key((names[pair >> 32], names[pair & 0xFFFFFFFF]), docs), held
        yield from ((f"w{word}", known[word].packed()) for word in sorted(known))


def _pairs(
    words: NDArray[np.uint64], places: NDArray[np.uint64], common: NDArray[np.bool_]
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Where two common words follow each other, of N words at N places: the first << 32 | the second, and places."""
    own = common[words]
    first = np.flatnonzero(own[:-1] & own[1:] & (places[1:] == places[:-1] + np.uint64(1)))
    return words[first] << np.uint64(32) | words[first + 1], places[first]


def _in_order(keys: NDArray[np.uint64], places: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    order = np.argsort(keys, kind="stable")
    return keys[order], places[order]


def _counts(words: NDArray[np.uint64], places: NDArray[np.uint64], count: int) -> tuple[list[int], list[int]]:
    """In how many photos, and at how many places, each of `count` words is; N words ascend, and each one's places."""
    docs = places >> PLACE_BITS
    new = np.ones(len(words), np.bool_)
    new[1:] = (words[1:] != words[:-1]) | (docs[1:] != docs[:-1])
    photos, all_places = (np.bincount(one.view(np.int64), minlength=count) for one in (words[new], words))
    return photos.tolist(), all_places.tolist()


def _segments(keys: NDArray[np.uint64], places: NDArray[np.uint64]) -> Iterator[tuple[int, int, bytes]]:
    """For each key and range of docs, its packed places; N keys ascend, and each one's places."""
    if not len(keys):
        return
    ranges = places >> _RANGE
    edges = np.flatnonzero((keys[1:] != keys[:-1]) | (ranges[1:] != ranges[:-1])) + 1
    starts = np.concatenate([np.zeros(1, np.int64), edges])
    ends: Sequence[int] = [*edges.tolist(), len(keys)]
    data = memoryview(packed_places(places))
    rows = zip(keys[starts].tolist(), ranges[starts].tolist(), starts.tolist(), ends, strict=True)
    for key, docs, start, end in rows:
        yield key, docs, bytes(data[4 * start : 4 * end])
