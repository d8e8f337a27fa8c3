"""Photos into regions: an ONNX feature extractor over decoded photos, in batches, into a feature store.

An extractor is `NAME.onnx` with its recipe `NAME.json` beside it:

    {"name": "my-detector-v1", "width": 640, "height": 640, "mean": [...], "std": [...]}

It takes one image input: uint8 B x H x W x 3 (raw pixels), or float B x 3 x H x W, for which `mean` and
`std` (of pixels scaled to 0..1, default 0 and 1) are applied. Its first output is either regions
B x K x F, with a second output of boxes B x K x 4 (x0, y0, x1, y1, relative to the photo) where it has
one, or a feature map B x F x H x W, whose cells become the regions.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .backends import Device, load_graph
from .errors import InputError, StoreError
from .photos import Photo, decode_photo, find_photos, resize
from .records import RegionRecord
from .store import FeatureStore
from .store_schema import StoreSchema


@dataclass(frozen=True)
class Recipe:
    """How an extractor wants its photos; `name` is what a store records about its features."""

    name: str
    width: int
    height: int
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class ExtractionResult:
    """What a run did: photos added or renewed, unchanged ones, and those that could not be decoded."""

    added: int
    unchanged: int
    removed: int
    broken: tuple[str, ...]


class FeatureExtractor:
    """An ONNX backbone or detector with its recipe."""

    def __init__(self, model: Path, device: Device = "auto", *, threads: int | None = None) -> None:
        self.recipe = read_recipe(model)
        self._graph = load_graph(model, device, threads=threads)
        if len(self._graph.inputs) != 1:
            raise InputError(f"{model} takes {len(self._graph.inputs)} inputs: an extractor takes one, the image")
        self._input, (dtype, shape) = next(iter(self._graph.inputs.items()))
        self._raw = dtype == np.uint8
        if len(shape) != 4:
            raise InputError(f"{model} takes an input of {len(shape)} axes: an extractor takes a batch of images")

    def __call__(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Features B x K x F and relative boxes B x K x 4 (None where unknown) of pixels B x H x W x 3."""
        batch: NDArray[np.uint8] | NDArray[np.float32] = pixels
        if not self._raw:
            scaled = (pixels / np.float32(255) - np.array(self.recipe.mean, np.float32)) / np.array(
                self.recipe.std, np.float32
            )
            batch = np.ascontiguousarray(scaled.transpose(0, 3, 1, 2), np.float32)
        outputs = self._graph.run({self._input: batch})
        features = outputs[self._graph.outputs[0]].astype(np.float32, copy=False)
        if features.ndim == 4:
            height, width = features.shape[2:]
            boxes = np.broadcast_to(grid_boxes(height, width), (len(features), height * width, 4))
            return features.reshape(*features.shape[:2], -1).transpose(0, 2, 1), boxes
        if features.ndim != 3:
            raise InputError(
                f"the extractor '{self.recipe.name}' gives an output of {features.ndim} axes: expected 3 or 4"
            )
        return features, outputs[self._graph.outputs[1]] if len(self._graph.outputs) > 1 else None


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


def extract_photos(
    folder: Path,
    store_path: Path,
    extractor: FeatureExtractor,
    *,
    dtype: str = "float32",
    batch_size: int = 16,
    workers: int = 2,
    on_start: Callable[[int], None] = lambda total: None,
    on_photo: Callable[[int], None] = lambda done: None,
) -> ExtractionResult:
    """Bring the store up to date with the photos below `folder`: new and changed ones only.

    Photos that were deleted from the folder are removed from the store. Every batch is committed on its
    own, so an interrupted run goes on where it stopped. A photo that cannot be decoded is skipped.
    Raises InputError where no photo can be used, StoreError where the store is of another extractor.
    """
    photos = find_photos(folder)
    plan = _plan(folder, photos, store_path, extractor.recipe.name)
    on_start(len(plan.extract))
    broken: list[str] = []
    added = 0
    with ExitStack() as stack:
        store = None
        if plan.delete or plan.move:
            store = stack.enter_context(FeatureStore.open(store_path, readonly=False))
            store.delete(plan.delete)
            _move(store, plan.move)
        for batch in _batches(_decode(plan.extract, extractor.recipe, workers, broken), batch_size):
            features, boxes = extractor(np.stack([pixels for _, _, pixels in batch]))
            if store is None:
                schema = StoreSchema(extractor.recipe.name, features.shape[2], max(100, features.shape[1]), dtype)
                store = stack.enter_context(FeatureStore.create(store_path, schema))
            store.write(
                [
                    RegionRecord(
                        photo.id,
                        features[row],
                        None
                        if boxes is None
                        else (boxes[row] * np.array([*size, *size], np.float32)).astype(np.float32),
                        str(photo.path),
                        *size,
                        photo.stamp,
                    )
                    for row, (photo, size, _) in enumerate(batch)
                ]
            )
            added += len(batch)
            on_photo(added + len(broken))
    on_photo(len(plan.extract))
    if not added and len(broken) == len(photos):
        raise InputError(f"none of the {len(photos)} photos in {folder} can be decoded")
    return ExtractionResult(added, len(photos) - len(plan.extract), len(plan.delete), tuple(broken))


@dataclass(frozen=True)
class _Plan:
    """How a store differs from a folder: photos to extract, photos whose path alone is new, ids to delete."""

    extract: list[Photo]
    move: list[Photo]
    delete: list[str]


def _plan(folder: Path, photos: list[Photo], store_path: Path, extractor: str) -> _Plan:
    if not (store_path / "data.mdb").exists():
        return _Plan(photos, [], [])
    with FeatureStore.open(store_path) as store:
        if store.schema.feature_extractor != extractor:
            raise StoreError(
                f"the store {store_path} holds features of '{store.schema.feature_extractor}', "
                f"not of '{extractor}': use a new store"
            )
        held = {info.id: info for info in store.infos()}
    root = folder.resolve()
    gone = [info.id for info in held.values() if info.path == str(root / info.id) and not Path(info.path).exists()]
    plan = _Plan([], [], gone)
    for photo in photos:
        info = held.get(photo.id)
        elsewhere = info is not None and info.path not in ("", str(photo.path))
        if info is not None and elsewhere and Path(info.path).exists():
            raise InputError(
                f"the store {store_path} already has '{photo.id}' from {info.path}: use a new store, "
                "or extract a folder that holds both"
            )
        if info is None or info.stamp != photo.stamp:
            plan.extract.append(photo)
        elif elsewhere:
            plan.move.append(photo)
    return plan


def _move(store: FeatureStore, photos: list[Photo], batch_size: int = 256) -> None:
    """Write the records of photos anew with their path."""
    for start in range(0, len(photos), batch_size):
        batch = photos[start : start + batch_size]
        records = store.read([photo.id for photo in batch])
        store.write([replace(record, path=str(photo.path)) for record, photo in zip(records, batch, strict=True)])


def _decode(
    photos: list[Photo], recipe: Recipe, workers: int, broken: list[str]
) -> Iterator[tuple[Photo, tuple[int, int], NDArray[np.uint8]]]:
    """Decoded photos in order, a bounded number ahead; failures go to `broken` as sentences."""

    def load(photo: Photo) -> tuple[Photo, tuple[int, int], NDArray[np.uint8]]:
        image = decode_photo(photo.path)
        return photo, image.size, resize(image, recipe.width, recipe.height)

    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[tuple[Photo, tuple[int, int], NDArray[np.uint8]]]] = deque()
        queue = iter(photos)
        try:
            waiting.extend(pool.submit(load, photo) for photo in islice(queue, 64))
            while waiting:
                first = waiting.popleft()
                waiting.extend(pool.submit(load, photo) for photo in islice(queue, 1))
                try:
                    yield first.result()
                except InputError as error:
                    broken.append(str(error))
        finally:
            pool.shutdown(cancel_futures=True)


def _batches(
    items: Iterable[tuple[Photo, tuple[int, int], NDArray[np.uint8]]], size: int
) -> Iterator[list[tuple[Photo, tuple[int, int], NDArray[np.uint8]]]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
