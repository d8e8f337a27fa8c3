"""The sentence model's `sp.model` as a `tokenizer.json` of the library `tokenizers`.

The file is SentencePiece's, in an older layout: field 1 has the pieces, each with its score, and field 3 the rules of
normalisation, NFKC with changes, as a compiled table in field 2 (Kudo and Richardson, EMNLP 2018).
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from shan_engine.base.errors import InputError
from shan_model.sentence.package import FIX

MARK = "▁"
SCORE_DIGITS = 4  # of a logarithm; fewer change how captions are cut
UNKNOWN, START, END = "<unk>", "<s>", "</s>"


class SentencePieces(NamedTuple):
    """Pieces by number, the logarithms of their probabilities, and compiled rules of normalisation, perhaps none."""

    pieces: list[str]
    scores: list[float]
    rules: bytes


def read_sentence_pieces(path: Path) -> SentencePieces:
    """Read `sp.model`. Raises InputError if it is missing or damaged."""
    try:
        fields = list(_fields(path.read_bytes()))
        pieces = [dict(_fields(value)) for number, value in fields if number == 1]
        (rules,) = (dict(_fields(value))[2] for number, value in fields if number == 3)
        return SentencePieces(
            [piece[1].decode() for piece in pieces],
            [struct.unpack("<f", piece[2])[0] if 2 in piece else 0.0 for piece in pieces],
            rules,
        )
    except (OSError, ValueError, KeyError, IndexError, struct.error) as error:
        raise InputError(f"the pieces {path} cannot be read ({error}): {FIX}") from error


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The fields of a message of Protocol Buffers, by number; those of variable length as no bytes."""
    place = 0

    def number() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = data[place]
            place += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while place < len(data):
        tag = number()
        kind = tag & 7
        if kind == 0:
            number()
            size = 0
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        elif kind == 2:
            size = number()
        else:
            raise ValueError(f"byte {place} begins no field")
        if place + size > len(data):
            raise ValueError(f"it ends within a field at byte {place}")
        yield tag >> 3, data[place : place + size]
        place += size


def tokenizer_definition(held: SentencePieces) -> str:
    """The content of a `tokenizer.json` that cuts texts as SentencePiece does, between `<s>` and `</s>`."""
    places = {piece: number for number, piece in enumerate(held.pieces)}
    rules = [{"type": "Precompiled", "precompiled_charsmap": base64.b64encode(held.rules).decode()}]
    metaspace = {"type": "Metaspace", "replacement": MARK, "prepend_scheme": "always", "split": True}
    definition: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],  # a text with "<s>" in it is read as it stands
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                *(rules if held.rules else []),
                {"type": "Strip", "strip_left": True, "strip_right": True},
                {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "},
            ],
        },
        "pre_tokenizer": metaspace,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [_special(START), {"Sequence": {"id": "A", "type_id": 0}}, _special(END)],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {name: {"id": name, "ids": [places[name]], "tokens": [name]} for name in (START, END)},
        },
        "decoder": metaspace,
        "model": {
            "type": "Unigram",
            "unk_id": places[UNKNOWN],
            "vocab": [
                [piece, round(score, SCORE_DIGITS)] for piece, score in zip(held.pieces, held.scores, strict=True)
            ],
            "byte_fallback": False,
        },
    }
    return json.dumps(definition, ensure_ascii=False, separators=(",", ":"))


def _special(name: str) -> dict[str, Any]:
    return {"SpecialToken": {"id": name, "type_id": 0}}
