"""What a tokenizer gives: token numbers, and the words of the text that they stand for.

A tokenizer is a file of the bundle. `vocabulary.py` reads SCAN's `vocab.json`, a token for each word;
`hugging_face.py` reads a `tokenizer.json`, where several tokens may make one word. `tokenizer_files.py` tells them
apart. Results and explanations show words only, so each word lists its tokens.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar
from unicodedata import category as _category

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.errors import InputError

_SHOWN = 100  # characters of a text in a message
# Soft hyphen, zero-width space, marks of direction, word joiner and its kin, byte order mark.
_INVISIBLE = frozenset("\u00ad\u034f\u061c\u180e\u200b\u200e\u200f\ufeff").union(
    map(chr, (*range(0x202A, 0x202F), *range(0x2060, 0x2070)))
)
_JOINERS = re.compile(r"(?<=[a-zA-Z])[\u200c\u200d]+(?=[a-zA-Z])")  # other scripts and emoji need them


@dataclass(frozen=True)
class Word:
    """A word as the model reads it, its place in the text and its tokens.

    `start` and `end` are characters of the text, `tokens` positions in `Tokenized.tokens`, at least one.
    """

    text: str
    start: int
    end: int
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class Tokenized:
    """A text as a model reads it.

    `tokens` are the numbers that the text encoder takes, markers included. `replaced` maps a word of the text to what
    is read in its place. The model does not know the words in `unknown`. `left_out` counts the words at the end that go
    beyond what the model takes.
    """

    tokens: tuple[int, ...]
    words: tuple[Word, ...]
    replaced: Mapping[str, str] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    left_out: int = 0

    @property
    def has_known_word(self) -> bool:
        """Whether the model knows at least one word. Punctuation does not count: it says nothing about an image."""
        return any(has_letter(word.text) for word in self.words if word.text not in self.unknown)


class Tokenizer(ABC):
    """Turns texts into token numbers, from 0 to below `len(tokenizer)`.

    Training, recall and scoring take captions as they are (`encode`). A search reads a query with some tolerance
    (`read`).
    """

    file_name: ClassVar[str]
    """Its file in a bundle and in a checkpoint."""
    unit: ClassVar[str]
    """What its length is counted in, for messages: words or tokens."""

    @classmethod
    @abstractmethod
    def load(cls, path: Path) -> Tokenizer:
        """Read its file. Raises InputError where the file is missing or damaged."""

    @abstractmethod
    def save(self, path: Path) -> None:
        """Write its file under a temporary name, then rename it."""

    @abstractmethod
    def content(self) -> bytes:
        """What a model's fingerprint covers: equal for tokenizers that give equal tokens."""

    @abstractmethod
    def __len__(self) -> int:
        """How many token numbers there are."""

    @property
    @abstractmethod
    def markers(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The token numbers before and after every text, such as those for its start and end."""

    @abstractmethod
    def _encode(self, caption: str) -> Tokenized:
        """The caption's tokens; it may have none."""

    @abstractmethod
    def _read(self, query: str, most: int) -> Tokenized:
        """The first `most` tokens of a query with a letter or digit, not counting markers."""

    def encode(self, caption: str, max_tokens: int | None = None) -> Tokenized:
        """A caption as it is.

        Raises InputError where it is empty, or has more than `max_tokens` tokens, markers included.
        """
        tokenized = self._encode(caption)
        if not tokenized.words:
            raise InputError("a query is empty: describe what to look for")
        if max_tokens is not None and len(tokenized.tokens) > max_tokens:
            around = self._marker_count
            raise InputError(
                f"the caption '{shortened(caption)}' has {len(tokenized.tokens) - around} {self.unit}, the model takes "
                f"{max_tokens - around}: shorten it"
            )
        return tokenized

    def read(self, query: str, max_tokens: int) -> Tokenized:
        """A query, with tolerance for unknown words, cut to the words that fit into `max_tokens`, markers included.

        Raises InputError where it has no letter and no digit.
        """
        if not query.strip():
            raise InputError("a query is empty: describe what to look for")
        if not has_letter(query):
            raise InputError(f"the query '{shortened(query)}' has no word: describe what to look for")
        return self._read(query, max_tokens - self._marker_count)

    @property
    def _marker_count(self) -> int:
        return sum(map(len, self.markers))


def visible_text(text: str) -> str:
    """A text without marks that cannot be seen, which come with text from web pages; every space is a plain one."""
    return _JOINERS.sub("", "".join(" " if _category(c) == "Zs" else c for c in text if c not in _INVISIBLE))


def has_letter(text: str) -> bool:
    """Whether a letter or a digit is in it."""
    return any(character.isalnum() for character in text)


def shortened(text: str) -> str:
    """A text for a message: whole, or its first 100 characters."""
    return text if len(text) <= _SHOWN + 1 else f"{text[:_SHOWN]}…"


def pad(token_lists: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Tokens C x n, padded with 0 to the longest, and their lengths C. What stands behind a length never counts."""
    lengths = np.array([len(tokens) for tokens in token_lists], np.int64)
    tokens = np.zeros((len(token_lists), int(lengths.max())), np.int64)
    for row, numbers in enumerate(token_lists):
        tokens[row, : len(numbers)] = numbers
    return tokens, lengths
