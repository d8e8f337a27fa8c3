"""Random weights, images and captions, seeded: the same numbers on every machine and device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from shan_engine.kernel.constants import ShanConstants
from shan_model.norms import l2_normalise
from shan_model.shan.alignment import Alignment
from shan_model.shan.factorised import caption_terms
from shan_model.training.grid import shan_constants

STEPS = ("l2l", "g2l", "g2g")
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Shape:
    """A model's and its data's sizes; `kept` is the share of regions and words that no mask hides."""

    K: int = 36
    n: int = 12
    D: int = 256
    steps: int = 3
    direction: str = "full"
    kept: float = 1.0

    def __str__(self) -> str:
        masked = "" if self.kept == 1 else ", masked"
        return f"K={self.K} n={self.n} D={self.D} {self.direction} to {STEPS[self.steps - 1]}{masked}"


def model_of(shape: Shape) -> Alignment:
    torch.manual_seed(0)
    return Alignment(embed_dim=shape.D, direction=shape.direction, steps=STEPS[: shape.steps]).requires_grad_(False)


def constants_of(model: Alignment) -> ShanConstants:
    constants = shan_constants(model.kernel_constants())
    assert constants is not None
    return constants


def rows(count: int, size: int, shape: Shape, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of length 1, count x size x D, and their mask, count x size."""
    generator = torch.Generator().manual_seed(seed)
    values = l2_normalise(torch.randn(count, size, shape.D, generator=generator))
    mask = torch.rand(count, size, generator=generator) < shape.kept
    mask[:, 0] = True
    return values, mask


def captions_of(model: Alignment, shape: Shape, count: int, seed: int = 1) -> Arrays:
    """Captions as the text encoder gives them."""
    words, mask = rows(count, shape.n, shape, seed)
    return {name: term.contiguous().numpy() for name, term in caption_terms(model, words, mask).items()}


class PoolImages:
    """`count` images as `upload.Images`, made of a pool of fewer that come again: device memory holds each anew."""

    normalised = False

    def __init__(self, shape: Shape, count: int, *, pool: int = 8192, dtype: str = "float16", seed: int = 2) -> None:
        regions, mask = rows(min(pool, count), shape.K, shape, seed)
        self.pool, self.mask = regions.numpy().astype(dtype), mask.numpy()
        self.regions, self.dim, self.dtype, self._count = shape.K, shape.D, np.dtype(dtype), count

    def __len__(self) -> int:
        return self._count

    def read(self, start: int, most: int) -> Mapping[str, NDArray[Any]]:
        first = start % len(self.pool)
        part = slice(first, first + min(most, self._count - start))
        return {"regions": self.pool[part], "mask": self.mask[part]}
