from __future__ import annotations

import numpy as np
import pytest
import torch
from shan_model import loss
from shan_model.config import ShanConfig
from shan_model.factorised import caption_terms, image_terms
from shan_model.loss import hardest_pairs, mined_loss, pair_hinge
from shan_model.shan import Shan
from synthetic import F


@pytest.mark.parametrize("hardest", [True, False])
def test_the_loss_on_pairs_is_the_dense_loss(hardest):
    torch.manual_seed(0)
    B, margin = 7, 0.2
    scores = torch.randn(B, B, dtype=torch.float64)
    images, captions = hardest_pairs(scores, B - 1)  # all negatives, so the mean is the dense mean
    found = pair_hinge(scores[images, captions], B, margin, hardest=hardest)
    total = 0.0
    for i in range(B):
        rows = [max(0.0, margin - scores[i, i].item() + scores[i, j].item()) for j in range(B) if j != i]
        columns = [max(0.0, margin - scores[i, i].item() + scores[j, i].item()) for j in range(B) if j != i]
        total += max(rows) + max(columns) if hardest else np.mean(rows) + np.mean(columns)
    assert found.item() == pytest.approx(total / B, abs=1e-12)


@pytest.mark.parametrize("hardest", [True, False])
@pytest.mark.parametrize("steps", [("l2l",), ("l2l", "g2l", "g2g")])
def test_the_losss_gradients_are_those_of_the_plain_module(hardest, steps, monkeypatch):
    """With every negative a candidate: the mined loss against both hinges over the plain module's scores."""
    torch.manual_seed(3)
    B, K, n, margin = 5, 4, 6, 0.2
    monkeypatch.setattr(loss, "CANDIDATES", B - 1)
    config = ShanConfig(feature_dim=F, vocab_size=20, embed_dim=12, word_vector_dim=6, embedding_dim=4, steps=steps)
    model = Shan(config).double()
    features, mask = torch.randn(B, K, F, dtype=torch.float64), torch.arange(K) < torch.tensor([4, 2, 3, 4, 1])[:, None]
    tokens, lengths = torch.randint(3, 20, (B, n)), torch.tensor([6, 3, 4, 5, 3])

    words, word_mask = model.text_encoder(tokens, lengths)
    image = image_terms(model.alignment, model.image_encoder(features), mask)
    mined = mined_loss(model, image, caption_terms(model.alignment, words, word_mask), margin, hardest=hardest)
    found = torch.autograd.grad(mined, [p for p in model.parameters() if p.requires_grad], allow_unused=True)

    rows, columns = (grid.flatten() for grid in torch.meshgrid(torch.arange(B), torch.arange(B), indexing="ij"))
    words, word_mask = model.text_encoder(tokens, lengths)
    parts = model.alignment(model.image_encoder(features)[rows], mask[rows], words[columns], word_mask[columns])
    expected = torch.zeros((), dtype=torch.float64)
    for scores, mean in ((parts[:, 0], False), (parts.sum(-1), True))[: 1 if len(steps) == 1 else 2]:
        scores = scores.reshape(B, B)
        for turned in (scores, scores.T):
            for i in range(B):
                hinges = torch.stack([(margin - turned[i, i] + turned[i, j]).clamp_min(0) for j in range(B) if j != i])
                expected = expected + (hinges.max() if hardest else hinges.mean() if mean else hinges.sum()) / B
    torch.testing.assert_close(mined, expected)
    wanted = torch.autograd.grad(expected, [p for p in model.parameters() if p.requires_grad], allow_unused=True)
    for name, one, other in zip(
        [name for name, p in model.named_parameters() if p.requires_grad], found, wanted, strict=True
    ):
        assert (one is None) == (other is None), name
        if one is not None:
            torch.testing.assert_close(one, other, msg=name)


def test_two_candidates_hold_each_row_and_columns_hardest():
    torch.manual_seed(1)
    scores = torch.randn(9, 9)
    images, captions = hardest_pairs(scores, 2)
    assert len(images) == 9 + 2 * 18
    assert (images[:9] == captions[:9]).all()
    assert (images[9:] != captions[9:]).all()
    dense = scores.clone().fill_diagonal_(-torch.inf)
    own = scores.diag()
    expected = ((0.2 - own + dense.amax(1)).clamp_min(0) + (0.2 - own + dense.amax(0)).clamp_min(0)).mean()
    torch.testing.assert_close(pair_hinge(scores[images, captions], 9, 0.2, hardest=True), expected)
