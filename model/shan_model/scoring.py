"""All images with all captions by the factorised score, in memory that stays small."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from shan_engine.captions import CaptionSplit
from shan_engine.text import Vocabulary, pad
from torch import Tensor

from .data import RegionSource
from .factorised import Terms, caption_terms, image_terms, score_grid
from .shan import Shan


def grid_in_chunks(
    model: Shan, image: Terms, caption: Terms, *, last_step: str | None = None, images: int = 2
) -> Tensor:
    """Scores B x C, a few images at a time, so that intermediate results stay in cache."""
    count = len(image["image_regions"])
    return torch.cat(
        [
            score_grid(
                model.alignment,
                {k: v[i : i + images] for k, v in image.items()},
                caption,
                last_step=last_step,
            ).scores
            for i in range(0, count, images)
        ]
    )


def score_split(
    model: Shan, source: RegionSource, vocabulary: Vocabulary, split: CaptionSplit, device: torch.device
) -> NDArray[np.float32]:
    """Scores images x captions of a split, by the factorised form."""
    tokens = [vocabulary.encode(caption) for caption in split.captions]
    order = np.argsort([len(t) for t in tokens], kind="stable")
    scores = np.empty((len(split.images), len(tokens)), np.float32)
    with torch.no_grad():
        captions = []
        for start in range(0, len(order), 128):
            part = order[start : start + 128]
            padded, lengths = (torch.from_numpy(array).to(device) for array in pad([tokens[i] for i in part]))
            captions.append((part, caption_terms(model.alignment, *model.text_encoder(padded, lengths))))
        for first in range(0, len(split.images), 64):
            features, mask = (
                torch.from_numpy(array).to(device) for array in source.regions(split.images[first : first + 64])
            )
            image = image_terms(model.alignment, model.image_encoder(features), mask)
            for part, caption in captions:
                scores[first : first + 64, part] = grid_in_chunks(model, image, caption).cpu().numpy()
    return scores
