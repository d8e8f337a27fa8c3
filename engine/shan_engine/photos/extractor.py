"""A feature extractor: an ONNX backbone or detector that turns pixels into regions.

An extractor is `NAME.onnx` with its recipe `NAME.json` beside it:

    {"name": "my-detector-v1", "width": 640, "height": 640, "mean": [...], "std": [...]}

It takes one image input: uint8 B x H x W x 3 (raw pixels), or float B x 3 x H x W, for which `mean` and
`std` (of pixels scaled to 0..1, default 0 and 1) are applied. Where B is fixed to 1 it is run photo by
photo. Its first output is either regions B x K x F, with a second output of boxes B x K x 4 (x0, y0, x1,
y1, relative to the photo) where it has one, or a feature map B x F x H x W, whose cells become the regions.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shan_engine.backends import load_graph
from shan_engine.base.choices import Device
from shan_engine.base.errors import InputError

Regions = tuple[NDArray[np.float32], NDArray[np.float32] | None]
"""One photo's features K x F and relative boxes K x 4, None where unknown."""


@dataclass(frozen=True)
class Recipe:
    """How an extractor wants its photos; `name` is what a store records about its features."""

    name: str
    width: int
    height: int
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)


class FeatureExtractor:
    """An ONNX backbone or detector with its recipe. Raises InputError where it does not take images as asked.

    For a model to be trained on, it sees mirror images with `mirror`, and with `crop` above 0 it is to be given parts
    of photos, other ones for each number (`photos.decode.crop_of`); boxes are where the regions are in the photo.
    """

    def __init__(
        self,
        model: Path,
        device: Device = "auto",
        *,
        threads: int | None = None,
        mirror: bool = False,
        crop: int = 0,
    ) -> None:
        self.model, self.crop, self._mirror = model, crop, mirror
        recipe = read_recipe(model)
        view = f"{f'-crop{crop}' if crop else ''}{'-mirrored' if mirror else ''}"
        self.recipe = replace(recipe, name=recipe.name + view)
        self._graph = load_graph(model, device, threads=threads)
        if len(self._graph.inputs) != 1:
            raise InputError(f"{model} takes {len(self._graph.inputs)} inputs: an extractor takes one, the image")
        self._input, (dtype, shape) = next(iter(self._graph.inputs.items()))
        if dtype != np.uint8 and not np.issubdtype(dtype, np.floating):
            raise InputError(f"{model} takes images of {dtype}: export it with an input of uint8 or float32")
        self._raw = dtype == np.uint8
        self._one_by_one = shape[:1] == (1,)
        self._check_input(shape)

    def _check_input(self, shape: tuple[int | str | None, ...]) -> None:
        height, width = self.recipe.height, self.recipe.width
        wanted = ("B", height, width, 3) if self._raw else ("B", 3, height, width)
        fixed = [(held, asked) for held, asked in zip(shape[1:], wanted[1:], strict=False) if isinstance(held, int)]
        if len(shape) != 4 or any(held != asked for held, asked in fixed):
            raise InputError(
                f"{self.model} takes an input of shape {_shape(shape)}, its recipe and type ask for {_shape(wanted)}: "
                f"mend {self.model.with_suffix('.json')} or export the model again"
            )
        if isinstance(shape[0], int) and shape[0] != 1:
            raise InputError(
                f"{self.model} takes exactly {shape[0]} photos a call: export it with a free batch axis, or one of 1"
            )

    def __call__(self, pixels: NDArray[np.uint8], names: Sequence[object] = ()) -> list[Regions]:
        """Each photo's regions, of pixels B x H x W x 3; `names` of the photos are for errors.

        Raises InputError where the model's outputs are not regions, or not finite.
        """
        images = self._scaled(pixels[:, :, ::-1] if self._mirror else pixels)
        step = 1 if self._one_by_one else max(1, len(images))
        found = [
            regions for start in range(0, len(images), step) for regions in self._run(images[start : start + step])
        ]
        for row, regions in enumerate(found):
            if not all(array is None or np.isfinite(array).all() for array in regions):
                raise InputError(
                    f"{self.model} gives NaN or infinite numbers for {names[row] if names else f'photo {row + 1}'}: "
                    "check its recipe's mean and std, or leave that photo out"
                )
        return [(features, _mirrored(boxes)) for features, boxes in found] if self._mirror else found

    def _scaled(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8] | NDArray[np.float32]:
        if self._raw:
            return pixels
        mean, std = (np.array(numbers, np.float32) for numbers in (self.recipe.mean, self.recipe.std))
        scaled = (pixels / np.float32(255) - mean) / std
        return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2), np.float32)

    def _run(self, images: NDArray[Any]) -> Iterator[Regions]:
        names = self._graph.outputs[:2]
        outputs = self._graph.run({self._input: images}, names)
        features = self._floats(outputs[names[0]], "first")
        if features.ndim not in (3, 4) or len(features) != len(images):
            raise InputError(
                f"the first output of {self.model} is {_shape(features.shape)} for {len(images)} photos: expected "
                "regions B x K x F or a feature map B x F x H x W, B the number of photos"
            )
        if features.ndim == 4:
            boxes = grid_boxes(*features.shape[2:])
            return ((image.reshape(len(image), -1).T, boxes) for image in features)
        if len(names) == 1:
            return ((image, None) for image in features)
        given = self._floats(outputs[names[1]], "second")
        if given.shape != (*features.shape[:2], 4):
            raise InputError(
                f"the second output of {self.model} is {_shape(given.shape)}: expected the boxes of its regions, "
                f"{_shape((*features.shape[:2], 4))}; export it with these two outputs first"
            )
        return zip(features, given, strict=True)

    def _floats(self, output: Any, place: str) -> NDArray[np.float32]:
        if not isinstance(output, np.ndarray) or output.dtype.kind not in "fiu":
            kind = output.dtype if isinstance(output, np.ndarray) else type(output).__name__
            raise InputError(f"the {place} output of {self.model} is of {kind}: expected an array of numbers")
        with np.errstate(over="ignore"):
            return output.astype(np.float32, copy=False)


def _mirrored(boxes: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
    """Relative boxes K x 4 of a mirror image, as they are in the photo."""
    if boxes is None:
        return None
    x0, y0, x1, y1 = boxes.T
    return np.stack([1 - x1, y0, 1 - x0, y1], axis=1)


def _shape(shape: Sequence[object]) -> str:
    return " x ".join("?" if axis is None else str(axis) for axis in shape) or "a single number"


def grid_boxes(height: int, width: int) -> NDArray[np.float32]:
    """Relative boxes of a grid's cells in reading order, (height * width) x 4."""
    y, x = np.mgrid[:height, :width].reshape(2, -1)
    return np.stack([x / width, y / height, (x + 1) / width, (y + 1) / height], axis=1).astype(np.float32)


def read_recipe(model: Path) -> Recipe:
    """The recipe beside an extractor's ONNX file. Raises InputError where either is missing or wrong."""
    path = model.with_suffix(".json")
    if not model.is_file():
        raise InputError(f"there is no feature extractor {model}")
    try:
        data = json.loads(path.read_text("utf-8"))
        recipe = Recipe(**{**data, **{key: tuple(data[key]) for key in ("mean", "std") if key in data}})
    except FileNotFoundError as error:
        raise InputError(
            f'{model} has no recipe: write {path} as {{"name": "…", "width": 640, "height": 640}}'
        ) from error
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"the recipe {path} cannot be read: {error}") from error
    sizes_fit = all(isinstance(size, int) and size > 0 for size in (recipe.width, recipe.height))
    scales = (*recipe.mean, *recipe.std)
    scales_fit = len(recipe.mean) == len(recipe.std) == 3 and all(isinstance(x, int | float) for x in scales)
    if not recipe.name or not isinstance(recipe.name, str) or not sizes_fit or not scales_fit or 0 in recipe.std:
        raise InputError(f"the recipe {path} needs a name, a width and height above 0, and 3 numbers of mean and std")
    return recipe
