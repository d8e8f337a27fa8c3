"""Queries: one phrase, or several with weights (negative for unwanted ones), a photo, or both.

A query's phrases and its photo are its clauses. An image's score with a query is the sum of its exact scores with each
clause, times the clause's weight.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.errors import InputError
from shan_engine.base.packing import Arrays
from shan_engine.parts.written import WrittenWords, saying
from shan_engine.scoring.encoders import Encoders
from shan_engine.search.photo_query import QueryPhoto
from shan_engine.text.tokenizer import Tokenized, has_letter

_TIME = re.compile(r"\d:\d+\s*$")  # or a ratio, such as 16:9
MOST_WEIGHT = 1000
"""Far above any weight that makes a difference: scores stay far from the largest number that they can be."""
UNWANTED = 0.4
"""Weight subtracted for an unwanted phrase that gives no weight itself."""


def as_list(given: str | Sequence[Any]) -> list[Any]:
    """A single text is treated as a list of one, never letter by letter."""
    return [given] if isinstance(given, str) else list(given)


@dataclass(frozen=True)
class Phrase:
    """Words and the weight of their score; negative if unwanted."""

    text: str
    weight: float = 1.0

    @classmethod
    def parse(cls, text: str, weight: float = 1.0) -> Phrase:
        """`words` or `words:number`, as in "on grass:0.5"; "at 10:30" has no weight, as two whole numbers meet there.

        Raises InputError without words or a number above 0.
        """
        words, colon, number = ("", "", text) if _TIME.search(text) else text.rpartition(":")
        if not (words if colon else text).strip():
            raise InputError("a phrase to search with or without is empty: give some words")
        if not colon:
            return cls(text, weight)
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not 0 < value <= MOST_WEIGHT:
            raise InputError(
                f"the phrase '{text[:80]}' has the weight '{number[:40]}': give a number above 0, at most "
                f"{MOST_WEIGHT:,}, after the colon, or leave it out"
            )
        return cls(words, value)


@dataclass(frozen=True)
class Query:
    """Phrases and perhaps a photo; at least one of them must have a positive weight.

    Likeness to the photos `unlike` is subtracted, with the weight of an unwanted phrase.
    """

    phrases: tuple[Phrase, ...] = ()
    photo: QueryPhoto | None = None
    photo_weight: float = 1.0
    unlike: tuple[QueryPhoto, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.photo_weight <= MOST_WEIGHT:
            raise InputError(
                f"the photo's weight is {self.photo_weight}: give a number above 0, at most {MOST_WEIGHT:,}"
            )
        for phrase in self.phrases:
            if not abs(phrase.weight) <= MOST_WEIGHT:
                raise InputError(f"the weight of '{phrase.text}' is {phrase.weight}: give at most {MOST_WEIGHT:,}")

    @classmethod
    def of(
        cls,
        query: str | None,
        *,
        also: str | Sequence[str] = (),
        without: str | Sequence[str] = (),
        photo: QueryPhoto | None = None,
        photo_weight: float = 1.0,
        unlike: Sequence[QueryPhoto] = (),
    ) -> Query:
        """A query, other phrases with it and phrases that are not wanted, as `Phrase.parse` reads them; a photo.

        The query itself weighs 1 and is not parsed. Raises InputError for an empty phrase or a wrong weight.
        """
        unwanted = (Phrase.parse(text, UNWANTED) for text in as_list(without))
        phrases = [
            *([] if query is None else [Phrase(query)]),
            *(Phrase.parse(text) for text in as_list(also)),
            *(Phrase(phrase.text, -phrase.weight) for phrase in unwanted),
        ]
        return cls(tuple(phrases), photo, photo_weight, tuple(unlike))

    @property
    def photos(self) -> list[tuple[QueryPhoto, float]]:
        """All photos with their weights; of those that are not wanted, the weight is negative."""
        wanted = [(self.photo, self.photo_weight)] if self.photo else []
        return [*wanted, *((photo, -UNWANTED) for photo in self.unlike)]

    @property
    def plain(self) -> bool:
        """Whether it is a single phrase, whose score is the image's."""
        return not self.photos and [phrase.weight for phrase in self.phrases] == [1.0]

    def __str__(self) -> str:
        said: list[str] = []
        for phrase in self.phrases:
            if phrase.weight == 1 and not said:
                said.append(phrase.text)
            else:
                said.append(f"{'with' if phrase.weight > 0 else 'without'} {phrase.text} ({abs(phrase.weight):g})")
        if self.photo:
            weight = "" if self.photo_weight == 1 else f" ({self.photo_weight:g})"
            said.append(f"like {self.photo.path.name}{weight}")
        said += [f"unlike {photo.path.name}" for photo in self.unlike]
        return ", ".join(said)


@dataclass(frozen=True)
class EncodedClause:
    """A phrase or a photo of a query as arrays of one caption; of a photo, step 1 and further parts alone count."""

    weight: float
    caption: Arrays
    photo: bool = False


def phrase_weight(clauses: Sequence[EncodedClause]) -> float:
    """How many times an image's hubness is subtracted: the sum of the phrases' weights, without the photo's."""
    return sum(clause.weight for clause in clauses if not clause.photo)


@dataclass(frozen=True)
class ReadQuery:
    """A query as a model reads it: one `Tokenized` per phrase."""

    query: Query
    readings: tuple[Tokenized, ...]

    @classmethod
    def read(cls, encoders: Encoders, query: Query, written: WrittenWords | None = None) -> ReadQuery:
        """Raises InputError if nothing is wanted, or if the model knows no word of a phrase and none is `written`."""
        if query.photo is None and not any(phrase.weight > 0 for phrase in query.phrases):
            raise InputError('nothing to search for: give a description in quotes, such as "a dog on grass"')
        texts = [phrase.text for phrase in query.phrases]
        found = [written is not None and written.finds(text) for text in texts]
        return cls(query, tuple(encoders.read(text, unknown=one) for text, one in zip(texts, found, strict=True)))

    @property
    def token_lists(self) -> list[list[int]]:
        """The tokens of each phrase."""
        return [list(reading.tokens) for reading in self.readings]

    @property
    def texts(self) -> list[str]:
        """Each phrase as it was asked."""
        return [phrase.text for phrase in self.query.phrases]

    def unlearnt(self, learnt: NDArray[np.bool_] | None) -> tuple[str, ...]:
        """Words of the phrases none of whose tokens photos taught the model; `learnt` says it of each token.

        Unknown words are not among them; there are none where the bundle does not say.
        """
        if learnt is None:
            return ()
        words = (
            word.text
            for reading in self.readings
            for word in reading.words
            if word.text not in reading.unknown
            and has_letter(word.text)
            and not any(learnt[reading.tokens[place]] for place in word.tokens)
        )
        return tuple(dict.fromkeys(words))

    def clauses(self, captions: Sequence[Arrays]) -> tuple[EncodedClause, ...]:
        """The clauses, from the phrases' arrays, 1 x their shape; photos come last."""
        phrases = zip(self.query.phrases, captions, strict=True)
        clauses = [EncodedClause(phrase.weight, caption) for phrase, caption in phrases]
        photos = (EncodedClause(weight, photo.as_caption(), photo=True) for photo, weight in self.query.photos)
        return (*clauses, *photos)

    def encode(self, encoders: Encoders) -> tuple[EncodedClause, ...]:
        """The clauses, each phrase encoded alone."""
        phrases = zip(self.token_lists, self.texts, strict=True)
        return self.clauses([saying(encoders.encode_captions([tokens]), [text]) for tokens, text in phrases])
