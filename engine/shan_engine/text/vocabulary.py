"""A vocabulary of whole words in SCAN's layout, split as NLTK's Treebank tokenizer splits them.

Captions are encoded as they are. A query is read with some tolerance. A word that the vocabulary lacks is tried without
accents, in its parts at hyphens, as singular or plural, as a number in words, and with one typing error undone.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, ClassVar

from shan_engine.base.errors import InputError
from shan_engine.base.files import replacing
from shan_engine.base.json_text import decode_json
from shan_engine.text.sentences import Sentences
from shan_engine.text.tokenizer import Tokenized, Tokenizer, Word

SPECIAL = ("<pad>", "<start>", "<end>", "<unk>")
PAD, START, END, UNKNOWN = range(4)
_PLURALS = ((r"s$", ""), (r"ies$", "y"), (r"(?<=[sxzo])es$|(?<=[cs]h)es$", ""))
_NUMBERS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"
)  # fmt: skip
_EDGES = "".join(chr(c) for c in range(0x250) if not chr(c).isalnum()) + "‐‑‒–—―‘’‚‛“”„‟†‡•…‹›"
_BETWEEN = re.compile(r"[^\w']+|_+")
_FIX = "put back the vocab.json that the model was trained or exported with"
_LEAST_TYPED = 4  # of shorter words, too many are one letter apart
_LEAST_SINGULAR = 3  # letters of a word that is tried as a plural
_STRAIGHT = str.maketrans("‘’", "''")  # phones write the curly ones, NLTK splits at the straight ones


# A caption of these characters alone is split at spaces: loading NLTK takes longer than many searches.
_PLAIN = re.compile("[a-z0-9 ]*")
_SPLIT_BY_NLTK = {"cannot", "gimme", "gonna", "gotta", "lemme", "wanna"}


@cache
def _nltk_tokenizer() -> Any:
    from nltk.tokenize import NLTKWordTokenizer

    return NLTKWordTokenizer()


def tokenise(caption: str, sentences: Sentences | None = None) -> list[str]:
    """Lower-cased words and punctuation of a caption, as one sentence, or with `sentences` as NLTK's word_tokenize."""
    lower = caption.lower()
    words = lower.split(" ")
    if _PLAIN.fullmatch(lower) and not _SPLIT_BY_NLTK.intersection(words):
        return [word for word in words if word]
    parts = sentences.split(lower) if sentences else [lower]
    return [word for part in parts for word in _nltk_tokenizer().tokenize(part)]


def find_spans(caption: str, words: Sequence[str]) -> list[tuple[int, int]]:
    """First and last character, exclusive, of the `tokenise`d words in their caption."""
    lower, place, spans = caption.lower(), 0, []
    for word in words:
        forms = ("``", "''", '"') if word in ("``", "''") else (word,)  # NLTK writes double quotes in this way
        found = [(start, form) for form in forms if (start := lower.find(form, place)) >= 0]
        start, form = min(found, default=(place, ""))
        place = start + len(form)
        spans.append((start, place))
    if len(lower) == len(caption):
        return spans
    # A few letters, such as İ, have a lower case of two characters.
    origin = [place for place, character in enumerate(caption) for _ in character.lower()]
    return [(origin[start], origin[end - 1] + 1) for start, end in spans]


@dataclass(frozen=True)
class Vocabulary(Tokenizer):
    """Words by number; the first four are `<pad>`, `<start>`, `<end>`, `<unk>`.

    With `sentences`, captions are split into sentences before they are split into words.
    """

    file_name: ClassVar[str] = "vocab.json"
    unit: ClassVar[str] = "words"
    words: tuple[str, ...]
    sentences: Sentences | None = None

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
            data = decode_json(path.read_text("utf-8"))
            numbers = {str(word): int(number) for word, number in data["word2idx"].items()}
            "".join(numbers).encode()  # raises where a word is no text that can be written
        except FileNotFoundError as error:
            raise InputError(f"there is no vocabulary {path}: {_FIX}") from error
        except OSError as error:
            raise InputError(f"cannot read the vocabulary {path}: {error.strerror}; check its permissions") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"the vocabulary {path} is damaged ({error}): {_FIX}") from error
        words = tuple(sorted(numbers, key=numbers.__getitem__))
        if [numbers[word] for word in words] != list(range(len(words))):
            raise InputError(f"the vocabulary {path} does not number its words 0 to {len(words) - 1}: {_FIX}")
        if words[:4] != SPECIAL:
            raise InputError(f"the vocabulary {path} does not begin with {', '.join(SPECIAL)}: {_FIX}")
        return cls(words, Sentences.from_json(data["sentences"]) if data.get("sentences") else None)

    def save(self, path: Path) -> None:
        """Write SCAN's JSON layout, beside and renamed."""
        data: dict[str, Any] = {
            "word2idx": self.word2idx,
            "idx2word": {str(number): word for number, word in enumerate(self.words)},
            "idx": len(self.words),
        }
        if self.sentences:
            data["sentences"] = self.sentences.as_json()
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(data, ensure_ascii=False), "utf-8")

    def content(self) -> bytes:
        """The words, and what splits captions into sentences, if something does."""
        sentences = "\0\0" + json.dumps(self.sentences.as_json()) if self.sentences else ""
        return ("\0".join(self.words) + sentences).encode()

    @property
    def markers(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The numbers of `<start>` and `<end>`."""
        return (START,), (END,)

    def _encode(self, caption: str) -> Tokenized:
        words = tokenise(caption, self.sentences)
        unknown = tuple(word for word in words if word not in self.word2idx)
        return self._tokenized(words, find_spans(caption, words), unknown=unknown)

    def _read(self, query: str, most: int) -> Tokenized:
        straight = query.translate(_STRAIGHT)
        words = tokenise(straight, self.sentences)
        read: list[str] = []
        spans: list[tuple[int, int]] = []
        replaced, unknown, left_out = {}, [], 0
        for number, (word, span) in enumerate(zip(words, find_spans(straight, words), strict=True)):
            if len(read) >= most:
                left_out = len(words) - number
                break
            found = self._closest(word)
            if not found:
                if any(unicodedata.category(character)[0] != "P" for character in word):  # nobody means « or —
                    unknown.append(word)
            elif found != (word,) and found != (word.strip(_EDGES),):
                replaced[word] = " ".join(found)
            read.extend(found or (word,))
            spans.extend([span] * len(found or (word,)))
        left_out += max(0, len(read) - most)
        return self._tokenized(read[:most], spans[:most], replaced=replaced, unknown=tuple(unknown), left_out=left_out)

    def _tokenized(self, words: Sequence[str], spans: Sequence[tuple[int, int]], **reading: Any) -> Tokenized:
        tokens = (START, *map(self._number, words), END)
        places = enumerate(zip(words, spans, strict=True), 1)  # <start> stands at 0
        return Tokenized(tokens, tuple(Word(word, *span, (place,)) for place, (word, span) in places), **reading)

    def _number(self, word: str) -> int:
        return self.word2idx.get(word, UNKNOWN)

    def _closest(self, word: str) -> tuple[str, ...]:
        """The known words that `word` stands for, none where there are none."""
        if word in self.word2idx:
            return (word,)
        plain = "".join(c for c in unicodedata.normalize("NFKD", word) if not unicodedata.combining(c))
        parts = [part for part in _BETWEEN.split(plain.strip(_EDGES)) if part]
        if len(parts) == 1 and parts[0] != word:
            return self._closest(parts[0])
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
