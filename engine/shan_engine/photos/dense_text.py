"""Find text that is too dense for a first look: its lines repeat at an even pitch, which a spectrum shows.

In a small copy, the lines of a newspaper's page are a few pixels apart, and a detector sees one grey area. The power
of such an area is in one wave across the lines. Photos of grass, fences or fabric have weaker waves, in few places.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from shan_engine.photos.text_regions import TextRegion

_WINDOW = 64  # pixels; the side of a window that a spectrum is taken of
_CLOSE, _CLOSEST = 6.0, 2.1  # pixels between lines: of wider ones a first look finds each line
_SHARE = 0.35  # the least share of a window's power that its wave has
_ALIKE = 2.0  # bins of the spectrum that the waves of one page differ by at most
_WINDOWS = 4  # the fewest windows with the same wave
_DEVIATION = 4.0  # grey levels; what has less contrast is no text
_PITCH = 10.0  # pixels between lines that a detector needs to tell them apart
_STRIP = 1_200_000  # pixels that are looked at together
_OVERLAP = 0.15  # of a strip's depth, so that each line is whole in the strip that its middle is in


def dense_regions(pixels: NDArray[np.uint8], *, full: float, area: int) -> list[TextRegion]:
    """Strips of the text in `pixels` H x W x 3 whose lines are too close together to be found there.

    They are to be enlarged so that their lines can be told apart, at most `full` times, and to `area` pixels together.
    """
    found = _page(pixels.mean(axis=2, dtype=np.float32))
    if found is None:
        return []
    box, wave = found
    size = box[2:] - box[:2]
    pitch = _WINDOW / float(np.linalg.norm(wave))
    zoom = min(max(_PITCH / pitch, 1.0), max(full, 1.0), math.sqrt(area / float(size.prod())))
    across = 1 if abs(wave[0]) >= abs(wave[1]) else 0  # lines that lie are parted above and below, upright ones beside
    edges = np.linspace(box[across], box[across + 2], math.ceil(float(size.prod()) * zoom**2 / _STRIP) + 1)
    margin = _OVERLAP * float(edges[1] - edges[0])
    strips = []
    for start, end in pairwise(edges):
        core, wide = box.astype(np.float64), box.copy()
        core[across], core[across + 2] = start, end
        wide[across] = max(box[across], math.floor(start - margin))
        wide[across + 2] = min(box[across + 2], math.ceil(end + margin))
        x1, y1, x2, y2 = (int(edge) for edge in wide)
        strips.append(TextRegion((x1, y1, x2, y2), zoom, tuple(core)))
    return strips


def _page(grey: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float64]] | None:
    """The box (x1, y1, x2, y2) of dense text, and its wave (down, right) in turns a window; None if there is none."""
    height, width = grey.shape
    if min(height, width) < _WINDOW:
        return None
    starts = [np.linspace(0, side - _WINDOW, math.ceil(side / _WINDOW)).astype(int) for side in (height, width)]
    tops, lefts = (axis.ravel() for axis in np.meshgrid(*starts, indexing="ij"))
    windows = np.lib.stride_tricks.sliding_window_view(grey, (_WINDOW, _WINDOW))[tops, lefts]
    share, waves = _waves(windows)
    strong = share >= _SHARE
    apart = np.minimum(*(np.linalg.norm(waves[:, None] - sign * waves[None], axis=2) for sign in (1, -1)))
    alike = (apart <= _ALIKE) & strong[:, None] & strong[None]
    most = int(alike.sum(axis=1).argmax())
    page = alike[most]
    if page.sum() < _WINDOWS:
        return None
    margin = _WINDOW // 2
    low = np.maximum([lefts[page].min() - margin, tops[page].min() - margin], 0)
    high = np.minimum([lefts[page].max() + _WINDOW + margin, tops[page].max() + _WINDOW + margin], [width, height])
    return np.concatenate([low, high]), waves[most]


def _waves(windows: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """For each window B x 64 x 64, the share of its power in its strongest wave, and that wave B x 2."""
    taper = np.hanning(_WINDOW).astype(np.float32)
    centred = windows - windows.mean(axis=(1, 2), keepdims=True)
    power = np.abs(np.fft.fft2(centred * np.outer(taper, taper))) ** 2
    turns = np.fft.fftfreq(_WINDOW) * _WINDOW
    length = np.hypot(turns[:, None], turns[None])
    total = (power * (length > _WINDOW / (4 * _CLOSE))).sum(axis=(1, 2))
    around = sum(np.roll(power, (down, right), (1, 2)) for down in (-1, 0, 1) for right in (-1, 0, 1))
    close = (length >= _WINDOW / _CLOSE) & (length <= _WINDOW / _CLOSEST) & (turns[:, None] >= 0)
    flat = (around * close).reshape(len(windows), -1)
    best = flat.argmax(axis=1)
    share = 2 * flat.max(axis=1) / np.maximum(total, 1e-9)  # a wave is there twice: as it is, and as its mirror image
    share[windows.std(axis=(1, 2)) < _DEVIATION] = 0
    return share, np.stack([turns[best // _WINDOW], turns[best % _WINDOW]], axis=1)
