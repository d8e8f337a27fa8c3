"""In which order the lines of a photo are read: column by column, and the rows of a table one by one.

Lines are parted as in a recursive X-Y cut (Nagy & Seth 1984), with one difference: pages are cut into columns before
rows, and only between columns of whole lines. The short cells of tables and receipts belong to their rows.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_NARROWER, _LOWER = 0.3, 0.2  # heights of a line that its box is reduced by at each side: detectors draw them too large
_GUTTER = 0.5  # heights of a line between columns at least
_LINES, _LONG = 3, 6.0  # so many lines, half of them so many times as long as high, are a column
_BESIDE = 0.5  # of the shorter column, which is beside the other
Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]


def reading_order(boxes: NDArray[np.float64], texts: Sequence[str]) -> list[int]:
    """The rows of `boxes` N x 4 (x1, y1, x2, y2) in reading order.

    Columns and rows start at the right where most letters are of scripts that are written from right to left.
    """
    if not len(boxes):
        return []
    if _from_right(texts):
        boxes = boxes[:, [2, 1, 0, 3]] * (-1, 1, -1, 1)
    heights = np.maximum(boxes[:, 3] - boxes[:, 1], 1e-9)
    middles = (boxes[:, [0, 1]] + boxes[:, [2, 3]]) / 2
    half = np.stack([(boxes[:, 2] - boxes[:, 0]) / 2 - _NARROWER * heights, (0.5 - _LOWER) * heights], axis=1)
    half = np.maximum(half, 0)
    inner = np.concatenate([middles - half, middles + half], axis=1)
    return _ordered(boxes, inner, np.arange(len(boxes)))


def _from_right(texts: Sequence[str]) -> bool:
    kinds = [unicodedata.bidirectional(letter) for text in texts for letter in text]
    return sum(kind in ("R", "AL") for kind in kinds) > kinds.count("L")


def _ordered(boxes: NDArray[np.float64], inner: NDArray[np.float64], rows: Rows) -> list[int]:
    """Rows of boxes in reading order: what is above two columns, the columns, what is below them."""
    parts = _columns(boxes, inner, rows)
    if parts is None:
        return _by_rows(boxes, rows)
    return [row for part in parts for row in _ordered(boxes, inner, part)]


def _columns(boxes: NDArray[np.float64], inner: NDArray[np.float64], rows: Rows) -> tuple[Rows, ...] | None:
    """The rows above, left, right and below the gutter that parts the most lines; None if there are no columns."""
    if len(rows) < 2 * _LINES:
        return None
    rows = rows[np.argsort(inner[rows, 1], kind="stable")]
    bands = np.append(0, np.flatnonzero(inner[rows[1:], 1] > np.maximum.accumulate(inner[rows, 3])[:-1]) + 1)
    gutter = _GUTTER * float(np.median(boxes[rows, 3] - boxes[rows, 1]))
    places = np.unique(inner[rows, 2])[:, None] + gutter / 2
    left = inner[rows, 2] <= places - gutter / 2
    right = inner[rows, 0] >= places + gutter / 2
    found = [
        (*_longest(~(one | other), bands, one, other), place)
        for place, one, other in zip(places[:, 0], left, right, strict=True)
    ]
    for _, start, end, place in sorted(found, reverse=True):
        between = rows[start:end]
        first, second = between[inner[between, 2] < place], between[inner[between, 2] > place]
        if _is_column(boxes[first]) and _is_column(boxes[second]) and _beside(boxes[first], boxes[second]):
            return rows[:start], first, second, rows[end:]
    return None


def _longest(crossed: Mask, bands: Rows, left: Mask, right: Mask) -> tuple[int, int, int]:
    """Of the runs of bands without a crossed line, the one with the most lines on either side: lines, start, end."""
    ends = np.append(bands[1:], len(crossed))
    stops = np.flatnonzero(np.logical_or.reduceat(crossed, bands))
    starts, ends = np.append(0, ends[stops]), np.append(bands[stops], len(crossed))
    sides = [np.append(0, np.cumsum(side)) for side in (left, right)]
    lines = np.minimum(*(side[ends] - side[starts] for side in sides))
    best = int(lines.argmax())
    return int(lines[best]), int(starts[best]), int(ends[best])


def _is_column(boxes: NDArray[np.float64]) -> bool:
    lengths = (boxes[:, 2] - boxes[:, 0]) / np.maximum(boxes[:, 3] - boxes[:, 1], 1e-9)
    return len(boxes) >= _LINES and bool(np.median(lengths) >= _LONG)


def _beside(boxes: NDArray[np.float64], others: NDArray[np.float64]) -> bool:
    tops, bottoms = zip(*((one[:, 1].min(), one[:, 3].max()) for one in (boxes, others)), strict=True)
    shorter = min(bottom - top for top, bottom in zip(tops, bottoms, strict=True))
    return bool(min(bottoms) - max(tops) >= _BESIDE * shorter)


def _by_rows(boxes: NDArray[np.float64], rows: Rows) -> list[int]:
    """Rows of boxes from top to bottom, and what is beside each other from the left."""
    found: list[list[int]] = []
    for row in rows[np.argsort(boxes[rows, 1] + boxes[rows, 3], kind="stable")]:
        if found and _same_row(boxes[found[-1][0]], boxes[row]):
            found[-1].append(int(row))
        else:
            found.append([int(row)])
    return [row for together in found for row in sorted(together, key=lambda row: float(boxes[row, 0]))]


def _same_row(box: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    """Whether the middle of each is within the other's height."""
    middles = [(one[1] + one[3]) / 2 for one in (box, other)]
    return bool(box[1] < middles[1] < box[3] and other[1] < middles[0] < other[3])
