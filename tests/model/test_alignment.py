from __future__ import annotations

import numpy as np
import pytest
import torch
from oracle import align, encode_caption, shan_score
from shan_model.config import ShanConfig
from shan_model.shan.network import Shan
from tiny import random_tensors, tiny_config


def build(config, tensors, dtype=torch.float64):
    model = Shan(ShanConfig.from_dict(config))
    model.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in tensors.items()})
    return model.to(dtype).eval().requires_grad_(False)


def step_scores(model, features, mask, tokens, lengths):
    words, word_mask = model.text_encoder(tokens, lengths)
    return model.alignment(model.image_encoder(features), mask, words, word_mask)


@pytest.mark.parametrize("direction", ["full", "i2t", "t2i"])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_plain_modules_are_the_paper(direction, steps):
    config = tiny_config(direction=direction, steps=["l2l", "g2l", "g2g"][:steps])
    tensors = random_tensors(config, seed=3)
    model = build(config, tensors)
    random = np.random.default_rng(1)
    regions, captions = [9, 1, 4], [[1, 7, 2], [1, 5, 6, 9, 3, 12, 2], [8]]
    features, mask = torch.zeros(3, 9, config["feature_dim"], dtype=torch.float64), torch.zeros(3, 9, dtype=torch.bool)
    tokens = torch.zeros(3, 7, dtype=torch.int64)
    expected = []
    for row, (count, caption) in enumerate(zip(regions, captions, strict=True)):
        image = random.normal(size=(count, config["feature_dim"]))
        features[row, :count], mask[row, :count] = torch.from_numpy(image), True
        tokens[row, : len(caption)] = torch.tensor(caption)
        expected.append(shan_score(tensors, config, image, caption))
    lengths = torch.tensor([len(caption) for caption in captions])
    found = step_scores(model, features, mask, tokens, lengths)
    assert found.shape == (3, steps)
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose(model(features, mask, tokens, lengths), np.sum(expected, axis=1), rtol=0, atol=1e-9)


def test_what_stands_in_the_padding_changes_nothing():
    config = tiny_config()
    model = build(config, random_tensors(config))
    torch.manual_seed(0)
    features = torch.randn(2, 6, config["feature_dim"], dtype=torch.float64)
    mask = torch.tensor([[True] * 6, [True, False, True, True, False, False]])
    tokens, lengths = torch.tensor([[1, 5, 6, 2], [1, 9, 2, 0]]), torch.tensor([4, 3])
    before = step_scores(model, features, mask, tokens, lengths)
    features[~mask] = 1e3
    tokens[1, 3] = 11
    longer = torch.cat([tokens, torch.full((2, 5), 4)], dim=1)
    wider = torch.cat([features, torch.randn(2, 3, config["feature_dim"], dtype=torch.float64)], dim=1)
    wider_mask = torch.cat([mask, torch.zeros(2, 3, dtype=torch.bool)], dim=1)
    torch.testing.assert_close(step_scores(model, features, mask, tokens, lengths), before, rtol=0, atol=1e-12)
    torch.testing.assert_close(step_scores(model, wider, wider_mask, longer, lengths), before, rtol=0, atol=1e-12)


def test_encoders_give_rows_of_length_one_and_zero_words_in_the_padding():
    config = tiny_config()
    tensors = random_tensors(config)
    model = build(config, tensors)
    words, mask = model.text_encoder(torch.tensor([[1, 5, 2, 0], [1, 5, 6, 2]]), torch.tensor([3, 4]))
    assert mask.tolist() == [[True, True, True, False], [True] * 4]
    assert words[0, 3].abs().max() == 0
    wide = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}
    np.testing.assert_allclose(words[0, :3], encode_caption(wide, [1, 5, 2]), rtol=0, atol=1e-12)
    regions = model.image_encoder(torch.randn(2, 3, config["feature_dim"], dtype=torch.float64))
    torch.testing.assert_close(regions.norm(dim=-1), torch.ones(2, 3, dtype=torch.float64))


def test_the_oracle_knows_a_case_worked_by_hand():
    """One region and one word, equal: every cosine is 1, so the steps are 2, 2 and 1."""
    config = tiny_config()
    tensors = {name: tensor.astype(np.float64) for name, tensor in random_tensors(config).items()}
    unit = np.eye(config["embed_dim"])[:1]
    np.testing.assert_allclose(align(tensors, config, unit, unit), [2, 2, 1], atol=1e-12)
    np.testing.assert_allclose(align(tensors, {**config, "direction": "i2t"}, unit, unit), [1, 1, 1], atol=1e-12)
    np.testing.assert_allclose(align(tensors, config, unit, -unit)[0], -2, atol=1e-12)
