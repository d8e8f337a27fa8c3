from __future__ import annotations

import numpy as np
import pytest
import torch
from shan_model.config import ShanConfig
from shan_model.shan.network import Shan
from shan_model.training.loss import (
    RankingLoss,
    grid_contrastive,
    grid_hinge,
    gumbel,
    mine_pairs,
    pair_contrastive,
    pair_hinge,
)
from synthetic import F


@pytest.mark.parametrize("hardest", [True, False])
def test_the_loss_on_pairs_is_the_dense_loss(hardest):
    torch.manual_seed(0)
    B, margin = 7, 0.2
    scores = torch.randn(B, B, dtype=torch.float64)
    images, captions = mine_pairs(
        scores, B - 1, torch.eye(B, dtype=torch.bool)
    )  # all negatives, so the mean is the dense mean
    found = pair_hinge(scores[images, captions], B, margin, hardest=hardest)
    total = 0.0
    for i in range(B):
        rows = [max(0.0, margin - scores[i, i].item() + scores[i, j].item()) for j in range(B) if j != i]
        columns = [max(0.0, margin - scores[i, i].item() + scores[j, i].item()) for j in range(B) if j != i]
        total += max(rows) + max(columns) if hardest else np.mean(rows) + np.mean(columns)
    assert found.item() == pytest.approx(total / B, abs=1e-12)


def dense_hinge(scores, *, first, hardest, margin):
    """Over all pairs of scores B x B: the sum for the first step, the mean for the whole score, or the worst."""
    total = torch.zeros((), dtype=torch.float64)
    for turned in (scores, scores.T):
        for i in range(len(scores)):
            others = [j for j in range(len(scores)) if j != i]
            hinges = torch.stack([(margin - turned[i, i] + turned[i, j]).clamp_min(0) for j in others])
            total = total + (hinges.max() if hardest else hinges.sum() if first else hinges.mean()) / len(scores)
    return total


def dense_contrastive(scores, *, scale):
    """Over all pairs: minus the log of the own pair's share of its row and of its column, their mean."""
    rows = (scale * scores).exp()
    shares = [rows.diag() / rows.sum(axis) for axis in (0, 1)]
    return -torch.stack(shares).log().mean()


def tiny_problem(steps):
    """A model in float64 and five images and captions: features, mask, tokens and lengths."""
    torch.manual_seed(3)
    B, K, n = 5, 4, 6
    config = ShanConfig(feature_dim=F, vocab_size=20, embed_dim=12, word_vector_dim=6, embedding_dim=4, steps=steps)
    model = Shan(config).double()
    features, mask = torch.randn(B, K, F, dtype=torch.float64), torch.arange(K) < torch.tensor([4, 2, 3, 4, 1])[:, None]
    return model, features, mask, torch.randint(3, 20, (B, n)), torch.tensor([6, 3, 4, 5, 3])


def plain_parts(model, features, mask, tokens, lengths):
    """Step scores B x B x steps by the plain module."""
    B = len(features)
    rows, columns = (grid.flatten() for grid in torch.meshgrid(torch.arange(B), torch.arange(B), indexing="ij"))
    words, word_mask = model.text_encoder(tokens, lengths)
    parts = model.alignment(model.image_encoder(features)[rows], mask[rows], words[columns], word_mask[columns])
    return parts.reshape(B, B, -1)


def terms(model, features, mask, tokens, lengths):
    words, word_mask = model.text_encoder(tokens, lengths)
    return model.image_terms(model.image_encoder(features), mask), model.caption_terms(words, word_mask)


def assert_same_gradients(model, one, other):
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    found, wanted = (torch.autograd.grad(loss, list(parameters.values()), allow_unused=True) for loss in (one, other))
    for name, left, right in zip(parameters, found, wanted, strict=True):
        assert (left is None) == (right is None), name
        if left is not None:
            torch.testing.assert_close(left, right, msg=name)


@pytest.mark.parametrize("hardest", [True, False])
@pytest.mark.parametrize("steps", [("l2l",), ("l2l", "g2l", "g2g")])
def test_no_candidates_give_the_papers_triplet_loss(steps, hardest):
    """Hinges over the full score alone, with the hardest negatives of the batch, or with the sum over all."""
    model, *batch = tiny_problem(steps)
    loss = RankingLoss("triplet", candidates=0, margin=0.2, temperature=0.1)
    found = loss(model, *terms(model, *batch), hardest=hardest)
    S = plain_parts(model, *batch).sum(-1)
    B, negative = len(S), ~torch.eye(len(S), dtype=torch.bool)
    own = S.diag()
    expected = torch.zeros((), dtype=torch.float64)
    for k in range(B):
        others = [(0.2 - own[k] + side[negative[k]]).clamp_min(0) for side in (S[k], S[:, k])]
        expected = expected + sum(hinges.max() if hardest else hinges.sum() for hinges in others) / B
    torch.testing.assert_close(found, expected)
    assert_same_gradients(model, found, expected)


def test_in_float32_the_hardest_negatives_are_the_papers_after_every_update():
    """There the engine's kernel, where it is built, scores all pairs: it must have the weights of now."""
    model, features, *rest = tiny_problem(("l2l", "g2l", "g2g"))
    model, batch = model.float(), (features.float(), *rest)
    loss = RankingLoss("triplet", candidates=0, margin=0.2, temperature=0.1)
    for _ in range(2):
        found = loss(model, *terms(model, *batch), hardest=True)
        dense = grid_hinge(
            plain_parts(model, *batch).sum(-1), 0.2, torch.eye(len(features), dtype=torch.bool), hardest=True
        )
        torch.testing.assert_close(found, dense)
        assert_same_gradients(model, found, dense)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.3)


def test_no_candidates_give_one_contrastive_loss_of_the_full_score():
    model, *batch = tiny_problem(("l2l", "g2l", "g2g"))
    loss = RankingLoss("contrastive", candidates=0, margin=0.2, temperature=0.1).double()
    found = loss(model, *terms(model, *batch))
    torch.testing.assert_close(found, dense_contrastive(plain_parts(model, *batch).sum(-1), scale=5))


def test_no_candidates_keep_no_pairs_inner_numbers_for_the_gradient():
    model, *batch = tiny_problem(("l2l", "g2l", "g2g"))
    image, caption = terms(model, *batch)
    kept = []
    loss = RankingLoss("triplet", candidates=0, margin=0.2, temperature=0.1)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.numel()) or tensor, lambda t: t):
        loss(model, image, caption)
    images, regions, dim = image["image_regions"].shape
    assert sum(kept) < images**2 * regions * dim


@pytest.mark.parametrize("kind", ["contrastive", "hardest", "all"])
@pytest.mark.parametrize("steps", [("l2l",), ("l2l", "g2l", "g2g")])
def test_the_losss_gradients_are_those_of_the_plain_module(kind, steps):
    """With every negative a candidate: the mined loss against the dense ones over the plain module's scores."""
    model, *batch = tiny_problem(steps)
    loss = RankingLoss(
        "contrastive" if kind == "contrastive" else "triplet", candidates=99, margin=0.2, temperature=0.1
    )
    mined = loss.double()(model, *terms(model, *batch), hardest=kind == "hardest")
    parts = plain_parts(model, *batch)
    expected = torch.zeros((), dtype=torch.float64)
    for number, grid in enumerate((parts[..., 0], parts.sum(-1))[: len(steps)]):
        if kind == "contrastive":
            expected = expected + dense_contrastive(grid, scale=(10, 5)[number])
        else:
            expected = expected + dense_hinge(grid, first=number == 0, hardest=kind == "hardest", margin=0.2)
    torch.testing.assert_close(mined, expected)
    assert_same_gradients(model, mined, expected)


def test_two_candidates_hold_each_row_and_columns_hardest():
    torch.manual_seed(1)
    scores = torch.randn(9, 9)
    images, captions = mine_pairs(scores, 2, torch.eye(len(scores), dtype=torch.bool))
    assert len(images) == 9 + 2 * 18
    assert (images[:9] == captions[:9]).all()
    assert (images[9:] != captions[9:]).all()
    dense = scores.clone().fill_diagonal_(-torch.inf)
    own = scores.diag()
    expected = ((0.2 - own + dense.amax(1)).clamp_min(0) + (0.2 - own + dense.amax(0)).clamp_min(0)).mean()
    torch.testing.assert_close(pair_hinge(scores[images, captions], 9, 0.2, hardest=True), expected)


def test_mined_pairs_are_told_from_their_own_as_in_a_softmax():
    torch.manual_seed(2)
    logits = torch.randn(4 + 2 * 12)
    rows = [[logits[i], *logits[4 + way * 12 + 3 * i : 4 + way * 12 + 3 * i + 3]] for way in (0, 1) for i in range(4)]
    expected = -np.mean([row[0] - np.log(sum(np.exp(x) for x in row)) for row in np.array(rows)])
    assert pair_contrastive(logits, 4).item() == pytest.approx(expected, abs=1e-6)


def test_logits_with_gumbel_noise_are_drawn_as_their_softmax_says():
    torch.manual_seed(0)
    logits = torch.tensor([0.0, 1.0, 2.0, -1.0]).expand(40_000, -1)
    drawn = (logits + gumbel(logits)).argmax(1).bincount(minlength=4) / len(logits)
    torch.testing.assert_close(drawn, logits[0].softmax(0), atol=0.01, rtol=0)


def test_gradients_are_the_same_to_the_bit_on_two_threads():
    """Resuming rests on it. The terms are large enough for PyTorch to share a sum over them out among threads."""
    model = Shan(ShanConfig(feature_dim=8, vocab_size=9, embed_dim=64, word_vector_dim=4, embedding_dim=4))
    loss = RankingLoss("contrastive", candidates=2, margin=0.2, temperature=0.1)
    regions = torch.randn(48, 36, 64, requires_grad=True)
    words = torch.randn(48, 12, 64, requires_grad=True)
    masks = torch.ones(48, 36, dtype=torch.bool), torch.ones(48, 12, dtype=torch.bool)
    found = []
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for _ in range(4):
            torch.manual_seed(0)
            value = loss(model, model.image_terms(regions, masks[0]), model.caption_terms(words, masks[1]))
            found.append(torch.autograd.grad(value, [regions, words]))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for one in found[1:] for a, b in zip(one, found[0], strict=True))


def test_matching_pairs_share_the_target_and_are_no_negatives():
    matches = torch.eye(4, dtype=torch.bool)
    matches[0, 2] = True
    logits = torch.randn(4, 4)
    by_image, by_caption = logits.log_softmax(1), logits.log_softmax(0)
    image = -((by_image[0, 0] + by_image[0, 2]) / 2 + by_image[1, 1] + by_image[2, 2] + by_image[3, 3]) / 4
    caption = -(by_caption[0, 0] + by_caption[1, 1] + (by_caption[0, 2] + by_caption[2, 2]) / 2 + by_caption[3, 3]) / 4
    torch.testing.assert_close(grid_contrastive(logits, matches), (image + caption) / 2)
    scores = torch.zeros(4, 4)
    scores[0, 2] = 9.0  # right, however high
    assert grid_hinge(scores, 0.2, matches, hardest=True).item() == pytest.approx(8 * 0.2 / 4)
    images, captions = mine_pairs(scores, 2, matches)
    assert (0, 2) not in set(zip(images.tolist(), captions.tolist(), strict=True))
