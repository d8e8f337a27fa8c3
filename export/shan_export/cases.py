"""Random and edge inputs on which exported graphs are compared."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from shan_engine.text.vocabulary import END, START

Case = tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]]


def cases(feature_dim: int, vocabulary: int, *, max_words: int, seed: int = 0) -> Iterator[Case]:
    """Features B x K x F, region mask B x K, tokens C x n and lengths C; `vocabulary` is how many words there are.

    Random with a caption in its markers, one word, longest caption, one region, a hundred, one unmasked.
    """
    random = np.random.default_rng(seed)

    def case(images: int, regions: int, lengths: list[int]) -> Case:
        features = np.abs(random.standard_normal((images, regions, feature_dim), np.float32))
        mask = random.random((images, regions)) < 0.8
        mask[:, 0] = True
        tokens = random.integers(3, vocabulary, (len(lengths), max(lengths)))
        for row, length in enumerate(lengths):
            tokens[row, length:] = 0
        return features, mask, tokens, np.array(lengths)

    features, mask, tokens, lengths = case(6, 36, [12, 7, 3, 20])
    tokens[0, [0, 11]] = START, END
    yield features, mask, tokens, lengths
    yield case(1, 36, [3])
    yield case(3, 36, [1, 5])
    yield case(2, 36, [max_words, 4])
    yield case(2, 1, [9, 3])
    yield case(2, 100, [8, 14])
    features, mask, tokens, lengths = case(3, 36, [11, 6])
    mask[:] = False
    mask[range(3), [0, 17, 35]] = True
    yield features, mask, tokens, lengths
