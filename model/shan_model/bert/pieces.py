"""Which pieces of a tokenizer begin a word, so that a graph can pool the pieces of each word.

WordPiece marks pieces that go on with a word ("##ing"), SentencePiece and byte-level BPE those that begin one ("▁dog",
"Ġdog"), CLIP's BPE those that end one ("dog</w>"). Punctuation marks and markers are words of their own.
"""

from __future__ import annotations

import json
import string
import unicodedata

import torch
from shan_engine.text.hugging_face import HuggingFaceTokenizer
from torch import Tensor

BEGINS, CLOSES, BLANK = range(3)
"""Columns of `piece_kinds`: begins a word, is the last of its word, is a word's start alone."""
_STARTS = "▁Ġ"


def piece_kinds(tokenizer: HuggingFaceTokenizer) -> Tensor:
    """Truth values V x 3 for the V pieces of a tokenizer."""
    definition = json.loads(tokenizer.content())
    model = definition["model"]
    of_words = model["type"] == "WordPiece"
    continuing, ending = model.get("continuing_subword_prefix"), model.get("end_of_word_suffix")
    byte_level = "ByteLevel" in json.dumps([definition.get("pre_tokenizer"), definition.get("decoder")])
    markers = {token["content"] for token in definition.get("added_tokens", ()) if token["special"]}

    def kinds(piece: str) -> tuple[bool, bool, bool]:
        if piece in markers:
            return True, True, False
        if of_words and continuing and piece.startswith(continuing):
            return False, False, False
        text = piece.removesuffix(ending) if ending else piece.lstrip(_STARTS)
        if not text:
            return True, False, True
        begins = of_words or piece[0] in _STARTS or _is_mark(text[0], byte_level)
        return begins, bool(ending and piece.endswith(ending)) or _is_mark(text[-1], byte_level), False

    return torch.tensor([kinds(piece) for piece in tokenizer.pieces])


def word_starts(kinds: Tensor, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Which of the tokens C x n begin a word, and the number of each token's word, from 1; 0 of none. Kinds are V x 3.

    A start alone belongs to no word: the engine's words have no character of it.
    """
    order = torch.arange(tokens.shape[1], device=tokens.device)
    own, before = kinds[tokens], kinds[tokens.index_select(1, (order - 1).clamp_min(0))]
    real = (order < lengths[:, None]) & ~own[..., BLANK]
    starts = real & (own[..., BEGINS] | before[..., BLANK] | before[..., CLOSES] | (order == 0))
    return some_row(starts), torch.where(real, starts.long().cumsum(1), 0)


def some_row(mask: Tensor) -> Tensor:
    """A mask C x n, with the first place of each row where it keeps none."""
    none = mask.long().amax(1, keepdim=True) == 0
    return mask | (none & (torch.arange(mask.shape[1], device=mask.device) == 0))


def pooled_words(states: Tensor, starts: Tensor, words: Tensor) -> Tensor:
    """Each word's mean state in the row of its first token, 0 in the others: states C x n x H to the same shape."""
    member = ((words[:, :, None] == words[:, None, :]) & starts[:, :, None]).to(states.dtype)
    pooled: Tensor = (member @ states) / member.sum(-1, keepdim=True).clamp_min(1)
    return pooled


def _is_mark(character: str, byte_level: bool) -> bool:
    """Whether it is a punctuation mark or symbol. Pieces of bytes write all but ASCII in other characters."""
    if byte_level:
        return character in string.punctuation
    return unicodedata.category(character)[0] in "PS"
