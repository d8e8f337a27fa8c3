"""Select the k best scores on a device, with exact ties. A score and its image's place form one integer key."""

from __future__ import annotations

import torch
from torch import Tensor

_LOW = 0xFFFFFFFF  # places are below 2^32


def merge_best(best: Tensor | None, scores: Tensor, start: int, k: int) -> Tensor:
    """The k largest keys of each row, best first, from `best` (C x up to k, or None) and scores C x B (float32).

    The scores belong to the images from place `start` on. Of two equal scores, the lower place is better. NaN counts
    as greater than all scores, so that it is never lost.
    """
    numbers = scores.masked_fill(scores.isnan(), torch.nan) + 0.0  # clears the sign of NaN, and turns -0.0 into 0.0
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
    """The scores (float32) and places (int64) of keys."""
    ordered = keys >> 32
    bits = torch.where(ordered < 0, ordered ^ 0x7FFFFFFF, ordered).to(torch.int32)
    return bits.view(torch.float32), _LOW - (keys & _LOW)
