"""A Hugging Face `tokenizer.json`, read with the library `tokenizers`: WordPiece, BPE, Unigram and others.

Its tokens may be pieces of words, and models differ in how they mark them. So words are found in the text itself: runs
of letters, digits and what belongs to them, and each punctuation mark alone. A token belongs to the word whose
characters it covers. Scripts without spaces, such as Chinese, give one word for each run of letters.

Of a Unigram file, single texts are cut by the few pieces that they hold (`unigram.py`); many are by the whole.
"""

from __future__ import annotations

import unicodedata
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from shan_engine.base.errors import InputError, first_line
from shan_engine.base.files import replacing
from shan_engine.base.json_text import decode_json
from shan_engine.text.tokenizer import Tokenized, Tokenizer, Word

if TYPE_CHECKING:
    from shan_engine.text.unigram import Part, UnigramVocabulary

_FIX = "put back the tokenizer.json that the model was trained or exported with"
_APOSTROPHES = "'’"
_NOBODY_KNOWS = "\U0010fffd"  # a character for private use
FEW_TEXTS = 64  # a process with more of them loads the whole file, which then takes a fifth of the time for a text


class HuggingFaceTokenizer(Tokenizer):
    """Tokens as a `tokenizer.json` defines them. Its own settings for padding and truncation are not used."""

    file_name: ClassVar[str] = "tokenizer.json"
    unit: ClassVar[str] = "tokens"

    def __init__(self, definition: str | bytes) -> None:
        """`definition` is the file's content. Raises ValueError if it defines no tokenizer."""
        from shan_engine.text.unigram import UnigramVocabulary  # needs msgspec, which training may be without

        # Bytes: to decode megabytes of text takes a fiftieth of a second, which few texts do without.
        self._definition = definition.encode() if isinstance(definition, str) else definition
        self._texts = 0
        try:
            self._vocabulary: UnigramVocabulary | None = UnigramVocabulary(self._definition)
        except ValueError:
            self._vocabulary = None
            _ = self._whole, self._unknown_token

    @cached_property
    def _whole(self) -> Any:
        """The library's tokenizer. Raises ValueError where the file defines none."""
        import tokenizers  # takes a while, and a vocabulary does without it

        _refuse_merges(self._definition)
        try:
            whole = tokenizers.Tokenizer.from_buffer(self._definition)
            whole.encode(_NOBODY_KNOWS)  # fails where unknown text has no token
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # the library raises nothing more precise, and Rust's panics are no Exception
            raise ValueError(first_line(error)) from error
        whole.no_padding()
        whole.no_truncation()
        return whole

    def _part(self, text: str) -> Part:
        """What cuts a text."""
        from shan_engine.text.unigram import Part

        self._texts += 1
        if self._vocabulary is None or self._texts > FEW_TEXTS:
            return Part(self._whole)
        return self._vocabulary.part(text)

    @classmethod
    def load(cls, path: Path) -> HuggingFaceTokenizer:
        """Read the file. Raises InputError where it is missing or damaged."""
        try:
            return cls(path.read_bytes())
        except FileNotFoundError as error:
            raise InputError(f"there is no tokenizer {path}: {_FIX}") from error
        except OSError as error:
            raise InputError(f"cannot read the tokenizer {path}: {error.strerror}; check its permissions") from error
        except ValueError as error:
            raise InputError(f"the tokenizer {path} is damaged ({error}): {_FIX}") from error

    def save(self, path: Path) -> None:
        """Write the file as it was read."""
        with replacing(path) as temporary:
            temporary.write_bytes(self._definition)

    def content(self) -> bytes:
        """The file's content."""
        return self._definition

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return self._vocabulary.places if self._vocabulary else self._whole.get_vocab()

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def pieces(self) -> list[str]:
        """The text of each token, by number."""
        return sorted(self._numbers, key=self._numbers.__getitem__)

    @cached_property
    def markers(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The special tokens that the file's post-processor puts before and after a text."""
        part = self._part("a")
        encoding = part.tokenizer.encode("a")
        ids = part.tokens(encoding)
        own = [place for place, special in enumerate(encoding.special_tokens_mask) if not special]
        first, last = (own[0], own[-1] + 1) if own else (len(ids), len(ids))
        return ids[:first], ids[last:]

    def _encode(self, caption: str) -> Tokenized:
        part = self._part(caption)
        return self._tokenized(caption, part, part.tokenizer.encode(caption))

    def _read(self, query: str, most: int) -> Tokenized:
        part = self._part(query)
        encoding = part.tokenizer.encode(query, add_special_tokens=False)
        if len(encoding.ids) <= most:
            return self._tokenized(query, part, part.tokenizer.post_process(encoding))
        words = group_tokens(query, encoding.offsets)
        fitting = sum(word.tokens[-1] < most for word in words)
        # A first word that is too long is cut: its beginning still says something.
        kept = words[fitting].tokens[0] if 0 < fitting < len(words) else most
        encoding.truncate(min(kept, most))
        left_out = len(words) - max(fitting, min(1, len(words)))
        return self._tokenized(query, part, part.tokenizer.post_process(encoding), left_out=left_out)

    def _tokenized(self, text: str, part: Part, encoding: Any, **reading: Any) -> Tokenized:
        marked = zip(encoding.offsets, encoding.special_tokens_mask, strict=True)
        words = group_tokens(text, [(0, 0) if special else offsets for offsets, special in marked])
        ids = part.tokens(encoding)
        unknown = [word.text for word in words if all(ids[place] == self._unknown_token for place in word.tokens)]
        return Tokenized(ids, words, unknown=tuple(unknown), **reading)

    @cached_property
    def _unknown_token(self) -> int | None:
        """The number that stands for what the model does not know; None where it knows every byte."""
        if self._vocabulary:
            return self._vocabulary.unknown
        model = decode_json(self._definition)["model"]
        if model.get("unk_token") is not None:
            return self._numbers.get(model["unk_token"])
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


def _refuse_merges(definition: bytes) -> None:
    """Raise ValueError for a merge to no token of a BPE vocabulary, of which the library prints a panic."""
    held = decode_json(definition) if b'"merges"' in definition else None
    model = held.get("model") if isinstance(held, dict) else None
    if not (isinstance(model, dict) and isinstance(merges := model.get("merges"), list)):
        return
    known, prefix = model.get("vocab"), model.get("continuing_subword_prefix")
    size = len(prefix) if isinstance(prefix, str) else 0
    for merge in merges:
        parts = merge.split(" ") if isinstance(merge, str) else merge
        match parts:
            case [str(first), str(second)] if isinstance(known, dict):
                if first + second[size:] not in known:
                    raise ValueError(f"its merge of {first!r} and {second!r} is no token")
