"""What the index of written words holds: a file beside a gallery's blocks, with a tree for each version of it.

    d DOC                    the lines of a photo as JSON: text, confidence, box
    w WORD                   in how many photos of the collection, at how many places here, and whether it is common
    l SIZE LOOKS TAB WORD    what a word looks like, and how many letters that has
    m SIZE MIRROR TAB WORD   the same from its end to its beginning
    p WORD TAB RANGE         where a word is: a photo's number in the range << 16 | place in its text, ascending, u32
    q WORD TAB WORD TAB RANGE   where two common words follow each other

A photo's number, its doc, is its block's base and its row there; a range has 65,536 docs. A phrase of common words is
looked up by its pairs: the places of each word alone would take many times as long to read.

The manifest names the file and, in it, the facts of one version with their checksum. They name the root of the tree
(base/merkle_tree.py), so every byte is compared with its checksum when it is read, and nothing when the file is opened.
`index` appends what has changed; after many changes, it writes another file.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from shan_engine.base.merkle_tree import Ref
from shan_engine.base.text_lines import TextLine
from shan_engine.text.written import looks

PLACE_BITS, RANGE_BITS = np.uint64(16), 16
MOST_WORDS = 1 << 16  # of a photo
PREFIX = "written-"
_COUNTS = struct.Struct("<QQ?")

Lines = Sequence[TextLine]
Number = Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)]


class WrittenBlock(msgspec.Struct, frozen=True, array_like=True):
    """A block's first doc, how many it has, and a checksum of the store's text of its photos, None if not known."""

    base: Number
    images: Number
    text: int | None = None


class WrittenFacts(msgspec.Struct, frozen=True):
    """What is known of one version of an index.

    `stamp` says what it was made of, `counted` over which collection of `photos` words are counted. `texts` photos have
    text. `began` is the file's size when it was begun, `runs` are offset, size and checksum of all that was written.
    """

    stamp: str
    counted: str
    photos: Number
    docs: Number
    texts: Number
    began: int
    runs: list[tuple[int, int, int]]
    root: tuple[tuple[int, int, int], int]
    blocks: dict[str, WrittenBlock]


class WordCounts(NamedTuple):
    """In how many photos of the collection a word is, at how many places of the gallery, and if its pairs are known."""

    photos: int
    places: int
    common: bool

    @classmethod
    def unpacked(cls, value: bytes) -> WordCounts:
        """From a tree's value."""
        return cls(*_COUNTS.unpack(value))

    def packed(self) -> bytes:
        """As a tree's value."""
        return _COUNTS.pack(*self)


def doc_key(doc: int) -> str:
    """Where a photo's lines are."""
    return f"d{doc:08x}"


def looks_keys(word: str) -> tuple[str, str]:
    """Where a word is found by what it looks like, from its beginning and from its end."""
    seen = looks(word)
    return f"l{len(seen):04x}{seen}\t{word}", f"m{len(seen):04x}{seen[::-1]}\t{word}"


def place_key(words: Sequence[str], docs: int) -> str:
    """Where the places of a word or of a pair are, in a range of docs."""
    joined = "\t".join(words)
    return f"{'pq'[len(words) - 1]}{joined}\t{docs:04x}"


def packed_lines(lines: Lines) -> bytes:
    """A photo's lines as a tree's value."""
    return msgspec.json.encode([(line.text, line.confidence, *line.box) for line in lines])


def unpacked_lines(value: bytes) -> tuple[TextLine, ...]:
    """As they were packed."""
    lines = msgspec.json.decode(value, type=list[tuple[str, float, float, float, float, float]])
    return tuple(TextLine(text, sure, (a, b, c, d)) for text, sure, a, b, c, d in lines)


def written_path(gallery: Path, written: str) -> Path:
    """The file that a manifest's `written` names."""
    return gallery / f"{PREFIX}{written.partition('-')[0]}.words"


def written_name(file: str, facts: Ref) -> str:
    """What a manifest calls a version in a `file`, or in that of another version: where its facts are."""
    return f"{file.partition('-')[0]}-{facts.offset:x}-{facts.size:x}-{facts.checksum:016x}"


def unpacked_places(held: Sequence[tuple[int, bytes]]) -> NDArray[np.uint64]:
    """The places that a tree's values have, each for a range of docs."""
    low = np.frombuffer(b"".join(value for _, value in held), "<u4").astype(np.uint64)
    ranges = np.array([docs for docs, _ in held], np.uint64) << np.uint64(32)
    return low | np.repeat(ranges, [len(value) // 4 for _, value in held])


def packed_places(places: NDArray[np.uint64]) -> bytes:
    """Places in one range of docs as a tree's value."""
    return places.astype("<u4").tobytes()


def docs_of(places: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The docs of some places, each once, ascending."""
    docs = (places >> PLACE_BITS).astype(np.int64)
    new = np.ones(len(docs), np.bool_)
    np.not_equal(docs[1:], docs[:-1], out=new[1:])
    return docs[new]
