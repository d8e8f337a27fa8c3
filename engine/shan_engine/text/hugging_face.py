"""A Hugging Face `tokenizer.json`, read with the library `tokenizers`: WordPiece, BPE, Unigram and others.

Its tokens may be pieces of words, and models differ in how they mark them. So words are found in the text itself: runs
of letters, digits and what belongs to them, and each punctuation mark alone. A token belongs to the word whose
characters it covers. Scripts without spaces, such as Chinese, give one word for each run of letters.
"""

from __future__ import annotations

import json
import unicodedata
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar

from shan_engine.base.errors import InputError
from shan_engine.base.files import replacing
from shan_engine.text.tokenizer import Tokenized, Tokenizer, Word

_FIX = "put back the tokenizer.json that the model was trained or exported with"
_APOSTROPHES = "'’"


class HuggingFaceTokenizer(Tokenizer):
    """Tokens as a `tokenizer.json` defines them. Its own settings for padding and truncation are not used."""

    file_name: ClassVar[str] = "tokenizer.json"
    unit: ClassVar[str] = "tokens"

    def __init__(self, definition: str) -> None:
        """`definition` is the file's content. Raises ValueError if it defines no tokenizer."""
        import tokenizers  # takes a while, and a vocabulary does without it

        self._definition = definition
        try:
            self._tokenizer = tokenizers.Tokenizer.from_str(definition)
        except Exception as error:  # the library raises nothing more precise
            raise ValueError(str(error)) from error
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    @classmethod
    def load(cls, path: Path) -> HuggingFaceTokenizer:
        """Read the file. Raises InputError where it is missing or damaged."""
        try:
            return cls(path.read_text("utf-8"))
        except FileNotFoundError as error:
            raise InputError(f"there is no tokenizer {path}: {_FIX}") from error
        except OSError as error:
            raise InputError(f"cannot read the tokenizer {path}: {error.strerror}; check its permissions") from error
        except ValueError as error:
            raise InputError(f"the tokenizer {path} is damaged ({error}): {_FIX}") from error

    def save(self, path: Path) -> None:
        """Write the file as it was read."""
        with replacing(path) as temporary:
            temporary.write_text(self._definition, "utf-8")

    def content(self) -> bytes:
        """The file's content."""
        return self._definition.encode()

    def __len__(self) -> int:
        return int(self._tokenizer.get_vocab_size())

    @property
    def pieces(self) -> list[str]:
        """The text of each token, by number."""
        vocabulary = self._tokenizer.get_vocab()
        return sorted(vocabulary, key=vocabulary.__getitem__)

    @cached_property
    def markers(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The special tokens that the file's post-processor puts before and after a text."""
        encoding = self._tokenizer.encode("a")
        own = [place for place, special in enumerate(encoding.special_tokens_mask) if not special]
        first, last = (own[0], own[-1] + 1) if own else (len(encoding.ids), len(encoding.ids))
        return tuple(encoding.ids[:first]), tuple(encoding.ids[last:])

    def _encode(self, caption: str) -> Tokenized:
        return self._tokenized(caption, self._tokenizer.encode(caption))

    def _read(self, query: str, most: int) -> Tokenized:
        encoding = self._tokenizer.encode(query, add_special_tokens=False)
        if len(encoding.ids) <= most:
            return self._tokenized(query, self._tokenizer.post_process(encoding))
        words = group_tokens(query, encoding.offsets)
        fitting = sum(word.tokens[-1] < most for word in words)
        # A first word that is too long is cut: its beginning still says something.
        kept = words[fitting].tokens[0] if 0 < fitting < len(words) else most
        encoding.truncate(min(kept, most))
        return self._tokenized(
            query, self._tokenizer.post_process(encoding), left_out=len(words) - max(fitting, min(1, len(words)))
        )

    def _tokenized(self, text: str, encoding: Any, **reading: Any) -> Tokenized:
        marked = zip(encoding.offsets, encoding.special_tokens_mask, strict=True)
        words = group_tokens(text, [(0, 0) if special else offsets for offsets, special in marked])
        unknown = [
            word.text for word in words if all(encoding.ids[place] == self._unknown_token for place in word.tokens)
        ]
        return Tokenized(tuple(encoding.ids), words, unknown=tuple(unknown), **reading)

    @cached_property
    def _unknown_token(self) -> int | None:
        """The number that stands for what the model does not know; None where it knows every byte."""
        model = json.loads(self._definition)["model"]
        if model.get("unk_token") is not None:
            return self._tokenizer.token_to_id(model["unk_token"])
        number: int | None = model.get("unk_id")
        return number


def group_tokens(text: str, offsets: list[tuple[int, int]]) -> tuple[Word, ...]:
    """The words of a text with the places of their tokens, from each token's first and last character, exclusive.

    Words that share a token are one. A token without a word's character, such as a marker, belongs to none.
    """
    spans = find_words(text)
    groups: list[tuple[int, int, list[int]]] = []
    number = 0
    for place, (start, end) in enumerate(offsets):
        while number < len(spans) and spans[number][1] <= start:
            number += 1
        beyond = number
        while beyond < len(spans) and spans[beyond][0] < end:
            beyond += 1
        covered = spans[number:beyond]
        if not covered or start == end:
            continue
        if groups and groups[-1][1] > covered[0][0]:  # goes on with the word of the token before
            first, last, places = groups[-1]
            groups[-1] = first, max(last, covered[-1][1]), [*places, place]
        else:
            groups.append((covered[0][0], covered[-1][1], [place]))
    return tuple(Word(text[start:end], start, end, tuple(places)) for start, end, places in groups)


def find_words(text: str) -> list[tuple[int, int]]:
    """First and last character, exclusive, of a text's words and of each of its punctuation marks and symbols."""
    spans = []
    for kind, run in groupby(range(len(text)), lambda place: _kind(text, place)):
        places = list(run)
        if kind == "word":
            spans.append((places[0], places[-1] + 1))
        elif kind == "mark":
            spans += [(place, place + 1) for place in places]
    return spans


def _kind(text: str, place: int) -> str:
    """Whether a character is part of a word, a punctuation mark or symbol, or a space."""
    character = text[place]
    if character.isspace():
        return "space"
    if character in _APOSTROPHES and text[place - 1 : place].isalnum() and text[place + 1 : place + 2].isalnum():
        return "word"  # as in don't
    return "mark" if unicodedata.category(character)[0] in "PS" else "word"
