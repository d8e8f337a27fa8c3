from __future__ import annotations

import pytest
from shan_engine.text.function_words import is_function_word


@pytest.mark.parametrize(
    "sentence", ["A dog on the grass", "ein Hund auf dem Gras", "un perro en la hierba .", "un chien dans l' herbe"]
)
def test_what_names_a_thing_stays(sentence):
    assert len([word for word in sentence.split() if not is_function_word(word)]) == 2


def test_words_that_place_things_stay():
    assert not any(map(is_function_word, ("under", "behind", "unter", "hinter", "sous", "bajo", "two")))
    assert not any(map(is_function_word, ("man", "hat", "Haar", "Mais", "van")))  # function words elsewhere
    assert is_function_word("THE")
    assert is_function_word("--")
