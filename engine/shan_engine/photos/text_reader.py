"""Read what is written in a photo, with the detection and recognition graphs that the package `rapidocr` brings.

A first look at a small copy of the photo finds where there may be text. Only those parts are looked at again, larger,
for lines, and each line is recognised. Nothing is downloaded: the graphs are named by their files.
"""

from __future__ import annotations

import math
import threading
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from shan_engine.backends.onnx_runtime.available import import_onnx_runtime
from shan_engine.base.errors import BackendError, InputError, ShanError, first_line
from shan_engine.base.optional import install_command, require
from shan_engine.base.text_lines import TextLine
from shan_engine.photos.decode import DecodedPhoto, upright
from shan_engine.photos.dense_text import dense_regions
from shan_engine.photos.rapidocr_offline import import_rapidocr
from shan_engine.photos.reading_order import reading_order
from shan_engine.photos.text_regions import TextRegion, text_regions

FIRST_LOOK = 270_000
"""Pixels of the copy in which text is looked for."""
SECOND_LOOK = 1_200_000
"""Pixels at most of all parts that are looked at again."""
DENSE_LOOK = 6_000_000
"""Pixels at most of text that is too dense for the first look."""
MOST_LINES = 2000
"""Lines that are read in a photo at most."""
_FULL_SIDE = 3000  # a photo with text is decoded so that no side falls below this, if it has as many pixels
_LEAST_SIDE = 32  # the graphs take sides that are multiples of this
_SHARP = 36  # pixels; lines less high than this are read from a larger copy, if there is one
_HIGHEST = 120  # pixels of the small copy; what is higher is read there or not at all
_OF_ONE = 0.9  # the least confidence of a line of one character: textures look like one
_SURE, _EDGE = 0.9, 0.13  # less certain lines are read again: turned, and without so much of their height at an edge
_HOPELESS = 0.4  # what is less certain is no text: a line that is upside down has more
_LINE = 64  # pixels of height that a line is cut out with at most; the recogniser takes 48
_MODELS = {
    "Det.model_path": "PP-OCRv6_det_small.onnx",
    "Rec.model_path": "PP-OCRv6_rec_small.onnx",
}
LEAST_CONFIDENCE = 0.7
"""Lines that are less certain are left out."""
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class ReadPhoto:
    """The lines of a photo in reading order. `damage` is a sentence if the photo could be decoded only in part."""

    lines: tuple[TextLine, ...]
    damage: str = ""


@dataclass(frozen=True)
class _Found:
    """A line with its quadrilateral 4 x 2, and the way from its beginning to its end, 2."""

    text: str
    confidence: float
    quad: NDArray[np.float64]
    way: NDArray[np.float64]

    def scaled(self, by: NDArray[np.float64]) -> TextLine:
        """The line with a box in other pixels."""
        x1, y1, x2, y2 = (float(edge) for edge in _edges(self.quad * by).round())
        return TextLine(self.text, round(self.confidence, 3), (x1, y1, x2, y2))


class Reader(Protocol):
    """What reads photos. `name` tells the program and its version."""

    name: str

    def __call__(self, path: Path) -> ReadPhoto:
        """What is written in a photo. Raises InputError if it cannot be decoded. Called by several threads."""
        ...


class TextReader:
    """Reads photos with RapidOCR. `threads` are those of one graph: 1 where several photos are read at a time."""

    def __init__(self, *, threads: int = 1, least_confidence: float = LEAST_CONFIDENCE) -> None:
        """Raises BackendError where a package is missing, at once; the graphs are loaded for the first photo."""
        require("ocr", "rapidocr", "cv2")
        import_onnx_runtime()
        self.name = f"rapidocr {metadata.version('rapidocr')}"
        self._threads, self._least = threads, least_confidence
        self._lock = threading.Lock()
        self._loaded: tuple[Any, Any, Any] | None = None

    def __call__(self, path: Path) -> ReadPhoto:
        """What is written in a photo. Raises InputError if it cannot be decoded or read."""
        graphs = self._graphs()
        try:
            return self._read(path, *graphs)
        except ShanError:
            raise
        except Exception as error:  # of the package: it must not end a run over a million photos
            raise InputError(f"{path} cannot be read for text: {first_line(error)}") from error

    def _read(self, path: Path, first: Any, second: Any, recognise: Any) -> ReadPhoto:
        with upright(path, least_side=math.isqrt(FIRST_LOOK)) as photo:
            width, height = photo.image.size
            scale = min(1.0, math.sqrt(FIRST_LOOK / (width * height)))
            small, size, damage = photo.pixels(scale=scale), photo.size, photo.damage
        dense = dense_regions(small, full=size[0] / small.shape[1], area=DENSE_LOOK)
        found = _detected(first, small)
        found = found[[not any(_within(quad, region.core) for region in dense) for quad in found]]
        lines, unread = self._read_large(small, found, recognise)
        if dense or len(unread):
            with upright(path, least_side=_FULL_SIDE) as photo:
                height, width = small.shape[:2]
                again = text_regions(unread, width, height, full=photo.image.width / width, area=SECOND_LOOK)
                read = self._read_regions(photo, small, dense + again, second, recognise)
            lines += [line for line in read if not any(_within(line.quad, _edges(large.quad)) for large in lines)]
        to_photo = np.array([size[0] / small.shape[1], size[1] / small.shape[0]])
        return ReadPhoto(tuple(line.scaled(to_photo) for line in _in_order(lines)), damage)

    def _read_large(
        self, small: Pixels, found: NDArray[np.float32], recognise: Any
    ) -> tuple[list[_Found], NDArray[np.float32]]:
        """The lines that are large enough to be read in the small copy, and what is to be looked at again.

        Patterns that look like letters as high as the photo are not: they are often found, and never text.
        """
        lines, unread = [], []
        for quad in found:
            height = _height(quad)
            line = self._recognised(small, quad, recognise) if height >= _SHARP else None
            if line is not None:
                lines.append(line)
            elif height < _HIGHEST:
                unread.append(quad)
        return lines, np.array(unread, np.float32).reshape(-1, 4, 2)

    def _read_regions(
        self, photo: DecodedPhoto, small: Pixels, regions: Sequence[TextRegion], detect: Any, recognise: Any
    ) -> list[_Found]:
        """The lines in parts of the small copy, in its pixels; at most MOST_LINES."""
        height, width = small.shape[:2]
        full = photo.image.width / width
        lines: list[_Found] = []
        for region in regions:
            x1, y1, x2, y2 = region.box
            part = (x1 / width, y1 / height, x2 / width, y2 / height)
            sharp = photo.pixels(part)
            looked = photo.pixels(part, region.zoom / full)
            origin, zoom = np.array([x1, y1]), np.array(looked.shape[1::-1]) / (x2 - x1, y2 - y1)
            for quad in _detected(detect, looked):
                place = origin + quad / zoom
                if len(lines) == MOST_LINES or not _within(place, region.core):
                    continue
                pixels, corners = looked, quad
                if _height(quad) < _SHARP and sharp.shape[0] > looked.shape[0]:
                    pixels, corners = sharp, quad * (np.array(sharp.shape[1::-1]) / looked.shape[1::-1])
                line = self._recognised(pixels, corners, recognise)
                if line is not None:
                    lines.append(replace(line, quad=place))
        return lines

    def _recognised(self, pixels: Pixels, quad: NDArray[np.float32], recognise: Any) -> _Found | None:
        """The line in a quadrilateral of pixels; None if it is too uncertain.

        An uncertain one may be upside down: RapidOCR's graph for that takes long upright lines for turned ones, too.
        Or it has the edges of its neighbours, where lines are close together.
        """
        turned = np.roll(quad, 2, axis=0)
        best: _Found | None = None
        for tried in (quad, turned, _lower(quad), _lower(turned)):
            read = _read_line(pixels, tried, recognise)
            if read and (best is None or read[1] > best.confidence):
                start = tried.astype(np.float64)
                way = start[3] - start[0] if _is_upright(start) else start[1] - start[0]
                best = _Found(*read, quad.astype(np.float64), way)
            if best is None or best.confidence < _HOPELESS or best.confidence >= _SURE:
                break
        if best is None:
            return None
        return best if best.confidence >= (_OF_ONE if len(best.text) == 1 else self._least) else None

    def _graphs(self) -> tuple[Any, Any, Any]:
        """RapidOCR for the first look, for the second, and for lines."""
        with self._lock:
            if self._loaded is None:
                eager = {"Det.thresh": 0.2, "Det.box_thresh": 0.3}
                self._loaded = self._engine("det", eager), self._engine("det"), self._engine("rec")
            return self._loaded

    def _engine(self, task: str, further: dict[str, Any] | None = None) -> Any:
        rapidocr = import_rapidocr()
        folder = Path(rapidocr.__file__).parent / "models"
        for file in _MODELS.values():
            if not (folder / file).is_file():  # the package would download it
                raise BackendError(f"{self.name} does not bring {file}: {install_command('ocr', force=True)}")
        tasks = {"use_det": task == "det", "use_cls": False, "use_rec": task == "rec"}
        params = {
            **{f"Global.{use}": wanted for use, wanted in tasks.items()},
            "Global.log_level": "critical",
            "Global.use_preprocess_img": False,
            "Global.use_vertical_padding": False,
            "Global.text_score": 0.0,
            "EngineConfig.onnxruntime.intra_op_num_threads": self._threads,
            "Det.limit_type": "max",
            "Det.limit_side_len": 1 << 20,
            **{key: str(folder / file) for key, file in _MODELS.items()},
            **(further or {}),
        }
        return rapidocr.RapidOCR(params=params)


def _detected(detect: Any, pixels: Pixels) -> NDArray[np.float32]:
    """Quadrilaterals N x 4 x 2 of lines, clockwise from the top left, in pixels."""
    height, width = pixels.shape[:2]
    fill = ((0, -height % _LEAST_SIDE), (0, -width % _LEAST_SIDE), (0, 0))
    found = detect(np.ascontiguousarray(np.pad(pixels, fill, mode="edge")[..., ::-1]))
    if found.boxes is None:
        return np.zeros((0, 4, 2), np.float32)
    return np.minimum(np.asarray(found.boxes, np.float32), (width, height)).astype(np.float32)


def _read_line(pixels: Pixels, quad: NDArray[np.float32], recognise: Any) -> tuple[str, float] | None:
    """The text in a quadrilateral, and how certain it is; None if there is none."""
    found = recognise(np.ascontiguousarray(_cut_out(pixels, quad)[..., ::-1]))
    text = unicodedata.normalize("NFC", found.txts[0].strip()) if found.txts else ""
    return (text, float(found.scores[0])) if text else None


def _lower(quad: NDArray[np.float32]) -> NDArray[np.float32]:
    """A line's quadrilateral without its edges along the line."""
    corners = quad if _is_wide(quad) else np.roll(quad, 1, axis=0)
    top, bottom = corners[[0, 1]], corners[[3, 2]]
    inner = np.concatenate([top + _EDGE * (bottom - top), (bottom + _EDGE * (top - bottom))[::-1]])
    return inner if corners is quad else np.roll(inner, -1, axis=0)


def _sides(quad: NDArray[Any]) -> tuple[float, float]:
    """How wide and how high a quadrilateral is."""
    sides = np.linalg.norm(quad - np.roll(quad, 1, axis=0), axis=1)  # left, top, right, bottom
    return float(sides[1::2].max()), float(sides[0::2].max())


def _is_wide(quad: NDArray[Any]) -> bool:
    across, down = _sides(quad)
    return across >= down


def _is_upright(quad: NDArray[Any]) -> bool:
    """Whether a line goes from top to bottom."""
    across, down = _sides(quad)
    return down >= 1.5 * across


def _in_order(lines: Sequence[_Found]) -> list[_Found]:
    """Lines in reading order, also of a photo that is not upright: most letters tell which way they go."""
    right, down = sum((len(line.text) * line.way / np.linalg.norm(line.way) for line in lines), np.zeros(2))
    turn = np.array([[right, down], [-down, right]]) / max(float(np.hypot(right, down)), 1e-9)
    boxes = [_edges(line.quad @ turn.T) for line in lines]
    return [lines[row] for row in reading_order(np.array(boxes).reshape(-1, 4), [line.text for line in lines])]


def _edges(quad: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate([quad.min(axis=0), quad.max(axis=0)])


def _within(quad: NDArray[Any], edges: Sequence[float] | NDArray[Any]) -> bool:
    """Whether the middle of a quadrilateral is within (x1, y1, x2, y2)."""
    x, y = quad.mean(axis=0)
    return bool(edges[0] <= x <= edges[2] and edges[1] <= y <= edges[3])


def _height(quad: NDArray[Any]) -> float:
    """The shorter side of a line's quadrilateral."""
    return min(_sides(quad))


def _cut_out(pixels: Pixels, quad: NDArray[Any]) -> Pixels:
    """The quadrilateral as an upright rectangle, at most _LINE high; what stands upright is laid down."""
    import cv2

    across, down = _sides(quad)
    shrink = min(1.0, _LINE / max(1.0, min(across, down)))
    width, height = max(1, round(across * shrink)), max(1, round(down * shrink))
    if shrink < 0.5:  # else the transformation would skip pixels
        reduced = cv2.resize(pixels, None, fx=2 * shrink, fy=2 * shrink, interpolation=cv2.INTER_AREA)
        pixels = np.asarray(reduced, np.uint8)
        quad = quad * 2 * shrink
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    matrix = cv2.getPerspectiveTransform(np.asarray(quad, np.float32), corners)
    line = cv2.warpPerspective(pixels, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(np.rot90(line) if _is_upright(quad) else line, np.uint8)
