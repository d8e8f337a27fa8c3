from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from nltk.tokenize import NLTKWordTokenizer
from shan_engine.base.errors import InputError
from shan_engine.text.tokenizer import pad, visible_text
from shan_engine.text.vocabulary import SPECIAL, Vocabulary, find_spans, tokenise

MOST = 128
PUBLIC = Path(__file__).parents[4] / "shared" / "vocab"


def texts(tokenized):
    return tuple(word.text for word in tokenized.words)


def test_tokenise_lowers_and_splits_punctuation():
    assert tokenise("Two Dogs, running; they can't stop.") == [
        "two", "dogs", ",", "running", ";", "they", "ca", "n't", "stop", ".",
    ]  # fmt: skip
    assert tokenise("   ") == []


WORD = st.one_of(st.text("abcdentgilmorw019 ", max_size=6), st.sampled_from(["cannot", "gonna", "Wanna", "gotta", "s"]))


@given(st.lists(WORD, max_size=8).map(" ".join))
def test_plain_captions_are_split_as_nltk_splits_them(caption):
    assert tokenise(caption) == NLTKWordTokenizer().tokenize(caption.lower())


CAPTION = st.text("aBc \\'\"`.,-İßΣ()…’?;n", max_size=20)


@given(st.one_of(CAPTION, st.text(max_size=20)))
@example("(''")
@example("a \"dog\" (''")
def test_every_word_has_its_place_in_the_caption(caption):
    words = tokenise(caption)
    ends = [0]
    for word, (start, end) in zip(words, find_spans(caption, words), strict=True):
        assert start < end
        held = caption[start:end].lower()
        quotes = ("``", "''")  # NLTK turns double quotes into one of these, and two single ones too
        if not {"İ", "Σ"}.intersection(caption):  # their lower case depends on what stands beside them
            assert held == word or (word in quotes and held in ('"', "''"))
            assert start >= ends[-1]
        ends.append(end)


def test_a_words_place_is_in_the_caption_as_it_was_written():
    caption = 'İs  "Dog" cannot'
    words = tokenise(caption)
    assert words == ["i̇s", "``", "dog", "''", "can", "not"]
    places = [caption[start:end] for start, end in find_spans(caption, words)]
    assert places == ["İs", '"', "Dog", '"', "can", "not"]


def test_the_layout_on_disk_and_back(tmp_path):
    vocabulary = Vocabulary.build(["dog", "naïve", "dog", "<unk>", "犬"])
    assert vocabulary.words == (*SPECIAL, "dog", "naïve", "犬")
    assert len(vocabulary) == 7
    vocabulary.save(tmp_path / "new" / "vocab.json")
    data = json.loads((tmp_path / "new" / "vocab.json").read_text("utf-8"))
    assert data["idx"] == 7
    assert data["word2idx"]["犬"] == 6
    assert data["idx2word"]["6"] == "犬"
    assert Vocabulary.load(tmp_path / "new" / "vocab.json") == vocabulary


@pytest.mark.parametrize(("name", "size"), [("f30k_precomp_vocab.json", 8481), ("coco_precomp_vocab.json", 11353)])
def test_scans_public_vocabularies(name, size):
    if not (PUBLIC / name).is_file():
        pytest.skip("the public vocabularies are not here")
    vocabulary = Vocabulary.load(PUBLIC / name)
    assert len(vocabulary) == size
    data = json.loads((PUBLIC / name).read_text("utf-8"))
    assert vocabulary.word2idx == data["word2idx"]
    assert vocabulary.encode("A dog xyzzyx.").tokens == (
        1, data["word2idx"]["a"], data["word2idx"]["dog"], 3, data["word2idx"]["."], 2,
    )  # fmt: skip


def test_encode():
    vocabulary = Vocabulary.build(["a", "dog"])
    assert vocabulary.encode("A dog barks").tokens == (1, 4, 5, 3, 2)
    for empty in ("", "  ", "\t"):
        with pytest.raises(InputError, match="empty"):
            vocabulary.encode(empty)


@given(st.text(min_size=1))
def test_any_text_becomes_known_numbers_or_an_input_error(text):
    vocabulary = Vocabulary.build(["a", "dog"])
    try:
        tokens = vocabulary.encode(text).tokens
    except InputError:
        assert not tokenise(text)
        return
    assert tokens[0] == 1
    assert tokens[-1] == 2
    assert all(0 <= token < len(vocabulary) for token in tokens)


def test_pad():
    tokens, lengths = pad([[1, 5, 2], [1, 2], [1, 4, 5, 2]])
    np.testing.assert_array_equal(tokens, [[1, 5, 2, 0], [1, 2, 0, 0], [1, 4, 5, 2]])
    np.testing.assert_array_equal(lengths, [3, 2, 4])
    assert tokens.dtype == lengths.dtype == np.int64


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("{", "damaged"),
        ("[]", "damaged"),
        ("{}", "damaged"),
        ('{"word2idx": []}', "damaged"),
        ('{"word2idx": {"a": "x"}}', "damaged"),
        ('{"word2idx": {"<pad>": 0, "<start>": 1, "<end>": 2, "<unk>": 3, "a": 5}}', "0 to 4"),
        ('{"word2idx": {"<pad>": 0, "<start>": 1, "<end>": 2, "<unk>": 3, "a": 3}}', "0 to 4"),
        ('{"word2idx": {"<pad>": 1, "<start>": 0, "<end>": 2, "<unk>": 3}}', "does not begin"),
        ('{"word2idx": {}}', "does not begin"),
    ],
)
def test_a_wrong_vocabulary_is_refused(tmp_path, content, part):
    (tmp_path / "vocab.json").write_text(content)
    with pytest.raises(InputError, match=part) as caught:
        Vocabulary.load(tmp_path / "vocab.json")
    assert "vocab.json" in str(caught.value)
    assert str(caught.value).endswith(": put back the vocab.json that the model was trained or exported with")


def test_a_vocabulary_that_is_not_there_or_not_text(tmp_path):
    with pytest.raises(InputError, match=r"there is no vocabulary .*vocab\.json: put back"):
        Vocabulary.load(tmp_path / "vocab.json")
    (tmp_path / "vocab.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="damaged"):
        Vocabulary.load(tmp_path / "vocab.json")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=r"cannot read the vocabulary .*folder: Is a directory; check"):
        Vocabulary.load(tmp_path / "folder")


VOCABULARY = Vocabulary.build(
    ["dog", "dogs", "windmill", "cafe", "black", "and", "white", "city", "bus", "goose", "a", "man", "mane", "tie",
     "church", "seven", "twelve", "'s", "ss"]
)  # fmt: skip


@pytest.mark.parametrize(
    ("query", "words", "replaced"),
    [
        ("A Dog", ("a", "dog"), {}),
        ("windmills", ("windmill",), {"windmills": "windmill"}),
        ("cities", ("city",), {"cities": "city"}),
        ("buses", ("bus",), {"buses": "bus"}),
        ("churches", ("church",), {"churches": "church"}),
        ("manes", ("mane",), {"manes": "mane"}),
        ("ties", ("tie",), {"ties": "tie"}),
        ("7 dogs", ("seven", "dogs"), {"7": "seven"}),
        ("12 dogs", ("twelve", "dogs"), {"12": "twelve"}),
        ("café", ("cafe",), {"café": "cafe"}),
        ("black-and-white", ("black", "and", "white"), {"black-and-white": "black and white"}),
        ("a widnmill", ("a", "windmill"), {"widnmill": "windmill"}),
        ("whte", ("white",), {"whte": "white"}),
        ("goosse", ("goose",), {"goosse": "goose"}),
        ("man’s dog", ("man", "'s", "dog"), {}),
    ],
)
def test_a_query_is_read_with_tolerance(query, words, replaced):
    reading = VOCABULARY.read(query, MOST)
    assert texts(reading) == words
    assert reading.replaced == replaced
    assert reading.unknown == ()
    assert reading.tokens == VOCABULARY.encode(" ".join(words)).tokens


@pytest.mark.parametrize("word", ["dgo", "zebra", "s", "9", "13", "007", "wnidmlil", "x-y"])
def test_words_that_are_no_typing_error_stay_unknown(word):
    reading = VOCABULARY.read(f"a {word}", MOST)
    assert reading.unknown == (word,)
    assert texts(reading) == ("a", word)
    assert reading.tokens == VOCABULARY.encode(f"a {word}").tokens == (1, VOCABULARY.word2idx["a"], 3, 2)


@pytest.mark.parametrize("query", [".", "?!", " - ", "...", "🐶"])
def test_a_query_without_letters_and_digits_is_refused_but_encoded_for_training(query):
    vocabulary = Vocabulary.build(["dog", "."])
    with pytest.raises(InputError, match="has no word: describe what to look for"):
        vocabulary.read(query, MOST)
    assert len(vocabulary.encode(query).tokens) >= 3
    assert texts(vocabulary.read("7 dog.", MOST)) == ("7", "dog", ".")


def test_of_several_near_words_the_first_in_the_vocabulary_is_meant():
    vocabulary = Vocabulary.build(["cart", "care", "card"])
    assert texts(vocabulary.read("carx", MOST)) == ("cart",)


@given(st.text(max_size=40))
def test_reading_never_fails_but_for_text_without_a_word(text):
    if not any(character.isalnum() for character in text):
        with pytest.raises(InputError, match="has no word" if text.strip() else "empty"):
            VOCABULARY.read(text, MOST)
    else:
        reading = VOCABULARY.read(text, MOST)
        numbers = reading.tokens[1:-1]
        assert len(reading.words) == len(numbers) >= 1
        known = [word in VOCABULARY.word2idx for word in texts(reading)]
        assert known == [number != 3 for number in numbers]
        for place, word in enumerate(reading.words, 1):
            assert word.tokens == (place,)
            assert 0 <= word.start < word.end <= len(text)


@pytest.mark.parametrize(
    ("query", "most", "words", "left_out"),
    [
        ("a dog and a man", 2, ("a", "dog"), 3),
        ("a black-and-white dog", 3, ("a", "black", "and"), 2),
        ("a dog", 2, ("a", "dog"), 0),
    ],
)
def test_words_beyond_those_that_the_model_takes_are_counted(query, most, words, left_out):
    reading = VOCABULARY.read(query, most + 2)
    assert (texts(reading), reading.left_out) == (words, left_out)
    assert len(reading.tokens) == most + 2


def test_words_that_are_left_out_are_not_looked_up():
    reading = VOCABULARY.read("a dog xyzzy widnmill", 4)
    assert (reading.unknown, reading.replaced, reading.left_out) == ((), {}, 2)


@pytest.mark.parametrize(
    "query", ["a dog. on grass", "a «dog» on grass…", "¡a dog—on grass!", "a dog,on/grass", "a “dog” (on) grass*"]
)
def test_punctuation_beside_a_word_does_not_make_it_unknown(query):
    found = Vocabulary.build(["a", "dog", "on", "grass"]).read(query, 20)
    assert [word.text for word in found.words if word.text.isalpha()] == ["a", "dog", "on", "grass"]
    assert found.unknown == ()


@pytest.mark.parametrize(
    "query",
    ["a win\u200bdmill", "a wind\u00admill", "\ufeffa windmill", "a\u00a0windmill", "\u2060a\u202fwind\u200dmill"],
)
def test_marks_that_cannot_be_seen_are_left_out(query):
    assert visible_text(query) == "a windmill"


def test_joiners_stay_where_they_are_seen():
    for text in ("می\u200cخواهم", "👨\u200d👩"):
        assert visible_text(text) == text
