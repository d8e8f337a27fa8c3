from __future__ import annotations

import pytest
from shan_engine.text.unknown_words import UnknownWords
from shan_engine.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary.build(["a", "dog", "on", "grass"])


def counted(*captions: str) -> UnknownWords:
    unknown = UnknownWords()
    for caption in captions:
        unknown.add(caption, VOCABULARY.encode(caption))
    return unknown


def test_captions_of_mostly_unknown_words_are_counted_with_their_share():
    told = counted("a dog on grass .", "ein Hund im Gras", "a cat", "a dog , running fast today", "42 !")
    assert told.sentence() == (
        "most words of 3 of 5 captions (60.0 %) are unknown to the model, such as those of 'ein Hund im Gras'"
    )


@pytest.mark.parametrize("caption", ["a dog", "a cat on grass", "a cat", "a dog ! ? ; :"])
def test_a_caption_of_which_half_is_known_is_not_told(caption):
    assert counted(caption).sentence() == ""
