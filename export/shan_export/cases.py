"""Random and edge inputs for comparing exported graphs with PyTorch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Markers = tuple[tuple[int, ...], tuple[int, ...]]
Case = tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]]


def cases(
    feature_dim: int, vocab_size: int, *, max_words: int, markers: Markers = ((1,), (2,)), seed: int = 0
) -> Iterator[Case]:
    """Features B x K x F, region mask B x K, tokens C x n and lengths C, of `vocab_size` token numbers.

    Random ones with one caption between `markers`; one word; the longest caption; one region; a hundred; one unmasked.
    """
    random = np.random.default_rng(seed)

    def case(images: int, regions: int, lengths: list[int]) -> Case:
        features = np.abs(random.standard_normal((images, regions, feature_dim), np.float32))
        mask = random.random((images, regions)) < 0.8
        mask[:, 0] = True
        tokens = random.integers(min(3, vocab_size - 1), vocab_size, (len(lengths), max(lengths)))
        for row, length in enumerate(lengths):
            tokens[row, length:] = 0
        return features, mask, tokens, np.array(lengths)

    features, mask, tokens, lengths = case(6, 36, [12, 7, 3, 20])
    before, after = markers
    tokens[0, : len(before)], tokens[0, 12 - len(after) : 12] = before, after
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
