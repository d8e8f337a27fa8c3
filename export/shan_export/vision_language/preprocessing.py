"""What a model's image processor does to a photo, as an extractor's recipe and the first layer of its graph."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from shan_engine.base.errors import InputError
from shan_engine.photos.extractor import Recipe
from torch import Tensor

Settings = Mapping[str, Any]
"""What `preprocessor_config.json` holds."""


def recipe_of(settings: Settings, name: str, where: Path, side: int | None = None) -> Recipe:
    """The recipe of an extractor that takes raw pixels; `side` is the only one that the model takes, None for any.

    Raises InputError, naming the folder `where`, for a preprocessing that no recipe can tell.
    """
    size = _sides(settings.get("size"), "shortest_edge")
    crop = _sides(settings.get("crop_size"), "height") if settings.get("do_center_crop") else None
    width, height = ((crop or size).get(key) for key in ("width", "height"))
    edge = size.get("shortest_edge", 0)
    if isinstance(width, int) and width == height and side in (None, width) and settings.get("do_resize", True):
        stretched = not edge and size.get("height") == size.get("width") == width
        if stretched or (crop and edge >= width):
            resampling = Image.Resampling(settings.get("resample", Image.Resampling.BICUBIC)).name.lower()
            return Recipe(name, width, width, shortest_edge=edge, resampling=resampling, exact=True)
    raise InputError(
        f"{where} prepares images in a way that is not supported (size {size}, crop {crop}) for a model of "
        f"{side or 'square'} pixels a side: use the preprocessor_config.json that the model was published with"
    )


def scale_of(settings: Settings) -> tuple[Tensor, Tensor]:
    """Factor and offset, 3 each, that make the model's input of pixels from 0 to 255."""
    rescale = settings.get("rescale_factor", 1 / 255) if settings.get("do_rescale", True) else 1.0
    mean, std = torch.zeros(3), torch.ones(3)
    if settings.get("do_normalize", True):
        mean, std = torch.tensor(settings["image_mean"]), torch.tensor(settings["image_std"])
    return rescale / std, -mean / std


def _sides(size: Any, alone: str) -> dict[str, int]:
    """A size by its names; a number alone is `alone`, a square's where that is its height."""
    if isinstance(size, int):
        return {"height": size, "width": size} if alone == "height" else {alone: size}
    return {key: value for key, value in (size or {}).items() if value is not None}
