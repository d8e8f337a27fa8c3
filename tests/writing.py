"""Photos with words, drawn with Pillow's own font, for tests of reading."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

INK, PAPER = (20, 20, 30), (240, 236, 226)


def written(
    *lines: str, size: tuple[int, int] = (640, 480), height: int = 40, ink: Sequence[int] = INK, paper=PAPER
) -> Image.Image:
    """A photo with these lines, of letters `height` pixels high, one below another from (30, 30) on."""
    image = Image.new("RGB", size, tuple(paper))
    font = ImageFont.load_default(height)
    for number, line in enumerate(lines):
        ImageDraw.Draw(image).text((30, 30 + number * 2 * height), line, tuple(ink), font)
    return image
