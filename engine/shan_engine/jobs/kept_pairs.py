"""Hits: pairs that are kept, as rows of numbers, and how they are ranked."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Hits = NDArray[np.void]
"""Fields row, column (int64), score (float32) and steps (float32, the score's parts); see `hits_dtype`."""


def hits_dtype(steps: int) -> np.dtype[Any]:
    """A hit: row and column of the whole matrix that is never made, the score and its parts."""
    return np.dtype([("row", np.int64), ("column", np.int64), ("score", np.float32), ("steps", np.float32, (steps,))])


def select(
    scores: NDArray[np.float32],
    steps: NDArray[np.float32],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    top_k: int | None,
    threshold: float | None,
) -> Hits:
    """The hits among scores R x C and steps R x C x S, whose rows and columns have these numbers, in rank order.

    `columns` ascend: of equal scores the earlier column is kept.
    """
    if top_k is not None and top_k < scores.shape[1]:
        best = np.argsort(-scores, axis=1, kind="stable")[:, :top_k]
        row, column = np.repeat(np.arange(len(scores)), top_k), best.ravel()
        if threshold is not None:
            kept = scores[row, column] >= threshold
            row, column = row[kept], column[kept]
    else:
        row, column = np.nonzero(scores >= (-np.inf if threshold is None else threshold))
    hits = np.empty(len(row), hits_dtype(steps.shape[2]))
    hits["row"], hits["column"] = rows[row], columns[column]
    hits["score"], hits["steps"] = scores[row, column], steps[row, column]
    return ranked(hits, None)


def ranked(hits: Hits, top_k: int | None) -> Hits:
    """Hits by row, then score, best first, then column; at most `top_k` of a row."""
    ordered = hits[np.lexsort((hits["column"], -hits["score"], hits["row"]))]
    return ordered if top_k is None else ordered[ranks(ordered) < top_k]


def ranks(ordered: Hits) -> NDArray[np.int64]:
    """Of hits in order: how many of the same row stand before each."""
    rows = ordered["row"]
    return np.arange(len(rows)) - np.searchsorted(rows, rows)
