"""Short queries to train on: phrases of captions, and the images whose captions say the same words.

People type "a brown dog"; captions are sentences. A phrase is a run of up to three neighbouring words of a caption that
name something, without function words between them. It fits every image whose captions together have all its words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from shan_engine.text.captions import CaptionSplit
from shan_engine.text.function_words import is_function_word
from shan_engine.text.hugging_face import find_words

MOST_WORDS = 3


@dataclass(frozen=True)
class Phrase:
    """A phrase of a caption, and its words in lower case."""

    text: str
    words: frozenset[str]


class Phrases:
    """The words of a split's captions and images."""

    def __init__(self, split: CaptionSplit) -> None:
        self._split = split

    @cached_property
    def _runs(self) -> list[list[list[tuple[int, int]]]]:
        """The runs of each caption; found when the first phrase is cut."""
        return [_runs(caption) for caption in self._split.captions]

    @cached_property
    def _said(self) -> list[frozenset[str]]:
        """The words of each image's captions."""
        said: list[set[str]] = [set() for _ in self._split.images]
        for caption, image in enumerate(self._split.caption_images):
            for run in self._runs[caption]:
                said[image].update(self._words(caption, run))
        return [frozenset(words) for words in said]

    def cut(self, caption: int, random: np.random.Generator) -> Phrase | None:
        """A random phrase of a caption; None if it names nothing."""
        runs = self._runs[caption]
        if not runs:
            return None
        run = runs[random.integers(len(runs))]
        size = int(random.integers(1, min(len(run), MOST_WORDS) + 1))
        first = int(random.integers(len(run) - size + 1))
        chosen = run[first : first + size]
        text = self._split.captions[caption][chosen[0][0] : chosen[-1][1]]
        return Phrase(text, frozenset(self._words(caption, chosen)))

    def matches(self, images: Sequence[int], phrases: Sequence[Phrase | None]) -> NDArray[np.bool_]:
        """Which of B images fit which of their B captions, B x B: the own ones, and those that say a phrase's words."""
        found = np.eye(len(images), dtype=np.bool_)
        for column, phrase in enumerate(phrases):
            if phrase:
                found[:, column] |= [phrase.words <= self._said[image] for image in images]
        return found

    def _words(self, caption: int, run: Sequence[tuple[int, int]]) -> list[str]:
        return [self._split.captions[caption][start:end].lower() for start, end in run]


def _runs(caption: str) -> list[list[tuple[int, int]]]:
    """Runs of words that name something: first and last character, exclusive, of each word."""
    groups = groupby(find_words(caption), lambda span: is_function_word(caption[slice(*span)]))
    return [list(run) for function, run in groups if not function]
