"""Words point at things: on the demo's photos, by boxes drawn by hand, and with class evidence on made arrays."""

from __future__ import annotations

import numpy as np
import pytest
import shan_engine
from shan_engine.gallery.storage import SEEN_CLASSES, SEEN_PROBABILITIES, SEEN_REGIONS
from shan_engine.kernel.constants import MASK, REGIONS
from shan_engine.search.pointing import Pointer, content_words
from shan_engine.text.tokenizer import Word

THINGS = {  # in pixels of photos of the demo
    "dog": ("dog.jpg", (10, 8, 355, 285)),
    "butterfly": ("butterfly.jpg", (95, 60, 298, 210)),
    "cat": ("cat.jpg", (75, 42, 400, 220)),
    "windmill": ("renewable_windmill1.jpg", (30, 30, 170, 280)),
}


@pytest.fixture(scope="module")
def engine():
    with shan_engine.open(device="cpu") as opened:
        yield opened


def on(word, thing):
    x, y = (word.box[0] + word.box[2]) / 2, (word.box[1] + word.box[3]) / 2
    x0, y0, x1, y1 = thing
    return x0 <= x <= x1 and y0 <= y <= y1


def hit_of(engine, word):
    photo, _ = THINGS[word]
    found = engine.search(f"a {word}", where=f"id = '{photo}'")
    return found, found.hits[0]


@pytest.mark.parametrize("word", THINGS)
def test_a_word_points_at_its_thing(engine, word):
    (pointed,) = hit_of(engine, word)[1].words
    assert pointed.word == word
    assert on(pointed, THINGS[word][1])


def test_words_asked_again_are_not_encoded_again(engine, monkeypatch):
    encoders, encoded = engine.scorer.encoders, []
    first = engine.search("a dog beside a cat", top_k=1)
    run = encoders.encode_captions
    monkeypatch.setattr(encoders, "encode_captions", lambda texts: encoded.append(len(texts)) or run(texts))
    again = engine.search("a dog beside a cat", top_k=1)
    assert encoded == [1]  # the query alone
    assert again.hits[0].words == first.hits[0].words
    engine.search("a cat beside a hammer", top_k=1)
    assert encoded == [1, 1, 1]  # and the hammer


def words(*texts):
    return [Word(text, 0, 1, (place,)) for place, text in enumerate(texts)]


def test_words_that_name_nothing_do_not_point():
    assert [word.text for word in content_words(words("ein", "Hund", "auf", "Gras", "."))] == ["Hund", "Gras"]
    assert [word.text for word in content_words(words("the", "who"))] == ["the", "who"]


def test_a_photo_seen_as_what_the_word_names_decides_between_near_regions():
    regions = np.eye(3, 4, dtype=np.float32)
    rows = np.array([[0.6, 0.59, 0.1, 0.5]], np.float32)
    images = {
        REGIONS: np.stack([regions] * 3),
        MASK: np.array([[True] * 3, [True] * 3, [False, False, True]]),
        SEEN_CLASSES: np.array([[2, 0], [1, 0], [2, 0]], np.uint16),
        SEEN_PROBABILITIES: np.array([[0.8, 0.1]] * 3, np.float16),
        SEEN_REGIONS: np.array([[1, 2]] * 3, np.uint8),
    }
    weights = np.array([[0, 0, 5]], np.float32)  # class 2 speaks for the word
    with_classes = Pointer(tuple(words("dog")), rows, weights).regions(images)
    assert [region for ((region, _),) in with_classes] == [1, 0, 2]
    assert with_classes[0][0][1] == pytest.approx(0.59)
    without = Pointer(tuple(words("dog")), rows, None).regions(images)
    assert [region for ((region, _),) in without] == [0, 0, 2]
