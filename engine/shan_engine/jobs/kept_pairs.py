"""The pairs that a job keeps for its table: their fields, the choice of the best, and their order."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

KeptPairs = NDArray[np.void]
"""One element for each kept pair, with the fields of `pairs_dtype`."""


def pairs_dtype(steps: int) -> np.dtype[Any]:
    """The fields of a kept pair: row and column (int64), score (float32) and the scores of its steps (float32).

    Row and column are those in the full score matrix, which is never made.
    """
    return np.dtype([("row", np.int64), ("column", np.int64), ("score", np.float32), ("steps", np.float32, (steps,))])


def select(
    scores: NDArray[np.float32],
    steps: NDArray[np.float32],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    top_k: int | None,
    threshold: float | None,
) -> KeptPairs:
    """Choose the pairs to keep among scores R x C, in rank order.

    `steps` R x C x S are the scores of the steps. `rows` (R) and `columns` (C) are the places in the full matrix.
    `columns` must ascend, because the earlier of two columns with equal scores is kept.
    """
    if top_k is not None and top_k < scores.shape[1]:
        best = np.argsort(-scores, axis=1, kind="stable")[:, :top_k]
        row, column = np.repeat(np.arange(len(scores)), top_k), best.ravel()
        if threshold is not None:
            kept = scores[row, column] >= threshold
            row, column = row[kept], column[kept]
    else:
        row, column = np.nonzero(scores >= (-np.inf if threshold is None else threshold))
    pairs = np.empty(len(row), pairs_dtype(steps.shape[2]))
    pairs["row"], pairs["column"] = rows[row], columns[column]
    pairs["score"], pairs["steps"] = scores[row, column], steps[row, column]
    return ranked(pairs, None)


def ranked(pairs: KeptPairs, top_k: int | None) -> KeptPairs:
    """Sort pairs by row, then score (best first), then column. Keeps at most `top_k` of each row."""
    ordered = pairs[np.lexsort((pairs["column"], -pairs["score"], pairs["row"]))]
    return ordered if top_k is None else ordered[ranks(ordered) < top_k]


def ranks(ordered: KeptPairs) -> NDArray[np.int64]:
    """For each of some sorted pairs, its rank in its row, from 0."""
    rows = ordered["row"]
    return np.arange(len(rows)) - np.searchsorted(rows, rows)
