"""The index of what is written in a gallery's photos, for reading; gallery/written_format.py says what it holds."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from shan_engine.base.errors import GalleryError
from shan_engine.base.merkle_tree import FAULTS, CheckedFile, MerkleTree, Ref, Root
from shan_engine.base.text_lines import TextLine
from shan_engine.gallery.manifest import GalleryManifest, unreadable
from shan_engine.gallery.written_format import (
    PLACE_BITS,
    WordCounts,
    WrittenFacts,
    doc_key,
    looks_keys,
    place_key,
    unpacked_lines,
    unpacked_places,
    written_path,
)
from shan_engine.text.written import FEWEST_LETTERS, looks

EXACT, MISREAD, LONGER, MISSPELT = 1.0, 0.9, 0.7, 0.6  # how much a form of a word counts
_FEWEST_BEGUN, _FEWEST_MISSPELT = 4, 5  # letters of a word that others may begin with or be close to
_MOST_FORMS = 256
_LAST = "\U0010ffff"
_READ_TOGETHER = 1 << 20  # bytes

Form = tuple[str, int, float]
"""A word of the vocabulary, in how many photos of the collection it is, and how much it counts for a word asked."""


class WrittenFile:
    """One version of a gallery's index, opened for reading. Several threads may use it."""

    def __init__(self, gallery: Path, name: str) -> None:
        """Raises GalleryError where the file is missing or what is read first is damaged."""
        self.path, self.name, self._gallery = written_path(gallery, name), name, gallery
        _, *where = name.split("-")
        # An index of an earlier version is named by its checksum alone.
        if not self.path.is_file() or len(where) != 3:
            raise unreadable(gallery, self.fault, lambda manifest: manifest.written == name)
        with self.guarded():
            opened = self.path.open("rb", buffering=0)
            self.close = weakref.finalize(self, opened.close)
            file = CheckedFile(opened)
            facts = msgspec.msgpack.decode(file.read(Ref(*(int(one, 16) for one in where))), type=WrittenFacts)
            self.facts = facts
            self.stamp, self.counted, self.photos = facts.stamp, facts.counted, facts.photos
            self.docs, self.bases = facts.docs, {name: block.base for name, block in facts.blocks.items()}
            self.tree = MerkleTree(file, Root(Ref(*facts.root[0]), facts.root[1]))

    @cached_property
    def fault(self) -> GalleryError:
        """What is raised where the file is damaged."""
        return GalleryError(
            f"the index of written words {self.path} is missing or damaged: write it again with "
            f"`shan-engine index STORE --output {self._gallery}`"
        )

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Raise GalleryError where bytes have changed."""
        try:
            yield
        except (*FAULTS, OSError) as error:
            raise self.fault from error

    def check(self) -> None:
        """Compare every byte of this version and of those before it. Raises GalleryError."""
        with self.guarded(), self.path.open("rb") as file:
            for offset, size, checksum in self.facts.runs:
                file.seek(offset)
                state = xxhash.xxh3_64()
                while size and (part := file.read(min(size, _READ_TOGETHER))):
                    state.update(part)
                    size -= len(part)
                if size or state.intdigest() != checksum:
                    raise ValueError(offset)

    def lines(self, block: str, rows: Sequence[int]) -> list[tuple[TextLine, ...]]:
        """What is written in the photos in some rows of a block, none for those of a block that it does not know."""
        base = self.bases.get(block)
        if base is None:
            return [()] * len(rows)
        with self.guarded():
            held = self.tree.get(doc_key(base + row) for row in rows)
            return [unpacked_lines(held[key]) if (key := doc_key(base + row)) in held else () for row in rows]

    def counts(self) -> dict[str, int]:
        """In how many photos of the collection each word is."""
        with self.guarded():
            return dict(self._begun(""))

    def count(self, word: str) -> int:
        """In how many photos of the collection a word is."""
        with self.guarded():
            return self._counts([word])[0].photos

    def forms(self, word: str) -> list[Form]:
        """Words of the vocabulary that may be this one: itself, misread ones, longer ones, misspelt ones."""
        with self.guarded():
            own = self._counts([word])[0].photos
            found: dict[str, tuple[int, float]] = {word: (own, EXACT)} if own else {}
            if len(word) >= FEWEST_LETTERS:
                start = looks_keys(word)[0].partition("\t")[0] + "\t"
                self._add(found, self._counted(seen for _, seen in self._seen(start)), MISREAD, word)
            if word.isdigit():  # another number is another thing
                return _as_forms(found)
            if len(word) >= _FEWEST_BEGUN:
                self._add(found, self._begun(word), LONGER, word)
            if len(word) >= _FEWEST_MISSPELT:
                self._add_misspelt(found, word)
        return _as_forms(found)

    def begun(self, word: str) -> list[Form]:
        """Words of the vocabulary that begin so, each as if it were the word itself."""
        found: dict[str, tuple[int, float]] = {}
        with self.guarded():
            self._add(found, self._begun(word), EXACT, word)
        return _as_forms(found)

    def _add_misspelt(self, found: dict[str, tuple[int, float]], word: str) -> None:
        """Words at an edit distance of 1: either their first or their last half is the same."""
        from rapidfuzz.distance import Levenshtein  # here, as most queries find nothing written

        own = looks(word)
        half, close = len(own) // 2, set[str]()
        for size in range(len(own) - 1, len(own) + 2):
            for start, turned in ((f"l{size:04x}{own[:half]}", 1), (f"m{size:04x}{own[half:][::-1]}", -1)):
                for seen, other in self._seen(start):
                    if Levenshtein.distance(own, seen[::turned], score_cutoff=1) <= 1 and _alike(word, other):
                        close.add(other)
        found |= {other: (photos, MISSPELT) for other, photos in self._counted(close - found.keys())}

    def _seen(self, start: str) -> Iterator[tuple[str, str]]:
        """What words look like whose keys begin so, and the words."""
        for key, _ in self.tree.items(start, start + _LAST):
            seen, _, word = key[5:].partition("\t")
            yield seen, word

    def _begun(self, start: str) -> Iterator[tuple[str, int]]:
        """Words that begin so, and in how many photos each is."""
        for key, held in self.tree.items(f"w{start}", f"w{start}{_LAST}"):
            yield key[1:], WordCounts.unpacked(self.tree.value(held)).photos

    def _counted(self, words: Iterable[str]) -> Iterator[tuple[str, int]]:
        there = sorted(words)
        for word, counts in zip(there, self._counts(there), strict=True):
            yield word, counts.photos

    def _counts(self, words: Sequence[str]) -> list[WordCounts]:
        held = self.tree.get(f"w{word}" for word in words)
        return [
            WordCounts.unpacked(held[f"w{word}"]) if f"w{word}" in held else WordCounts(0, 0, False) for word in words
        ]

    @staticmethod
    def _add(found: dict[str, tuple[int, float]], others: Iterable[tuple[str, int]], counts: float, word: str) -> None:
        """Add the most frequent of those words that may be taken for one."""
        best = sorted(others, key=lambda other: (-other[1], other[0]))[:_MOST_FORMS]
        for other, photos in best:
            if _alike(word, other):
                found.setdefault(other, (photos, counts))

    def places(self, word: str) -> NDArray[np.uint64]:
        """Where a word is: doc and place in its text in one number, ascending."""
        with self.guarded():
            return self._places((word,))

    def in_order(self, words: Sequence[str]) -> NDArray[np.uint64]:
        """Where words follow each other: the places of the first of them, ascending."""
        with self.guarded():
            runs = sorted(self._runs(words))
            _, first, own = runs[0]
            places = self._places(own) - np.uint64(first)
            for _, at, own in runs[1:]:
                if not len(places):
                    break
                places = _both(places, self._places(own), np.uint64(at))
        # Places of one photo never run into those of the next: a photo has fewer words than there are places.
        last = places + np.uint64(len(words) - 1)
        within: NDArray[np.uint64] = places[last >> PLACE_BITS == places >> PLACE_BITS]
        return within

    def _runs(self, words: Sequence[str]) -> list[tuple[int, int, tuple[str, ...]]]:
        """What to read for words in order: how much it is, its first word's number, a single word or a common pair."""
        known = self._counts(words)
        common = [one.common for one in known]
        runs: list[tuple[int, int, tuple[str, ...]]] = []
        for at, one in enumerate(known):
            if common[at] and at + 1 < len(words) and common[at + 1]:
                pair = words[at], words[at + 1]
                runs.append((sum(self.tree.size(held) for _, held in self._ranges(pair)) // 4, at, pair))
            elif not (common[at] and at and common[at - 1]):
                runs.append((one.places, at, (words[at],)))
        return runs

    def _ranges(self, words: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        start = place_key(words, 0)[:-4]
        return self.tree.items(start, start + _LAST)

    def _places(self, words: Sequence[str]) -> NDArray[np.uint64]:
        places = unpacked_places([(int(key[-4:], 16), self.tree.value(held)) for key, held in self._ranges(words)])
        if len(places) and int(places.max() >> PLACE_BITS) >= self.docs:
            raise ValueError(words)
        return places


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


def _as_forms(found: dict[str, tuple[int, float]]) -> list[Form]:
    return [(word, photos, counts) for word, (photos, counts) in found.items()]


def _alike(word: str, other: str) -> bool:
    """Whether one may be taken for the other: a number for no word, a word for no number."""
    digits = [sum(map(str.isdigit, one)) for one in (word, other)]
    return not (digits[0] == 0 and digits[1] == len(other)) and not (digits[1] == 0 and digits[0] == len(word))
