"""The part of a Unigram tokenizer that one text needs.

The library `tokenizers` builds a tree of the whole vocabulary when it loads a file, which takes most of a second for
a hundred thousand pieces. A text can only be cut into pieces that stand in it. So a tokenizer of these alone gives the
same tokens (tests/engine/text/test_unigram.py), and is made in a tenth of a millisecond.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any, NamedTuple

import msgspec

MOST_KEPT = 100  # first numbers that keep their meaning in every part


class Part(NamedTuple):
    """A tokenizer of the library, and the vocabulary's numbers by its own; None where they are the same."""

    tokenizer: Any
    numbers: Sequence[int] | None = None

    def tokens(self, encoding: Any) -> tuple[int, ...]:
        """The vocabulary's numbers of what the tokenizer gave."""
        ids: list[int] = encoding.ids
        return tuple(ids if self.numbers is None else [self.numbers[own] for own in ids])


class _Piece(msgspec.Struct, array_like=True, gc=False):
    """A piece and its score; Python's collector need not look at a hundred thousand of them."""

    text: str
    score: float


class _Model(msgspec.Struct, forbid_unknown_fields=True):
    """The model in a definition; its pieces as they are decoded fastest."""

    type: str
    unk_id: int | None
    vocab: list[_Piece]
    byte_fallback: bool = False


class UnigramVocabulary:
    """Pieces of a Unigram `tokenizer.json` without the tree over them."""

    def __init__(self, definition: str | bytes) -> None:
        """`definition` is the file's content. Raises ValueError where it is not one that this module can cut."""
        import tokenizers  # takes a while, and a vocabulary does without it

        try:
            held = msgspec.json.decode(definition, type=dict[str, msgspec.Raw])
            model = msgspec.json.decode(held.pop("model"), type=_Model)
            around = {name: msgspec.json.decode(value) for name, value in held.items()}
            self.unknown = model.unk_id
            self._kept = 1 + max(_marked(model, around), default=0)
            self._pieces = model.vocab
            self.places = dict(zip([piece.text for piece in model.vocab], count()))
            self._longest = max(map(len, self.places))
            scores = [piece.score for piece in model.vocab]
            self._least = scores.index(min(scores))  # an unknown piece costs somewhat more than it
            model.vocab = model.vocab[: self._kept]
            # Its normaliser and what else stands around the model. The library raises nothing more precise.
            self._frame = tokenizers.Tokenizer.from_str(msgspec.json.encode({**around, "model": model}).decode())
        except Exception as error:
            raise ValueError(f"no Unigram tokenizer that can be cut: {error}") from error
        self._model = tokenizers.Tokenizer, tokenizers.models.Unigram

    def part(self, text: str) -> Part:
        """What cuts this text as the whole vocabulary would."""
        frame = self._frame
        normal = frame.normalizer.normalize_str(text) if frame.normalizer else text
        runs = {run for run, _ in frame.pre_tokenizer.pre_tokenize_str(normal)} if frame.pre_tokenizer else {normal}
        found = {self._least}
        for run in runs:
            for start in range(len(run)):
                for end in range(start + 1, min(len(run), start + self._longest) + 1):
                    if (number := self.places.get(run[start:end])) is not None:
                        found.add(number)
        numbers = [*range(self._kept), *sorted(found.difference(range(self._kept)))]
        tokenizer, model = self._model
        pieces = [(self._pieces[number].text, self._pieces[number].score) for number in numbers]
        made = tokenizer(model(pieces, self.unknown))
        made.normalizer, made.pre_tokenizer = frame.normalizer, frame.pre_tokenizer
        made.post_processor = frame.post_processor
        return Part(made, numbers)


def _marked(model: _Model, around: dict[str, Any]) -> list[int]:
    """Numbers that a definition names outside its vocabulary. Raises ValueError where a part would not know them."""
    after = around.get("post_processor")
    plain = model.type == "Unigram" and not model.byte_fallback and not around.get("added_tokens")
    if not plain or (after and after["type"] != "TemplateProcessing"):
        raise ValueError("it has more than pieces and a template")
    special = after["special_tokens"].values() if after else ()
    numbers = [number for one in special for number in one["ids"]]
    numbers += [] if model.unk_id is None else [model.unk_id]
    if any(number >= min(MOST_KEPT, len(model.vocab)) for number in numbers):
        raise ValueError("its special pieces are not the first")
    return numbers
