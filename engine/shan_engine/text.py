"""Captions into word numbers: NLTK's Treebank-style tokeniser and a vocabulary in SCAN's layout."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import InputError
from .files import replacing

SPECIAL = ("<pad>", "<start>", "<end>", "<unk>")
PAD, START, END, UNKNOWN = range(4)


@cache
def _tokeniser() -> Any:
    from nltk.tokenize import NLTKWordTokenizer

    return NLTKWordTokenizer()


def tokenise(caption: str) -> list[str]:
    """Lower-cased words and punctuation of a caption."""
    words: list[str] = _tokeniser().tokenize(caption.lower())
    return words


@dataclass(frozen=True)
class Vocabulary:
    """Words by number; the first four are `<pad>`, `<start>`, `<end>`, `<unk>`."""

    words: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.words)

    @cached_property
    def word2idx(self) -> dict[str, int]:
        """Numbers by word."""
        return {word: number for number, word in enumerate(self.words)}

    @classmethod
    def build(cls, words: Iterable[str]) -> Vocabulary:
        """The special words, then `words` without repetition."""
        return cls(tuple(dict.fromkeys([*SPECIAL, *words])))

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Read SCAN's JSON layout. Raises InputError where it is missing, damaged or has other special words."""
        try:
            data = json.loads(path.read_text("utf-8"))
            numbers = {str(word): int(number) for word, number in data["word2idx"].items()}
        except OSError as error:
            raise InputError(f"there is no vocabulary {path}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"the vocabulary {path} is damaged: {error}") from error
        words = tuple(sorted(numbers, key=numbers.__getitem__))
        if [numbers[word] for word in words] != list(range(len(words))):
            raise InputError(f"the vocabulary {path} does not number its words 0 to {len(words) - 1}")
        if words[:4] != SPECIAL:
            raise InputError(f"the vocabulary {path} does not begin with {', '.join(SPECIAL)}")
        return cls(words)

    def save(self, path: Path) -> None:
        """Write SCAN's JSON layout, beside and renamed."""
        data = {
            "word2idx": self.word2idx,
            "idx2word": {str(number): word for number, word in enumerate(self.words)},
            "idx": len(self.words),
        }
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(data, ensure_ascii=False), "utf-8")

    def encode(self, caption: str) -> list[int]:
        """Numbers of a caption's words between the markers. Raises InputError where it is empty."""
        words = tokenise(caption)
        if not words:
            raise InputError("a query is empty: describe what to look for")
        return [START, *(self.word2idx.get(word, UNKNOWN) for word in words), END]


def pad(token_lists: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Tokens C x n, padded with 0 to the longest, and their lengths C."""
    lengths = np.array([len(tokens) for tokens in token_lists], np.int64)
    tokens = np.full((len(token_lists), int(lengths.max())), PAD, np.int64)
    for row, numbers in enumerate(token_lists):
        tokens[row, : len(numbers)] = numbers
    return tokens, lengths
