"""Run a feature extractor: an ONNX backbone or detector that turns pixels into regions.

An extractor is a file `NAME.onnx` with its recipe `NAME.json` beside it:

    {"name": "my-detector-v1", "width": 640, "height": 640, "mean": [...], "std": [...]}

The graph takes one input, the images: raw pixels uint8 B x H x W x 3, or float B x 3 x H x W. Float pixels are
scaled to 0..1, then normalised by `mean` and `std` (default 0 and 1). A graph whose B is fixed to 1 runs one photo at
a time.

A photo is stretched to `width` x `height` (bicubic). A recipe may change that to what a model's authors do:

- `"shortest_edge": 256` scales the shorter side to 256 pixels, and cuts `width` x `height` out of the middle;
- `"resampling": "bilinear"` is another way to resample (`photos.fit.RESAMPLINGS`);
- `"exact": true` decodes JPEGs at their full size.

The first output has one of two forms:

- regions B x K x F; a second output, if there is one, holds their boxes B x K x 4 (x0, y0, x1, y1, each from 0 to 1);
- a feature map B x F x H x W, whose cells become the regions.

Three further outputs may tell what a photo is seen as, if the recipe names the classes, in the order of their numbers
(`"classes": ["tench", "goldfish", ...]`):

- `seen_classes` B x m: numbers of classes, the most probable first;
- `seen_probabilities` B x m: how probable each is for the whole photo;
- `seen_regions` B x m: the region where each is most probable.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xxhash
from numpy.typing import NDArray

from shan_engine.backends.onnx_runtime.graph import OnnxRuntimeGraph
from shan_engine.base.choices import Device
from shan_engine.base.errors import InputError
from shan_engine.base.json_text import decode_json
from shan_engine.photos.decode import WHOLE
from shan_engine.photos.fit import RESAMPLINGS, Fit, Part
from shan_engine.store.records import SeenClasses

CROP_SIDES = (0.7, 0.92)
"""Least and greatest side of a random part, relative to the photo."""
SEEN = ("seen_classes", "seen_probabilities", "seen_regions")
"""Outputs that tell what a photo is seen as."""
LAST_REGION = 255  # that a class can be seen in: stores keep its number in a byte


class Regions(NamedTuple):
    """One photo's features K x F, its relative boxes K x 4 if known, and what it is seen as if that is known."""

    features: NDArray[np.float32]
    boxes: NDArray[np.float32] | None = None
    seen: SeenClasses | None = None


@dataclass(frozen=True)
class Recipe:
    """The images that an extractor expects, and names of the classes that it tells.

    A store records `name` as the origin of its features. The last three are those of `photos.fit.Fit`.
    """

    name: str
    width: int
    height: int
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    classes: tuple[str, ...] = ()
    shortest_edge: int = 0
    resampling: str = "bicubic"
    exact: bool = False

    @property
    def fit(self) -> Fit:
        """How a photo becomes `width` x `height` pixels."""
        return Fit(self.shortest_edge, self.resampling, self.exact)


class FeatureExtractor:
    """An ONNX backbone or detector with its recipe.

    Two options make varied features to train on. `mirror` shows the extractor mirror images. `crop` above 0 shows it a
    random part of each photo, a different one for each number (see `part_of`). Boxes always refer to the original
    photo. Raises InputError if the graph's input does not fit the recipe.
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
        self._graph = OnnxRuntimeGraph(model, device, threads=threads)
        if len(self._graph.inputs) != 1:
            raise InputError(f"{model} takes {len(self._graph.inputs)} inputs: export it with one, the image")
        self._input, (dtype, shape) = next(iter(self._graph.inputs.items()))
        if dtype != np.uint8 and not np.issubdtype(dtype, np.floating):
            raise InputError(f"{model} takes images of {dtype}: export it with an input of uint8 or float32")
        self._raw = dtype == np.uint8
        self._one_by_one = shape[:1] == (1,)
        self._check_input(shape)
        self._seen = self._seen_outputs()

    def _check_input(self, shape: tuple[int | str | None, ...]) -> None:
        height, width = self.recipe.height, self.recipe.width
        wanted = ("B", height, width, 3) if self._raw else ("B", 3, height, width)
        fixed = [(held, asked) for held, asked in zip(shape[1:], wanted[1:], strict=False) if isinstance(held, int)]
        if len(shape) != 4 or any(held != asked for held, asked in fixed):
            raise InputError(
                f"{self.model} takes an input of shape {_shape(shape)}, but its recipe and type call for "
                f"{_shape(wanted)}: fix {self.model.with_suffix('.json')} or export the model again"
            )
        if isinstance(shape[0], int) and shape[0] != 1:
            raise InputError(
                f"{self.model} takes exactly {shape[0]} photos a call: export it with a free batch axis or a batch of 1"
            )

    def _seen_outputs(self) -> list[str]:
        given = [name for name in SEEN if name in self._graph.outputs]
        if len(given) not in (0, len(SEEN)) or bool(given) != bool(self.recipe.classes):
            raise InputError(
                f"{self.model} has {len(given)} of the outputs {', '.join(SEEN)}, and its recipe names "
                f"{len(self.recipe.classes)} classes: give all three outputs and the classes, or neither"
            )
        return given

    def part_of(self, id: str) -> Part:
        """The part of photo `id` to extract: the whole, or with `crop` above 0 a random part.

        A random part spans CROP_SIDES of each side. It depends on the id and on `crop` alone.
        """
        if not self.crop:
            return WHOLE
        seed = xxhash.xxh3_64_intdigest(f"{self.crop}:{id}".encode("utf-8", "surrogateescape"))
        random = np.random.default_rng(seed)
        side = random.uniform(*CROP_SIDES)
        x, y = random.uniform(0, 1 - side, 2)
        return x, y, x + side, y + side

    def __call__(self, pixels: NDArray[np.uint8], names: Sequence[object] = ()) -> list[Regions]:
        """The regions of each photo, from pixels B x H x W x 3. `names` are the photos' names for error messages.

        Raises InputError if the model's outputs are not regions, or hold NaN or infinite numbers.
        """
        images = self._scaled(pixels[:, :, ::-1] if self._mirror else pixels)
        step = 1 if self._one_by_one else max(1, len(images))
        found = [
            regions for start in range(0, len(images), step) for regions in self._run(images[start : start + step])
        ]
        for row, regions in enumerate(found):
            if not all(array is None or np.isfinite(array).all() for array in (regions.features, regions.boxes)):
                raise InputError(
                    f"{self.model} gives NaN or infinite numbers for {names[row] if names else f'photo {row + 1}'}: "
                    "check its recipe's mean and std, or remove that photo"
                )
        return [regions._replace(boxes=_mirrored(regions.boxes)) for regions in found] if self._mirror else found

    def _scaled(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8] | NDArray[np.float32]:
        if self._raw:
            return pixels
        mean, std = (np.array(numbers, np.float32) for numbers in (self.recipe.mean, self.recipe.std))
        scaled = (pixels / np.float32(255) - mean) / std
        return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2), np.float32)

    def _run(self, images: NDArray[Any]) -> Iterator[Regions]:
        names = [name for name in self._graph.outputs if name not in SEEN][:2]
        outputs = self._graph.run({self._input: images}, [*names, *self._seen])
        features = self._floats(outputs[names[0]], "first")
        if features.ndim not in (3, 4) or len(features) != len(images):
            raise InputError(
                f"the first output of {self.model} is {_shape(features.shape)} for {len(images)} photos: export "
                "it with regions B x K x F or a feature map B x F x H x W, where B is the number of photos"
            )
        boxes: Iterable[NDArray[np.float32] | None] = repeat(None)
        if features.ndim == 4:
            boxes = repeat(grid_boxes(*features.shape[2:]))
            features = features.reshape(*features.shape[:2], -1).transpose(0, 2, 1)
        elif len(names) == 2:
            boxes = self._floats(outputs[names[1]], "second")
            if boxes.shape != (*features.shape[:2], 4):
                raise InputError(
                    f"the second output of {self.model} is {_shape(boxes.shape)}, not the boxes of its regions "
                    f"({_shape((*features.shape[:2], 4))}): export it with regions and boxes as its first two outputs"
                )
        seen = self._seen_classes(*(outputs[name] for name in self._seen)) if self._seen else repeat(None)
        return map(Regions, features, boxes, seen)

    def _seen_classes(self, *outputs: Any) -> Iterator[SeenClasses]:
        numbers, probabilities, regions = (
            self._floats(output, name) for output, name in zip(outputs, SEEN, strict=True)
        )
        last = len(self.recipe.classes) - 1
        if not ((numbers >= 0) & (numbers <= last)).all():
            raise InputError(
                f"{self.model} gives classes outside 0 to {last}: name all its classes in "
                f"{self.model.with_suffix('.json')}"
            )
        if not ((regions >= 0) & (regions < LAST_REGION + 1)).all():
            raise InputError(f"{self.model} gives regions of classes outside 0 to {LAST_REGION}: export it with fewer")
        arrays = numbers.astype(np.uint16), probabilities.astype(np.float16), regions.astype(np.uint8)
        return (SeenClasses(*photo) for photo in zip(*arrays, strict=True))

    def _floats(self, output: Any, place: str) -> NDArray[np.float32]:
        if not isinstance(output, np.ndarray) or output.dtype.kind not in "fiu":
            kind = output.dtype if isinstance(output, np.ndarray) else type(output).__name__
            raise InputError(f"the {place} output of {self.model} is of {kind}: export it with an array of numbers")
        with np.errstate(over="ignore", invalid="ignore"):
            return output.astype(np.float32, copy=False)


class ExtractorOnDemand(FeatureExtractor):
    """A feature extractor of whole photos whose graph is loaded for the first photo."""

    def __init__(self, model: Path, device: Device = "auto") -> None:
        self.model, self.recipe, self.crop = model, read_recipe(model), 0
        self._device = device
        self._loaded: FeatureExtractor | None = None

    def __call__(self, pixels: NDArray[np.uint8], names: Sequence[object] = ()) -> list[Regions]:
        """As `FeatureExtractor`, which tells what it raises."""
        self._loaded = self._loaded or FeatureExtractor(self.model, self._device)
        return self._loaded(pixels, names)


def _mirrored(boxes: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
    """Convert relative boxes K x 4 in a mirror image to those in the original photo."""
    if boxes is None:
        return None
    x0, y0, x1, y1 = boxes.T
    return np.stack([1 - x1, y0, 1 - x0, y1], axis=1)


def _shape(shape: Sequence[object]) -> str:
    return " x ".join("?" if axis is None else str(axis) for axis in shape) or "a single number"


def grid_boxes(height: int, width: int) -> NDArray[np.float32]:
    """Relative boxes (height * width) x 4 of a grid's cells in reading order."""
    y, x = np.mgrid[:height, :width].reshape(2, -1)
    return np.stack([x / width, y / height, (x + 1) / width, (y + 1) / height], axis=1).astype(np.float32)


_LARGEST = 2**14  # pixels of a side
_LARGEST_SCALE = 1e6  # far beyond any mean or deviation of pixels, and far from the largest float


def read_recipe(model: Path) -> Recipe:
    """Read the recipe beside an extractor's ONNX file. Raises InputError if either is missing or invalid."""
    path = model.with_suffix(".json")
    if not model.is_file():
        raise InputError(f"there is no feature extractor {model}: name its .onnx file")
    try:
        data = decode_json(path.read_text("utf-8"))
        recipe = Recipe(**{**data, **{key: tuple(data[key]) for key in ("mean", "std", "classes") if key in data}})
    except FileNotFoundError as error:
        raise InputError(
            f'{model} has no recipe: write {path} as {{"name": "…", "width": 640, "height": 640}}'
        ) from error
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"the recipe {path} cannot be read ({error}): fix it, or copy it again") from error
    sizes_fit = all(isinstance(size, int) and 0 < size <= _LARGEST for size in (recipe.width, recipe.height))
    scales = (*recipe.mean, *recipe.std)
    scales_fit = len(recipe.mean) == len(recipe.std) == 3 and all(
        isinstance(x, int | float) and abs(x) <= _LARGEST_SCALE for x in scales
    )
    if not isinstance(data.get("classes", []), list) or not all(isinstance(name, str) for name in recipe.classes):
        raise InputError(f'the recipe {path} needs a list of names as its "classes"')
    if not recipe.name or not isinstance(recipe.name, str) or not sizes_fit or not scales_fit or 0 in recipe.std:
        raise InputError(
            f"the recipe {path} needs a name, a width and height above 0, and 3 numbers each for mean and std"
        )
    edge = recipe.shortest_edge
    if not isinstance(edge, int) or (edge and edge < max(recipe.width, recipe.height)):
        raise InputError(f"the recipe {path} cuts {recipe.width} x {recipe.height} pixels out of fewer: fix its sizes")
    if recipe.resampling not in RESAMPLINGS or not isinstance(recipe.exact, bool):
        raise InputError(
            f'the recipe {path} needs one of {", ".join(RESAMPLINGS)} as its "resampling", true or false as "exact"'
        )
    return recipe
