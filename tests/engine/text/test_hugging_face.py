"""Tokenizers of each kind, trained here on a few sentences."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shan_engine.base.errors import InputError
from shan_engine.text.hugging_face import HuggingFaceTokenizer, find_words, group_tokens
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

SENTENCES = ["a dog runs over the grass .", "two children play in the water .", "a man rides a bike .", "don't run !"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def word_piece():
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=90, special_tokens=SPECIAL, show_progress=False)
    made.train_from_iterator(SENTENCES * 3, trainer)
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    made.enable_truncation(5)
    made.enable_padding(length=8)
    return made


def byte_level_bpe():
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=alphabet, special_tokens=["<s>", "</s>"], show_progress=False
    )
    made.train_from_iterator(SENTENCES * 3, trainer)
    made.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0), trim_offsets=False)
    return made


def unigram():
    made = Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=60, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False)
    made.train_from_iterator(SENTENCES * 3, trainer)
    return made


KINDS = {"WordPiece": word_piece, "byte-level BPE": byte_level_bpe, "Unigram": unigram}
MADE = {name: HuggingFaceTokenizer(make().to_str()) for name, make in KINDS.items()}
WORD_PIECE = MADE["WordPiece"]


@pytest.fixture(params=KINDS)
def tokenizer(request):
    return MADE[request.param]


def texts(tokenized):
    return [word.text for word in tokenized.words]


def test_words_are_whole_and_hold_their_pieces(tokenizer):
    text = "Two playgrounds, and the dog doesn't run"
    found = tokenizer.encode(text)
    assert texts(found) == ["Two", "playgrounds", ",", "and", "the", "dog", "doesn't", "run"]
    assert all(text[word.start : word.end] == word.text for word in found.words)
    assert len(found.words[1].tokens) > 1  # a long word in several pieces
    places = [place for word in found.words for place in word.tokens]
    assert places == sorted(set(places))
    assert len(found.tokens) == len(tokenizer.encode(text).tokens) > len(found.words)
    assert all(0 <= token < len(tokenizer) for token in found.tokens)


def test_markers_stand_around_every_text_and_in_no_word():
    assert WORD_PIECE.markers == ((2,), (3,))
    assert MADE["byte-level BPE"].markers == ((0,), (1,))
    assert MADE["Unigram"].markers == ((), ())
    found = WORD_PIECE.encode("a dog runs")
    assert (found.tokens[0], found.tokens[-1]) == (2, 3)
    assert {0, len(found.tokens) - 1}.isdisjoint(place for word in found.words for place in word.tokens)


def test_the_files_own_truncation_and_padding_are_not_used():
    assert len(WORD_PIECE.encode("a dog").tokens) == 4
    assert len(WORD_PIECE.encode("a dog " * 20).tokens) == 42


def test_unknown_words_are_named():
    found = WORD_PIECE.read("a dog 犬 runs", 20)
    assert found.unknown == ("犬",)
    assert found.has_known_word
    assert found.replaced == {}
    assert MADE["Unigram"].read("a dog 犬 runs", 50).unknown == ("犬",)
    assert not WORD_PIECE.read("犬", 20).has_known_word
    assert MADE["byte-level BPE"].read("a dog 犬 runs", 50).unknown == ()  # it knows every byte


@pytest.mark.parametrize(
    ("text", "part"), [("", "is empty"), (" \t", "is empty"), ("?!", "has no word"), ("🐶", "no word")]
)
def test_a_query_without_a_word_is_refused(tokenizer, text, part):
    with pytest.raises(InputError, match=part):
        tokenizer.read(text, 20)
    if part == "is empty":
        with pytest.raises(InputError, match=part):
            tokenizer.encode(text)
    else:
        assert tokenizer.encode(text).words


def test_a_query_is_cut_at_a_whole_word(tokenizer):
    text = "the dog and children play in playgrounds"
    whole = tokenizer.read(text, 200)
    assert whole.left_out == 0
    assert texts(whole) == text.split()
    for most in range(len(whole.tokens), 5, -1):
        found = tokenizer.read(text, most)
        assert len(found.tokens) <= most
        assert texts(found) == text.split()[: len(found.words)]
        assert found.left_out == 7 - len(found.words)
        before, after = tokenizer.markers
        assert found.tokens[len(found.tokens) - len(after) :] == after
        assert found.tokens[: len(before)] == before
        following = whole.words[len(found.words) : len(found.words) + 1]
        assert all(word.tokens[-1] + 1 + len(after) > most for word in following)  # no further word would fit


def test_a_first_word_that_is_too_long_is_cut(tokenizer):
    found = tokenizer.read("runrunrunrunrunrun dog", 6)
    assert len(found.tokens) == 6
    assert len(found.words) == 1
    assert found.left_out == 1


def test_a_caption_that_is_too_long_is_refused():
    assert len(WORD_PIECE.encode("a dog runs", 5).tokens) == 5
    with pytest.raises(InputError, match="the caption 'a dog runs' has 3 tokens, the model takes 2: shorten it"):
        WORD_PIECE.encode("a dog runs", 4)


@given(st.text(max_size=30))
def test_any_text_gives_tokens_that_fit_or_an_input_error(text):
    for tokenizer in MADE.values():
        try:
            found = tokenizer.read(text, 9)
        except InputError:
            assert not any(character.isalnum() for character in text)
            continue
        assert len(found.tokens) <= 9
        assert all(word.text == text[word.start : word.end] for word in found.words)


def test_words_of_scripts_with_marks():
    def words(text):
        return [text[start:end] for start, end in find_words(text)]

    assert words("हिन्दी भाषा") == ["हिन्दी", "भाषा"]  # vowel signs are no letters
    assert words("it's a black-and-white 'dog'.") == [
        "it's", "a", "black", "-", "and", "-", "white", "'", "dog", "'", ".",
    ]  # fmt: skip


def test_words_that_share_a_token_are_one():
    found = group_tokens("a dog runs", [(0, 0), (0, 3), (3, 5), (5, 10), (0, 0)])
    assert [(word.text, word.tokens) for word in found] == [("a dog", (1, 2)), ("runs", (3,))]


def test_the_file_is_kept_as_it_was(tmp_path, tokenizer):
    tokenizer.save(tmp_path / "tokenizer.json")
    held = HuggingFaceTokenizer.load(tmp_path / "tokenizer.json")
    assert held.content() == tokenizer.content() == (tmp_path / "tokenizer.json").read_bytes()
    assert held.encode("a dog") == tokenizer.encode("a dog")


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", json.dumps({"model": 5})])
def test_a_damaged_file_is_refused(tmp_path, content):
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(InputError, match=r"tokenizer\.json is damaged \(.*\): put back the tokenizer\.json"):
        HuggingFaceTokenizer.load(tmp_path / "tokenizer.json")


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(InputError, match=r"there is no tokenizer .*tokenizer\.json: put back"):
        HuggingFaceTokenizer.load(tmp_path / "tokenizer.json")
