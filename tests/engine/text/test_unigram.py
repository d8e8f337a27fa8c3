"""Texts cut by the few pieces that they hold, and by the whole vocabulary."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shan_engine.text import hugging_face
from shan_engine.text.hugging_face import HuggingFaceTokenizer
from shan_engine.text.unigram import UnigramVocabulary
from tokenizers import Tokenizer

BUNDLE = Path(__file__).parents[3] / "artifacts" / "demo" / "bundle"
DEMO = (BUNDLE / "tokenizer.json").read_text("utf-8")
WHOLE = Tokenizer.from_str(DEMO)
PARTS = UnigramVocabulary(DEMO)
TEXTS = [
    *(BUNDLE / "querybank.txt").read_text("utf-8").splitlines()[::10],
    "東京の犬と猫", "สุนัขสองตัว", "Привет, собака!", "الكلب", "ＡＢＣ ﬁ ①", "😀 ☃ zqxj", "<s> </s> <unk>",
    "▁▁ a", "  a  b ",
]  # fmt: skip


def same(text):
    part, whole = PARTS.part(text), WHOLE.encode(text)
    found = part.tokenizer.encode(text)
    return part.tokens(found) == tuple(whole.ids) and found.offsets == whole.offsets


def test_the_demos_texts_are_cut_as_by_the_whole():
    assert [text for text in TEXTS if not same(text)] == []


@given(st.text(st.characters(categories=("L", "N", "P", "S", "Z")), max_size=40))
def test_any_text_is_cut_as_by_the_whole(text):
    assert same(text)


def test_many_texts_are_cut_by_the_whole(monkeypatch):
    monkeypatch.setattr(hugging_face, "FEW_TEXTS", 2)
    tokenizer = HuggingFaceTokenizer(DEMO)
    read = [tokenizer.read("two dogs and 東京", 20) for _ in range(4)]
    assert "_whole" in vars(tokenizer)
    assert all(one == read[0] for one in read)


def changed(**changes):
    held = json.loads(DEMO)
    held["model"]["vocab"] = held["model"]["vocab"][:500]
    for name, value in changes.items():
        (held["model"] if name in held["model"] else held)[name] = value
    return json.dumps(held)


@pytest.mark.parametrize(
    "definition", [changed(byte_fallback=True), changed(unk_id=200), changed(added_tokens=[{"id": 3}])]
)
def test_a_file_with_more_than_pieces_is_not_cut(definition):
    with pytest.raises(ValueError, match="no Unigram tokenizer that can be cut"):
        UnigramVocabulary(definition)
