"""Captions into word numbers: NLTK's Treebank-style tokeniser and a vocabulary in SCAN's layout.

Training and recall take words as they are. A query is read with some tolerance: a word that the vocabulary lacks is
tried without accents, in its parts at hyphens, as singular or plural, as a number in words, and with one typing error
undone.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.errors import InputError
from shan_engine.base.files import replacing

SPECIAL = ("<pad>", "<start>", "<end>", "<unk>")
PAD, START, END, UNKNOWN = range(4)
_PLURALS = ((r"s$", ""), (r"ies$", "y"), (r"(?<=[sxzo])es$|(?<=[cs]h)es$", ""))
_NUMBERS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"
)  # fmt: skip
_MEND = "put back the vocab.json that the model was trained or exported with"
_LEAST_TYPED = 4  # of shorter words, too many are one letter apart
_LEAST_SINGULAR = 3  # letters of a word that is tried as a plural
_SHOWN = 100
_STRAIGHT = str.maketrans("‘’", "''")  # phones write the curly ones, NLTK splits at the straight ones


@cache
def _tokeniser() -> Any:
    from nltk.tokenize import NLTKWordTokenizer

    return NLTKWordTokenizer()


# Captions that are split at spaces alone: loading NLTK takes longer than many a search. It parts a few plain words.
_PLAIN = re.compile("[a-z0-9 ]*")
_PARTED = {"cannot", "gimme", "gonna", "gotta", "lemme", "wanna"}


def tokenise(caption: str) -> list[str]:
    """Lower-cased words and punctuation of a caption."""
    lower = caption.lower()
    words = lower.split(" ")
    if _PLAIN.fullmatch(lower) and not _PARTED.intersection(words):
        return [word for word in words if word]
    parted: list[str] = _tokeniser().tokenize(lower)
    return parted


def has_word(text: str) -> bool:
    """Whether a letter or a digit is in it: vocabularies hold punctuation too, which says nothing of an image."""
    return any(character.isalnum() for character in text)


def shortened(text: str) -> str:
    """A text for a message: whole, or its first 100 characters."""
    return text if len(text) <= _SHOWN + 1 else f"{text[:_SHOWN]}…"


@dataclass(frozen=True)
class Reading:
    """How a query is read: its words as the vocabulary has them, their numbers, and what differs from the query.

    `replaced` says what stands in the place of a word that is not in the vocabulary; `unknown` words stay as they are.
    `left_out` is how many words at its end go beyond what the model takes.
    """

    words: tuple[str, ...]
    numbers: tuple[int, ...]
    replaced: dict[str, str]
    unknown: tuple[str, ...]
    left_out: int = 0

    @property
    def tokens(self) -> list[int]:
        """The numbers between the markers, as the text encoder takes them."""
        return [START, *self.numbers, END]


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
        except FileNotFoundError as error:
            raise InputError(f"there is no vocabulary {path}: {_MEND}") from error
        except OSError as error:
            raise InputError(f"cannot read the vocabulary {path}: {error.strerror}; check its permissions") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"the vocabulary {path} is damaged ({error}): {_MEND}") from error
        words = tuple(sorted(numbers, key=numbers.__getitem__))
        if [numbers[word] for word in words] != list(range(len(words))):
            raise InputError(f"the vocabulary {path} does not number its words 0 to {len(words) - 1}: {_MEND}")
        if words[:4] != SPECIAL:
            raise InputError(f"the vocabulary {path} does not begin with {', '.join(SPECIAL)}: {_MEND}")
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
        return [START, *map(self._number, words), END]

    def read(self, query: str, most: int) -> Reading:
        """A query's first words, at most so many, as far as they are known.

        Raises InputError where it has no letter and no digit.
        """
        if not query.strip():
            raise InputError("a query is empty: describe what to look for")
        if not has_word(query):
            raise InputError(f"the query '{shortened(query)}' has no word: describe what to look for")
        words = tokenise(query.translate(_STRAIGHT))
        read: list[str] = []
        replaced, unknown, left_out = {}, [], 0
        for number, word in enumerate(words):
            if len(read) >= most:
                left_out = len(words) - number
                break
            found = self._closest(word)
            if not found:
                unknown.append(word)
            elif found != (word,):
                replaced[word] = " ".join(found)
            read.extend(found or (word,))
        left_out += max(0, len(read) - most)
        read = read[:most]
        return Reading(tuple(read), tuple(self._number(word) for word in read), replaced, tuple(unknown), left_out)

    def _number(self, word: str) -> int:
        return self.word2idx.get(word, UNKNOWN)

    def _closest(self, word: str) -> tuple[str, ...]:
        """The known words that `word` stands for, none where there are none."""
        if word in self.word2idx:
            return (word,)
        plain = "".join(c for c in unicodedata.normalize("NFKD", word) if not unicodedata.combining(c))
        parts = [part for part in re.split(r"[-/_]", plain) if part]
        if len(parts) > 1:
            return tuple(found for part in parts for found in self._closest(part))
        singulars = [re.sub(ending, other, plain) for ending, other in _PLURALS]
        numbers = [_NUMBERS[int(plain)]] if plain in map(str, range(len(_NUMBERS))) else []
        plural = [plain + "s"] if len(plain) >= _LEAST_SINGULAR else []
        for candidate in (plain, *singulars, *plural, *numbers):
            if candidate in self.word2idx:
                return (candidate,)
        return self._without_typing_error(plain) if plain.isalpha() and len(plain) >= _LEAST_TYPED else ()

    def _without_typing_error(self, word: str) -> tuple[str, ...]:
        from rapidfuzz.distance import DamerauLevenshtein
        from rapidfuzz.process import extract

        near = extract(word, self._spelt, scorer=DamerauLevenshtein.distance, score_cutoff=1, limit=None)
        # Vocabularies begin with the words that training saw most.
        return (min(near, key=lambda found: self.word2idx[found[0]])[0],) if near else ()

    @cached_property
    def _spelt(self) -> list[str]:
        return [word for word in self.words if word.isalpha() and len(word) >= _LEAST_TYPED - 1]


def pad(token_lists: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Tokens C x n, padded with 0 to the longest, and their lengths C."""
    lengths = np.array([len(tokens) for tokens in token_lists], np.int64)
    tokens = np.full((len(token_lists), int(lengths.max())), PAD, np.int64)
    for row, numbers in enumerate(token_lists):
        tokens[row, : len(numbers)] = numbers
    return tokens, lengths
