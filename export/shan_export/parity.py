"""The largest difference between exported graphs and the plain PyTorch modules."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from shan_engine.backends import load_graph
from shan_engine.bundle import GRAPHS, IMAGE_TERMS
from shan_engine.text import END, START
from shan_model.retrieval import RetrievalModel
from torch import Tensor

TOLERANCE = 1e-4
Case = tuple[Tensor, Tensor, Tensor, Tensor]


def largest_difference(model: RetrievalModel, folder: Path, *, max_words: int, seed: int = 0) -> float:
    """Largest absolute difference of a score over random and edge inputs; NaN anywhere gives infinity."""
    image_encoder, text_encoder, pair_scorer = (load_graph(folder / name, "cpu") for name in GRAPHS)
    image_terms = load_graph(folder / IMAGE_TERMS, "cpu") if (folder / IMAGE_TERMS).exists() else None
    worst = 0.0
    for features, mask, tokens, lengths in cases(model, max_words=max_words, seed=seed):
        image = image_encoder.run({"features": features.numpy(), "region_mask": mask.numpy()})
        image["region_mask"] = mask.numpy()
        if image_terms:
            image |= image_terms.run(image)
        caption = text_encoder.run({"tokens": tokens.numpy(), "lengths": lengths.numpy()})
        outputs = pair_scorer.run({**image, **caption})
        expected = plain_scores(model, features, mask, tokens, lengths).numpy()
        difference = float(np.abs(outputs["scores"] - expected.sum(-1)).max())
        difference = max(difference, float(np.abs(outputs["step_scores"] - expected).max()))
        if not np.isfinite(difference):
            return float("inf")
        worst = max(worst, difference)
    return worst


def plain_scores(model: RetrievalModel, features: Tensor, mask: Tensor, tokens: Tensor, lengths: Tensor) -> Tensor:
    """Step scores B x C x steps of every image with every caption, by the plain modules, pair by pair."""
    with torch.no_grad():
        regions = model.image_encoder(features)
        words, word_mask = model.text_encoder(tokens, lengths)
        rows = [
            model.pair_scores(regions[i].expand(len(words), -1, -1), mask[i].expand(len(words), -1), words, word_mask)
            for i in range(len(regions))
        ]
        return torch.stack(rows)


def cases(model: RetrievalModel, *, max_words: int, seed: int = 0) -> Iterator[Case]:
    """Features, region mask, tokens and lengths.

    Random with a caption in its markers, one word, longest caption, one region, a hundred, one unmasked.
    """
    generator = torch.Generator().manual_seed(seed)
    config = model.config

    def case(images: int, regions: int, lengths: list[int]) -> Case:
        features = torch.randn(images, regions, config.feature_dim, generator=generator).abs()
        mask = torch.rand(images, regions, generator=generator) < 0.8
        mask[:, 0] = True
        tokens = torch.randint(3, config.vocab_size, (len(lengths), max(lengths)), generator=generator)
        for row, length in enumerate(lengths):
            tokens[row, length:] = 0
        return features, mask, tokens, torch.tensor(lengths)

    features, mask, tokens, lengths = case(6, 36, [12, 7, 3, 20])
    tokens[0, [0, 11]] = torch.tensor([START, END])
    yield features, mask, tokens, lengths
    yield case(1, 36, [3])
    yield case(3, 36, [1, 5])
    yield case(2, 36, [max_words, 4])
    yield case(2, 1, [9, 3])
    yield case(2, 100, [8, 14])
    features, mask, tokens, lengths = case(3, 36, [11, 6])
    mask[:] = False
    mask[range(3), [0, 17, 35]] = True
    yield features, mask, tokens, lengths
