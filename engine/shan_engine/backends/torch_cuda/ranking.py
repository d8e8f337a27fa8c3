"""The best k of scores on a device, exact in ties: a score and its image's place are one integer to be compared."""

from __future__ import annotations

import torch
from torch import Tensor

_LOW = 0xFFFFFFFF  # places are below 2^32


def merge_best(best: Tensor | None, scores: Tensor, start: int, k: int) -> Tensor:
    """The k largest keys of each row, best first: of `best` (C x up to k, or None) and of scores C x B (float32).

    The scores are of images from place `start` on. Of equal scores the lower place is better; NaN is above all, so
    that one is never lost.
    """
    numbers = scores.masked_fill(scores.isnan(), torch.nan) + 0.0  # a NaN without sign; -0.0 is 0.0
    bits = numbers.view(torch.int32).to(torch.int64)
    ordered = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    places = torch.arange(start, start + scores.shape[1], device=scores.device)
    keys = (ordered << 32) | (_LOW - places)
    if keys.shape[1] > k:
        keys = keys.topk(k, dim=1).values
    if best is not None:
        keys = torch.cat([best, keys], dim=1)
    return keys.topk(min(k, keys.shape[1]), dim=1).values


def read_best(keys: Tensor) -> tuple[Tensor, Tensor]:
    """Scores (float32) and places (int64) of keys."""
    ordered = keys >> 32
    bits = torch.where(ordered < 0, ordered ^ 0x7FFFFFFF, ordered).to(torch.int32)
    return bits.view(torch.float32), _LOW - (keys & _LOW)
