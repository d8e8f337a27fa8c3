"""Captions split as NLTK's `word_tokenize` splits them, from a small Punkt model made here."""

from __future__ import annotations

import json

import nltk
import pytest
from shan_engine.base.errors import InputError
from shan_engine.text.sentences import Sentences
from shan_engine.text.vocabulary import Vocabulary, tokenise

CAPTIONS = (
    "A man stands on a hill. A dog runs.",
    "Mr. Smith climbs mt. everest with dr. jones. he waves!",
    'He said "stop." Then a man (in red) ran away... and fell.',
    "number no. 7 is first. is it? yes.",
    "a plain caption",
    "A dog, i. e. a poodle. ",
)


@pytest.fixture
def english(tmp_path, monkeypatch):
    """A folder of `punkt_tab`, which NLTK finds too."""
    folder = tmp_path / "tokenizers" / "punkt_tab" / "english"
    folder.mkdir(parents=True)
    (folder / "abbrev_types.txt").write_text("mr\nmt\nno\n")
    (folder / "collocations.tab").write_text("##number##\tis\nhill\ta\n")
    (folder / "sent_starters.txt").write_text("then\n")
    (folder / "ortho_context.tab").write_text("is\t46\na\t46\nyes\t2\njones\t32\n")
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    return folder


def test_words_are_those_of_word_tokenize(english):
    sentences = Sentences.read(english)
    for caption in CAPTIONS:
        assert tokenise(caption, sentences) == nltk.word_tokenize(caption.lower())
    assert tokenise(CAPTIONS[1], sentences) != tokenise(CAPTIONS[1])


def test_a_vocabulary_keeps_them(english, tmp_path):
    plain = Vocabulary.build(["a", "dog", "runs", ".", "hill"])
    split = Vocabulary(plain.words, Sentences.read(english))
    split.save(tmp_path / "vocab.json")
    loaded = Vocabulary.load(tmp_path / "vocab.json")
    assert loaded == split
    assert loaded.content() != plain.content()
    text = "a dog. hill."
    assert loaded.encode(text, 20).tokens == (1, 4, 5, 7, 8, 7, 2)
    assert plain.encode(text, 20).tokens == (1, 4, 3, 8, 7, 2)  # "dog." is unknown
    plain.save(tmp_path / "plain.json")
    assert "sentences" not in json.loads((tmp_path / "plain.json").read_text())


def test_what_is_missing_or_damaged(english, tmp_path):
    with pytest.raises(InputError, match="give the folder english of NLTK's punkt_tab"):
        Sentences.read(tmp_path)
    (english / "ortho_context.tab").write_text("is\tmany\n")
    with pytest.raises(InputError, match="the parameters of Punkt are damaged"):
        Sentences.read(english)
