"""Where to look closer for text."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_MARGIN = 1.0  # heights of a line between its box and the edge of its region
_MOST = 40  # boxes that are joined one by one; of more, everything is one region
_HEIGHT = 36  # pixels that the smallest lines of a region are scaled to for the second look
_ENOUGH = 24  # the same for a page or a screen, where the first look has found most lines as they are
_LEAST, _MOST_ZOOM = 1.0, 7.0
_LONG, _LINES = 4, 3  # what is less than so many times as long as high may be so many lines of small print


@dataclass(frozen=True)
class TextRegion:
    """A part of a photo with text: (x1, y1, x2, y2) in pixels of the first look, and how far to enlarge them.

    Lines whose middle is outside of `core` belong to a neighbour that overlaps this region.
    """

    box: tuple[int, int, int, int]
    zoom: float
    core: tuple[float, ...] = (-math.inf, -math.inf, math.inf, math.inf)


def text_regions(quads: NDArray[np.float32], width: int, height: int, *, full: float, area: int) -> list[TextRegion]:
    """Regions around the quadrilaterals N x 4 x 2 that a first look at `width` x `height` pixels found.

    They are to be enlarged so that their lines can be read, at most `full` times, which is all that the photo has, and
    to `area` pixels together.
    """
    found: list[tuple[NDArray[np.float64], float]] = []
    for quad in quads:
        across, along = _sides(quad)
        low, high = quad.min(axis=0) - _MARGIN * across, quad.max(axis=0) + _MARGIN * across
        line = across if along >= _LONG * across else across / _LINES
        found.append((np.concatenate([low, high]).astype(np.float64), line))
    joined = _joined(found)
    aim = _HEIGHT if len(found) <= _MOST else _ENOUGH
    regions = []
    for edges, line in joined:
        x1, y1 = np.maximum(np.floor(edges[:2]), 0).astype(int)
        x2, y2 = np.minimum(np.ceil(edges[2:]), (width, height)).astype(int)
        zoom = min(max(aim / line, _LEAST), _MOST_ZOOM, max(full, _LEAST))
        regions.append(TextRegion((int(x1), int(y1), int(x2), int(y2)), zoom))
    total = sum((r.box[2] - r.box[0]) * (r.box[3] - r.box[1]) * r.zoom**2 for r in regions)
    shrink = min(1.0, (area / total) ** 0.5) if total else 1.0
    return [TextRegion(region.box, max(region.zoom * shrink, min(1.0, full))) for region in regions]


def _sides(quad: NDArray[np.float32]) -> tuple[float, float]:
    """The shorter and the longer side of a quadrilateral."""
    sides = np.linalg.norm(quad - np.roll(quad, 1, axis=0), axis=1)
    shorter, longer = sorted((float(sides[0::2].max()), float(sides[1::2].max())))
    return max(1.0, shorter), longer


def _joined(boxes: list[tuple[NDArray[np.float64], float]]) -> list[tuple[NDArray[np.float64], float]]:
    """Boxes that touch become one, with the smaller of their line heights, until none do."""
    if len(boxes) > _MOST:
        edges = np.stack([edges for edges, _ in boxes])
        around = np.concatenate([edges[:, :2].min(axis=0), edges[:, 2:].max(axis=0)])
        return [(around, float(np.quantile([line for _, line in boxes], 0.1)))]
    joined: list[tuple[NDArray[np.float64], float]] = []
    for box, line in boxes:
        while touching := [other for other in joined if _touch(other[0], box)]:
            joined = [other for other in joined if not _touch(other[0], box)]
            for other, smaller in touching:
                box = np.concatenate([np.minimum(box[:2], other[:2]), np.maximum(box[2:], other[2:])])
                line = min(line, smaller)
        joined.append((box, line))
    return joined


def _touch(box: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    return bool((box[:2] < other[2:]).all() and (other[:2] < box[2:]).all())
