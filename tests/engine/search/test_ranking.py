"""The choice of the best of many scores."""

from __future__ import annotations

import numpy as np
import pytest
from shan_engine.search.ranking import SAMPLED, highest


@pytest.mark.parametrize("kind", ["random", "few values", "ascending", "all equal", "one high run"])
@pytest.mark.parametrize("width", [1, 10, 700])
def test_the_highest_of_many_scores_are_those_of_a_sort(kind, width) -> None:
    count, random = SAMPLED * SAMPLED * 12 + 5, np.random.default_rng(0)
    scores = random.standard_normal(count).astype(np.float32)
    if kind == "few values":
        scores = np.rint(scores)
    elif kind == "ascending":
        scores.sort()
    elif kind == "all equal":
        scores[:] = 1
    elif kind == "one high run":  # a sample sees little of it
        scores[100 : 100 + width] += 100
    found = highest(scores, width)
    assert len(np.unique(found)) == width
    assert (np.diff(found) > 0).all()
    np.testing.assert_array_equal(np.sort(scores[found]), np.sort(scores)[-width:])


def test_a_width_of_all_keeps_all() -> None:
    np.testing.assert_array_equal(highest(np.ones(3, np.float32), 5), [0, 1, 2])
