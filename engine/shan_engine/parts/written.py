"""What is written in photos: words of a query that a photo shows as text, weighed by how rare they are there.

Only a few photos have any of a query's words, so the part looks them up in the galleries' indices of written words
(gallery/written.py) and reads of a photo no more than its number there.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.packing import Arrays
from shan_engine.base.text_lines import TextLine
from shan_engine.gallery.blocks import Block
from shan_engine.gallery.reader import Gallery
from shan_engine.gallery.written import EXACT, Counting, Form, WrittenFile
from shan_engine.gallery.written_format import docs_of
from shan_engine.parts.part import Named, Part
from shan_engine.text.written import Sought, sought, tells_of_text, words_of

CAPTION_TEXT = "caption_text"
WRITTEN_DOC = "written_doc"
_KEPT = 256  # captions whose photos are kept
_FEW = 16  # of how many docs one is found, where sorting those found is faster than looking at all
_MANY, _COMMON = 1000, 0.125  # in a collection of so many photos, words in such a share of them are not looked for
_NONE = np.zeros(0, np.int64)
_MOST_SOUGHT = 64  # words of a caption


@dataclass(frozen=True)
class Trust:
    """How much each kind of words that are written counts: learnt by `benchmarks/written_queries.py`.

    Words in quotation marks and beginnings of words (`quoted`) can only be meant as written. A word that photos taught
    the model (`learnt`) is seen more often than it is written, unless the query tells of text (`told`), as in "a sign
    that says exit", or is nothing but that word (`alone`). `length` from 0 to 1 says how much less a word counts among
    others: 1 is its share of the query.
    """

    quoted: float = 1.0
    number: float = 1.0
    unlearnt: float = 1.0
    told: float = 0.8
    alone: float = 0.3
    learnt: float = 0.1
    length: float = 0.5


WEIGHT = 2.0
"""Of the part in the score of a bundle that does not say; learnt with `Trust`."""
Found = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Docs, ascending, and the evidence for each."""


class WrittenWords:
    """The indices of several galleries as one; the docs of each follow those of the one before."""

    def __init__(
        self,
        galleries: Sequence[Gallery],
        is_learnt: Callable[[str], bool] = lambda word: True,
        trust: Trust = Trust(),
        others: Sequence[Counting] = (),
    ) -> None:
        """`is_learnt` says whether photos taught the model a word. In `others`, words are counted but not looked for.

        Raises GalleryError where an index is damaged.
        """
        self._is_learnt, self._trust = is_learnt, trust
        self._files: list[tuple[int, WrittenFile]] = []
        self._docs, self._bases = 0, dict[str, int]()
        counted: dict[str, int] = {}
        for gallery in galleries:
            if not gallery.manifest.written:
                counted[str(gallery.path)] = len(gallery)
                continue
            file = WrittenFile(gallery.path, gallery.manifest.written)
            self._files.append((self._docs, file))
            self._bases |= {name: self._docs + base for name, base in file.bases.items()}
            self._docs += file.docs
            counted[file.counted] = file.photos
        # Parts of one collection have its counts, which are taken once.
        counting = {file.counted: file for _, file in self._files}
        self._elsewhere: list[WrittenFile] = []
        for other in others:
            if not other.written:
                counted[str(other.gallery)] = other.photos
                continue
            file = other.open()
            self._elsewhere.append(file)
            counting.setdefault(file.counted, file)
            counted[file.counted] = file.photos
        self._photos, self._counting = sum(counted.values()), list(counting.values())
        self._kept, self._turn = OrderedDict[str, Found](), Lock()

    def docs(self, block: Block, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The docs B of the photos in some rows of a block; -1 for those of a block that no index knows."""
        base = self._bases.get(block.name)
        return np.full(len(rows), -1, np.int64) if base is None else base + rows

    def lines(self, block: Block, rows: NDArray[np.int64]) -> list[tuple[TextLine, ...]]:
        """What is written in the photos in some rows of a block."""
        for _, file in self._files:
            if block.name in file.bases:
                return file.lines(block.name, rows.tolist())
        return [()] * len(rows)

    def finds(self, text: str) -> bool:
        """Whether any word of a caption is written in a photo, of the other galleries also."""
        return len(self._found(text)[0]) > 0 or any(map(self._is_elsewhere, sought(text)[:_MOST_SOUGHT]))

    def _is_elsewhere(self, one: Sought) -> bool:
        if not self._elsewhere or not self._rarity(one, forms := self.forms(one)):
            return False
        return any(len(places) for file in self._elsewhere for _, places in _places_in(file, one, forms))

    def evidence(self, docs: NDArray[np.int64], text: str) -> NDArray[np.float32]:
        """How much what is written in photos speaks for a caption, N, by their docs."""
        found, evidence = self._found(text)
        own = np.zeros(len(docs), np.float32)
        if not len(found) or not len(docs):
            return own
        if (docs[1:] > docs[:-1]).all():  # as those of a gallery's blocks are: far more than those found
            some = slice(*np.searchsorted(found, (docs[0], docs[-1] + 1)).tolist())
            whole = docs[-1] - docs[0] + 1 == len(docs)
            at = found[some] - docs[0] if whole else np.searchsorted(docs, found[some])
            there = docs[at] == found[some]
            own[at[there]] = evidence[some][there]
            return own
        at = np.minimum(np.searchsorted(found, docs), len(found) - 1)
        return np.where(found[at] == docs, evidence[at], np.float32(0))

    def _found(self, text: str) -> Found:
        with self._turn:
            if text in self._kept:
                self._kept.move_to_end(text)
                return self._kept[text]
        found = self._look_up(text)
        with self._turn:
            self._kept[text] = found
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return found

    def _look_up(self, text: str) -> Found:
        wanted = sought(text)[:_MOST_SOUGHT]
        learnt = self._trust_in_learnt(text)
        parts = list[tuple[int, np.float32, NDArray[np.int64]]]()
        for number, one in enumerate(wanted, 1):
            forms = self.forms(one)
            worth = self._trust_in(one, learnt) * self._rarity(one, forms) / len(wanted) ** self._trust.length
            found = self._docs_of(one, forms) if worth else ()
            parts += [(number, np.float32(worth * counts), docs) for counts, docs in found if len(docs)]
        if len(parts) == 1:
            ((_, value, docs),) = parts
            return docs, np.full(len(docs), value)
        return self._summed(parts)

    def _summed(self, parts: Sequence[tuple[int, np.float32, NDArray[np.int64]]]) -> Found:
        """Docs with the sum of their values, for the number of a word, a value and docs: a doc counts once a word.

        The best forms of a word come first.
        """
        total, said, touched = np.zeros(self._docs, np.float32), np.zeros(self._docs, np.int16), [_NONE]
        for number, value, docs in parts:
            held = said[docs]
            new = docs[held != number]
            said[new] = number
            total[new] += value
            touched.append(docs[held == 0])
        few = sum(map(len, touched)) * _FEW < self._docs
        found = np.sort(np.concatenate(touched)) if few else np.flatnonzero(said)
        return found, total[found]

    def forms(self, one: Sought) -> list[Form]:
        """What may be written for a single word, the best first; for words in order, the words as they are."""
        if one.quoted or len(one.words) > 1:
            return [(word, self._count(word), EXACT) for word in one.words]
        (word,) = one.words
        found: dict[str, tuple[int, float]] = {}
        for file in self._counting:
            for form, photos, counts in file.begun(word) if one.prefix else file.forms(word):
                held = found.get(form, (0, 0.0))
                found[form] = held[0] + photos, counts
        return sorted(((form, *held) for form, held in found.items()), key=lambda form: (-form[2], form[0]))

    def _count(self, word: str) -> int:
        return sum(file.count(word) for file in self._counting)

    def _rarity(self, one: Sought, forms: Sequence[Form]) -> float:
        """From 0 for what is written in every photo, or too often to tell photos apart, to 1 for what is in one."""
        if not forms:
            return 0.0
        if len(one.words) > 1:
            count = min(photos for _, photos, _ in forms)
        else:
            count = next((photos for _, photos, counts in forms if counts == EXACT), 0) or sum(
                photos for _, photos, _ in forms
            )
        photos = max(self._photos, 2)
        if photos >= _MANY and count > photos * _COMMON and not one.quoted:
            return 0.0
        return min(1.0, math.log((photos + 1) / (max(count, 1) + 0.5)) / math.log((photos + 1) / 1.5))

    def _trust_in(self, one: Sought, learnt: float) -> float:
        if one.quoted or one.prefix:
            return self._trust.quoted
        if one.is_number:
            return self._trust.number
        return learnt if all(map(self._is_learnt, one.words)) else self._trust.unlearnt

    def _trust_in_learnt(self, text: str) -> float:
        if tells_of_text(text):
            return self._trust.told
        return self._trust.alone if len(words_of(text)) == 1 else self._trust.learnt

    def _docs_of(self, one: Sought, forms: Sequence[Form]) -> Iterator[tuple[float, NDArray[np.int64]]]:
        for base, file in self._files:
            for counts, places in _places_in(file, one, forms):
                yield counts, base + docs_of(places)


def _places_in(file: WrittenFile, one: Sought, forms: Sequence[Form]) -> Iterator[tuple[float, NDArray[np.uint64]]]:
    """Where the forms of a word are, the best first, or words in order, and how much each counts."""
    if one.quoted or len(one.words) > 1:
        yield EXACT, file.in_order(one.words)
    else:
        for form, _, counts in forms:
            yield counts, file.places(form)


def saying(captions: Arrays, texts: Sequence[str]) -> Arrays:
    """Encoded captions C x their shape, with what they say: the part reads nothing else of them."""
    return {**captions, CAPTION_TEXT: np.array(texts)}


@dataclass(frozen=True)
class Written(Part):
    """Σ trust * rarity * form over the words of a caption that are written in a photo, see `Trust`."""

    words: WrittenWords
    name: ClassVar[str] = "written"
    image_arrays: ClassVar[tuple[str, ...]] = (WRITTEN_DOC,)
    caption_arrays: ClassVar[tuple[str, ...]] = (CAPTION_TEXT,)

    @property
    def stored(self) -> tuple[str, ...]:
        """None: the photos' lines have a file of their own beside the gallery."""
        return ()

    def read(self, block: Block, rows: NDArray[np.int64]) -> Arrays:
        """The photos' numbers in the index, B."""
        return {WRITTEN_DOC: self.words.docs(block, rows)}

    def scores(self, images: Named, captions: Named) -> NDArray[np.float32]:
        """Evidence B x C."""
        texts = captions[CAPTION_TEXT].tolist()
        found = np.empty((len(images[WRITTEN_DOC]), len(texts)), np.float32)
        for column, text in enumerate(texts):
            found[:, column] = self.words.evidence(images[WRITTEN_DOC], text)
        return found
