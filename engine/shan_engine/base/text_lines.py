"""A line of text that is written in a photo."""

from __future__ import annotations

from dataclasses import dataclass

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class TextLine:
    """A line as a reader recognised it; the lines of a photo are in reading order.

    `confidence` is between 0 and 1. `box` is (x1, y1, x2, y2), in pixels of the whole upright photo. The text comes
    from a photo, so it may hold anything: control characters, markup, characters that change the direction of writing.
    """

    text: str
    confidence: float
    box: Box
