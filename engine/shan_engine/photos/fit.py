"""How a photo becomes the pixels that an extractor takes: stretched, or scaled and cut to its middle."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

Part = tuple[float, float, float, float]
"""A part of a photo: x0, y0, x1, y1, each from 0 to 1."""
RESAMPLINGS = {
    name.lower(): Image.Resampling[name] for name in ("NEAREST", "BOX", "BILINEAR", "HAMMING", "BICUBIC", "LANCZOS")
}


@dataclass(frozen=True)
class Fit:
    """With `shortest_edge` 0 a photo is stretched. Above 0, its shorter side is scaled to so many pixels, and cut.

    `resampling` is one of RESAMPLINGS. An `exact` photo is decoded at its full size, which takes longer.
    """

    shortest_edge: int = 0
    resampling: str = "bicubic"
    exact: bool = False


STRETCHED = Fit()


def fitted(image: Image.Image, width: int, height: int, part: Part, fit: Fit) -> tuple[Image.Image, Part]:
    """An image of `part` of a photo at `width` x `height`, and which part of the photo that shows.

    Sizes and cuts are rounded as the library transformers does.
    """
    across, down = width, height
    if fit.shortest_edge:
        across, down = (fit.shortest_edge * side // min(image.size) for side in image.size)
    scaled = image.resize((across, down), RESAMPLINGS[fit.resampling])
    if (across, down) == (width, height):
        return scaled, part
    left, top = (across - width) // 2, (down - height) // 2
    x0, y0, x1, y1 = part
    x, y = (x1 - x0) / across, (y1 - y0) / down
    kept = x0 + left * x, y0 + top * y, x0 + (left + width) * x, y0 + (top + height) * y
    return scaled.crop((left, top, left + width, top + height)), kept
