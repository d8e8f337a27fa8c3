from __future__ import annotations

import numpy as np
from shan_engine.text.captions import CaptionSplit
from shan_model.training.phrases import Phrase, Phrases

SPLIT = CaptionSplit(
    ("a", "b", "c"),
    ("A brown dog runs on wet grass .", "the grass", "A dog in a car", "Ein Hund im Auto", "of the"),
    np.array([0, 0, 1, 1, 2]),
)


def test_phrases_are_runs_of_words_that_name_something():
    phrases = Phrases(SPLIT)
    cut = [phrases.cut(0, np.random.default_rng(seed)) for seed in range(200)]
    assert {"brown dog runs", "dog", "wet grass", "grass"} <= {phrase.text for phrase in cut}
    runs = ("brown dog runs", "wet grass")
    assert all(any(phrase.text in run for run in runs) and len(phrase.words) <= 3 for phrase in cut)
    assert phrases.cut(4, np.random.default_rng(0)) is None


def test_a_phrase_fits_every_image_whose_captions_have_its_words():
    phrases = Phrases(SPLIT)
    dog, brown = Phrase("dog", frozenset({"dog"})), Phrase("brown dog", frozenset({"brown", "dog"}))
    found = phrases.matches([0, 1, 2], [brown, dog, None])
    assert found.tolist() == [[True, True, False], [False, True, False], [False, False, True]]


def test_the_same_seed_cuts_the_same_phrase():
    first, second = (Phrases(SPLIT).cut(0, np.random.default_rng(3)) for _ in range(2))
    assert first == second
