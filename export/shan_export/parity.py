"""The largest difference between exported graphs and the plain PyTorch modules."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from shan_engine.backends.onnx_runtime.graph import OnnxRuntimeGraph
from shan_engine.bundle.contents import IMAGE_TERMS
from shan_engine.bundle.manifest import GRAPHS
from shan_model.retrieval import RetrievalModel
from torch import Tensor

from shan_export.cases import Case, Markers, cases

TOLERANCE = 1e-4


def largest_difference(
    model: RetrievalModel, folder: Path, *, max_words: int, markers: Markers = ((1,), (2,)), seed: int = 0
) -> float:
    """Largest absolute difference of a score over random and edge inputs; NaN anywhere gives infinity."""
    image_encoder, text_encoder, pair_scorer = (OnnxRuntimeGraph(folder / name, "cpu") for name in GRAPHS)
    image_terms = OnnxRuntimeGraph(folder / IMAGE_TERMS, "cpu") if (folder / IMAGE_TERMS).exists() else None
    worst = 0.0
    config = model.config
    for case in cases(config.feature_dim, config.vocab_size, max_words=max_words, markers=markers, seed=seed):
        features, mask, tokens, lengths = case
        image = {**image_encoder.run({"features": features, "region_mask": mask}), "region_mask": mask}
        if image_terms:
            image |= image_terms.run(image)
        caption = text_encoder.run({"tokens": tokens, "lengths": lengths})
        outputs = pair_scorer.run({**image, **caption})
        expected = reference_scores(model, *map(torch.from_numpy, case)).numpy()
        difference = float(np.abs(outputs["scores"] - expected.sum(-1)).max())
        difference = max(difference, float(np.abs(outputs["step_scores"] - expected).max()))
        difference = max(difference, vector_difference(model, case, {**image, **caption}))
        if not np.isfinite(difference):
            return float("inf")
        worst = max(worst, difference)
    return worst


def vector_difference(model: RetrievalModel, case: Case, found: Mapping[str, NDArray[Any]]) -> float:
    """The largest difference of the vectors for further parts of the score, relative to numbers above 1."""
    features, mask, tokens, lengths = map(torch.from_numpy, case)
    with torch.no_grad():
        words, word_mask = model.text_encoder(tokens, lengths)
        wanted = {
            **model.image_vectors(features, mask),
            **model.caption_vectors(tokens, lengths, words, word_mask),
        }
    differences = [
        float((np.abs(found[name] - vector.numpy()) / np.maximum(np.abs(vector.numpy()), 1)).max())
        for name, vector in wanted.items()
    ]
    return max(differences, default=0.0)


def reference_scores(model: RetrievalModel, features: Tensor, mask: Tensor, tokens: Tensor, lengths: Tensor) -> Tensor:
    """Step scores B x C x steps of every image with every caption, by the plain modules, pair by pair."""
    with torch.no_grad():
        regions = model.image_encoder(features)
        words, word_mask = model.text_encoder(tokens, lengths)
        rows = [
            model.pair_scores(regions[i].expand(len(words), -1, -1), mask[i].expand(len(words), -1), words, word_mask)
            for i in range(len(regions))
        ]
        return torch.stack(rows)
