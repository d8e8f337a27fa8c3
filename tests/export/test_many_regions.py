"""Photos of 1,024 regions: trained on by PyTorch, indexed, and searched by the kernel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gallery_scores import by_id
from shan_engine.bundle.contents import Bundle
from shan_engine.gallery.reader import Gallery
from shan_engine.indexing.images import index_store
from shan_engine.scoring.scorer import Scorer
from shan_engine.store.feature_store import FeatureStore
from shan_engine.store.schema import StoreSchema
from shan_model.checkpoint import load_checkpoint
from shan_model.training.grid import score_first_step
from tiny import EXTRACTOR, FEATURES, make_record

MANY = 1024


def test_1024_regions_are_scored_as_the_plain_model_scores_them(bundle_path, checkpoint, tmp_path):
    scorer = Scorer(Bundle.open(bundle_path), "cpu", threads=1)
    assert scorer.kernel is not None
    records = [make_record(number, regions=count) for number, count in ((1, MANY), (2, 40), (4, 700))]
    with FeatureStore.create(tmp_path / "store", StoreSchema(EXTRACTOR, FEATURES, max_regions=MANY)) as store:
        store.write(records)
        index_store(store, scorer, tmp_path / "gallery")
    caption = "a dog runs over the grass"
    found = by_id(scorer, Gallery.open(tmp_path / "gallery", scorer.bundle), tmp_path, [caption])
    model, _ = load_checkpoint(checkpoint.folder)
    tokens = torch.tensor([scorer.encoders.tokens(caption)])
    for record in records:
        features = torch.from_numpy(record.features)[None]
        mask = torch.ones(features.shape[:2], dtype=torch.bool)
        with torch.no_grad():
            expected = model(features, mask, tokens, torch.tensor([tokens.shape[1]])).item()
        assert found[record.id][0] == pytest.approx(expected, abs=1e-4)


def test_training_falls_back_to_pytorch_for_more_than_128_regions(checkpoint):
    model, _ = load_checkpoint(checkpoint.folder)
    features = torch.from_numpy(np.random.default_rng(0).random((2, MANY, FEATURES), np.float32))
    mask = torch.ones(2, MANY, dtype=torch.bool)
    image = model.encode_images(features, mask)
    caption = model.encode_captions(torch.tensor([[1, 5, 6, 2], [1, 7, 2, 0]]), torch.tensor([4, 3]))
    assert model.compiled_first_step(image, caption) is None
    few = model.encode_images(features[:, :128], mask[:, :128])
    assert model.compiled_first_step(few, caption) is not None
    with torch.no_grad():
        scores = score_first_step(model, image, caption)
        regions, words = (
            model.image_encoder(features),
            model.text_encoder(torch.tensor([[1, 5, 6, 2], [1, 7, 2, 0]]), torch.tensor([4, 3])),
        )
        plain = model.pair_scores(regions, mask, *words)[:, 0]
    torch.testing.assert_close(scores.diagonal(), plain, atol=1e-5, rtol=1e-5)
