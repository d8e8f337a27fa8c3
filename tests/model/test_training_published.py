"""Models whose published checkpoints can be imported are trained here too."""

from __future__ import annotations

import pytest
import torch
from shan_model.checkpoint import load_checkpoint
from shan_model.registry import new_model
from shan_model.training.augment import Batch, augmented_terms
from shan_model.training.loop import train
from synthetic import Photos, settings


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vse-infinity", {}),
        ("sgraf", {"module": "sgr", "similarity_dim": 16}),
        ("sgraf", {"module": "saf", "similarity_dim": 16}),
        ("chan", {"heads": 4}),
    ],
    ids=lambda part: str(part),
)
def test_training_learns(files, tmp_path, name, options):
    table, vectors = files
    rsum = train(
        Photos(), table, vectors, tmp_path / "model",
        settings(model=name, options=options, epochs=8, patience=8, batch_size=9, learning_rate=1e-2, average=0.8),
    )  # fmt: skip
    assert rsum > 230  # chance is about 170
    model, _ = load_checkpoint(tmp_path / "model")
    assert model.config.model == name


@pytest.mark.parametrize(("name", "left"), [("sgraf", 8), ("vse-infinity", 8), ("esa", 4)])
def test_an_image_keeps_all_regions_where_their_places_or_number_count(name, left):
    model = new_model(name, {}, feature_dim=4, embed_dim=8, word_vector_dim=4, embedding_dim=4, vocab_size=8)
    features = torch.arange(8.0)[None, :, None].expand(3, -1, 4).contiguous()
    every = torch.ones(3, 8, dtype=torch.bool)
    batch = Batch(features, every, torch.full((3, 2), 5), torch.full((3,), 2), torch.eye(3, dtype=torch.bool))
    seen = []
    model.image_encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    augmented_terms(model, batch, settings(model=name, feature_dropout=0.0))
    assert seen[0].shape[1] == left
    assert torch.equal(seen[0], features) == (left == 8)
